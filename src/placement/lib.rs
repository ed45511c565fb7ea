//! Where things live: which drives form a set, how much parity a class has, and which slot,
//! set and rotation a key falls into.
//!
//! Pure: the same arguments give the same answer on every node, in every release. This room
//! must not know drives, files, clocks or who holds a slot.

mod ellipses;
mod error;
mod locate;
mod parity;
mod pools;

pub use error::Error;
pub use locate::{Location, drive_of, locate, shard_on};
pub use parity::{Classes, Parity};
pub use pools::{Pool, pools};

//! The S3 door: HTTP → operation → permit → store → HTTP.
//!
//! Every route needs a permit, and only `auth` makes one. This room must not know drives, peers
//! or gossip.

mod answer;
mod attributes;
mod body;
mod bucket;
mod complete;
mod copy;
mod credentials;
mod door;
mod error;
mod list;
mod multipart;
mod object;
mod route;
mod tagging;
mod uploads;

pub use answer::AnswerBody;
pub use door::{Door, DoorConfig, Operation};

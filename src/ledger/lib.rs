//! Intent, replicated: openraft inside, `propose` and `view` outside.
//!
//! Knows nothing of objects and shards.

mod command;
mod state;

pub use command::Command;
pub use state::{Bucket, Credential, DriveSeat, Lease, Refusal, Seat, State, Versioning};

//! Intent, replicated: openraft inside, `propose` and `view` outside.
//!
//! Knows nothing of objects and shards; of drives only that they keep small records.

mod command;
mod error;
mod ledger;
mod mirror;
mod raft;
mod seal;
mod secret;
mod state;

pub use command::Command;
pub use error::{Error, ProposeError};
pub use ledger::{Ledger, LedgerConfig};
pub use mirror::is_empty;
pub use secret::ClusterSecret;
pub use state::{Bucket, Credential, DriveSeat, Lease, Refusal, Seat, State, Versioning};

//! The drive on a mount point: a log of batches, and an index of what it holds.
//!
//! Every byte is written once, to the log, by one thread; the index says where. `FORMAT.md`
//! draws the files.

mod batch;
mod bytes;
mod committer;
#[cfg(test)]
mod crash_tests;
mod entry;
mod flusher;
#[cfg(test)]
mod full_tests;
mod head;
mod health;
mod held;
mod keeper;
mod keys;
mod local;
mod log;
mod manifest;
mod open;
mod options;
mod orphans;
mod prepare;
mod queue;
mod read;
mod replay;
mod reserve;
mod row;
mod segment;
mod settled;
mod shared;
mod stats;
#[cfg(test)]
mod tests;
mod tidier;
mod tree;

pub use entry::Standing;
pub use local::LocalDrive;
pub use options::{Limits, Options};
pub use stats::Stats;

//! Crashes of the real binary under mixed load, and an oracle that says what may be left.
//!
//! It knows nothing of the server but its command line and S3: what an answer promised is
//! compared with what can be read after the restart.

pub mod listing;
pub mod multipart;
pub mod operation;
pub mod oracle;
pub mod process;
pub mod steps;
pub mod syncs;
pub mod uploads;
pub mod verify;
pub mod workload;

//! One disk: its log, its index, its shard files, and nothing of sets, quorums or HTTP.
//!
//! [`Drive`] is the contract; [`LocalDrive`] on a mount point and the twin in memory both keep
//! it, and one conformance suite checks both. Only this room calls `fsync`. It must not know how
//! many drives a set has, who the holder of a slot is, or what a row's bytes mean.

mod contract;
mod engine;
mod failpoint;
mod fault;
mod files;
mod index;
mod now;
mod register;
#[cfg(any(test, feature = "suite"))]
mod suite;
#[cfg(any(test, feature = "twin"))]
mod twin;

pub use contract::{
    Commit, Committed, Discard, Drive, Error, Fence, Identity, MetaWrite, Reply, Row, RowAnswer,
    Rows, RowsRequest, Scan, ScanPage, ScanRow, SettleMark, Settles, ShardRead, ShardReader, Stage,
    Staged, Status, Want,
};
pub use engine::{Limits, LocalDrive, Options, Standing, Stats};
pub use failpoint::Failpoints;
pub use files::{FormatError, Formatted, Found, format, inspect};
pub use register::{Register, Space};
#[cfg(any(test, feature = "suite"))]
pub use suite::{Subject, conformance};
#[cfg(any(test, feature = "twin"))]
pub use twin::{Fault, Twin};

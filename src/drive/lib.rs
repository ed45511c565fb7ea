//! One disk: its log, its index, its shard files, and nothing of sets, quorums or HTTP.
//!
//! [`Drive`] is the contract; the engine on a mount point and the twin in memory both keep it,
//! and one conformance suite checks both. Only this room calls `fsync`.

mod contract;
mod register;

pub use contract::{
    Commit, Committed, Discard, Drive, Error, Fence, Identity, MetaWrite, Reply, Row, RowAnswer,
    Rows, RowsRequest, Scan, ScanPage, ScanRow, SettleMark, Settles, ShardRead, Stage, Staged,
    Status, Want,
};
pub use register::{Register, Space};

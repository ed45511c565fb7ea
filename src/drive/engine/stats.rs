//! Counters of a drive.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a drive has done since it was opened, and what it holds: for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Batches written to the log, each with one sync.
    pub batches: u64,
    /// Rows committed.
    pub commits: u64,
    /// Bytes written to the log.
    pub log_bytes_written: u64,
    /// Requests that wait for the committer.
    pub queue_depth: u64,
    /// Index entries in runs and memory, marks and superseded ones included.
    pub entries: u64,
    /// Sorted runs.
    pub runs: u64,
    /// Bytes of the log's segments in use.
    pub log_bytes: u64,
    /// Bytes in them that the index refers to.
    pub log_bytes_live: u64,
    /// Reads that found damage.
    pub corrupt_reads: u64,
    /// Requests that were not answered in time.
    pub timeouts: u64,
}

/// The counters behind [`Stats`].
#[derive(Default)]
pub(super) struct Counters {
    pub(super) batches: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) log_bytes_written: AtomicU64,
    pub(super) corrupt_reads: AtomicU64,
    pub(super) timeouts: AtomicU64,
}

impl Counters {
    /// Adds to one of them.
    pub(super) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    /// Reads one of them.
    pub(super) fn read(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

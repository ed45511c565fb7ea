//! How a drive is to be run.

use std::time::Duration;

use super::entry::Standing;
use crate::failpoint::Failpoints;

/// The bounds within which a drive answers or counts as failing.
#[derive(Debug, Clone)]
pub struct Limits {
    /// After this a read is [`crate::Error::Timeout`] for its caller.
    pub read: Duration,
    /// After this a write is; it may still happen.
    pub write: Duration,
    /// Threads that read, at most.
    pub readers: usize,
    /// Reads that wait for a thread; more are refused as timed out.
    pub reads_waiting: usize,
    /// Requests in a row that were not answered in time before the drive counts as hung.
    pub timeouts: u32,
    /// Bytes of index blocks kept in memory.
    pub cache_bytes: usize,
}

impl Default for Limits {
    /// For a disk in order, SSD or HDD.
    fn default() -> Self {
        Self {
            read: Duration::from_secs(5),
            write: Duration::from_secs(10),
            readers: 4,
            reads_waiting: 4096,
            timeouts: 8,
            cache_bytes: 2 << 20,
        }
    }
}

/// How a drive is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its bounds.
    pub limits: Limits,
    /// What a drive is that was never written to: part of a set that is being formed, or a
    /// replacement that must be rebuilt first.
    pub fresh: Standing,
    /// A log position that the drive's seat reached, as its peers remember. A drive that knows less
    /// lost something, whatever it says of itself: it joins, and its log goes on behind this.
    pub position: u64,
    /// Where tests may kill the process; to be shared by all drives of a process.
    pub failpoints: Failpoints,
}

impl Default for Options {
    /// Default limits, a set that is being formed, no fail points.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            fresh: Standing::Voting,
            position: 0,
            failpoints: Failpoints::default(),
        }
    }
}

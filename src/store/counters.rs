//! What the store counts, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a store, since its start.
#[derive(Debug, Default)]
pub struct Counters {
    bad_shards: AtomicU64,
    repaired: AtomicU64,
    unrecoverable: AtomicU64,
}

impl Counters {
    /// Shards or frames that were missing, short, foreign or flipped when they were read.
    pub fn bad_shards(&self) -> u64 {
        self.bad_shards.load(Ordering::Relaxed)
    }

    /// Rows and shards written again on drives that lacked them.
    pub fn repaired(&self) -> u64 {
        self.repaired.load(Ordering::Relaxed)
    }

    /// Rows found with fewer good shards than needed, all drives having answered.
    pub fn unrecoverable(&self) -> u64 {
        self.unrecoverable.load(Ordering::Relaxed)
    }

    pub(crate) fn bad_shard(&self) {
        self.bad_shards.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn repair(&self) {
        self.repaired.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn lost(&self) {
        self.unrecoverable.fetch_add(1, Ordering::Relaxed);
    }
}

//! What upkeep did, for metrics and for people.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use store::Census;

/// Counters of a process's upkeep, since its start.
#[derive(Debug, Default)]
pub struct UpkeepStats {
    hints: AtomicU64,
    repaired: AtomicU64,
    collected: AtomicU64,
    discarded: AtomicU64,
    recounts: AtomicU64,
    recounted: AtomicU64,
    recounting: AtomicU64,
    scrubs: AtomicU64,
    scrubbed: AtomicU64,
    lost: AtomicU64,
    unhealed: AtomicU64,
    healed: AtomicBool,
}

impl UpkeepStats {
    /// Registers healed because a read or write noted them.
    pub fn hints(&self) -> u64 {
        self.hints.load(Ordering::Relaxed)
    }

    /// Copies of rows or shards written again.
    pub fn repaired(&self) -> u64 {
        self.repaired.load(Ordering::Relaxed)
    }

    /// Tombstones collected.
    pub fn collected(&self) -> u64 {
        self.collected.load(Ordering::Relaxed)
    }

    /// Void and replaced rows taken away.
    pub fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Relaxed)
    }

    /// Recounts that came to their end.
    pub fn recounts(&self) -> u64 {
        self.recounts.load(Ordering::Relaxed)
    }

    /// Registers that recounts have seen.
    pub fn recounted(&self) -> u64 {
        self.recounted.load(Ordering::Relaxed)
    }

    /// Registers that the recount at hand has seen, or the last one if none is under way.
    pub fn recounting(&self) -> u64 {
        self.recounting.load(Ordering::Relaxed)
    }

    /// Scrubs that came to their end.
    pub fn scrubs(&self) -> u64 {
        self.scrubs.load(Ordering::Relaxed)
    }

    /// Registers that scrubs have read.
    pub fn scrubbed(&self) -> u64 {
        self.scrubbed.load(Ordering::Relaxed)
    }

    /// Versions with too few good shards, as the last walk that ended found. Nothing of them is
    /// ever thrown away.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Registers that the last walk that ended could not make whole, the lost ones among them.
    pub fn unhealed(&self) -> u64 {
        self.unhealed.load(Ordering::Relaxed)
    }

    /// Whether the last recount heard all drives and found nothing to repair, and nothing is
    /// known to be amiss since.
    pub fn healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    pub(crate) fn hint(&self) {
        self.hints.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn say_healed(&self, healed: bool) {
        self.healed.store(healed, Ordering::Relaxed);
    }

    /// What was done between two censuses of one walk.
    pub(crate) fn done(&self, before: &Census, after: &Census) {
        let add = |counter: &AtomicU64, before: u64, after: u64| {
            counter.fetch_add(after.saturating_sub(before), Ordering::Relaxed);
        };
        add(&self.repaired, before.repaired, after.repaired);
        add(&self.collected, before.collected, after.collected);
        add(&self.discarded, before.discarded, after.discarded);
    }

    pub(crate) fn recount_step(&self, before: &Census, after: &Census) {
        self.done(before, after);
        let seen = after.registers.saturating_sub(before.registers);
        self.recounted.fetch_add(seen, Ordering::Relaxed);
        self.recounting.store(after.registers, Ordering::Relaxed);
    }

    pub(crate) fn scrub_step(&self, before: &Census, after: &Census) {
        self.done(before, after);
        let seen = after.registers.saturating_sub(before.registers);
        self.scrubbed.fetch_add(seen, Ordering::Relaxed);
    }

    pub(crate) fn recount_ended(&self, census: &Census) {
        self.recounts.fetch_add(1, Ordering::Relaxed);
        self.ended(census);
    }

    pub(crate) fn scrub_ended(&self, census: &Census) {
        self.scrubs.fetch_add(1, Ordering::Relaxed);
        self.ended(census);
    }

    fn ended(&self, census: &Census) {
        self.lost.store(census.lost, Ordering::Relaxed);
        self.unhealed.store(census.unhealed, Ordering::Relaxed);
    }
}

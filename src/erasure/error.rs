//! What can go wrong with shards.

/// Why shards could not be coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The caller's list of shards has another length than the geometry asks for.
    #[error("{got} shards given, {need} expected")]
    ShardCount {
        /// How many were given.
        got: usize,
        /// How many the geometry has.
        need: usize,
    },
    /// Two shards of one stripe differ in length.
    #[error("shards of {first} and {other} bytes in one stripe")]
    UnequalLengths {
        /// The length of the first shard seen.
        first: usize,
        /// The length of the one that differs.
        other: usize,
    },
    /// Fewer than `k` shards are present: the stripe cannot be read now.
    #[error("{got} shards present, {need} needed")]
    TooFewShards {
        /// How many are present.
        got: usize,
        /// `k`.
        need: usize,
    },
    /// A shard index of at least `N` was asked for.
    #[error("no shard {shard} among {drives}")]
    NoSuchShard {
        /// The index asked for.
        shard: usize,
        /// `N`.
        drives: usize,
    },
    /// This machine computes something else than every other one: it must not write a byte.
    #[error("self test of {what} failed on this machine ({kernel} kernel)")]
    SelfTest {
        /// What was tested.
        what: &'static str,
        /// The kernel under test.
        kernel: &'static str,
    },
}

//! What keeps a node's data whole by itself: hints are healed at once, a recount finds what hints
//! do not tell, a scrub reads every shard again and again.
//!
//! All of it is the holder's own commit (commit rule 11); this room only says when, and how fast.
//! It must not know drives, quorums or the wire.

mod expiry;
mod pace;
mod recount;
mod scrub;
mod stats;
mod upkeep;

pub use pace::Pace;
pub use stats::UpkeepStats;
pub use upkeep::Upkeep;

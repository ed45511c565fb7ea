//! The commit rules as pure decisions: what a set of answers proves about one register (one key's
//! history), when a write counts, what may be shown, repaired, collected or thrown away.
//!
//! Rules are cited by number: those of this room's `README.md`.
//! The store, the simulation and the model in `tests/` all run these very functions.
//!
//! This room must not know what a drive, a node, a message or a clock is: it counts answers by
//! their place in the set. Whoever calls it fences, sends, waits and retries.
//!
//! How the histories of versioned buckets chain: `prev` of a version's first row is what
//! [`History::prev`] gave, and later rows of the version copy it. Of two versions, one of which
//! was born strictly between `prev` and `born` of the other, at most one is ever committed.

mod ballot;
mod collect;
mod heal;
mod history;
mod list;
mod places;
mod read;
mod sequencer;
mod tally;
#[cfg(test)]
mod testing;
mod touch;

pub use ballot::{Ballot, Sighting, Want};
pub use collect::{Discardable, discardable, may_collect};
pub use heal::{HealPlan, Shard, heal, heal_part};
pub use history::{Decided, History};
pub use list::{Listing, list, list_versions};
pub use places::Places;
pub use read::{ReadDecision, VersionsDecision, read, read_versions, reasked};
pub use sequencer::Sequencer;
pub use tally::{Tally, Verdict, may_begin};
pub use touch::{Touch, first_touch};

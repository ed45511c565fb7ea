//! A register's history: what was decided of it, and how its rows are weighed against each other.

use std::collections::{BTreeMap, BTreeSet};

use types::{Head, Kind, Order, VersionId};

use crate::ballot::Seen;
use crate::places::Places;

/// A row that is proven to be committed: the newest of its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decided {
    /// The row.
    pub head: Head,
    /// Whether some drive knows it to be settled.
    pub settled: bool,
    /// Who has it, of those that answered.
    pub on: Places,
}

impl Decided {
    /// Whether the version is gone.
    pub fn is_tombstone(&self) -> bool {
        self.head.kind == Kind::Tombstone
    }

    /// Whether the answers alone show it on W drives, so that a settle of it is true.
    pub fn on_write_quorum(&self) -> bool {
        self.on.len() >= self.head.write_quorum()
    }
}

impl From<&Seen> for Decided {
    fn from(seen: &Seen) -> Self {
        Self {
            head: seen.head,
            settled: seen.settled,
            on: seen.on,
        }
    }
}

/// What the first touch of a register decided (rule 3). True until its holder commits the next
/// row, as long as its fence stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// The newest row of each version, newest born first, tombstones too. When only what is
    /// current was wanted: down to that one.
    pub versions: Vec<Decided>,
    /// Rows that were never committed and are not replaced by a newer one of their version.
    pub void: Vec<Head>,
    pub(crate) prev: Option<Order>,
}

impl History {
    /// The current version: the newest born one that is no tombstone. A delete marker counts.
    pub fn current(&self) -> Option<&Decided> {
        self.versions.iter().find(|version| !version.is_tombstone())
    }

    /// What the first row of a new version names as its `prev`: the newest decided birth, or
    /// [`Order::ZERO`] if there is none. `None` if only one version was asked for, whose history
    /// does not tell. A later row of an existing version copies that version's `prev` instead.
    pub fn prev(&self) -> Option<Order> {
        self.prev
    }
}

/// What the decided rows met so far say of older ones. Rows must come newest born first.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// The lowest `prev` of the versions born after the row at hand.
    lowest: Option<Order>,
    /// The lowest `prev` of rows with the same birth as the row at hand.
    level: Option<Order>,
    born: Order,
    named: BTreeSet<Order>,
}

impl Chain {
    /// Goes on to a row.
    pub(crate) fn reach(&mut self, head: &Head) {
        if head.born != self.born {
            self.born = head.born;
            self.lowest = lower(self.lowest, self.level.take());
        }
    }

    /// Notes that the row at hand is decided. A null version that names nothing was written
    /// without a look (rule 3, shortcut): it replaces older null versions and tells nothing else.
    pub(crate) fn decided(&mut self, head: &Head) {
        let blind = head.version == VersionId::Null && head.prev == Order::ZERO;
        if !blind {
            self.level = lower(self.level, Some(head.prev));
            self.named.insert(head.prev);
        }
    }

    /// Whether the row at hand is a birth that a decided newer birth left out: its holder had
    /// proven that it was never committed.
    pub(crate) fn voids(&self, row: &Seen) -> bool {
        row.is_birth() && self.lowest.is_some_and(|prev| prev < row.head.order)
    }

    /// Whether a decided row names the row at hand as its predecessor: then it is decided too.
    pub(crate) fn names(&self, row: &Seen) -> bool {
        self.named.contains(&row.head.order)
    }
}

fn lower(one: Option<Order>, other: Option<Order>) -> Option<Order> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// What is known of one row, regardless of newer rows of its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Committed.
    Decided,
    /// Never committed.
    Void,
    /// Neither is proven.
    Open,
}

/// One version's rows that are not void, newest order first, down to the first decided one.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// The newest row that is not void; what the version is, if that row is decided.
    pub(crate) newest: usize,
    pub(crate) standing: Standing,
    /// The latest birth that the version may turn out to have.
    pub(crate) born: Order,
}

/// The versions among `rows`, latest birth first. A version all of whose rows are void is none.
pub(crate) fn candidates(rows: &[Seen], standings: &[Standing]) -> Vec<Candidate> {
    let mut versions: BTreeMap<VersionId, Vec<(Order, usize)>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        versions
            .entry(row.head.version)
            .or_default()
            .push((row.head.order, at));
    }
    let resolve = |mut orders: Vec<(Order, usize)>| {
        orders.sort_unstable_by(|one, other| other.cmp(one));
        let mut found: Option<Candidate> = None;
        for (_, at) in orders {
            let (Some(row), Some(standing)) = (rows.get(at), standings.get(at)) else {
                continue;
            };
            if *standing == Standing::Void {
                continue;
            }
            let born = row.head.born;
            let candidate = found.get_or_insert(Candidate {
                newest: at,
                standing: *standing,
                born,
            });
            candidate.born = candidate.born.max(born);
            if *standing == Standing::Decided {
                break;
            }
        }
        found
    };
    let mut found: Vec<_> = versions.into_values().filter_map(resolve).collect();
    found.sort_by_key(|candidate| std::cmp::Reverse(candidate.born));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, changed, null, versioned};

    fn seen(head: Head) -> Seen {
        Seen {
            head,
            on: Places::from_iter([0]),
            settled: false,
        }
    }

    #[test]
    fn a_decided_birth_voids_the_births_between_itself_and_its_predecessor() {
        let mut chain = Chain::default();
        let newest = versioned(1, 2).after(9, 5);
        chain.reach(&newest);
        chain.decided(&changed(newest, 12));
        assert!(!chain.voids(&seen(newest)), "not itself");
        for (sequence, void, named) in [(7, true, false), (6, true, false), (5, false, true)] {
            let row = seen(versioned(1, 2).after(sequence, 1));
            chain.reach(&row.head);
            assert_eq!(
                (chain.voids(&row), chain.names(&row)),
                (void, named),
                "{sequence}"
            );
        }
        let change = seen(changed(versioned(1, 2).after(3, 1), 7));
        chain.reach(&change.head);
        assert!(
            !chain.voids(&change),
            "a change of an old version is not a birth"
        );
    }

    #[test]
    fn a_blind_null_version_tells_nothing_of_others() {
        let mut chain = Chain::default();
        let blind = null(1, 2).at(9);
        chain.reach(&blind);
        chain.decided(&blind);
        let older = seen(versioned(1, 2).at(5));
        chain.reach(&older.head);
        assert!(!chain.voids(&older) && !chain.names(&older));
        chain.decided(&older.head);
        let first = seen(versioned(1, 2).at(3));
        chain.reach(&first.head);
        assert!(
            chain.voids(&first),
            "a version of its own with no predecessor was the first"
        );
    }

    #[test]
    fn the_null_version_is_one_version_whenever_it_was_born() {
        let rows: Vec<_> = [
            null(1, 2).at(8),
            versioned(1, 2).after(5, 3),
            changed(null(1, 2).at(3), 9),
        ]
        .map(seen)
        .into();
        let found = candidates(
            &rows,
            &[Standing::Decided, Standing::Decided, Standing::Open],
        );
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].newest, found[0].born),
            (2, at(8)),
            "it may still be the one of 8"
        );
        let found = candidates(
            &rows,
            &[Standing::Void, Standing::Decided, Standing::Decided],
        );
        assert_eq!((found[0].newest, found[1].newest), (1, 2));
        let found = candidates(&rows, &[Standing::Void; 3]);
        assert!(found.is_empty());
    }
}

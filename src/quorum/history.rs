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

/// What rows prove of themselves and of each other, fence or not. Committed are those that are
/// settled, on W drives, or named as predecessor by a committed one; void are those that exclude
/// a committed one.
pub(crate) fn weigh(rows: &[Seen]) -> Vec<Standing> {
    let mut newest_first: Vec<usize> = (0..rows.len()).collect();
    let order = |at: &usize| rows.get(*at).map(|row| row.head.order);
    newest_first.sort_unstable_by_key(|at| std::cmp::Reverse(order(at)));
    let mut standings = vec![Standing::Open; rows.len()];
    let mut named = BTreeSet::new();
    let mut decided: Vec<&Head> = Vec::new();
    for at in newest_first {
        let (Some(row), Some(standing)) = (rows.get(at), standings.get_mut(at)) else {
            continue;
        };
        if row.settled || row.on_write_quorum() || named.contains(&row.head.order) {
            *standing = Standing::Decided;
            decided.push(&row.head);
            if !is_blind(&row.head) {
                named.insert(row.head.prev);
            }
        }
    }
    for (row, standing) in rows.iter().zip(&mut standings) {
        if *standing == Standing::Open && decided.iter().any(|other| exclude(other, &row.head)) {
            *standing = Standing::Void;
        }
    }
    standings
}

/// A null version that names nothing was written without a look (rule 3, shortcut): it replaces
/// older null versions and tells nothing of others.
fn is_blind(head: &Head) -> bool {
    head.version == VersionId::Null && head.prev == Order::ZERO
}

/// Whether only one of two versions can be committed: the holder that ordered the later one had
/// proven that nothing was committed since the predecessor that it names, and the other one was
/// born there.
pub(crate) fn exclude(one: &Head, other: &Head) -> bool {
    let (older, newer) = if one.born < other.born {
        (one, other)
    } else {
        (other, one)
    };
    one.version != other.version
        && !is_blind(newer)
        && newer.prev < older.born
        && older.born < newer.born
}

/// One version's rows that are not void, newest order first, down to the first decided one.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// The newest row that is not void; what the version is, if that row is decided.
    pub(crate) newest: usize,
    pub(crate) standing: Standing,
    /// Whether some row of the version is decided, so that its birth is.
    pub(crate) committed: bool,
    /// The latest birth that the version may turn out to have.
    pub(crate) born: Order,
}

/// The versions among `rows`, latest birth first. A version all of whose rows are void is none.
pub(crate) fn candidates(rows: &[Seen], standings: &[Standing]) -> Vec<Candidate> {
    let mut versions: BTreeMap<VersionId, Vec<(Order, usize)>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        let version = versions.entry(row.head.version).or_default();
        version.push((row.head.order, at));
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
            let (born, standing) = (row.head.born, *standing);
            let candidate = Candidate {
                newest: at,
                standing,
                committed: false,
                born,
            };
            let candidate = found.get_or_insert(candidate);
            candidate.born = candidate.born.max(born);
            if standing == Standing::Decided {
                candidate.committed = true;
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

    fn settled(head: Head) -> Seen {
        Seen {
            settled: true,
            ..seen(head)
        }
    }

    #[test]
    fn a_committed_version_excludes_what_was_born_between_itself_and_its_predecessor() {
        let newest = versioned(1, 2).after(9, 5);
        for committed in [settled(newest), settled(changed(newest, 12))] {
            for (sequence, standing) in [
                (7, Standing::Void),
                (6, Standing::Void),
                (4, Standing::Open),
                (10, Standing::Open),
            ] {
                let row = seen(versioned(1, 2).after(sequence, sequence - 1));
                let finished = seen(changed(row.head, 20));
                let standings = weigh(&[committed, row, finished]);
                assert_eq!(standings[1..], [standing; 2], "{sequence}");
            }
            let named = seen(versioned(1, 2).after(5, 1));
            assert_eq!(weigh(&[committed, named])[1], Standing::Decided);
            let change = seen(changed(versioned(1, 2).after(3, 1), 7));
            assert_eq!(
                weigh(&[committed, change])[1],
                Standing::Open,
                "of an older version"
            );
        }
    }

    #[test]
    fn a_committed_version_excludes_a_later_one_that_was_ordered_without_it() {
        let (older, later) = (versioned(1, 2).after(5, 1), versioned(1, 2).after(7, 1));
        let rows = [seen(later), settled(changed(older, 9))];
        assert_eq!(weigh(&rows)[0], Standing::Void);
        let follows = [seen(versioned(1, 2).after(7, 5)), settled(older)];
        assert_eq!(weigh(&follows)[0], Standing::Open);
    }

    #[test]
    fn a_blind_null_version_tells_nothing_of_others() {
        let older = seen(versioned(1, 2).at(5));
        assert_eq!(
            weigh(&[settled(null(1, 2).at(9)), older])[1],
            Standing::Open
        );
        let first = settled(versioned(1, 2).at(9));
        assert_eq!(
            weigh(&[first, older])[1],
            Standing::Void,
            "it had no predecessor"
        );
    }

    #[test]
    fn the_null_version_is_one_version_whenever_it_was_born() {
        let rows = [
            seen(null(1, 2).at(8)),
            seen(versioned(1, 2).after(5, 3)),
            seen(changed(null(1, 2).at(3), 9)),
        ];
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
        assert!(found[0].committed);
        let found = candidates(
            &rows,
            &[Standing::Void, Standing::Decided, Standing::Decided],
        );
        assert_eq!((found[0].newest, found[1].newest), (1, 2));
        let found = candidates(&rows, &[Standing::Void; 3]);
        assert!(found.is_empty());
    }
}

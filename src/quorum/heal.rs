//! What heal does about one decided row (rule 11). Heal is the holder's commit of the same order;
//! nothing here deletes, and what cannot be repaired is set aside, never removed.

use types::Geometry;

use crate::ballot::{Ballot, Sighting};
use crate::history::Decided;
use crate::places::Places;

/// What is known of one drive's shard of one data id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shard {
    /// Read and verified, whole.
    Good,
    /// Missing, short, long, foreign or flipped: positively not there.
    Bad,
    /// Not read: the drive did not answer, or nobody asked.
    Unknown,
}

/// What to do about one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealPlan {
    /// All drives of the set have the row and a good shard: a recount that may be called healed.
    Whole,
    /// Rebuild from the sources, then commit the same row again under the holder's fence on
    /// those that lack it or its shard. Each success counts for itself.
    Repair {
        /// Good shards (or rows, where there are no shards), at least k.
        sources: Places,
        /// Who gets it again.
        stale: Places,
    },
    /// Nothing can be done before these are heard: they are not whole, and not lost either.
    Wait {
        /// Who did not say.
        unknown: Places,
    },
    /// All drives answered, and more than m positively lack it: quarantine, tell somebody, and
    /// keep every byte.
    Unrecoverable {
        /// Who lacks it.
        lacking: Places,
    },
}

/// Plans the repair of a decided row from answers of a set's drives and the state of its shards
/// by place. An empty `shards` is for rows without bytes of their own: markers, tombstones,
/// uploads, and rows made of parts, each of which [`heal_part`] plans.
pub fn heal(ballot: &Ballot, row: &Decided, shards: &[Shard]) -> HealPlan {
    let all = Places::all(ballot.drives());
    let holds = |place: &usize| {
        ballot
            .rows_of(*place)
            .iter()
            .any(|seen: &Sighting| seen.head == row.head)
    };
    let holders: Places = ballot.answered().iter().filter(holds).collect();
    let missing = ballot.answered().without(holders);
    if shards.is_empty() {
        return plan(all, 1, holders, missing);
    }
    let (good, bad) = good_and_bad(ballot, shards);
    plan(all, row.head.geometry.data(), good, missing.or(bad))
}

/// Plans the repair of the shards of one part of a row that is made of parts, by place. The row
/// itself is planned by [`heal`], without shards.
pub fn heal_part(ballot: &Ballot, geometry: Geometry, shards: &[Shard]) -> HealPlan {
    let (good, bad) = good_and_bad(ballot, shards);
    plan(Places::all(ballot.drives()), geometry.data(), good, bad)
}

/// Who has a good shard, and who positively has none.
fn good_and_bad(ballot: &Ballot, shards: &[Shard]) -> (Places, Places) {
    let in_state = |state: Shard| -> Places {
        let places = shards.iter().enumerate();
        let places = places.filter(|(_, given)| **given == state);
        places.map(|(place, _)| place).collect()
    };
    let all = Places::all(ballot.drives());
    let bad = in_state(Shard::Bad).and(ballot.answered());
    (in_state(Shard::Good).and(all), bad)
}

fn plan(all: Places, need: usize, good: Places, stale: Places) -> HealPlan {
    let unknown = all.without(good).without(stale);
    if good.len() >= need && !stale.is_empty() {
        HealPlan::Repair {
            sources: good,
            stale,
        }
    } else if !unknown.is_empty() {
        HealPlan::Wait { unknown }
    } else if good.len() < need {
        HealPlan::Unrecoverable { lacking: stale }
    } else {
        HealPlan::Whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{deleted, fresh, null, votes};
    use types::Head;

    use Shard::{Bad, Good, Unknown};

    fn decided(head: Head) -> Decided {
        Decided {
            head,
            settled: true,
            on: Places::NONE,
        }
    }

    fn plan(rows: [Option<bool>; 5], shards: &[Shard]) -> HealPlan {
        let head = null(3, 2).at(4);
        let has = [fresh(head)];
        let answers = rows.map(|has_row| {
            has_row.map(|has_row| {
                if has_row {
                    has.as_slice()
                } else {
                    Default::default()
                }
            })
        });
        heal(&votes(&answers), &decided(head), shards)
    }

    fn places(places: &[usize]) -> Places {
        places.iter().copied().collect()
    }

    const HAS: Option<bool> = Some(true);
    const LACKS: Option<bool> = Some(false);

    #[test]
    fn only_a_full_count_is_whole() {
        assert_eq!(plan([HAS; 5], &[Good; 5]), HealPlan::Whole);
        let unread = plan([HAS; 5], &[Good, Good, Good, Good, Unknown]);
        assert_eq!(
            unread,
            HealPlan::Wait {
                unknown: places(&[4])
            }
        );
        let short = plan([HAS; 5], &[Good; 4]);
        assert_eq!(
            short,
            HealPlan::Wait {
                unknown: places(&[4])
            }
        );
        let silent = plan(
            [HAS, HAS, HAS, HAS, None],
            &[Good, Good, Good, Good, Unknown],
        );
        assert_eq!(
            silent,
            HealPlan::Wait {
                unknown: places(&[4])
            },
            "offline is not healed"
        );
    }

    #[test]
    fn what_lacks_a_row_or_a_shard_is_repaired_from_the_good_ones() {
        let mixed = plan(
            [HAS, HAS, LACKS, HAS, None],
            &[Good, Good, Good, Bad, Unknown],
        );
        let expected = HealPlan::Repair {
            sources: places(&[0, 1, 2]),
            stale: places(&[2, 3]),
        };
        assert_eq!(mixed, expected);
    }

    #[test]
    fn lost_is_said_only_when_all_answered_and_more_than_m_lack_it() {
        let lost = plan([HAS, HAS, LACKS, HAS, HAS], &[Good, Good, Bad, Bad, Bad]);
        assert_eq!(
            lost,
            HealPlan::Unrecoverable {
                lacking: places(&[2, 3, 4])
            }
        );
        for unknown in 2..5 {
            let mut shards = [Good, Good, Bad, Bad, Bad];
            shards[unknown] = Unknown;
            assert!(
                matches!(plan([HAS; 5], &shards), HealPlan::Wait { .. }),
                "{unknown}"
            );
            let mut rows = [HAS, HAS, LACKS, LACKS, LACKS];
            rows[unknown] = None;
            let offline = plan(rows, &shards);
            assert_eq!(
                offline,
                HealPlan::Wait {
                    unknown: places(&[unknown])
                },
                "drives offline"
            );
        }
        let enough = plan([HAS; 5], &[Good, Good, Good, Bad, Bad]);
        assert!(matches!(enough, HealPlan::Repair { .. }));
    }

    #[test]
    fn a_tombstone_is_repaired_from_one_copy() {
        let gone = deleted(null(2, 2).at(1), 2);
        let rows = [fresh(gone)];
        let ballot = votes(&[Some(&rows), Some(&[]), None, Some(&rows)]);
        let expected = HealPlan::Repair {
            sources: places(&[0, 3]),
            stale: places(&[1]),
        };
        assert_eq!(heal(&ballot, &decided(gone), &[]), expected);
    }

    #[test]
    fn a_drive_that_joins_gets_what_it_lacks() {
        let head = null(1, 2).at(1);
        let mut ballot = votes(&[Some(&[fresh(head)]), Some(&[fresh(head)]), None]);
        ballot.joining(2, Vec::new());
        let plan = heal(&ballot, &decided(head), &[Good, Good, Bad]);
        assert_eq!(
            plan,
            HealPlan::Repair {
                sources: places(&[0, 1]),
                stale: places(&[2])
            }
        );
    }
}

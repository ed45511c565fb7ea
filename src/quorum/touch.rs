//! Rule 3: what the first touch of a register in an epoch decides.

use types::{Head, Order};

use crate::ballot::{Ballot, Seen, Want};
use crate::history::{Candidate, Decided, History, Standing, candidates, exclude, weigh};
use crate::places::Places;

/// What to do after a raise-and-read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touch {
    /// All that was asked is decided.
    Decided(History),
    /// Rule 3b. Commit this row again **with the next order of the holder's own lease** (unless
    /// its order is of that lease already), all else the same (birth, `prev`, data), under the new
    /// fence, until W drives have it; then ask and decide again. Under its old order it would stay
    /// older than what a holder in between ordered after it had proven the row void, and both
    /// could be shown (way 14). The client that wrote it may have heard of no success.
    Finish {
        /// The row, with the order it has.
        head: Head,
        /// Who has it: at least its finish quorum.
        holders: Places,
    },
    /// More answers are needed. If none are to come: 503.
    Wait,
    /// Ask again for [`Want::All`]: drives stopped at a version that turned out to be deleted, or
    /// a version is open that others may exclude.
    Widen,
    /// Two rows carry this order: an alarm, and 503 (rule 6).
    Conflict(Order),
}

/// Decides a register from the answers to one raise-and-read under the holder's fence, with
/// `want` as it was asked of the drives. No commit of this holder on the register may be in
/// flight (rule 4): its late messages would make a void row whole (ways 10 and 11).
pub fn first_touch(ballot: &Ballot, want: Want) -> Touch {
    if !ballot.has_quorum() {
        return Touch::Wait;
    }
    let rows = match ballot.seen(want) {
        Ok(rows) => rows,
        Err(order) => return Touch::Conflict(order),
    };
    let mut standings = weigh(&rows);
    for (row, standing) in rows.iter().zip(&mut standings) {
        if *standing == Standing::Open && never_committed(ballot, want, row) {
            *standing = Standing::Void;
        }
    }
    let mut versions = Vec::new();
    let mut oldest = Order::ZERO;
    for candidate in candidates(&rows, &standings) {
        let Some(row) = rows.get(candidate.newest) else {
            continue;
        };
        if candidate.standing == Standing::Open {
            let rival = rival(&rows, &standings, row);
            return open(ballot, want, rival, &candidate);
        }
        let version = Decided::from(row);
        versions.push(version);
        if want == Want::Current && !version.is_tombstone() {
            oldest = version.head.born;
            break;
        }
    }
    if ballot.covering(want, oldest).len() < ballot.read_quorum() {
        return Touch::Widen;
    }
    let of = |standing: Standing| {
        let standings = standings.iter().zip(&rows);
        standings
            .filter(move |(given, _)| **given == standing)
            .map(|(_, row)| row)
    };
    let replaced = |row: &&Seen| {
        let newer = |version: &Decided| {
            version.head.version == row.head.version && version.head.order > row.head.order
        };
        !versions.iter().any(newer)
    };
    let void = of(Standing::Void)
        .filter(replaced)
        .map(|row| row.head)
        .collect();
    let newest_birth = of(Standing::Decided).map(|row| row.head.born).max();
    let prev =
        matches!(want, Want::Current | Want::All).then_some(newest_birth.unwrap_or(Order::ZERO));
    Touch::Decided(History {
        versions,
        void,
        prev,
    })
}

/// Rule 3c: even with every drive that did not deny it, there are fewer than W copies. Where
/// the shards seen would do to finish the row, it is finished instead (rule 3b).
fn never_committed(ballot: &Ballot, want: Want, row: &Seen) -> bool {
    let denied = ballot.covering(want, row.head.born).without(row.on);
    row.on.len() < row.head.finish_quorum()
        && ballot.drives() - denied.len() < row.head.write_quorum()
}

/// The newest of the open rows that exclude this one, or itself: newer orders are decided first.
fn rival<'a>(rows: &'a [Seen], standings: &[Standing], row: &'a Seen) -> &'a Seen {
    let open = standings
        .iter()
        .zip(rows)
        .filter(|(standing, _)| **standing == Standing::Open);
    let rivals = open
        .map(|(_, other)| other)
        .filter(|other| exclude(&other.head, &row.head));
    rivals
        .chain([row])
        .max_by_key(|row| row.head.order)
        .unwrap_or(row)
}

/// What to do about a row that is neither committed nor void.
fn open(ballot: &Ballot, want: Want, row: &Seen, candidate: &Candidate) -> Touch {
    let covering = ballot.covering(want, row.head.born.min(candidate.born));
    let silent = ballot.voters().without(covering).without(row.on);
    // Alone, a version cannot show what excludes it.
    let narrow = matches!(want, Want::Born(_) | Want::Null) && !candidate.committed;
    if narrow {
        Touch::Widen
    } else if row.on.len() >= row.head.finish_quorum() {
        Touch::Finish {
            head: row.head,
            holders: row.on,
        }
    } else if silent.is_empty() {
        Touch::Wait
    } else {
        Touch::Widen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ballot::Sighting;
    use crate::testing::{at, changed, deleted, fresh, marker, null, settled, versioned, votes};

    fn touch(answers: &[Option<&[Sighting]>]) -> Touch {
        first_touch(&votes(answers), Want::Current)
    }

    fn history(touch: Touch) -> History {
        match touch {
            Touch::Decided(history) => history,
            other => panic!("undecided: {other:?}"),
        }
    }

    fn finish(head: Head, holders: &[usize]) -> Touch {
        Touch::Finish {
            head,
            holders: holders.iter().copied().collect(),
        }
    }

    #[test]
    fn absence_needs_a_read_quorum_of_votes() {
        assert_eq!(touch(&[Some(&[]), None, None, None]), Touch::Wait);
        let mut ballot = votes(&[Some(&[]), None, None, None]);
        ballot.joining(1, Vec::new());
        ballot.failed(2);
        ballot.failed(3);
        assert_eq!(
            first_touch(&ballot, Want::Current),
            Touch::Wait,
            "way 5: an empty drive"
        );
        let absent = history(touch(&[Some(&[]), Some(&[]), None, None]));
        assert_eq!((absent.current(), absent.prev()), (None, Some(Order::ZERO)));
    }

    #[test]
    fn an_order_is_adopted_finished_skipped_or_waited_for() {
        let (old, new) = (null(2, 2).at(1), null(2, 2).at(2));
        let (o, n, no) = ([settled(old)], [fresh(new)], [fresh(new), settled(old)]);
        let s = [settled(new)];
        // Rule 3a: settled anywhere, or on W = 3.
        for answers in [
            [Some(s.as_slice()), Some(&o), None, None],
            [Some(&n), Some(&no), Some(&n), None],
            [Some(&o), Some(&s), Some(&o), Some(&o)],
        ] {
            let found = history(touch(&answers));
            assert_eq!(found.current().unwrap().head, new, "{answers:?}");
            assert_eq!(found.prev(), Some(at(2)));
        }
        // Rule 3b: k = 2 shards.
        assert_eq!(
            touch(&[Some(&n), Some(&no), None, None]),
            finish(new, &[0, 1])
        );
        assert_eq!(
            touch(&[Some(&n), Some(&o), Some(&o), Some(&n)]),
            finish(new, &[0, 3])
        );
        // Rule 3c: one copy, and two drives deny it.
        let skipped = history(touch(&[Some(&no), Some(&o), Some(&o), None]));
        assert_eq!(skipped.current().unwrap().head, old);
        assert_eq!((skipped.void, skipped.prev), (vec![new], Some(at(1))));
        // Rule 3d.
        assert_eq!(touch(&[Some(&no), Some(&o), None, None]), Touch::Wait);
    }

    #[test]
    fn copies_on_a_joining_drive_count_but_their_lack_denies_nothing() {
        let head = null(2, 2).at(2);
        let mut ballot = votes(&[Some(&[fresh(head)]), Some(&[fresh(head)]), None, None]);
        ballot.joining(2, vec![fresh(head)]);
        assert_eq!(
            history(first_touch(&ballot, Want::Null)).versions[0]
                .on
                .len(),
            3
        );
        let mut ballot = votes(&[Some(&[fresh(head)]), Some(&[]), None, None]);
        ballot.joining(2, Vec::new());
        ballot.failed(3);
        assert_eq!(first_touch(&ballot, Want::Current), Touch::Wait);
        ballot.voted(2, Vec::new());
        assert_eq!(history(first_touch(&ballot, Want::Current)).void, [head]);
    }

    #[test]
    fn way_1_what_was_raised_is_what_was_read() {
        // A's P reaches d1 before B raises it. B reads where it raised, d0 and d1, so it sees P.
        let write = null(1, 2).at(1);
        assert_eq!(
            touch(&[Some(&[]), Some(&[fresh(write)]), None]),
            finish(write, &[1])
        );
    }

    #[test]
    fn way_2_fewer_than_k_shards_do_not_undo_an_acknowledged_write() {
        let write = null(2, 3).at(1);
        let has = [fresh(write)];
        let short = touch(&[Some(&has), None, None, Some(&[]), Some(&[])]);
        assert_eq!(short, Touch::Wait, "d1 and d2 may have it");
        let full = touch(&[Some(&has), Some(&has), Some(&has), Some(&[]), Some(&[])]);
        assert_eq!(history(full).current().unwrap().head, write);
        let void = touch(&[Some(&has), None, Some(&[]), Some(&[]), Some(&[])]);
        assert_eq!(history(void).void, [write], "three deny it");
    }

    #[test]
    fn way_3_the_older_version_is_there_to_fall_back_to() {
        let (old, new) = (null(3, 2).at(1), null(3, 2).at(2));
        let both = [fresh(new), fresh(old)];
        let kept = touch(&[
            Some(&both),
            Some(&both),
            Some(&[fresh(old)]),
            Some(&[fresh(old)]),
            Some(&[]),
        ]);
        assert_eq!(history(kept).current().unwrap().head, old);
    }

    #[test]
    fn without_parity_every_drive_must_answer() {
        let write = null(4, 0).at(1);
        let has = [fresh(write)];
        assert_eq!(
            touch(&[Some(&has), Some(&has), Some(&has), None]),
            Touch::Wait
        );
        let void = history(touch(&[Some(&has), Some(&has), Some(&has), Some(&[])]));
        assert_eq!(void.void, [write]);
    }

    #[test]
    fn markers_and_tombstones_are_finished_from_one_copy() {
        for row in [marker(versioned(2, 2).at(3)), deleted(null(2, 2).at(1), 3)] {
            assert_eq!(
                touch(&[Some(&[fresh(row)]), Some(&[]), None, None]),
                finish(row, &[0])
            );
        }
        let row = marker(versioned(2, 2).at(3));
        let settled_row = [settled(row)];
        let current = history(touch(&[Some(&settled_row), Some(&settled_row), None, None]));
        assert_eq!(current.current().unwrap().head, row, "a marker is current");
    }

    #[test]
    fn a_voided_version_does_not_come_back_between_others() {
        let first = versioned(1, 2).at(1);
        let void = versioned(1, 2).after(5, 1);
        let last = versioned(1, 2).after(9, 1);
        let all = [settled(last), settled(first)];
        // The drive that has the voided one was away when it was voided.
        let found = first_touch(&votes(&[Some(&[fresh(void)]), Some(&all), None]), Want::All);
        let found = history(found);
        let versions: Vec<_> = found.versions.iter().map(|version| version.head).collect();
        assert_eq!((versions, found.void), (vec![last, first], vec![void]));
        // Also after the version that left it out was deleted.
        let gone = [settled(deleted(last, 11)), settled(first)];
        let found = first_touch(
            &votes(&[Some(&[fresh(void)]), Some(&gone), None]),
            Want::All,
        );
        assert_eq!(history(found).void, [void]);
        // Without proof it is somebody's write, and finished.
        let found = touch(&[
            Some(&[fresh(void), settled(first)]),
            Some(&[settled(first)]),
            None,
        ]);
        assert_eq!(found, finish(void, &[0]));
    }

    #[test]
    fn way_14_of_two_versions_that_exclude_each_other_the_newer_order_is_decided_first() {
        // One was finished in epoch 3; the other was ordered in epoch 2, without it.
        let (older, later) = (versioned(1, 2).after(5, 1), versioned(1, 2).after(7, 1));
        let again = changed(older, 9);
        let answers = [Some([fresh(later)]), Some([fresh(again)]), None];
        let answers = answers
            .each_ref()
            .map(|rows| rows.as_ref().map(|rows| rows.as_slice()));
        assert_eq!(
            first_touch(&votes(&answers), Want::All),
            finish(again, &[1])
        );
        let three = [fresh(again)];
        let found = first_touch(&votes(&[answers[0], answers[1], Some(&three)]), Want::All);
        let found = history(found);
        assert_eq!((found.versions.len(), found.void), (1, vec![later]));
    }

    #[test]
    fn a_version_that_others_may_exclude_is_not_finished_alone() {
        let ballot = votes(&[Some(&[fresh(versioned(1, 2).at(5))]), Some(&[]), None]);
        assert_eq!(first_touch(&ballot, Want::Born(at(5))), Touch::Widen);
        let change = [
            fresh(changed(versioned(1, 2).at(5), 6)),
            settled(versioned(1, 2).at(5)),
        ];
        let ballot = votes(&[Some(&change), Some(&change[1..]), None]);
        assert_eq!(
            first_touch(&ballot, Want::Born(at(5))),
            finish(change[0].head, &[0])
        );
    }

    #[test]
    fn the_predecessor_of_a_decided_version_is_decided() {
        let (first, last) = (versioned(2, 2).at(1), versioned(2, 2).after(9, 1));
        let (l, both) = ([settled(last)], [settled(last), fresh(first)]);
        let found = first_touch(&votes(&[Some(&both), Some(&l), Some(&l), None]), Want::All);
        assert_eq!(history(found).versions[1].head, first);
    }

    #[test]
    fn a_change_of_an_older_version_does_not_make_it_current() {
        let (first, last) = (versioned(1, 2).at(1), versioned(1, 2).after(5, 1));
        let rows = [settled(last), settled(changed(first, 8)), fresh(first)];
        let found = history(first_touch(
            &votes(&[Some(&rows), Some(&rows), None]),
            Want::All,
        ));
        assert_eq!(found.current().unwrap().head, last);
        assert_eq!(found.prev(), Some(at(5)), "births chain to births");
        let one = first_touch(
            &votes(&[Some(&rows[1..]), Some(&rows[1..]), None]),
            Want::Born(at(1)),
        );
        let one = history(one);
        assert_eq!(
            (one.versions.len(), one.prev()),
            (1, None),
            "one version does not tell"
        );
    }

    #[test]
    fn what_a_drive_did_not_reach_is_asked_for_again() {
        let (first, last) = (versioned(1, 2).at(1), versioned(1, 2).after(5, 1));
        let gone = [settled(deleted(last, 8)), settled(last), fresh(first)];
        let stopped = [settled(last)];
        let wide = touch(&[Some(&gone[..1]), Some(&stopped), None]);
        assert_eq!(
            wide,
            Touch::Widen,
            "one vote is no quorum for older versions"
        );
        let geometry = versioned(2, 2).at(1);
        let found = touch(&[
            Some(&[gone[0], fresh(geometry)]),
            Some(&stopped),
            Some(&stopped),
            Some(&stopped),
        ]);
        assert_eq!(found, Touch::Widen, "not 503: nobody denied it");
    }

    #[test]
    fn one_order_with_two_rows_stops_everything() {
        let one = null(1, 2).at(1);
        let other = Head { size: 2, ..one };
        let found = touch(&[Some(&[settled(one)]), Some(&[settled(other)]), None]);
        assert_eq!(found, Touch::Conflict(at(1)));
    }
}

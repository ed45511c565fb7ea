//! What may be taken away for good: collected tombstones (rule 8), rows that were never
//! committed, and rows that a settled newer one of their version replaced (rule 6).

use types::{Epoch, Head, Order};

use crate::ballot::{Ballot, Sighting, Want};
use crate::history::{Decided, History};
use crate::touch::{Touch, first_touch};

/// Rows that one drive may discard, by birth and order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discardable {
    /// The drive.
    pub place: usize,
    /// The rows, as it answered them.
    pub rows: Vec<(Order, Order)>,
}

/// Rule 8. `ballot` holds answers to [`Want::All`], raised to the epoch `now` of the holder's
/// lease. The rows to discard on every drive, in one entry each: all of the tombstone's version,
/// and void rows, which nothing but its birth may keep from coming back. `None`: not yet.
pub fn may_collect(
    ballot: &Ballot,
    tombstone: &Decided,
    now: Epoch,
) -> Option<Vec<(Order, Order)>> {
    let head = &tombstone.head;
    if !tombstone.is_tombstone() || head.order.epoch >= now {
        return None;
    }
    let newest = |place: usize| {
        let rows = ballot
            .rows_of(place)
            .iter()
            .filter(|row| row.head.version == head.version);
        rows.map(|row| &row.head).max_by_key(|row| row.order)
    };
    let on_all = (0..ballot.drives()).all(|place| newest(place) == Some(head));
    if ballot.voters().len() < ballot.drives() || !on_all {
        return None;
    }
    let Touch::Decided(history) = first_touch(ballot, Want::All) else {
        return None;
    };
    let goes =
        |row: &Sighting| row.head.version == head.version || history.void.contains(&row.head);
    let rows = (0..ballot.drives()).flat_map(|place| ballot.rows_of(place));
    let mut rows: Vec<_> = rows
        .filter(|row| goes(row))
        .map(|row| name(&row.head))
        .collect();
    rows.sort_unstable();
    rows.dedup();
    Some(rows)
}

/// What a first touch proved to be of no use, by drive: rows older than a committed one of their
/// version that the same drive holds (one that lacks the newer row keeps the older until heal has
/// brought it, way 3), and void rows, once all drives voted. Before that a later touch may find
/// more shards of a void row and finish it, and a late discard would take one away again.
pub fn discardable(ballot: &Ballot, history: &History) -> Vec<Discardable> {
    let replaced = |rows: &[Sighting], row: &Head| {
        history.versions.iter().any(|version| {
            version.head.version == row.version
                && version.head.order > row.order
                && rows.iter().any(|held| held.head == version.head)
        })
    };
    let heard = ballot.voters().len() == ballot.drives();
    let of_place = |place: usize| {
        let rows = ballot.rows_of(place);
        let goes = |row: &&Sighting| {
            heard && history.void.contains(&row.head) || replaced(rows, &row.head)
        };
        let rows: Vec<_> = rows
            .iter()
            .filter(goes)
            .map(|row| name(&row.head))
            .collect();
        (!rows.is_empty()).then_some(Discardable { place, rows })
    };
    (0..ballot.drives()).filter_map(of_place).collect()
}

fn name(head: &Head) -> (Order, Order) {
    (head.born, head.order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, changed, deleted, fresh, null, settled, versioned, votes};

    fn decide(ballot: &Ballot) -> History {
        match first_touch(ballot, Want::All) {
            Touch::Decided(history) => history,
            other => panic!("{other:?}"),
        }
    }

    fn later() -> Epoch {
        Epoch::new(0, 2)
    }

    #[test]
    fn a_tombstone_is_collected_in_a_later_epoch_from_all_drives() {
        let object = null(1, 2).at(1);
        let gone = deleted(object, 2);
        let rows = [settled(gone), fresh(object)];
        let ballot = votes(&[Some(&rows), Some(&rows[..1]), Some(&rows)]);
        let history = decide(&ballot);
        let tombstone = history.versions[0];
        assert_eq!(
            may_collect(&ballot, &tombstone, later()),
            Some(vec![(at(1), at(1)), (at(1), at(2))])
        );
        assert_eq!(
            may_collect(&ballot, &tombstone, gone.order.epoch),
            None,
            "way 8: its own epoch"
        );

        let mut silent = ballot.clone();
        silent.failed(2);
        assert_eq!(
            may_collect(&silent, &tombstone, later()),
            None,
            "one drive may have more"
        );
        let mut joining = ballot.clone();
        joining.joining(2, rows.to_vec());
        assert_eq!(
            may_collect(&joining, &tombstone, later()),
            None,
            "one drive does not vote"
        );
        let mut behind = ballot.clone();
        behind.voted(2, vec![settled(object)]);
        assert_eq!(
            may_collect(&behind, &tombstone, later()),
            None,
            "one drive lacks it"
        );
        let mut ahead = ballot.clone();
        ahead.voted(2, vec![fresh(null(1, 2).at(3)), settled(gone)]);
        assert_eq!(
            may_collect(&ahead, &tombstone, later()),
            None,
            "one drive has something newer"
        );
        let living = Decided {
            head: object,
            ..tombstone
        };
        assert_eq!(
            may_collect(&ballot, &living, later()),
            None,
            "not a tombstone"
        );
    }

    #[test]
    fn collection_takes_along_what_the_collected_version_kept_void() {
        let (first, second) = (versioned(1, 2).at(1), versioned(1, 2).after(9, 1));
        let void = versioned(1, 2).after(5, 1);
        let gone = deleted(second, 10);
        let rows = [settled(gone), settled(first)];
        let more = [settled(gone), fresh(void), settled(first)];
        let ballot = votes(&[Some(&rows), Some(&more), Some(&rows)]);
        let tombstone = decide(&ballot).versions[0];
        let expected = Some(vec![(at(5), at(5)), (at(9), at(10))]);
        assert_eq!(may_collect(&ballot, &tombstone, later()), expected);
    }

    #[test]
    fn collection_waits_for_a_history_that_is_open_elsewhere() {
        let (first, second) = (versioned(1, 2).at(1), versioned(1, 2).after(9, 1));
        let gone = deleted(first, 4);
        let rows = [fresh(second), settled(gone)];
        let ballot = votes(&[Some(&rows[1..]), Some(&rows), Some(&rows[1..])]);
        let tombstone = Decided::from(&ballot.seen(Want::All).unwrap()[1]);
        assert!(tombstone.is_tombstone());
        assert_eq!(may_collect(&ballot, &tombstone, later()), None);
    }

    #[test]
    fn only_void_and_replaced_rows_are_discarded() {
        let object = null(3, 2).at(1);
        let change = changed(object, 2);
        let void = null(3, 2).at(3);
        let ballot = votes(&[
            Some(&[fresh(void), settled(change), settled(object)]),
            Some(&[fresh(change), fresh(object)]),
            Some(&[fresh(object)]),
            Some(&[]),
            Some(&[fresh(change)]),
        ]);
        let history = decide(&ballot);
        assert_eq!(history.void, [void]);
        let expected = [
            Discardable {
                place: 0,
                rows: vec![(at(3), at(3)), (at(1), at(1))],
            },
            Discardable {
                place: 1,
                rows: vec![(at(1), at(1))],
            },
        ];
        assert_eq!(
            discardable(&ballot, &history),
            expected,
            "place 2 lacks the newer row"
        );
    }

    #[test]
    fn nothing_is_discarded_below_a_row_that_may_yet_be_lost() {
        let mut ballot = votes(&[
            Some(&[fresh(null(2, 2).at(2)), fresh(null(2, 2).at(1))]),
            Some(&[fresh(null(2, 2).at(1))]),
            Some(&[fresh(null(2, 2).at(1))]),
            Some(&[fresh(null(2, 2).at(1))]),
        ]);
        let history = decide(&ballot);
        assert_eq!(history.versions[0].head.order, at(1));
        let void = Discardable {
            place: 0,
            rows: vec![(at(2), at(2))],
        };
        assert_eq!(discardable(&ballot, &history), [void]);
        ballot.failed(3);
        let history = decide(&ballot);
        assert_eq!(history.void.len(), 1);
        assert_eq!(
            discardable(&ballot, &history),
            [],
            "the silent one may have a second shard"
        );
        ballot.failed(2);
        assert_eq!(
            first_touch(&ballot, Want::All),
            Touch::Wait,
            "the silent two may have it"
        );
    }
}

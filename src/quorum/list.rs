//! Rule 7 for one key of a list.

use types::{Head, Kind};

use crate::ballot::{Ballot, Sighting, Want};
use crate::read::{ReadDecision, read};

/// What a list does with one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Its current version, an object.
    Show(Head),
    /// There is none, or a delete marker.
    Hide,
    /// The scans do not tell: read the key, or ask its holder.
    Ask,
}

/// Decides one key from the scans of a set's drives: `answers` by place, each the rows of that
/// one key in index order with whether they are settled, as answered to [`Want::Current`]; `None`
/// for a drive that was not scanned or does not vote. Where the drives agree, which settle marks
/// make the rule, nothing is allocated.
pub fn list<'a, I>(drives: usize, answers: &[Option<I>]) -> Listing
where
    I: Iterator<Item = (&'a Head, bool)> + Clone,
{
    if let Some(listing) = agreed(drives, answers) {
        return listing;
    }
    let mut ballot = Ballot::new(drives);
    for (place, answer) in answers.iter().enumerate() {
        match answer {
            Some(rows) => {
                let sighting = |(head, settled): (&Head, bool)| Sighting {
                    head: *head,
                    settled,
                };
                ballot.voted(place, rows.clone().map(sighting).collect());
            }
            None => ballot.failed(place),
        }
    }
    match read(&ballot, Want::Current) {
        ReadDecision::Return(version) => show(version.map(|version| version.head).as_ref()),
        _ => Listing::Ask,
    }
}

fn show(head: Option<&Head>) -> Listing {
    match head {
        Some(head) if head.kind == Kind::Object => Listing::Show(*head),
        _ => Listing::Hide,
    }
}

/// The common case: all drives begin with the same living row, which is settled or on W drives.
fn agreed<'a, I>(drives: usize, answers: &[Option<I>]) -> Option<Listing>
where
    I: Iterator<Item = (&'a Head, bool)> + Clone,
{
    let (mut head, mut copies, mut committed): (Option<&Head>, _, _) = (None, 0, false);
    for rows in answers.iter().flatten() {
        let mut rows = rows.clone();
        let (first, settled) = rows.next()?;
        if head.is_some_and(|head| head != first) {
            return None;
        }
        let newer = |row: &Head| row.version == first.version && row.order > first.order;
        if rows.any(|(row, _)| newer(row) || row.order == first.order) {
            return None;
        }
        head = Some(first);
        copies += 1;
        committed |= settled;
    }
    let head = head.filter(|head| head.kind != Kind::Tombstone)?;
    let quorum = drives - drives / 2;
    (copies >= quorum && (committed || copies >= head.write_quorum())).then(|| show(Some(head)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::testing::{changed, deleted, fresh, marker, null, settled, versioned};

    fn decide(answers: &[Option<Vec<Sighting>>]) -> Listing {
        let rows = |rows: &'_ Option<Vec<Sighting>>| rows.clone();
        let owned: Vec<_> = answers.iter().map(rows).collect();
        let borrowed: Vec<_> = owned
            .iter()
            .map(|rows| {
                rows.as_ref()
                    .map(|rows| rows.iter().map(|row| (&row.head, row.settled)))
            })
            .collect();
        list(answers.len(), &borrowed)
    }

    #[test]
    fn a_key_is_shown_hidden_or_asked_for() {
        let (old, new) = (null(2, 2).at(1), null(2, 2).at(2));
        let gone = deleted(new, 3);
        let hidden = marker(versioned(2, 2).at(3));
        let two = |row: Sighting| vec![Some(vec![row]), Some(vec![row]), None, None];
        for (answers, expected) in [
            (two(settled(new)), Listing::Show(new)),
            (two(fresh(new)), Listing::Ask),
            (vec![Some(vec![fresh(new)]); 3], Listing::Ask),
            (
                vec![Some(vec![settled(new)]), None, None, None],
                Listing::Ask,
            ),
            (
                vec![Some(vec![settled(new)]), Some(vec![]), None, None],
                Listing::Ask,
            ),
            (vec![Some(vec![]), Some(vec![]), None, None], Listing::Hide),
            (
                vec![
                    Some(vec![fresh(new), settled(old)]),
                    Some(vec![settled(old)]),
                    None,
                    None,
                ],
                Listing::Ask,
            ),
            (two(settled(gone)), Listing::Hide),
            (two(settled(hidden)), Listing::Hide),
        ] {
            let mut answers = answers;
            answers.resize(4, None);
            let expected = if answers.iter().flatten().count() == 3 {
                Listing::Show(new)
            } else {
                expected
            };
            assert_eq!(decide(&answers), expected, "{answers:?}");
        }
    }

    #[test]
    fn a_newer_row_below_an_unborn_one_is_seen() {
        let phantom = settled(null(1, 2).at(8));
        let gone = settled(deleted(null(1, 2).at(3), 9));
        assert_eq!(decide(&vec![Some(vec![phantom, gone]); 3]), Listing::Hide);
    }

    proptest! {
        #[test]
        fn the_short_way_agrees_with_the_long_one(picks in proptest::collection::vec(any::<(u8, u8)>(), 3)) {
            let rows = [
                versioned(1, 2).after(7, 5),
                deleted(versioned(1, 2).after(5, 3), 6),
                versioned(1, 2).after(5, 3),
                changed(null(1, 2).at(3), 4),
                null(1, 2).at(3),
            ];
            let answer = |(pick, marks): &(u8, u8)| {
                let picked = rows.iter().enumerate().filter(|(at, _)| pick & (1 << at) != 0);
                let seen = picked.map(|(at, head)| Sighting { head: *head, settled: marks & (1 << at) != 0 });
                (pick & 0x60 != 0).then(|| seen.collect::<Vec<_>>())
            };
            let answers: Vec<_> = picks.iter().map(answer).collect();
            let mut ballot = Ballot::new(3);
            for (place, rows) in answers.iter().enumerate() {
                if let Some(rows) = rows {
                    ballot.voted(place, rows.clone());
                }
            }
            let long = match read(&ballot, Want::Current) {
                ReadDecision::Return(version) => show(version.map(|version| version.head).as_ref()),
                _ => Listing::Ask,
            };
            prop_assert_eq!(decide(&answers), long);
        }
    }
}

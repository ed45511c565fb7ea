//! Rule 7 for one key of a list.

use types::{Head, Kind, VersionId};

use crate::ballot::{Ballot, Sighting, Want};
use crate::read::{ReadDecision, VersionsDecision, read, read_versions};

/// What a list does with one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing<T> {
    /// Shows this of it.
    Show(T),
    /// There is nothing to show.
    Hide,
    /// The scans do not tell: read the key, or ask its holder.
    Ask,
}

/// Decides one key from the scans of a set's drives: `answers` by place, each the rows of that
/// one key in index order with whether they are settled, as answered to [`Want::Current`]; `None`
/// for a drive that was not scanned or does not vote. Shows the current version unless that is a
/// delete marker. Where the drives agree, which settle marks make the rule, nothing is allocated.
pub fn list<'a, I>(drives: usize, answers: &[Option<I>]) -> Listing<Head>
where
    I: Iterator<Item = (&'a Head, bool)> + Clone,
{
    if let Some(listing) = agreed(drives, answers) {
        return listing;
    }
    match read(&ballot(drives, answers), Want::Current) {
        ReadDecision::Return(version) => show(version.map(|version| version.head).as_ref()),
        _ => Listing::Ask,
    }
}

/// The same for a list of versions, from answers to [`Want::All`]: every version and delete
/// marker, newest born first.
pub fn list_versions<'a, I>(drives: usize, answers: &[Option<I>]) -> Listing<Vec<Head>>
where
    I: Iterator<Item = (&'a Head, bool)> + Clone,
{
    let versions = agreed_versions(drives, answers).or_else(|| {
        match read_versions(&ballot(drives, answers)) {
            VersionsDecision::Return(found) => {
                Some(found.iter().map(|version| version.head).collect())
            }
            VersionsDecision::AskHolder | VersionsDecision::Wait => None,
        }
    });
    match versions {
        Some(versions) if versions.is_empty() => Listing::Hide,
        Some(versions) => Listing::Show(versions),
        None => Listing::Ask,
    }
}

fn ballot<'a, I>(drives: usize, answers: &[Option<I>]) -> Ballot
where
    I: Iterator<Item = (&'a Head, bool)> + Clone,
{
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
    ballot
}

fn show(head: Option<&Head>) -> Listing<Head> {
    match head {
        Some(head) if head.kind == Kind::Object => Listing::Show(*head),
        _ => Listing::Hide,
    }
}

/// The common case: all drives begin with the same living row, which is settled or on W drives.
fn agreed<'a, I>(drives: usize, answers: &[Option<I>]) -> Option<Listing<Head>>
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

/// The common case of a list of versions: all drives hold the same rows, one of each version, and
/// all of them are committed.
fn agreed_versions<'a, I>(drives: usize, answers: &[Option<I>]) -> Option<Vec<Head>>
where
    I: Iterator<Item = (&'a Head, bool)> + Clone,
{
    let mut drives_rows: Vec<I> = answers.iter().flatten().cloned().collect();
    let copies = drives_rows.len();
    let (mut versions, mut last, mut null) = (Vec::new(), None, false);
    if copies < drives - drives / 2 {
        return None;
    }
    loop {
        let mut rows = drives_rows.iter_mut().map(Iterator::next);
        let Some((head, mut settled)) = rows.next()? else {
            return rows.all(|row| row.is_none()).then_some(versions);
        };
        for row in rows {
            let (other, also_settled) = row?;
            if other != head {
                return None;
            }
            settled |= also_settled;
        }
        let is_null = head.version == VersionId::Null;
        let again = last.replace(head.born) == Some(head.born) || null && is_null;
        null |= is_null;
        if again || !(settled || copies >= head.write_quorum()) {
            return None;
        }
        if head.kind != Kind::Tombstone {
            versions.push(*head);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::testing::{changed, deleted, fresh, marker, null, settled, versioned};

    type Answers = [Option<Vec<Sighting>>];

    fn scanned(answers: &Answers) -> Vec<Option<impl Iterator<Item = (&Head, bool)> + Clone>> {
        let rows = answers.iter().map(Option::as_ref);
        rows.map(|rows| rows.map(|rows| rows.iter().map(|row| (&row.head, row.settled))))
            .collect()
    }

    fn decide(answers: &Answers) -> Listing<Head> {
        list(answers.len(), &scanned(answers))
    }

    fn decide_versions(answers: &Answers) -> Listing<Vec<Head>> {
        list_versions(answers.len(), &scanned(answers))
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

    #[test]
    fn every_version_is_listed_or_none() {
        let (first, last) = (null(2, 2).at(1), versioned(2, 2).after(5, 1));
        let hidden = marker(versioned(2, 2).after(7, 5));
        let gone = deleted(last, 8);
        let two = |rows: &[Head]| {
            let rows: Vec<_> = rows.iter().copied().map(settled).collect();
            vec![Some(rows.clone()), Some(rows), None, None]
        };
        let all = [hidden, last, first];
        assert_eq!(decide_versions(&two(&all)), Listing::Show(all.to_vec()));
        let without = decide_versions(&two(&[hidden, gone, first]));
        assert_eq!(without, Listing::Show(vec![hidden, first]), "a tombstone");
        let only = decide_versions(&two(&[deleted(first, 8)]));
        assert_eq!(only, Listing::Hide, "nothing but a tombstone");
        let mut behind = two(&all);
        behind[1] = Some(vec![settled(last), settled(first)]);
        assert_eq!(
            decide_versions(&behind),
            Listing::Ask,
            "one drive lacks the marker"
        );
        let mut unknown = two(&all);
        for answer in unknown.iter_mut().flatten() {
            answer[0].settled = false;
        }
        assert_eq!(
            decide_versions(&unknown),
            Listing::Ask,
            "two copies of W = 3"
        );
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
            let long = match read_versions(&ballot) {
                VersionsDecision::Return(found) if found.is_empty() => Listing::Hide,
                VersionsDecision::Return(found) => {
                    Listing::Show(found.iter().map(|version| version.head).collect())
                }
                _ => Listing::Ask,
            };
            prop_assert_eq!(decide_versions(&answers), long);
        }
    }
}

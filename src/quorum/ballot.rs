//! Answers of a set's drives about one register, and what they show together.

use types::{Head, Kind, Order, VersionId};

use crate::places::Places;

/// One row as one drive answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// The row's head.
    pub head: Head,
    /// Whether it is known to be on W drives.
    pub settled: bool,
}

/// What was asked of the drives; every answer of a ballot is an answer to the same question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// What is current. Each drive answers from the newest born version on, up to and including
    /// the first that is settled and no tombstone.
    Current,
    /// The version born then, all rows.
    Born(Order),
    /// The null version, all rows.
    Null,
    /// The whole history.
    All,
}

impl Want {
    /// Whether a row belongs to what was asked.
    fn covers(self, head: &Head) -> bool {
        match self {
            Self::Current | Self::All => true,
            Self::Born(born) => head.born == born,
            Self::Null => head.version == VersionId::Null,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Pending,
    Failed,
    Joining(Vec<Sighting>),
    Voted(Vec<Sighting>),
}

/// The answers so far, one a place; a later answer of a place replaces its earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ballot {
    answers: Vec<Answer>,
}

impl Ballot {
    /// A ballot of a set of `drives` drives, none of which has answered.
    ///
    /// # Panics
    /// If no set has so many drives.
    pub fn new(drives: usize) -> Self {
        let places = Places::all(drives).len();
        assert!(
            drives == places && drives > 0,
            "a set has 1 to 16 drives, not {drives}"
        );
        Self {
            answers: vec![Answer::Pending; drives],
        }
    }

    /// A voting drive answered; no rows mean "absent". A drive votes unless it is empty, joining,
    /// or refused as foreign or rolled back. An unreadable index block is no vote.
    pub fn voted(&mut self, place: usize, rows: Vec<Sighting>) {
        self.answer(place, Answer::Voted(rows));
    }

    /// A drive that is not rebuilt yet answered: its copies count, what it lacks proves nothing
    /// (rule 10).
    pub fn joining(&mut self, place: usize, rows: Vec<Sighting>) {
        self.answer(place, Answer::Joining(rows));
    }

    /// No answer is to come of this place. Never "absent".
    pub fn failed(&mut self, place: usize) {
        self.answer(place, Answer::Failed);
    }

    /// How many drives the set has.
    pub fn drives(&self) -> usize {
        self.answers.len()
    }

    /// `R = N − Wmin + 1`: how many votes every decision needs.
    pub fn read_quorum(&self) -> usize {
        self.drives() - self.drives() / 2
    }

    /// The places that voted.
    pub fn voters(&self) -> Places {
        self.places(|answer| matches!(answer, Answer::Voted(_)))
    }

    /// The places that have not been heard of.
    pub fn pending(&self) -> Places {
        self.places(|answer| matches!(answer, Answer::Pending))
    }

    /// The places that answered, voting or not.
    pub fn answered(&self) -> Places {
        self.places(|answer| matches!(answer, Answer::Voted(_) | Answer::Joining(_)))
    }

    /// The rows that a place answered; none if it did not.
    pub fn rows_of(&self, place: usize) -> &[Sighting] {
        match self.answers.get(place) {
            Some(Answer::Voted(rows) | Answer::Joining(rows)) => rows,
            _ => &[],
        }
    }

    /// Whether enough drives voted for any decision at all.
    pub(crate) fn has_quorum(&self) -> bool {
        self.voters().len() >= self.read_quorum()
    }

    /// The voters whose answer would have shown a row born then. One that stopped at a settled
    /// living version says nothing about what is older than that.
    pub(crate) fn covering(&self, want: Want, born: Order) -> Places {
        let covers = |place: &usize| {
            want != Want::Current || floor(self.rows_of(*place)).is_none_or(|floor| floor <= born)
        };
        self.voters().iter().filter(covers).collect()
    }

    /// Everything seen, newest born first, then newest order first.
    ///
    /// # Errors
    /// The order that two different rows carry: two holders shared an epoch (rule 6). Nothing
    /// can be decided, and somebody must look.
    pub(crate) fn seen(&self, want: Want) -> Result<Vec<Seen>, Order> {
        let of_place = |place: usize| {
            let rows = self
                .rows_of(place)
                .iter()
                .filter(|row| want.covers(&row.head));
            rows.map(move |row| (place, *row))
        };
        let mut sightings: Vec<_> = (0..self.drives()).flat_map(of_place).collect();
        sightings.sort_by_key(|(_, row)| std::cmp::Reverse((row.head.born, row.head.order)));
        let mut seen: Vec<Seen> = Vec::new();
        for (place, row) in sightings {
            match seen.last_mut() {
                Some(last) if last.head == row.head => last.add(place, row.settled),
                _ => seen.push(Seen::new(place, row)),
            }
        }
        twice(&seen).map_or(Ok(seen), Err)
    }

    fn answer(&mut self, place: usize, answer: Answer) {
        if let Some(slot) = self.answers.get_mut(place) {
            *slot = answer;
        }
    }

    fn places(&self, test: impl Fn(&Answer) -> bool) -> Places {
        let tested = self
            .answers
            .iter()
            .enumerate()
            .filter(|(_, answer)| test(answer));
        tested.map(|(place, _)| place).collect()
    }
}

/// Where an answer to [`Want::Current`] may have stopped: the birth of its oldest version, if
/// that is settled and no tombstone.
fn floor(rows: &[Sighting]) -> Option<Order> {
    let born = rows.iter().map(|row| row.head.born).min()?;
    let newest = rows
        .iter()
        .filter(|row| row.head.born == born)
        .max_by_key(|row| row.head.order)?;
    (newest.settled && newest.head.kind != Kind::Tombstone).then_some(born)
}

/// An order that more than one row carries.
fn twice(seen: &[Seen]) -> Option<Order> {
    if seen.len() < 2 {
        return None;
    }
    let mut orders: Vec<Order> = seen.iter().map(|row| row.head.order).collect();
    orders.sort_unstable();
    orders.windows(2).find_map(|pair| match pair {
        [first, second] if first == second => Some(*first),
        _ => None,
    })
}

/// One row, and who has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) head: Head,
    pub(crate) on: Places,
    pub(crate) settled: bool,
}

impl Seen {
    fn new(place: usize, row: Sighting) -> Self {
        Self {
            head: row.head,
            on: Places::from_iter([place]),
            settled: row.settled,
        }
    }

    fn add(&mut self, place: usize, settled: bool) {
        self.on.insert(place);
        self.settled |= settled;
    }

    /// Whether the copies seen are a write quorum.
    pub(crate) fn on_write_quorum(&self) -> bool {
        self.on.len() >= self.head.write_quorum()
    }

    /// Whether the row created its version.
    pub(crate) fn is_birth(&self) -> bool {
        self.head.order == self.head.born
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, null, versioned};

    fn rows(heads: &[(Head, bool)]) -> Vec<Sighting> {
        heads
            .iter()
            .map(|(head, settled)| Sighting {
                head: *head,
                settled: *settled,
            })
            .collect()
    }

    #[test]
    fn read_quorums_are_those_of_the_geometry() {
        for (drives, votes) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (16, 8)] {
            let geometry = types::Geometry::new(u8::try_from(drives).unwrap(), 0).unwrap();
            assert_eq!(Ballot::new(drives).read_quorum(), votes);
            assert_eq!(Ballot::new(drives).read_quorum(), geometry.read_quorum());
        }
    }

    #[test]
    fn the_same_row_is_counted_once_a_drive() {
        let (old, new) = (null(1, 2).at(1), null(1, 2).at(2));
        let mut ballot = Ballot::new(3);
        ballot.voted(0, rows(&[(new, false), (old, true)]));
        ballot.joining(2, rows(&[(new, true)]));
        ballot.failed(1);
        ballot.failed(9);
        let seen = ballot.seen(Want::All).unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!(
            (seen[0].head, seen[0].on.len(), seen[0].settled),
            (new, 2, true)
        );
        assert_eq!(
            (seen[1].head, seen[1].on.len(), seen[1].settled),
            (old, 1, true)
        );
        assert_eq!((ballot.voters().len(), ballot.answered().len()), (1, 2));
        assert!(!ballot.has_quorum(), "a joining drive does not vote");
        assert!(ballot.pending().is_empty());
    }

    #[test]
    fn one_order_with_two_rows_is_an_alarm() {
        let mut other = null(1, 2).at(1);
        other.size += 1;
        let mut ballot = Ballot::new(3);
        ballot.voted(0, rows(&[(null(1, 2).at(1), false)]));
        ballot.voted(1, rows(&[(other, false)]));
        assert_eq!(ballot.seen(Want::All).map(|_| ()), Err(at(1)));
    }

    #[test]
    fn a_drive_that_stopped_at_a_settled_version_does_not_speak_of_older_ones() {
        let (old, new) = (versioned(1, 2).at(1), versioned(1, 2).at(5));
        let mut ballot = Ballot::new(3);
        ballot.voted(0, rows(&[(new, true)]));
        ballot.voted(1, rows(&[(new, false), (old, false)]));
        ballot.voted(2, Vec::new());
        assert_eq!(ballot.covering(Want::Current, at(5)).len(), 3);
        assert_eq!(
            ballot
                .covering(Want::Current, at(1))
                .iter()
                .collect::<Vec<_>>(),
            [1, 2]
        );
        assert_eq!(ballot.covering(Want::All, at(1)).len(), 3);
        assert_eq!(ballot.seen(Want::Born(at(1))).unwrap().len(), 1);
        assert_eq!(ballot.seen(Want::Null).unwrap().len(), 0);
    }
}

//! Rule 4: when a commit counts.

use types::Head;

use crate::places::Places;

/// How a commit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Too few drives have answered.
    Wait,
    /// On W drives: it is committed, for ever.
    Agreed,
    /// W cannot be reached without sending it again. Not a proof that it is void: the outcome is
    /// unknown until a first touch (rule 3), and clients hear 503.
    Lost,
}

/// The acknowledgements of one row under one fence. Under a new fence a new tally begins: what a
/// drive acknowledged before it was replaced does not count (rule 10, way 7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    need: usize,
    all: Places,
    ok: Places,
    failed: Places,
}

impl Tally {
    /// Counts for this row in a set of `drives` drives.
    pub fn new(head: &Head, drives: usize) -> Self {
        Self {
            need: head.write_quorum(),
            all: Places::all(drives),
            ok: Places::NONE,
            failed: Places::NONE,
        }
    }

    /// The drive has the row, durably. True for good: a failure reported later changes nothing.
    pub fn ok(&mut self, place: usize) {
        self.ok.insert(place);
    }

    /// The drive did not take it this time, or did not say.
    pub fn failed(&mut self, place: usize) {
        self.failed.insert(place);
    }

    /// How the commit stands.
    pub fn verdict(&self) -> Verdict {
        let ok = self.ok.and(self.all);
        let lost = self.failed.and(self.all).without(ok);
        if ok.len() >= self.need {
            Verdict::Agreed
        } else if self.all.len() - lost.len() < self.need {
            Verdict::Lost
        } else {
            Verdict::Wait
        }
    }

    /// The same count with all failures forgiven: the row is about to be sent again.
    #[must_use]
    pub fn resume(&self) -> Self {
        Self {
            failed: Places::NONE,
            ..self.clone()
        }
    }

    /// How many more must acknowledge.
    pub fn missing(&self) -> usize {
        self.need.saturating_sub(self.acknowledged().len())
    }

    /// Who has it.
    pub fn acknowledged(&self) -> Places {
        self.ok.and(self.all)
    }

    /// Whether all drives of the set have it.
    pub fn is_complete(&self) -> bool {
        self.acknowledged() == self.all
    }
}

/// Rule 4: whether a commit may begin while so many drives of the set look healthy. One on fewer
/// than W would hide a settled version behind 503.
pub fn may_begin(healthy: usize, head: &Head) -> bool {
    healthy >= head.write_quorum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{deleted, marker, null};

    #[test]
    fn a_commit_counts_at_the_write_quorum_of_its_own_row() {
        let object = null(3, 2).at(1);
        for (head, need) in [
            (object, 4),
            (deleted(object, 2), 3),
            (marker(object), 3),
            (null(2, 2).at(1), 3),
            (null(4, 0).at(1), 4),
            (null(1, 0).at(1), 1),
        ] {
            let drives = head.geometry.drives();
            let mut tally = Tally::new(&head, drives);
            for place in 0..drives {
                let before = tally.verdict();
                assert_eq!(before == Verdict::Agreed, place >= need, "{head:?} {place}");
                tally.ok(place);
                tally.ok(place);
            }
            assert!(tally.is_complete());
            assert!(may_begin(need, &head) && !may_begin(need - 1, &head));
        }
    }

    #[test]
    fn a_commit_is_lost_only_when_the_rest_cannot_make_up_for_failures() {
        let mut tally = Tally::new(&null(2, 2).at(1), 4);
        tally.failed(0);
        assert_eq!(tally.verdict(), Verdict::Wait);
        tally.failed(1);
        assert_eq!(tally.verdict(), Verdict::Lost);
        tally.ok(2);
        let mut again = tally.resume();
        assert_eq!(again.verdict(), Verdict::Wait);
        again.ok(0);
        again.ok(3);
        again.failed(3);
        again.failed(9);
        assert_eq!(
            (again.verdict(), again.acknowledged().len()),
            (Verdict::Agreed, 3)
        );
        assert!(!again.is_complete());
    }
}

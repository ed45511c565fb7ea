//! Rule 7: what any node may show, without a fence.

use types::{Head, Order};

use crate::ballot::{Ballot, Seen, Sighting, Want};
use crate::history::{Candidate, Decided, Standing, candidates, weigh};
use crate::places::Places;

/// What a reader does with the answers so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadDecision {
    /// This is it; `None` is NotFound. A delete marker is returned as what it is.
    Return(Option<Decided>),
    /// Ask this drive once more, now, and give its answer to [`reasked`]: what it showed may
    /// have been deleted and collected while the others were asked (way 9).
    Reask {
        /// The drive.
        place: usize,
    },
    /// The holder must finish or void something first, or two rows carry one order.
    AskHolder,
    /// Answers of drives not yet heard of may decide. If none are to come: 503.
    Wait,
    /// Drives stopped at a version that turned out to be deleted: ask again for [`Want::All`].
    Widen,
}

/// What a reader of a whole history, or of a version listing, does with the answers so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionsDecision {
    /// These, newest born first, without tombstones.
    Return(Vec<Decided>),
    /// As in [`ReadDecision::AskHolder`].
    AskHolder,
    /// As in [`ReadDecision::Wait`].
    Wait,
}

/// Decides a read of one version, with `want` as it was asked of the drives: the current one,
/// one by its birth, or the null version. With [`Want::All`] the current one.
pub fn read(ballot: &Ballot, want: Want) -> ReadDecision {
    let survey = match Survey::new(ballot, want) {
        Ok(survey) => survey,
        Err(Blind::Votes) => return ReadDecision::Wait,
        Err(Blind::Conflict) => return ReadDecision::AskHolder,
    };
    let mut first = true;
    for candidate in &survey.candidates {
        let Some(row) = survey.rows.get(candidate.newest) else {
            continue;
        };
        if !survey.shown(candidate, row) {
            return survey.doubt(candidate, row, first);
        }
        let version = Decided::from(row);
        if !version.is_tombstone() {
            return survey.answer(Some(version));
        }
        first = false;
    }
    survey.answer(None)
}

/// Decides a read of every version, from answers to [`Want::All`].
pub fn read_versions(ballot: &Ballot) -> VersionsDecision {
    let survey = match Survey::new(ballot, Want::All) {
        Ok(survey) => survey,
        Err(Blind::Votes) => return VersionsDecision::Wait,
        Err(Blind::Conflict) => return VersionsDecision::AskHolder,
    };
    let mut versions = Vec::new();
    for candidate in &survey.candidates {
        let Some(row) = survey.rows.get(candidate.newest) else {
            continue;
        };
        if !survey.shown(candidate, row) {
            return match survey.doubt(candidate, row, false) {
                ReadDecision::Wait => VersionsDecision::Wait,
                _ => VersionsDecision::AskHolder,
            };
        }
        versions.push(Decided::from(row));
    }
    versions.retain(|version| !version.is_tombstone());
    VersionsDecision::Return(versions)
}

/// Decides after a [`ReadDecision::Reask`]: `rows` is what that drive answered to the same
/// question, asked after the last answer in `ballot`.
pub fn reasked(ballot: &Ballot, want: Want, rows: &[Sighting]) -> ReadDecision {
    let Ok(survey) = Survey::new(ballot, want) else {
        return ReadDecision::AskHolder;
    };
    let row = survey
        .candidates
        .first()
        .and_then(|candidate| survey.rows.get(candidate.newest));
    let newest = rows
        .iter()
        .map(|row| &row.head)
        .max_by_key(|head| head.order);
    match row {
        Some(row) if newest == Some(&row.head) && survey.may_reask(row) => {
            let version = Decided::from(row);
            survey.answer((!version.is_tombstone()).then_some(version))
        }
        _ => ReadDecision::AskHolder,
    }
}

/// Why a ballot shows a reader nothing.
enum Blind {
    /// Too few voted.
    Votes,
    /// Two rows carry one order.
    Conflict,
}

/// What a ballot shows a reader.
struct Survey<'a> {
    ballot: &'a Ballot,
    want: Want,
    rows: Vec<Seen>,
    candidates: Vec<Candidate>,
}

impl<'a> Survey<'a> {
    fn new(ballot: &'a Ballot, want: Want) -> Result<Self, Blind> {
        if !ballot.has_quorum() {
            return Err(Blind::Votes);
        }
        let rows = ballot.seen(want).map_err(|_| Blind::Conflict)?;
        let standings = weigh(&rows);
        let candidates = candidates(&rows, &standings);
        Ok(Self {
            ballot,
            want,
            rows,
            candidates,
        })
    }

    /// Whether the newest row of a version may be shown: it is on W drives, or it is known to be
    /// committed and all answers agree.
    fn shown(&self, candidate: &Candidate, row: &Seen) -> bool {
        candidate.standing == Standing::Decided && (row.on_write_quorum() || self.agreed(row))
    }

    /// Whether every vote that would show a newer row of the version shows this as its newest.
    fn agreed(&self, row: &Seen) -> bool {
        self.ballot
            .covering(self.want, row.head.born)
            .without(self.newest_on(&row.head))
            .is_empty()
    }

    /// The drives on which the row is the newest of its version.
    fn newest_on(&self, head: &Head) -> Places {
        let newest = |place: &usize| {
            let of_version = |row: &&Sighting| row.head.version == head.version;
            let rows = self.ballot.rows_of(*place).iter().filter(of_version);
            rows.map(|row| &row.head).max_by_key(|row| row.order) == Some(head)
        };
        self.ballot.answered().iter().filter(newest).collect()
    }

    fn doubt(&self, candidate: &Candidate, row: &Seen, first: bool) -> ReadDecision {
        let decided = candidate.standing == Standing::Decided;
        let again = self.newest_on(&row.head).and(self.ballot.voters()).first();
        if let (true, true, Some(place)) = (decided && first, self.may_reask(row), again) {
            return ReadDecision::Reask { place };
        }
        let pending = self.ballot.pending().len();
        if pending > 0 && row.on.len() + pending >= row.head.write_quorum() {
            ReadDecision::Wait
        } else {
            ReadDecision::AskHolder
        }
    }

    /// Whether one drive that still has the row as its newest proves that it is current. Not
    /// for a change of an older version: that drive may have missed a version born in between;
    /// and not for a tombstone if there are other versions, which one drive cannot answer for.
    fn may_reask(&self, row: &Seen) -> bool {
        let newest = self
            .rows
            .iter()
            .all(|other| other.head.order <= row.head.order);
        let alone = self.candidates.len() == 1 || !Decided::from(row).is_tombstone();
        newest && alone && (row.is_birth() || self.want_is_one_version())
    }

    fn want_is_one_version(&self) -> bool {
        matches!(self.want, Want::Born(_) | Want::Null)
    }

    /// The answer, if enough votes reach down to it.
    fn answer(&self, version: Option<Decided>) -> ReadDecision {
        let oldest = version.map_or(Order::ZERO, |version| version.head.born);
        if self.ballot.covering(self.want, oldest).len() < self.ballot.read_quorum() {
            return ReadDecision::Widen;
        }
        ReadDecision::Return(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, changed, deleted, fresh, marker, null, settled, versioned, votes};

    fn look(answers: &[Option<&[Sighting]>]) -> ReadDecision {
        read(&votes(answers), Want::Current)
    }

    fn shows(decision: ReadDecision) -> Option<Head> {
        match decision {
            ReadDecision::Return(version) => version.map(|version| version.head),
            other => panic!("undecided: {other:?}"),
        }
    }

    #[test]
    fn a_read_needs_a_read_quorum_of_votes() {
        let has = [settled(null(1, 2).at(1))];
        assert_eq!(look(&[Some(&has), None, None]), ReadDecision::Wait);
        let mut ballot = votes(&[Some(&has), None, None]);
        ballot.joining(1, has.to_vec());
        ballot.failed(2);
        assert_eq!(read(&ballot, Want::Current), ReadDecision::Wait);
        assert_eq!(shows(look(&[Some(&[]), Some(&[]), None])), None);
    }

    #[test]
    fn way_5_an_empty_drive_is_no_vote_for_absent() {
        // P on d0 and d1; d0 is replaced, and joins.
        let mut ballot = votes(&[None, None, Some(&[])]);
        ballot.joining(0, Vec::new());
        assert_eq!(read(&ballot, Want::Current), ReadDecision::Wait);
        ballot.voted(1, vec![settled(null(1, 2).at(1))]);
        assert_ne!(read(&ballot, Want::Current), ReadDecision::Return(None));
    }

    #[test]
    fn the_newest_is_shown_if_it_is_on_w_drives_or_settled_and_agreed() {
        let (old, new) = (null(1, 2).at(1), null(1, 2).at(2));
        let (f, s) = ([fresh(new), settled(old)], [settled(new)]);
        assert_eq!(shows(look(&[Some(&f), Some(&f), None])), Some(new));
        assert_eq!(shows(look(&[Some(&f), Some(&f), Some(&[])])), Some(new));
        let wide = null(2, 2).at(2);
        let (f, s4) = ([fresh(wide)], [settled(wide)]);
        assert_eq!(shows(look(&[Some(&f), Some(&s4), None, None])), Some(wide));
        assert_eq!(
            look(&[Some(&f), Some(&f), None, None]),
            ReadDecision::Wait,
            "one more makes W"
        );
        let mut silent = votes(&[Some(&f), Some(&f), None, None]);
        silent.failed(2);
        silent.failed(3);
        assert_eq!(read(&silent, Want::Current), ReadDecision::AskHolder);
        assert_eq!(
            look(&[Some(&s), Some(&[settled(old)]), None]),
            ReadDecision::Reask { place: 0 }
        );
    }

    #[test]
    fn way_4_an_older_version_on_w_drives_does_not_stand_in_for_a_newer_one() {
        let (old, new) = (null(1, 2).at(1), null(1, 2).at(2));
        let (both, older) = ([fresh(new), fresh(old)], [fresh(old)]);
        let answers = [Some(both.as_slice()), Some(older.as_slice()), None];
        assert_eq!(look(&answers), ReadDecision::Wait);
        let mut ballot = votes(&answers);
        ballot.failed(2);
        assert_eq!(read(&ballot, Want::Current), ReadDecision::AskHolder);
        let mut ballot = votes(&answers);
        ballot.voted(2, vec![fresh(old)]);
        assert_eq!(
            read(&ballot, Want::Current),
            ReadDecision::AskHolder,
            "the holder voids it"
        );
    }

    #[test]
    fn way_9_a_settled_version_that_not_all_show_is_asked_for_once_more() {
        let version = null(1, 2).at(1);
        let gone = deleted(version, 2);
        let ballot = votes(&[None, Some(&[settled(version)]), Some(&[])]);
        assert_eq!(
            read(&ballot, Want::Current),
            ReadDecision::Reask { place: 1 }
        );
        let still = reasked(&ballot, Want::Current, &[settled(version)]);
        assert_eq!(shows(still), Some(version));
        for now in [
            [].as_slice(),
            &[fresh(gone), settled(version)],
            &[settled(gone)],
        ] {
            assert_eq!(
                reasked(&ballot, Want::Current, now),
                ReadDecision::AskHolder,
                "{now:?}"
            );
        }
    }

    #[test]
    fn a_deleted_version_is_not_found_and_a_marker_is_found() {
        let version = null(1, 2).at(1);
        let gone = [settled(deleted(version, 2)), settled(version)];
        assert_eq!(shows(look(&[Some(&gone), Some(&gone), None])), None);
        let hidden = [
            settled(marker(versioned(1, 2).at(3))),
            settled(versioned(1, 2).at(1)),
        ];
        assert_eq!(
            shows(look(&[Some(&hidden), Some(&hidden), None])),
            Some(hidden[0].head)
        );
        let one = votes(&[Some(&hidden[1..]), Some(&hidden[1..]), None]);
        assert_eq!(shows(read(&one, Want::Born(at(1)))), Some(hidden[1].head));
    }

    #[test]
    fn below_a_deleted_version_the_next_one_is_current() {
        let (first, last) = (versioned(1, 2).at(1), versioned(1, 2).after(5, 1));
        let gone = settled(deleted(last, 8));
        let rows = [gone, settled(first)];
        assert_eq!(shows(look(&[Some(&rows), Some(&rows), None])), Some(first));
        let behind = [settled(last)];
        let doubt = look(&[Some(&rows), Some(&behind), None]);
        assert_eq!(doubt, ReadDecision::Wait, "a third may have the tombstone");
        let mut ballot = votes(&[Some(&rows), Some(&behind), None]);
        ballot.failed(2);
        assert_eq!(read(&ballot, Want::Current), ReadDecision::AskHolder);
        ballot.voted(2, rows.to_vec());
        assert_eq!(
            shows(read(&ballot, Want::Current)),
            Some(first),
            "two deny newer ones"
        );
        ballot.voted(0, vec![gone]);
        ballot.voted(2, behind.to_vec());
        assert_eq!(read(&ballot, Want::Current), ReadDecision::AskHolder);
    }

    #[test]
    fn answers_that_stop_above_the_current_version_are_widened() {
        let (first, last) = (versioned(1, 2).at(1), versioned(1, 2).after(5, 1));
        let gone = settled(deleted(last, 8));
        let mut ballot = votes(&[
            Some(&[gone, settled(first)]),
            Some(&[gone, settled(first)]),
            None,
        ]);
        assert_eq!(shows(read(&ballot, Want::Current)), Some(first));
        let stopped = versioned(1, 2).after(4, 1);
        let dead = settled(deleted(stopped, 7));
        ballot.voted(0, vec![gone, dead]);
        ballot.voted(1, vec![gone, settled(stopped)]);
        ballot.voted(2, vec![gone, dead]);
        assert_eq!(shows(read(&ballot, Want::Current)), None);
        ballot.failed(2);
        assert_eq!(read(&ballot, Want::Current), ReadDecision::AskHolder);
    }

    #[test]
    fn one_drive_does_not_speak_for_versions_it_may_have_missed() {
        // A version born at 6 may be committed on the two others: only the holder knows.
        let first = versioned(1, 2).at(3);
        let rows = [settled(changed(first, 8)), fresh(first)];
        let mut ballot = votes(&[Some(&[settled(first)]), None, Some(&rows)]);
        ballot.failed(1);
        assert_eq!(read(&ballot, Want::Current), ReadDecision::AskHolder);
        assert_eq!(
            read(&ballot, Want::Born(at(3))),
            ReadDecision::Reask { place: 2 }
        );
    }

    #[test]
    fn one_drive_does_not_speak_for_other_versions_of_the_key() {
        let (first, last) = (versioned(1, 2).at(1), versioned(1, 2).after(5, 1));
        let gone = deleted(null(1, 2).after(5, 1), 5);
        for (newest, older) in [(gone, settled(first)), (last, fresh(changed(first, 8)))] {
            let (both, one) = ([settled(newest), older], [older]);
            let mut ballot = votes(&[Some(&both), Some(&one), None]);
            ballot.failed(2);
            assert_eq!(read(&ballot, Want::Current), ReadDecision::AskHolder);
            let again = reasked(&ballot, Want::Current, &both);
            assert_eq!(again, ReadDecision::AskHolder, "{newest:?}");
        }
    }

    #[test]
    fn one_order_with_two_rows_goes_to_the_holder() {
        let one = null(1, 2).at(1);
        let other = Head { size: 2, ..one };
        let decision = look(&[Some(&[settled(one)]), Some(&[settled(other)]), None]);
        assert_eq!(decision, ReadDecision::AskHolder);
    }

    #[test]
    fn a_version_list_is_the_decided_versions_or_nothing() {
        let (first, last) = (versioned(1, 2).at(1), versioned(1, 2).after(9, 1));
        let void = versioned(1, 2).after(5, 1);
        let gone = deleted(versioned(1, 2).after(3, 1), 4);
        let rows = [settled(last), fresh(void), settled(gone), settled(first)];
        let heads = |decision| match decision {
            VersionsDecision::Return(found) => found
                .into_iter()
                .map(|version| version.head)
                .collect::<Vec<_>>(),
            other => panic!("undecided: {other:?}"),
        };
        let clear = [rows[0], rows[2], rows[3]];
        let ballot = votes(&[Some(&rows), Some(&clear), None]);
        assert_eq!(heads(read_versions(&ballot)), [last, first]);
        assert_eq!(
            read_versions(&votes(&[Some(&rows), None, None])),
            VersionsDecision::Wait
        );
        let open = fresh(versioned(1, 2).after(12, 9));
        let mut ballot = votes(&[Some(&[open, clear[0]]), Some(&clear), None]);
        assert_eq!(read_versions(&ballot), VersionsDecision::Wait);
        ballot.failed(2);
        assert_eq!(read_versions(&ballot), VersionsDecision::AskHolder);
    }
}

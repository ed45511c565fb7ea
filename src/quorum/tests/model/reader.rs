//! Readers without a fence (rule 7).

use quorum::{ReadDecision, VersionsDecision, Want, read, read_versions, reasked};

use crate::config::{Mutant, Operation};
use crate::linear::Told;
use crate::model::{Model, Next, Step};
use crate::row::{Row, Rows, present, rows};
use crate::state::{Answers, Mode, Progress, State};

impl Model {
    pub(crate) fn readers_act(&self, state: &State, out: &mut Next) {
        for op in 0..self.operations.len() {
            let kind = self.operations[op];
            let open = state.ops[op] == Progress::Invoked || self.can_start(state, op);
            if !kind.reads() || !open {
                continue;
            }
            let reader = self.reader(op);
            for drive in 0..self.drives() {
                let own = &state.drives[drive];
                if state.readers[reader].got & 1 << drive != 0 || own.mode == Mode::Blank {
                    continue;
                }
                let mut next = state.clone();
                self.invoke(&mut next, op);
                self.note(&mut next.readers[reader], drive, own, want(kind));
                if let Some(told) = self.read(kind, &next.readers[reader]) {
                    let mut next = next.clone();
                    self.finish_read(&mut next, op, told);
                    out.push((Step::AskAndReturn { op, drive }, next));
                }
                out.push((Step::Ask { op, drive }, next));
            }
            if kind == Operation::Get && state.ops[op] == Progress::Invoked {
                self.reask(state, op, out);
            }
        }
    }

    /// Which of the state's readers serves the operation.
    fn reader(&self, op: usize) -> usize {
        self.operations[..op]
            .iter()
            .filter(|kind| kind.reads())
            .count()
    }

    fn finish_read(&self, state: &mut State, op: usize, told: Told) {
        state.readers[self.reader(op)] = Answers::default();
        self.tell(state, op, told);
    }

    fn read(&self, kind: Operation, answers: &Answers) -> Option<Told> {
        let mut answers = *answers;
        if self.config.has(Mutant::SilentIsAbsent) {
            answers.got = self.all();
        }
        let answers = &answers;
        let ballot = self.ballot(answers);
        if kind == Operation::Versions {
            return match read_versions(&ballot) {
                VersionsDecision::Return(versions) => {
                    let found = versions.iter().map(|version| Row::of(&version.head, false));
                    Some(self.told(kind, &rows(found.collect())))
                }
                _ => None,
            };
        }
        if self.config.has(Mutant::OlderOnQuorum)
            && let Some(told) = self.newest_on_quorum(answers)
        {
            return Some(told);
        }
        match read(&ballot, Want::Current) {
            ReadDecision::Return(found) => Some(self.found(found)),
            ReadDecision::Reask { place } if self.config.has(Mutant::NoReask) => {
                match reasked(&ballot, Want::Current, ballot.rows_of(place)) {
                    ReadDecision::Return(found) => Some(self.found(found)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn found(&self, found: Option<quorum::Decided>) -> Told {
        let row = found.map_or(Row::NONE, |version| Row::of(&version.head, false));
        self.told(Operation::Get, &[row, Row::NONE, Row::NONE, Row::NONE])
    }

    /// Asks the drive that the decision names once more, and believes it if it has not changed.
    fn reask(&self, state: &State, op: usize, out: &mut Next) {
        let ballot = self.ballot(&state.readers[self.reader(op)]);
        let ReadDecision::Reask { place } = read(&ballot, Want::Current) else {
            return;
        };
        let own = &state.drives[place];
        if own.mode != Mode::Voting {
            return;
        }
        let now = self.sightings(&self.answer(own, Want::Current));
        if let ReadDecision::Return(found) = reasked(&ballot, Want::Current, &now) {
            let mut next = state.clone();
            self.finish_read(&mut next, op, self.found(found));
            out.push((Step::ReaskAndReturn { op, drive: place }, next));
        }
    }

    /// The mutant of way 4.
    fn newest_on_quorum(&self, answers: &Answers) -> Option<Told> {
        let all = || answers.rows.iter().flat_map(present);
        let held = |row: Row| all().filter(|other| other.same(row)).count();
        let on_quorum = |row: &Row| held(*row) >= self.head(*row).write_quorum();
        let newest = all().filter(on_quorum).max_by_key(|row| row.order())?;
        let mut found = Rows::default();
        found[0] = newest;
        Some(self.told(Operation::Get, &found))
    }
}

fn want(kind: Operation) -> Want {
    if kind == Operation::Versions {
        Want::All
    } else {
        Want::Current
    }
}

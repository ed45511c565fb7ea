//! The model: who may do what in a state. The decisions are those of the room.

use quorum::{Ballot, Sighting, Touch, Want, first_touch};
use types::{Geometry, Head, Kind as RowKind};

use crate::config::{Config, Mutant, Operation};
use crate::linear::{Semantics, Told};
use crate::row::{Row, Rows, present, rows};
use crate::state::{Answers, Drive, Mode, Phase, Progress, State};

/// What happened between two states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Grant { node: usize },
    Admit { drive: usize },
    Replace { drive: usize },
    Copy { drive: usize },
    RebuildReads { drive: usize },
    RebuildDone { drive: usize },
    LearnMembership { node: usize },
    Restart { node: usize },
    Raise { node: usize, drive: usize },
    Raised { node: usize },
    RaiseAndRead { node: usize, drive: usize },
    RaiseAndDecide { node: usize, drive: usize },
    RaiseUnheard { node: usize, drive: usize },
    Order { node: usize, op: usize },
    Refuse { node: usize, op: usize },
    Refresh { node: usize },
    GiveUp { node: usize },
    AnswerRead { node: usize, op: usize },
    Deliver { message: usize, drive: usize },
    Ask { op: usize, drive: usize },
    AskAndReturn { op: usize, drive: usize },
    ReaskAndReturn { op: usize, drive: usize },
}

impl Step {
    /// Whether a client is told what it read.
    pub(crate) fn returns(self) -> bool {
        matches!(
            self,
            Self::AnswerRead { .. }
                | Self::Refuse { .. }
                | Self::AskAndReturn { .. }
                | Self::ReaskAndReturn { .. }
        )
    }
}

/// Steps and the states they lead to.
pub(crate) type Next = Vec<(Step, State)>;

pub(crate) struct Model {
    pub(crate) config: Config,
    pub(crate) operations: Vec<Operation>,
    /// The operation that the same client does before.
    before: Vec<Option<usize>>,
    pub(crate) geometry: Geometry,
}

impl Model {
    pub(crate) fn new(config: Config) -> Self {
        let (mut operations, mut before) = (Vec::new(), Vec::new());
        for program in config.programs {
            for (at, operation) in program.iter().enumerate() {
                before.push((at > 0).then(|| operations.len() - 1));
                operations.push(*operation);
            }
        }
        let geometry = Geometry::new(config.data, config.parity).expect("a legal geometry");
        Self {
            config,
            operations,
            before,
            geometry,
        }
    }

    pub(crate) fn drives(&self) -> usize {
        self.geometry.drives()
    }

    pub(crate) fn all(&self) -> u8 {
        (0..self.drives()).fold(0, |mask, drive| mask | 1 << drive)
    }

    /// One lease is granted to the first node, and everything is empty.
    pub(crate) fn start(&self) -> State {
        let mut state = State {
            drives: [Drive {
                fence: 1,
                ..Drive::default()
            }; 4],
            rebuild: Answers::default(),
            nodes: Default::default(),
            readers: Default::default(),
            messages: Vec::new(),
            ops: Default::default(),
            starts: Default::default(),
            ledger: Default::default(),
            linear: vec![Default::default()],
            acked: Row::NONE,
        };
        state.ledger.index = 1;
        state.ledger.grants = 1;
        let node = &mut state.nodes[0];
        (node.grant, node.fence, node.phase) = (1, 1, Phase::Ready);
        if self.config.stored {
            let row = Row::new(0x11, 0, 0).with_settled(true);
            (node.sequence, node.versions) = (1, rows(vec![row]));
            for drive in &mut state.drives[..self.drives()] {
                drive.rows = rows(vec![row]);
            }
            (state.ops[0], state.starts[0]) = (Progress::Answered, 1);
            state.linear = vec![self.semantics().stored()];
            state.acked = row.with_settled(false);
        }
        state
    }

    /// Every state that may follow.
    pub(crate) fn next(&self, state: &State, out: &mut Next) {
        self.readers_act(state, out);
        self.holders_act(state, out);
        self.ledger_acts(state, out);
        self.messages_arrive(state, out);
    }

    /// The same state under its canonical name.
    pub(crate) fn canonical(&self, state: State) -> State {
        let config = &self.config;
        let odd = [Mutant::EmptyVotes, Mutant::FencesFromPeers, Mutant::NoFence]
            .into_iter()
            .any(|mutant| config.has(mutant));
        state.canonical(self.drives(), config.wipes == 0 && !odd)
    }

    pub(crate) fn head(&self, row: Row) -> Head {
        let config = &self.config;
        let kind = match (self.operations[row.op()], config.versioned) {
            (Operation::Delete, true) => RowKind::Marker,
            (Operation::Delete, false) => RowKind::Tombstone,
            _ => RowKind::Object,
        };
        row.head(kind, config.versioned, self.geometry)
    }

    /// Whether a reader of the row finds an object.
    pub(crate) fn alive(&self, row: Row) -> bool {
        row.is_some() && self.operations[row.op()] != Operation::Delete
    }

    /// What a drive answers to the question.
    pub(crate) fn answer(&self, drive: &Drive, want: Want) -> Rows {
        match want {
            Want::Current => drive.current(|row| self.head(row).kind != RowKind::Tombstone),
            _ => drive.rows,
        }
    }

    pub(crate) fn sightings(&self, rows: &Rows) -> Vec<Sighting> {
        present(rows)
            .map(|row| Sighting {
                head: self.head(row),
                settled: row.settled(),
            })
            .collect()
    }

    /// The answers as votes.
    pub(crate) fn ballot(&self, answers: &Answers) -> Ballot {
        let mut ballot = Ballot::new(self.drives());
        for drive in 0..self.drives() {
            let rows = self.sightings(&answers.rows[drive]);
            if answers.got & 1 << drive == 0 {
                continue;
            }
            if answers.joined & 1 << drive != 0 && !self.config.has(Mutant::JoiningVotes) {
                ballot.joining(drive, rows);
            } else {
                ballot.voted(drive, rows);
            }
        }
        ballot
    }

    /// Rule 3, or the mutant that undoes what shows fewer than k shards.
    pub(crate) fn touch(&self, answers: &Answers, want: Want) -> Touch {
        let mut answers = *answers;
        loop {
            let ballot = self.ballot(&answers);
            let touch = first_touch(&ballot, want);
            let enough = ballot.voters().len() >= ballot.read_quorum();
            if touch != Touch::Wait || !enough || !self.config.has(Mutant::UndoBelowData) {
                return touch;
            }
            let newest = answers
                .rows
                .iter()
                .flat_map(present)
                .max_by_key(|row| row.order());
            let Some(newest) = newest else { return touch };
            for held in &mut answers.rows {
                *held = rows(present(held).filter(|row| !row.same(newest)).collect());
            }
        }
    }

    /// Notes an answer of a drive.
    pub(crate) fn note(&self, answers: &mut Answers, at: usize, drive: &Drive, want: Want) {
        answers.got |= 1 << at;
        if drive.mode == Mode::Joining {
            answers.joined |= 1 << at;
        }
        answers.rows[at] = self.answer(drive, want);
    }

    /// Whether the client may send the operation now.
    pub(crate) fn can_start(&self, state: &State, op: usize) -> bool {
        let gone_on = |before: usize| match state.ops[before] {
            Progress::Idle => false,
            Progress::Invoked => !self.operations[before].reads(),
            Progress::Answered | Progress::TimedOut => true,
        };
        state.ops[op] == Progress::Idle && self.before[op].is_none_or(gone_on)
    }

    /// The client sends the operation. It gave up on the one before.
    pub(crate) fn invoke(&self, state: &mut State, op: usize) {
        if state.ops[op] != Progress::Idle {
            return;
        }
        state.ops[op] = Progress::Invoked;
        if let Some(before) = self.before[op]
            && state.ops[before] == Progress::Invoked
        {
            state.ops[before] = Progress::TimedOut;
            state.linear.iter_mut().for_each(|way| way.unheard(before));
            state.linear.sort_unstable();
            state.linear.dedup();
        }
    }

    fn semantics(&self) -> Semantics<'_> {
        Semantics {
            operations: &self.operations,
            versioned: self.config.versioned,
        }
    }

    /// The client hears something; one that gave up does not.
    pub(crate) fn tell(&self, state: &mut State, op: usize, told: Told) {
        if state.ops[op] != Progress::Invoked {
            return;
        }
        state.linear = self.semantics().told(&state.linear, &state.ops, op, told);
        state.ops[op] = Progress::Answered;
    }

    /// Whether a row that a client was told of is gone: no row that new has enough shards. Only
    /// where nothing is deleted.
    pub(crate) fn lost(&self, state: &State) -> bool {
        if !state.acked.is_some() || self.config.versioned {
            return false;
        }
        let starts = self.operations.iter().zip(&state.starts);
        if starts
            .into_iter()
            .any(|(kind, starts)| *kind == Operation::Delete && *starts > 0)
        {
            return false;
        }
        let drives = &state.drives[..self.drives()];
        let all = || drives.iter().flat_map(|drive| present(&drive.rows));
        let whole = |row: Row| {
            all().filter(|held| held.same(row)).count() >= self.head(row).finish_quorum()
        };
        !all().any(|row| row.order() >= state.acked.order() && whole(row))
    }

    /// Whether two rows carry one order, on any drives: an alarm that must never ring.
    pub(crate) fn order_twice(&self, state: &State) -> bool {
        let all = || {
            state.drives[..self.drives()]
                .iter()
                .flat_map(|drive| present(&drive.rows))
        };
        all().any(|row| all().any(|other| other.order() == row.order() && !other.same(row)))
    }

    /// Whether nothing that may follow can be told to a client as a lie.
    pub(crate) fn is_over(&self, state: &State) -> bool {
        let mut looks = self
            .operations
            .iter()
            .zip(&state.ops)
            .filter(|(kind, _)| kind.looks());
        looks.clone().next().is_some() && looks.all(|(_, progress)| *progress == Progress::Answered)
    }
}

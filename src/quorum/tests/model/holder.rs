//! Holders: first touch, commits, answers.

use quorum::{Sequencer, Tally, Touch, Verdict, Want, discardable, may_begin, may_collect};

use crate::config::{Mutant, Operation};
use crate::drive::Taken;
use crate::linear::Told;
use crate::model::{Model, Next, Step};
use crate::row::{Row, Rows, epoch, order_byte, present, rows};
use crate::state::{Answers, Kind, Message, Mode, Node, Phase, Progress, State};

impl Model {
    pub(crate) fn holders_act(&self, state: &State, out: &mut Next) {
        for at in 0..state.nodes.len() {
            match state.nodes[at].phase {
                Phase::Raising => self.raise_only(state, at, out),
                Phase::Touching => {
                    self.touch_more(state, at, out);
                    if self.config.blind {
                        self.write(state, at, out);
                    }
                }
                Phase::Ready if state.nodes[at].sending == Row::NONE => {
                    self.write(state, at, out);
                    self.look(state, at, out);
                }
                Phase::Ready => self.give_up(state, at, out),
                Phase::Idle | Phase::Finishing => {}
            }
        }
    }

    /// Begins to touch the key, for all who wait now.
    pub(crate) fn begin(&self, state: &mut State, at: usize) {
        let waits =
            |op: &usize| state.ops[*op] == Progress::Invoked && self.operations[*op].looks();
        let waited = (0..self.operations.len())
            .filter(waits)
            .fold(0, |mask, op| mask | 1 << op);
        let versions = self.operations.contains(&Operation::Versions);
        let node = &mut state.nodes[at];
        node.phase = Phase::Touching;
        node.wide = versions;
        node.answers = Answers::default();
        node.versions = Rows::default();
        node.sending = Row::NONE;
        node.acks = 0;
        node.waited = waited;
    }

    fn want(&self, node: &Node) -> Want {
        if node.wide { Want::All } else { Want::Current }
    }

    /// The mutant that raises R drives before it reads any.
    fn raise_only(&self, state: &State, at: usize, out: &mut Next) {
        let node = &state.nodes[at];
        for drive in 0..self.drives() {
            let free =
                node.answers.got & 1 << drive == 0 && state.drives[drive].mode == Mode::Voting;
            if free && state.drives[drive].fence <= node.fence {
                let mut next = state.clone();
                next.drives[drive].fence = node.fence;
                next.nodes[at].answers.got |= 1 << drive;
                out.push((Step::Raise { node: at, drive }, next));
            }
        }
        let quorum = self.geometry.read_quorum();
        if node.answers.got.count_ones() as usize >= quorum {
            let mut next = state.clone();
            self.begin(&mut next, at);
            out.push((Step::Raised { node: at }, next));
        }
    }

    /// Rule 3: raise and read one more drive, and decide if that is enough.
    fn touch_more(&self, state: &State, at: usize, out: &mut Next) {
        let node = &state.nodes[at];
        let apart = self.config.has(Mutant::RaiseThenRead);
        for drive in 0..self.drives() {
            let own = &state.drives[drive];
            if node.answers.got & 1 << drive != 0 || own.mode == Mode::Blank {
                continue;
            }
            let mut next = state.clone();
            if !apart && next.drives[drive].raise(node.fence, &self.config) == Taken::Refused {
                continue;
            }
            if !apart && own.fence < node.fence {
                out.push((Step::RaiseUnheard { node: at, drive }, next.clone()));
            }
            let own = next.drives[drive];
            self.note(&mut next.nodes[at].answers, drive, &own, self.want(node));
            if let Some(decided) = self.decide(&next, at) {
                out.push((Step::RaiseAndDecide { node: at, drive }, decided));
            }
            out.push((Step::RaiseAndRead { node: at, drive }, next));
        }
    }

    fn decide(&self, state: &State, at: usize) -> Option<State> {
        let node = &state.nodes[at];
        let want = self.want(node);
        match self.touch(&node.answers, want) {
            Touch::Wait | Touch::Conflict(_) => None,
            Touch::Widen => {
                let mut next = state.clone();
                let node = &mut next.nodes[at];
                (node.wide, node.answers) = (true, Answers::default());
                Some(next)
            }
            Touch::Finish { head, .. } => {
                let mut next = state.clone();
                self.remember(&mut next.nodes[at]);
                let (node, row) = (&mut next.nodes[at], Row::of(&head, false));
                if node.sequence == Node::SEQUENCE_MAX {
                    return None;
                }
                node.answers = Answers::default();
                if self.config.has(Mutant::AdoptUnfinished) {
                    (node.phase, node.versions) = (Phase::Ready, rows(vec![row]));
                    return Some(next);
                }
                node.phase = Phase::Finishing;
                let own = row.epoch() == node.grant;
                let old = [Mutant::FinishUnderOldOrder, Mutant::DiscardUnheard];
                let row = if own || old.into_iter().any(|mutant| self.config.has(mutant)) {
                    row
                } else {
                    row.again(node.issue())
                };
                self.send_commit(&mut next, at, row);
                Some(next)
            }
            Touch::Decided(history) => {
                let mut next = state.clone();
                self.remember(&mut next.nodes[at]);
                self.clean(state, &mut next, at, &history);
                let settled = |version: &quorum::Decided| Row::of(&version.head, version.settled);
                let node = &mut next.nodes[at];
                node.versions = rows(history.versions.iter().map(settled).collect());
                node.answers = Answers::default();
                node.phase = Phase::Ready;
                let own = present(&node.versions).filter(|row| row.epoch() == node.grant);
                node.unsettled =
                    own.fold(node.unsettled, |left, row| left & !(1 << row.sequence()));
                Some(next)
            }
        }
    }

    /// A process that started again within its epoch counts on from what it sees.
    fn remember(&self, node: &mut Node) {
        let seen = node
            .answers
            .rows
            .iter()
            .flat_map(present)
            .filter(|row| row.epoch() == node.grant);
        node.sequence = seen.map(Row::sequence).fold(node.sequence, u8::max);
    }

    /// Rule 8, and what a touch proved useless.
    fn clean(&self, state: &State, next: &mut State, at: usize, history: &quorum::History) {
        let node = &state.nodes[at];
        let mut answers = node.answers;
        if self.config.has(Mutant::CollectOnQuorum) {
            let any = answers.got.trailing_zeros() as usize;
            for drive in (0..self.drives()).filter(|drive| node.answers.got & 1 << drive == 0) {
                answers.got |= 1 << drive;
                answers.rows[drive] = answers.rows[any];
            }
        }
        let ballot = self.ballot(&answers);
        let now = if self.config.has(Mutant::CollectInOwnEpoch) {
            15
        } else {
            node.grant
        };
        let message = |kind, row, left| {
            let node = u8::try_from(at).expect("two nodes");
            Message {
                kind,
                node,
                fence: state.nodes[at].fence,
                row,
                left,
            }
        };
        for version in history
            .versions
            .iter()
            .filter(|version| version.is_tombstone())
        {
            if may_collect(&ballot, version, epoch(now)).is_some() {
                next.send(message(
                    Kind::Collect,
                    Row::of(&version.head, false),
                    self.all(),
                ));
            }
        }
        if !self.config.discard {
            return;
        }
        if self.config.has(Mutant::DiscardUnheard) {
            answers.got = self.all();
        }
        let ballot = self.ballot(&answers);
        for discard in discardable(&ballot, history) {
            for (_, order) in discard.rows {
                let named = |row: &Row| row.order() == order_byte(order);
                let held = present(&node.answers.rows[discard.place]).find(named);
                let row = held
                    .expect("what a drive may discard it has")
                    .with_settled(false);
                next.send(message(Kind::Discard, row, 1 << discard.place));
            }
        }
    }

    pub(crate) fn send_commit(&self, state: &mut State, at: usize, row: Row) {
        let node = &mut state.nodes[at];
        (node.sending, node.acks) = (row, 0);
        let fence = node.fence;
        let node = u8::try_from(at).expect("two nodes");
        let message = Message {
            kind: Kind::Commit,
            node,
            fence,
            row,
            left: self.all(),
        };
        state.send(message);
        if self.config.has(Mutant::SettleEarly) {
            state.send(Message {
                kind: Kind::Settle,
                ..message
            });
        }
    }

    /// Orders what clients want written, or refuses it.
    fn write(&self, state: &State, at: usize, out: &mut Next) {
        let node = &state.nodes[at];
        let touching = node.phase == Phase::Touching;
        let limit = if self.config.has(Mutant::CommitTwice) {
            2
        } else {
            1
        };
        for op in 0..self.operations.len() {
            let kind = self.operations[op];
            let fresh = state.ops[op] == Progress::Idle;
            let refused = state.ops[op] == Progress::Answered && state.starts[op] == 0;
            if kind.reads() || state.starts[op] >= limit || refused {
                continue;
            }
            let blind = kind == Operation::Put || self.config.has(Mutant::BlindCondition);
            if fresh && !self.can_start(state, op) || touching && !blind {
                continue;
            }
            let current = node.versions[0];
            if kind == Operation::PutIfAbsent && self.alive(current) {
                if node.waited & 1 << op != 0 || self.config.has(Mutant::RefuseFromCache) {
                    let mut next = state.clone();
                    self.invoke(&mut next, op);
                    next.starts[op] = limit;
                    self.tell(&mut next, op, Told::Refused);
                    out.push((Step::Refuse { node: at, op }, next));
                }
                continue;
            }
            let prev = if self.config.has(Mutant::NoPredecessor) {
                0
            } else {
                current.born()
            };
            let row = Row::new(node.grant << 4 | (node.sequence + 1), prev, op);
            let healthy = state.drives[..self.drives()].iter();
            let healthy = healthy.filter(|drive| drive.mode != Mode::Blank).count();
            if node.sequence < Node::SEQUENCE_MAX && may_begin(healthy, &self.head(row)) {
                out.push((Step::Order { node: at, op }, self.order(state, at, op, row)));
            }
        }
    }

    fn order(&self, state: &State, at: usize, op: usize, row: Row) -> State {
        let mut next = state.clone();
        self.invoke(&mut next, op);
        next.starts[op] += 1;
        let node = &mut next.nodes[at];
        if node.phase == Phase::Touching {
            (node.phase, node.answers, node.waited) = (Phase::Ready, Answers::default(), 0);
        }
        node.issue();
        self.send_commit(&mut next, at, row);
        next
    }

    /// Rule 5: touches the key again for those who came since, and answers those who waited.
    fn look(&self, state: &State, at: usize, out: &mut Next) {
        let node = &state.nodes[at];
        for op in 0..self.operations.len() {
            let kind = self.operations[op];
            if !kind.looks() {
                continue;
            }
            let came = state.ops[op] == Progress::Invoked && node.waited & 1 << op == 0;
            if came || self.can_start(state, op) {
                let mut next = state.clone();
                self.invoke(&mut next, op);
                self.begin(&mut next, at);
                out.push((Step::Refresh { node: at }, next));
            }
            let waited = node.waited & 1 << op != 0 || self.config.has(Mutant::ReadFromCache);
            if kind.reads() && state.ops[op] == Progress::Invoked && waited {
                let mut next = state.clone();
                self.tell(&mut next, op, self.told(kind, &node.versions));
                out.push((Step::AnswerRead { node: at, op }, next));
            }
        }
    }

    /// What a read is told of these versions.
    pub(crate) fn told(&self, kind: Operation, versions: &Rows) -> Told {
        if kind == Operation::Versions {
            return Told::Versions(versions.map(|row| row.is_some().then(|| row.op())));
        }
        Told::Found(
            present(versions)
                .next()
                .filter(|row| self.alive(*row))
                .map(Row::op),
        )
    }

    /// Rule 4 left out.
    fn give_up(&self, state: &State, at: usize, out: &mut Next) {
        let mut next = state.clone();
        if self.config.has(Mutant::GiveUpKeepCache) {
            (next.nodes[at].sending, next.nodes[at].acks) = (Row::NONE, 0);
        } else if self.config.has(Mutant::GiveUpTouchAgain) {
            self.begin(&mut next, at);
        } else {
            return;
        }
        out.push((Step::GiveUp { node: at }, next));
    }

    pub(crate) fn messages_arrive(&self, state: &State, out: &mut Next) {
        for (message, sent) in state.messages.iter().enumerate() {
            for drive in 0..self.drives() {
                if sent.left & 1 << drive == 0 || state.drives[drive].mode == Mode::Blank {
                    continue;
                }
                if sent.kind == Kind::Commit && !state.drives[drive].has_room(sent.row) {
                    continue;
                }
                let mut next = state.clone();
                next.messages[message].left &= !(1 << drive);
                let taken = next.drives[drive].receive(sent, &self.config);
                if taken == Taken::Yes && sent.kind == Kind::Commit {
                    self.acknowledge(&mut next, sent, drive);
                }
                out.push((Step::Deliver { message, drive }, next));
            }
        }
    }

    fn acknowledge(&self, state: &mut State, sent: &Message, drive: usize) {
        let at = usize::from(sent.node);
        let node = &mut state.nodes[at];
        let waits = matches!(node.phase, Phase::Finishing | Phase::Ready);
        if !waits || node.fence != sent.fence || !node.sending.same(sent.row) {
            return;
        }
        node.acks |= 1 << drive;
        let mut tally = Tally::new(&self.head(sent.row), self.drives());
        (0..self.drives())
            .filter(|drive| node.acks & 1 << drive != 0)
            .for_each(|drive| tally.ok(drive));
        if self.config.has(Mutant::AckEarly) {
            tally.ok((0..self.drives())
                .find(|drive| node.acks & 1 << drive == 0)
                .unwrap_or(0));
        }
        if tally.verdict() == Verdict::Agreed {
            self.agreed(state, at);
        }
    }

    /// W drives have it.
    fn agreed(&self, state: &mut State, at: usize) {
        let node = &mut state.nodes[at];
        let row = node.sending;
        let finished = node.phase == Phase::Finishing;
        (node.sending, node.acks, node.phase) = (Row::NONE, 0, Phase::Ready);
        let older = if self.config.versioned {
            node.versions
        } else {
            Rows::default()
        };
        node.versions = rows(present(&older).chain([row]).collect());
        if row.epoch() == node.grant {
            node.unsettled &= !(1 << row.sequence());
        }
        let mark = marked(node);
        let (fence, number) = (node.fence, u8::try_from(at).expect("two nodes"));
        let settle = |kind, row| Message {
            kind,
            node: number,
            fence,
            row,
            left: self.all(),
        };
        if self.config.settle {
            if row.epoch() != state.nodes[at].grant {
                state.send(settle(Kind::Settle, row));
            } else if mark > 0 {
                let through = Row::new(row.epoch() << 4 | mark, 0, 0);
                state.send(settle(Kind::Through, through));
            }
        }
        if finished {
            if self.config.versioned {
                self.begin(state, at);
            }
            return;
        }
        if state.ops[row.op()] == Progress::Invoked {
            self.tell(state, row.op(), Told::Written);
            if row.order() > state.acked.order() {
                state.acked = row;
            }
        }
    }
}

impl Node {
    /// A holder that has ordered so much stops, for the model's sake.
    const SEQUENCE_MAX: u8 = 7;

    /// The next order of the lease.
    fn issue(&mut self) -> u8 {
        self.sequence += 1;
        self.unsettled |= 1 << self.sequence;
        self.grant << 4 | self.sequence
    }
}

/// The lease's settle mark.
fn marked(node: &Node) -> u8 {
    let mut lease = Sequencer::new(epoch(node.grant));
    for sequence in 1..=node.sequence {
        let order = lease.issue();
        if node.unsettled & 1 << sequence == 0 {
            lease.settled(order);
        }
    }
    u8::try_from(lease.marks().0).expect("models have few orders")
}

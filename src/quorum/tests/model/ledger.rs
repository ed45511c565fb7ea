//! The ledger: leases, replaced drives, and their rebuild (rules 1 and 10).

use quorum::{Touch, Want};

use crate::config::Mutant;
use crate::drive::Taken;
use crate::model::{Model, Next, Step};
use crate::row::{Row, Rows, present};
use crate::state::{Answers, Drive, Mode, Node, Phase, State};

impl Model {
    pub(crate) fn ledger_acts(&self, state: &State, out: &mut Next) {
        self.grant(state, out);
        self.learn(state, out);
        for drive in 0..self.drives() {
            match state.drives[drive].mode {
                Mode::Voting => {
                    self.replace(state, drive, out);
                    self.copy(state, drive, out);
                }
                Mode::Blank => self.admit(state, drive, out),
                Mode::Joining => self.rebuild(state, drive, out),
            }
        }
    }

    fn grant(&self, state: &State, out: &mut Next) {
        for at in 0..state.nodes.len() {
            if state.ledger.grants < self.config.epochs {
                let mut next = state.clone();
                next.ledger.grants += 1;
                next.ledger.index += 1;
                next.ledger.holder = u8::try_from(at).expect("two nodes");
                let index = next.ledger.index;
                let before = next.nodes[at];
                next.nodes[at] = Node {
                    grant: index,
                    fence: index,
                    ..Node::default()
                };
                if self.config.has(Mutant::KeepDecision) && before.phase == Phase::Ready {
                    (next.nodes[at].phase, next.nodes[at].versions) =
                        (Phase::Ready, before.versions);
                } else {
                    self.take_over(&mut next, at);
                }
                out.push((Step::Grant { node: at }, next));
            }
            let node = &state.nodes[at];
            let restarts = self.config.has(Mutant::RestartInEpoch) && state.ledger.crashes == 0;
            if restarts && node.phase != Phase::Idle {
                let mut next = state.clone();
                next.ledger.crashes += 1;
                next.nodes[at] = Node {
                    grant: node.grant,
                    fence: node.fence,
                    ..Node::default()
                };
                self.begin(&mut next, at);
                out.push((Step::Restart { node: at }, next));
            }
        }
    }

    fn take_over(&self, state: &mut State, at: usize) {
        self.begin(state, at);
        if self.config.has(Mutant::RaiseThenRead) {
            state.nodes[at].phase = Phase::Raising;
        }
    }

    /// The holder learns that a drive was replaced: its fence rises, acknowledgements that it
    /// has are void, and it touches the key anew.
    fn learn(&self, state: &State, out: &mut Next) {
        let at = usize::from(state.ledger.holder);
        if state.nodes[at].fence < state.ledger.membership {
            let mut next = state.clone();
            let node = &mut next.nodes[at];
            node.fence = state.ledger.membership;
            let (row, acks) = (node.sending, node.acks);
            if self.config.has(Mutant::KeepAcks) && row.is_some() {
                self.send_commit(&mut next, at, row);
                next.nodes[at].acks = acks;
            } else {
                self.begin(&mut next, at);
            }
            out.push((Step::LearnMembership { node: at }, next));
        }
    }

    fn replace(&self, state: &State, drive: usize, out: &mut Next) {
        let healthy = state.drives[..self.drives()]
            .iter()
            .all(|drive| drive.mode == Mode::Voting);
        if state.ledger.wiped < self.config.wipes && healthy {
            let mut next = state.clone();
            next.ledger.wiped += 1;
            let mode = if self.config.has(Mutant::EmptyVotes) {
                Mode::Voting
            } else {
                Mode::Blank
            };
            next.drives[drive] = Drive {
                mode,
                ..Drive::default()
            };
            out.push((Step::Replace { drive }, next));
        }
    }

    /// The mutant of rule 11.
    fn copy(&self, state: &State, drive: usize, out: &mut Next) {
        if !self.config.has(Mutant::CopyUnfenced) {
            return;
        }
        for row in state.drives.iter().flat_map(|from| present(&from.rows)) {
            let mut next = state.clone();
            let room = next.drives[drive].has_room(row);
            if room && next.drives[drive].commit(row, &self.config) == Taken::Yes && next != *state
            {
                out.push((Step::Copy { drive }, next));
            }
        }
    }

    fn admit(&self, state: &State, drive: usize, out: &mut Next) {
        let mut next = state.clone();
        next.drives[drive].mode = Mode::Joining;
        next.drives[drive].fence = if self.config.has(Mutant::FencesFromPeers) {
            0
        } else if self.config.has(Mutant::NoMembershipIndex) {
            next.ledger.index
        } else {
            next.ledger.index += 1;
            next.ledger.membership = next.ledger.index;
            next.ledger.index
        };
        out.push((Step::Admit { drive }, next));
    }

    /// Reads one more voting drive at the fence of the admission; done when what was read and
    /// what was committed here meanwhile decide the key.
    fn rebuild(&self, state: &State, drive: usize, out: &mut Next) {
        let membership = state.ledger.membership;
        for from in 0..self.drives() {
            if state.drives[from].mode != Mode::Voting {
                continue;
            }
            let mut next = state.clone();
            let raises = membership > 0 && !self.config.has(Mutant::RebuildUnfenced);
            if raises && next.drives[from].raise(membership, &self.config) == Taken::Refused {
                // A newer holder has it already; what it holds is as good.
                next.drives[from].fence = state.drives[from].fence;
            }
            if self.config.has(Mutant::FencesFromPeers) {
                let fence = state.drives[from].fence;
                next.drives[drive].fence = next.drives[drive].fence.max(fence);
            }
            let own = next.drives[from];
            self.note(&mut next.rebuild, from, &own, Want::All);
            if next != *state {
                out.push((Step::RebuildReads { drive: from }, next));
            }
        }
        if let Some(next) = self.rebuilt(state, drive) {
            out.push((Step::RebuildDone { drive }, next));
        }
    }

    fn rebuilt(&self, state: &State, drive: usize) -> Option<State> {
        let mut answers = state.rebuild;
        let own = &state.drives[drive];
        let mut next = state.clone();
        if self.config.has(Mutant::RebuildReplaces) {
            next.drives[drive].rows = Rows::default();
        } else {
            self.note(&mut answers, drive, own, Want::All);
        }
        if self.config.has(Mutant::RebuildFromOne) && state.rebuild.got != 0 {
            let from = state.rebuild.rows.iter().flat_map(present);
            let rows: Vec<Row> = from.collect();
            rows.into_iter().for_each(|row| {
                next.drives[drive].commit(row, &self.config);
            });
        } else {
            let Touch::Decided(history) = self.touch(&answers, Want::All) else {
                return None;
            };
            for version in &history.versions {
                next.drives[drive].commit(Row::of(&version.head, false), &self.config);
            }
        }
        next.drives[drive].mode = Mode::Voting;
        next.rebuild = Answers::default();
        Some(next)
    }
}

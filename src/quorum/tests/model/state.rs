//! One state of the model: drives, holders, readers, messages in flight, the ledger, and what
//! clients were told.

use std::hash::{Hash, Hasher};

use crate::linear::Linear;
use crate::row::{Row, Rows, present};

pub(crate) const DRIVES: usize = 4;
pub(crate) const OPS: usize = 4;
/// Reads in one program.
pub(crate) const READERS: usize = 2;

/// Whether a drive answers, and whether its answers count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub(crate) enum Mode {
    #[default]
    Voting,
    Joining,
    Blank,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Drive {
    pub(crate) fence: u8,
    pub(crate) mode: Mode,
    pub(crate) rows: Rows,
}

/// Answers to one question: who answered, who of them as a joining drive, and what.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Answers {
    pub(crate) got: u8,
    pub(crate) joined: u8,
    pub(crate) rows: [Rows; DRIVES],
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) enum Phase {
    #[default]
    Idle,
    /// Only in the mutant that raises before it reads.
    Raising,
    Touching,
    Finishing,
    Ready,
}

/// A process that holds the lease, or believes so.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Node {
    pub(crate) grant: u8,
    pub(crate) fence: u8,
    pub(crate) phase: Phase,
    /// Whether the whole history is asked for.
    pub(crate) wide: bool,
    pub(crate) answers: Answers,
    /// What it knows to be decided, newest first.
    pub(crate) versions: Rows,
    pub(crate) sequence: u8,
    /// The sequences issued and not known to be on W drives, as bits.
    pub(crate) unsettled: u8,
    /// The commit in flight.
    pub(crate) sending: Row,
    pub(crate) acks: u8,
    /// The operations that were there when its last touch began.
    pub(crate) waited: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Kind {
    Commit,
    /// This order is settled.
    Settle,
    /// Everything of this order's epoch up to it is settled.
    Through,
    /// This tombstone and everything older go.
    Collect,
    /// This row goes.
    Discard,
}

/// A message that some drives have not received yet, and may never.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) node: u8,
    pub(crate) fence: u8,
    pub(crate) row: Row,
    pub(crate) left: u8,
}

impl Message {
    fn key(&self) -> (Kind, u8, u8, Row) {
        (self.kind, self.node, self.fence, self.row)
    }
}

/// Where an operation stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) enum Progress {
    #[default]
    Idle,
    Invoked,
    Answered,
    /// The client heard nothing and went on; it may still happen.
    TimedOut,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Ledger {
    pub(crate) index: u8,
    pub(crate) grants: u8,
    pub(crate) holder: u8,
    pub(crate) membership: u8,
    pub(crate) wiped: u8,
    pub(crate) crashes: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    pub(crate) drives: [Drive; DRIVES],
    pub(crate) rebuild: Answers,
    pub(crate) nodes: [Node; 2],
    pub(crate) readers: [Answers; READERS],
    pub(crate) messages: Vec<Message>,
    pub(crate) ops: [Progress; OPS],
    /// How often each operation was ordered.
    pub(crate) starts: [u8; OPS],
    pub(crate) ledger: Ledger,
    pub(crate) linear: Vec<Linear>,
    /// The newest row that a client was told is durable.
    pub(crate) acked: Row,
}

impl State {
    /// Puts a message on its way to all drives.
    pub(crate) fn send(&mut self, message: Message) {
        match self
            .messages
            .iter_mut()
            .find(|other| other.key() == message.key())
        {
            Some(other) => other.left |= message.left,
            None => self.messages.push(message),
        }
    }

    /// A number that tells this state from others.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = Fold(0x9E37_79B9_7F4A_7C15);
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// Renames the drives so that states that differ only in names become one, and forgets
    /// messages that can change nothing. `forget` must be off where a drive's fence may fall.
    pub(crate) fn canonical(mut self, drives: usize, forget: bool) -> Self {
        if forget {
            self.forget();
        }
        self.messages.retain(|message| message.left != 0);
        self.messages.sort_unstable_by_key(Message::key);
        let mut names: [([u32; 40], usize); DRIVES] = [([u32::MAX; 40], 0); DRIVES];
        for (drive, name) in names.iter_mut().enumerate().take(drives) {
            *name = (self.signature(drive), drive);
        }
        names[..drives].sort_unstable();
        let order: Vec<usize> = names[..drives].iter().map(|(_, drive)| *drive).collect();
        if order.is_sorted() {
            self
        } else {
            self.renamed(&order)
        }
    }

    fn forget(&mut self) {
        let Self {
            drives,
            nodes,
            messages,
            ..
        } = self;
        for message in messages {
            for (at, drive) in drives.iter().enumerate() {
                let idle = match message.kind {
                    Kind::Settle | Kind::Through => {
                        let newer = |row: Row| row.settled() && row.order() >= message.row.order();
                        present(&drive.rows).any(newer)
                    }
                    Kind::Commit => {
                        let node = &nodes[usize::from(message.node)];
                        let waits = node.fence == message.fence && node.sending.same(message.row);
                        let held = |row: Row| row.same(message.row);
                        drive.fence > message.fence
                            || (!waits
                                && drive.fence == message.fence
                                && present(&drive.rows).any(held))
                    }
                    Kind::Collect | Kind::Discard => drive.fence > message.fence,
                };
                if idle && drive.mode != Mode::Blank {
                    message.left &= !(1 << at);
                }
            }
        }
    }

    fn signature(&self, drive: usize) -> [u32; 40] {
        let bit = |mask: u8| u32::from(mask >> drive & 1);
        let own = &self.drives[drive];
        let mut words = [0u32; 40];
        let mut at = 0;
        let mut put = |word: u32| {
            words[at] = word;
            at += 1;
        };
        put(u32::from(own.fence) << 8 | own.mode as u32);
        own.rows.iter().for_each(|row| put(row.word()));
        let nodes = self.nodes.iter().map(|node| &node.answers);
        for answers in nodes.chain(&self.readers).chain([&self.rebuild]) {
            put(bit(answers.got) << 1 | bit(answers.joined));
            answers.rows[drive].iter().for_each(|row| put(row.word()));
        }
        put(bit(self.nodes[0].acks) << 1 | bit(self.nodes[1].acks));
        let left = self.messages.iter().enumerate();
        put(left.fold(0, |mask, (at, message)| {
            mask | bit(message.left) << (at & 31)
        }));
        words
    }

    /// The same state with the drive `order[i]` called `i`.
    fn renamed(&self, order: &[usize]) -> Self {
        let mask = |old: u8| -> u8 {
            let bits = order
                .iter()
                .enumerate()
                .filter(|(_, drive)| old >> **drive & 1 != 0);
            bits.fold(0, |mask, (name, _)| mask | 1 << name)
        };
        let answers = |old: &Answers| {
            let mut new = Answers {
                got: mask(old.got),
                joined: mask(old.joined),
                ..*old
            };
            for (name, drive) in order.iter().enumerate() {
                new.rows[name] = old.rows[*drive];
            }
            new
        };
        let mut new = self.clone();
        for (name, drive) in order.iter().enumerate() {
            new.drives[name] = self.drives[*drive];
        }
        for (node, old) in new.nodes.iter_mut().zip(&self.nodes) {
            node.answers = answers(&old.answers);
            node.acks = mask(old.acks);
        }
        for (reader, old) in new.readers.iter_mut().zip(&self.readers) {
            *reader = answers(old);
        }
        new.rebuild = answers(&self.rebuild);
        for message in &mut new.messages {
            message.left = mask(message.left);
        }
        new
    }
}

/// A fast hash of many small numbers; states are told apart by 64 bits.
struct Fold(u64);

impl Fold {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0xA076_1D64_78BD_642F;
        let [high, low] = [(product >> 64) as u64, product as u64];
        let salt = word.rotate_left(29).wrapping_mul(0xE703_7ED1_A0B4_28DB);
        self.0 = (high ^ low ^ salt)
            .rotate_left(23)
            .wrapping_mul(0x9FB2_1C65_1E98_DF25);
    }
}

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 31)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        self.mix(bytes.len() as u64);
    }

    fn write_u8(&mut self, number: u8) {
        self.mix(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(u64::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }
}

//! Linearizability of one key, checked as the run goes: every way in which the operations that
//! were invoked may have happened so far.

use std::collections::HashSet;

use crate::config::Operation;
use crate::state::{OPS, Progress};

/// One way in which operations may have happened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub(crate) struct Linear {
    /// The key: the operations that wrote its versions, from 1, four bits each, the newest in the
    /// lowest. An unversioned key has one at most.
    value: u16,
    /// The operations that have happened, as bits.
    done: u8,
    /// What those that still owe their client an answer will say.
    results: [u16; OPS],
}

impl Linear {
    /// The client of this operation waits no more.
    pub(crate) fn unheard(&mut self, op: usize) {
        self.results[op] = 0;
    }
}

/// What a client is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// The write happened.
    Written,
    /// The condition failed.
    Refused,
    /// The version that this operation wrote, or NotFound.
    Found(Option<usize>),
    /// The operations that wrote the versions, newest first.
    Versions([Option<usize>; 4]),
}

impl Told {
    fn code(self) -> u16 {
        let digit = |op: Option<usize>| op.map_or(0, |op| op as u16 + 1);
        match self {
            Self::Written => 1,
            Self::Refused => 2,
            Self::Found(op) => digit(op) + 1,
            Self::Versions(ops) => {
                let ops = ops.iter().rev().filter(|op| op.is_some());
                ops.fold(0, |value, op| value << 4 | digit(*op))
                    .wrapping_add(1)
            }
        }
    }
}

/// The operations of a program, and whether its bucket keeps versions.
pub(crate) struct Semantics<'a> {
    pub(crate) operations: &'a [Operation],
    pub(crate) versioned: bool,
}

impl Semantics<'_> {
    /// The ways that remain when a client is told something; none means that no order of the
    /// operations explains what clients were told.
    pub(crate) fn told(
        &self,
        ways: &[Linear],
        ops: &[Progress; OPS],
        op: usize,
        told: Told,
    ) -> Vec<Linear> {
        let mut seen: HashSet<Linear> = ways.iter().copied().collect();
        let mut open: Vec<Linear> = ways.to_vec();
        while let Some(way) = open.pop() {
            for (next, progress) in ops.iter().enumerate().take(self.operations.len()) {
                let pending = matches!(progress, Progress::Invoked | Progress::TimedOut);
                if pending && way.done & (1 << next) == 0 {
                    let mut then = self.happen(way, next);
                    if *progress == Progress::TimedOut {
                        then.results[next] = 0;
                    }
                    if seen.insert(then) {
                        open.push(then);
                    }
                }
            }
        }
        let fits = |way: &Linear| way.done & (1 << op) != 0 && way.results[op] == told.code();
        let mut left: Vec<Linear> = seen.into_iter().filter(fits).collect();
        for way in &mut left {
            way.results[op] = 0;
        }
        left.sort_unstable();
        left.dedup();
        left
    }

    /// The one way in which the first operation alone has happened, and its client knows.
    pub(crate) fn stored(&self) -> Linear {
        let mut way = self.happen(Linear::default(), 0);
        way.results[0] = 0;
        way
    }

    fn happen(&self, mut way: Linear, op: usize) -> Linear {
        let digit = op as u16 + 1;
        let written = if self.versioned {
            way.value << 4 | digit
        } else {
            digit
        };
        let newest = way.value & 15;
        let alive = newest != 0 && self.operations[usize::from(newest) - 1] != Operation::Delete;
        way.done |= 1 << op;
        way.results[op] = match self.operations[op] {
            Operation::Put | Operation::Delete => Told::Written.code(),
            Operation::PutIfAbsent if alive => Told::Refused.code(),
            Operation::PutIfAbsent => Told::Written.code(),
            Operation::Get => Told::Found(alive.then(|| usize::from(newest) - 1)).code(),
            Operation::Versions => way.value.wrapping_add(1),
        };
        match self.operations[op] {
            Operation::Put => way.value = written,
            Operation::PutIfAbsent if !alive => way.value = written,
            Operation::Delete => way.value = if self.versioned { written } else { 0 },
            _ => {}
        }
        way
    }
}

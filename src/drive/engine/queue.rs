//! What waits for a drive's committer.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use types::Kind;

use super::entry::Standing;
use super::head::Location;
use super::segment::Purpose;
use crate::contract::{Commit, Committed, Discard, Error, Fence, MetaWrite};
use crate::register::Register;

/// Bytes of jobs taken into one batch, unless a single one is larger.
const BATCH_BYTES: usize = 8 << 20;
/// Jobs taken into one batch.
const BATCH_JOBS: usize = 4096;
/// Bytes that may wait; more are refused, since a drive that far behind is as good as hung.
const QUEUE_BYTES_MAX: usize = 256 << 20;

/// About what a fence takes in a batch.
const FENCE: usize = 64;

/// Where an answer goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// A row that the collector wants elsewhere.
pub(super) struct MovedRow {
    /// Its index key.
    pub(super) key: Vec<u8>,
    /// Where it was when its bytes were read.
    pub(super) at: Location,
    /// Its entry and frame.
    pub(super) bytes: Vec<u8>,
}

/// Something to be made durable.
pub(super) enum Job {
    /// A row.
    Commit(Box<Commit>, Answer<Committed>),
    /// A higher fence.
    Raise(Fence, Answer<()>),
    /// Writes to the small store.
    Meta(Vec<MetaWrite>, Answer<()>),
    /// Rows to take away.
    Discard(Box<Discard>, Answer<()>),
    /// Rows to copy to the end of the log.
    Move(Vec<MovedRow>, Answer<()>),
    /// Whether the drive votes from now on.
    Standing(Standing, Answer<()>),
    /// Registers in which something may be superseded.
    Revisit(Vec<Register>),
    /// Writes out what was told. With `force`, a batch even if nothing was.
    Sync(Force, Answer<()>),
    /// Starts a new table in memory.
    Freeze(Answer<()>),
}

/// Whether a batch is written though there is nothing to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Force {
    /// Only if there is something.
    No,
    /// To find out whether the disk still writes.
    Yes,
}

impl Job {
    /// About how many bytes of a batch it takes, from above.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Commit(commit, _) => {
                let row =
                    super::row::row_bytes(&commit.register, &commit.row, commit.inline.as_ref());
                FENCE + row + 40 * (1 + commit.row.files.len())
            }
            Self::Meta(writes, _) => {
                let bytes = |write: &MetaWrite| {
                    32 + write.key.len() + write.value.as_ref().map_or(0, |value| value.len())
                };
                writes.iter().map(bytes).sum()
            }
            Self::Discard(discard, _) => {
                let key = discard.register.as_bytes().len() + Register::ROW_LEN;
                FENCE + discard.rows.len() * (key + 64)
            }
            Self::Move(moves, _) => moves.iter().map(|row| row.bytes.len() + 16).sum(),
            Self::Raise(..)
            | Self::Standing(..)
            | Self::Revisit(_)
            | Self::Sync(..)
            | Self::Freeze(_) => FENCE,
        }
    }

    /// The same, of what it takes where there is room for that purpose alone.
    pub(super) fn bytes_for(&self, purpose: Purpose) -> usize {
        let object = |commit: &Commit| commit.row.head.kind == Kind::Object;
        match (purpose, self) {
            (Purpose::Growth, _)
            | (Purpose::Collection, Self::Move(..))
            | (Purpose::Collection | Purpose::Intent, Self::Meta(..)) => self.bytes(),
            (Purpose::Collection | Purpose::Intent, _) => 0,
            (Purpose::Upkeep, Self::Commit(commit, _)) if object(commit) => FENCE,
            (Purpose::Upkeep, _) => self.bytes(),
        }
    }

    /// Whether it is still to be done: not if a caller stopped waiting before it was begun.
    pub(super) fn is_wanted(&self) -> bool {
        match self {
            Self::Commit(_, answer) => !answer.is_closed(),
            Self::Raise(_, answer) | Self::Meta(_, answer) | Self::Discard(_, answer) => {
                !answer.is_closed()
            }
            Self::Move(..)
            | Self::Standing(..)
            | Self::Sync(..)
            | Self::Freeze(_)
            | Self::Revisit(_) => true,
        }
    }

    /// Answers with an error.
    pub(super) fn refuse(self, error: Error) {
        // Nobody waits any more: then nobody needs to know.
        let _ = match self {
            Self::Commit(_, answer) => answer.send(Err(error)).is_err(),
            Self::Raise(_, answer)
            | Self::Meta(_, answer)
            | Self::Discard(_, answer)
            | Self::Move(_, answer)
            | Self::Standing(_, answer)
            | Self::Sync(_, answer)
            | Self::Freeze(answer) => answer.send(Err(error)).is_err(),
            Self::Revisit(_) => false,
        };
    }
}

/// The queue in front of a committer.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<(Job, usize)>,
    bytes: usize,
    closed: Option<Arc<str>>,
}

impl Queue {
    /// Appends a job; refuses it if the committer is gone or too far behind.
    pub(super) fn push(&self, job: Job) {
        let bytes = job.bytes();
        let mut waiting = self.waiting.lock();
        let refusal = match &waiting.closed {
            Some(why) => Some(Error::Offline(Arc::clone(why))),
            None if waiting.bytes > QUEUE_BYTES_MAX => Some(Error::Timeout),
            None => None,
        };
        if let Some(error) = refusal {
            drop(waiting);
            return job.refuse(error);
        }
        waiting.bytes += bytes;
        waiting.jobs.push_back((job, bytes));
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Takes what is to go into the next batch, in order; waits for something to come. `None`
    /// once the queue is closed and empty.
    pub(super) fn take(&self, into: &mut Vec<Job>) -> Option<usize> {
        let mut waiting = self.waiting.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed.is_some() {
                return None;
            }
            self.arrived.wait(&mut waiting);
        }
        let mut taken = 0;
        while let Some((_, bytes)) = waiting.jobs.front()
            && (taken == 0 || taken + bytes <= BATCH_BYTES)
            && into.len() < BATCH_JOBS
            && let Some((job, bytes)) = waiting.jobs.pop_front()
        {
            taken += bytes;
            into.push(job);
        }
        waiting.bytes -= taken;
        Some(taken)
    }

    /// How many jobs wait.
    pub(super) fn depth(&self) -> usize {
        self.waiting.lock().jobs.len()
    }

    /// Refuses everything from now on. What waits is still done.
    pub(super) fn close(&self, why: &str) {
        let mut waiting = self.waiting.lock();
        waiting.closed.get_or_insert_with(|| Arc::from(why));
        drop(waiting);
        self.arrived.notify_all();
    }
}

//! The one thread of a drive that writes its log.
//!
//! It takes whatever waits, makes one batch of it, writes and syncs that once, shows it to
//! readers and answers everybody. What waits meanwhile is the next batch: there is no timer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;
use types::{DataId, Epoch, Order, Slot};

use super::batch::HEADER_LEN;
use super::entry::Standing;
use super::head::VALUE_LEN;
use super::log::Log;
use super::manifest::SegmentState;
use super::queue::{Answer, Force, Job};
use super::row::Freed;
use super::segment::Purpose;
use super::settled::Settled;
use super::shared::{Frozen, Shared};
use super::stats::Counters;
use super::tree::{Table, Tree};
use crate::contract::{Committed, Error, Row, Settles};
use crate::fault::from_io;
use crate::files::Published;
use crate::index::Memtable;
use crate::register::Register;

/// A table in memory is frozen at this size.
const TABLE_BYTES: usize = 4 << 20;
/// Or once this much of the log would have to be replayed.
const REPLAY_BYTES: u64 = 32 << 20;
/// Or this much, where the log is short of space.
const SHORT_BYTES: u64 = 1 << 20;
/// Tables that wait to be flushed before commits wait too.
const FROZEN_MAX: usize = 4;
/// The buffer is given back beyond this when a batch was unusually large.
const BUFFER_KEPT: usize = 1 << 20;
/// Kept free in a batch for what is dropped along with what was asked for.
pub(super) const SLACK: usize = 256 << 10;
/// Rows that wait to be settled, of which something older may then go. What does not fit is
/// found again when runs are merged.
const CROWD_MAX: usize = 1 << 16;

/// What room the log has, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Room {
    /// For nothing.
    None,
    /// For the small store.
    Intent,
    /// For rows that are moved, too.
    Collection,
    /// For what frees space, and for fences.
    Scarce,
    /// For everything.
    Ample,
}

/// What happens to the index once a batch is durable.
pub(super) enum Change {
    /// A row is put.
    Put([u8; VALUE_LEN], Option<Arc<Row>>),
    /// An entry that is no row is put.
    Raw(Vec<u8>),
    /// An entry goes.
    Remove,
}

/// A change and the key that it is of, as a range of the batch's keys.
pub(super) struct Effect {
    pub(super) key: Range<usize>,
    pub(super) change: Change,
}

enum Waiter {
    Commit(Answer<Committed>),
    Unit(Answer<()>),
}

/// A batch in the making.
#[derive(Default)]
pub(super) struct Pending {
    /// Header and entries.
    pub(super) buffer: Vec<u8>,
    /// Keys of the effects, one after another.
    pub(super) keys: Vec<u8>,
    pub(super) effects: Vec<Effect>,
    pub(super) raised: Vec<(Slot, Epoch)>,
    pub(super) freed: Vec<Freed>,
    pub(super) added: u64,
    pub(super) commits: u64,
    pub(super) crowded: Vec<(Slot, Order, Arc<Register>)>,
    pub(super) published: Vec<Published>,
    pub(super) doomed: Vec<(DataId, u32)>,
    pub(super) standing: Option<Standing>,
    waiters: Vec<(Waiter, Result<(), Error>)>,
    freezes: Vec<Answer<()>>,
}

impl Pending {
    fn begin(&mut self) {
        if self.buffer.capacity() > BUFFER_KEPT {
            self.buffer = Vec::new();
            self.keys = Vec::new();
        }
        self.buffer.clear();
        self.buffer.resize(HEADER_LEN, 0);
        self.keys.clear();
        self.effects.clear();
        self.raised.clear();
        self.freed.clear();
        (self.added, self.commits) = (0, 0);
        self.crowded.clear();
        self.published.clear();
        self.doomed.clear();
        self.standing = None;
    }

    fn is_empty(&self) -> bool {
        self.buffer.len() == HEADER_LEN
    }

    /// Notes a change of the index.
    pub(super) fn effect(&mut self, key: &[&[u8]], change: Change) {
        let from = self.keys.len();
        for part in key {
            self.keys.extend_from_slice(part);
        }
        let key = from..self.keys.len();
        self.effects.push(Effect { key, change });
    }

    /// The key of an effect.
    pub(super) fn key(&self, effect: &Effect) -> &[u8] {
        self.keys.get(effect.key.clone()).unwrap_or_default()
    }
}

/// The committer's own state.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) log: Log,
    /// The tree as this thread last saw or made it; only its runs can be newer.
    pub(super) tree: Arc<Tree>,
    pub(super) pending: Pending,
    /// Fences, those in the batch included.
    pub(super) fences: Vec<Epoch>,
    /// The highest order that ever came, by slot.
    pub(super) highest: Vec<Order>,
    /// What is settled as of this batch.
    pub(super) settled: Settled,
    /// Rows that may replace others once they are settled.
    pub(super) crowd: Crowd,
    since_freeze: u64,
}

/// Registers by the order that must be settled before something in them can be dropped.
#[derive(Default)]
pub(super) struct Crowd {
    slots: BTreeMap<u16, BTreeMap<Order, Arc<Register>>>,
    len: usize,
}

impl Crowd {
    /// Keeps one in mind, unless there are too many.
    pub(super) fn push(&mut self, slot: Slot, order: Order, register: Arc<Register>) {
        if self.len < CROWD_MAX {
            let slot = self.slots.entry(slot.number()).or_default();
            self.len += usize::from(slot.insert(order, register).is_none());
        }
    }

    /// Takes out those of a slot that are settled now.
    pub(super) fn take(&mut self, slot: Slot, settled: &Settled) -> Vec<Arc<Register>> {
        let Some(orders) = self.slots.get_mut(&slot.number()) else {
            return Vec::new();
        };
        let taken: Vec<_> = orders
            .extract_if(.., |order, _| settled.covers(slot, *order))
            .map(|(_, register)| register)
            .collect();
        self.len -= taken.len();
        if orders.is_empty() {
            self.slots.remove(&slot.number());
        }
        taken
    }
}

/// What a start hands to the committer.
pub(super) struct Beginning {
    pub(super) log: Log,
    pub(super) fences: Vec<Epoch>,
    pub(super) highest: Vec<Order>,
    pub(super) settled: Settled,
    pub(super) crowd: Crowd,
    /// Bytes of the log that a start would have to replay now.
    pub(super) replayed: u64,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, beginning: Beginning) -> Self {
        let tree = shared.tree();
        Self {
            shared,
            log: beginning.log,
            tree,
            pending: Pending::default(),
            fences: beginning.fences,
            highest: beginning.highest,
            settled: beginning.settled,
            crowd: beginning.crowd,
            since_freeze: beginning.replayed,
        }
    }

    /// Commits until the queue is closed, or a write fails.
    pub(super) fn run(mut self) {
        let mut jobs = Vec::new();
        while let Some(bytes) = self.shared.queue.take(&mut jobs) {
            let failed = self.commit(&mut jobs, bytes).err();
            let health = &self.shared.health;
            let unfit = || health.check_write().err().filter(|_| !health.is_hung());
            let end = failed.map(|error| self.end_service(error)).or_else(unfit);
            if let Some(error) = end {
                for (waiter, _) in self.pending.waiters.drain(..) {
                    waiter.answer(Err(error.clone()), 0);
                }
                self.refuse_rest(&mut jobs, &error);
                return;
            }
        }
    }

    /// Nothing is written after a batch that may be half there. Readers were not shown any of it: a file
    /// system that takes no writes any more is still read.
    fn end_service(&self, error: Error) -> Error {
        if error == Error::ReadOnly {
            self.shared.health.set_read_only();
            return error;
        }
        let why = format!("the log cannot be written: {error}");
        self.shared.health.kill(&why);
        Error::Offline(Arc::from(why))
    }

    fn refuse_rest(&self, jobs: &mut Vec<Job>, error: &Error) {
        self.shared.queue.close(&error.to_string());
        jobs.drain(..).for_each(|job| job.refuse(error.clone()));
        while self.shared.queue.take(jobs).is_some() {
            jobs.drain(..).for_each(|job| job.refuse(error.clone()));
        }
    }

    /// One batch.
    fn commit(&mut self, jobs: &mut Vec<Job>, bytes: usize) -> Result<(), Error> {
        self.tree = self.shared.tree();
        self.pending.begin();
        let told = std::mem::take(&mut *self.shared.told.lock());
        let slack = SLACK + 64 * (told.marks.len() + told.floors.len());
        let room = self.make_room(jobs, bytes, slack);
        let forced = jobs
            .iter()
            .any(|job| matches!(job, Job::Sync(Force::Yes, _)));
        if room < Room::Scarce {
            // Not lost: it comes again with the next batch.
            self.untell(told);
        } else {
            self.take_in(told);
        }
        for job in jobs.drain(..).filter(Job::is_wanted) {
            self.prepare(job, room);
        }
        if !self.pending.is_empty() || forced && room != Room::None {
            self.write()?;
            self.apply();
        }
        self.answer();
        self.freeze_if_due(room);
        Ok(())
    }

    /// Makes room for as much of the batch as there is some for; it is no longer than that then.
    fn make_room(&mut self, jobs: &[Job], bytes: usize, slack: usize) -> Room {
        let before = self.log.active().id;
        let of = |purpose| -> usize { jobs.iter().map(|job| job.bytes_for(purpose)).sum() };
        let room = if self.log.make_room(bytes + slack, Purpose::Growth) {
            Room::Ample
        } else if self
            .log
            .make_room(of(Purpose::Upkeep) + slack, Purpose::Upkeep)
        {
            Room::Scarce
        } else if self
            .log
            .make_room(of(Purpose::Collection), Purpose::Collection)
        {
            Room::Collection
        } else if self.log.make_room(of(Purpose::Intent), Purpose::Intent) {
            Room::Intent
        } else {
            Room::None
        };
        if self.log.active().id != before || room != Room::Ample {
            self.shared
                .chores
                .add(|chores| chores.segments_changed = true);
        }
        room
    }

    /// Keeps for the next batch what this one has no room for: once each, however long that lasts.
    fn untell(&self, told: Settles) {
        let mut waiting = self.shared.told.lock();
        let newer = std::mem::take(&mut *waiting);
        let mut all = Settled::default();
        all.take_in(&told);
        all.take_in(&newer);
        *waiting = all.all();
        let peers = (0u8..).zip(*all.peers());
        waiting.peers = peers.filter(|(_, position)| *position > 0).collect();
        drop(waiting);
        self.shared.chores.tell();
    }

    fn prepare(&mut self, job: Job, room: Room) {
        match job {
            Job::Commit(commit, answer) => {
                let result = self.prepare_commit(*commit, room);
                self.pending.waiters.push((Waiter::Commit(answer), result));
            }
            Job::Raise(fence, answer) => {
                let result = self.raise(fence, room);
                self.wait(answer, result);
            }
            Job::Meta(writes, answer) => {
                let result = self.prepare_meta(&writes, room);
                self.wait(answer, result);
            }
            Job::Discard(discard, answer) => {
                let result = self.prepare_discard(&discard, room);
                self.wait(answer, result);
            }
            Job::Move(moves, answer) => {
                let result = self.prepare_moves(&moves, room);
                self.wait(answer, result);
            }
            Job::Standing(standing, answer) => {
                let result = self.prepare_standing(standing, room);
                self.wait(answer, result);
            }
            Job::Revisit(registers) => {
                if room >= Room::Scarce {
                    registers
                        .iter()
                        .for_each(|register| self.supersede(register));
                }
            }
            Job::Sync(_, answer) => self.wait(answer, Ok(())),
            Job::Freeze(answer) => self.pending.freezes.push(answer),
        }
    }

    fn wait(&mut self, answer: Answer<()>, result: Result<(), Error>) {
        self.pending.waiters.push((Waiter::Unit(answer), result));
    }

    /// Makes the batch durable, files first.
    fn write(&mut self) -> Result<(), Error> {
        let published = std::mem::take(&mut self.pending.published);
        self.shared.shards.sync_directories(published)?;
        let peers = *self.settled.peers();
        let buffer = &mut self.pending.buffer;
        self.log
            .append(buffer, &peers)
            .map_err(|error| from_io(&error))?;
        // What is written below a path that leads elsewhere now is not stored.
        self.shared.root.still_itself()?;
        *self.shared.peers.lock() = peers;
        self.since_freeze += buffer.len() as u64;
        let counters = &self.shared.counters;
        Counters::add(&counters.batches, 1);
        Counters::add(&counters.commits, self.pending.commits);
        Counters::add(&counters.log_bytes_written, buffer.len() as u64);
        Ok(())
    }

    /// Shows the batch to readers: rows before the fences that promise them.
    fn apply(&mut self) {
        let pending = &mut self.pending;
        self.log.active().add_live(pending.added);
        {
            let mut table = self.tree.active.write();
            for effect in &pending.effects {
                let key = pending.keys.get(effect.key.clone()).unwrap_or_default();
                match &effect.change {
                    Change::Put(value, ..) => table.insert(key, Some(value)),
                    Change::Raw(value) => table.insert(key, Some(value)),
                    Change::Remove => table.insert(key, None),
                }
            }
        }
        for freed in pending.freed.drain(..) {
            if let Some(segment) = self.shared.segments.find(freed.segment) {
                segment.free(u64::from(freed.bytes));
            }
        }
        for (slot, epoch) in pending.raised.drain(..) {
            if let Some(fence) = self.shared.fences.get(slot.index()) {
                fence.store(epoch.as_u64(), Ordering::Release);
            }
        }
        if let Some(standing) = pending.standing {
            self.shared.health.set_standing(standing);
        }
        for (slot, order, register) in pending.crowded.drain(..) {
            self.crowd.push(slot, order, register);
        }
        if !pending.doomed.is_empty() {
            self.shared
                .doomed
                .lock()
                .extend(pending.doomed.iter().copied());
            self.shared
                .chores
                .add(|chores| chores.doomed.append(&mut pending.doomed));
        }
        self.shared
            .position
            .store(self.log.end().next - 1, Ordering::Release);
        self.shared.failpoints.hit("commit.visible");
    }

    fn answer(&mut self) {
        let position = self.log.end().next - 1;
        for (waiter, result) in self.pending.waiters.drain(..) {
            waiter.answer(result, position);
        }
        self.shared.failpoints.hit("commit.acknowledged");
    }

    fn freeze_if_due(&mut self, room: Room) {
        let (bytes, len) = {
            let table = self.tree.active.read();
            (table.bytes(), table.len())
        };
        let asked = !self.pending.freezes.is_empty() && (len > 0 || self.since_freeze > 0);
        let waiting = || self.shared.chores.look(|chores| !chores.frozen.is_empty());
        // What is dead in the log gives its space back only behind what a start replays.
        let short = room < Room::Ample && self.since_freeze >= SHORT_BYTES && !waiting();
        if bytes >= TABLE_BYTES || self.since_freeze >= REPLAY_BYTES || asked || short {
            self.freeze();
            self.wait_for_flush();
        } else if len > 0 {
            self.shared.chores.begin_activity();
        }
        for answer in self.pending.freezes.drain(..) {
            // Whoever asked may have gone.
            let _ = answer.send(Ok(()));
        }
    }

    fn freeze(&mut self) {
        let segments = self.shared.segments.all();
        let frozen = Frozen {
            end: self.log.end(),
            segments: segments
                .iter()
                .map(|segment| SegmentState {
                    id: segment.id,
                    live: segment.live.load(Ordering::Relaxed),
                    used: segment.used.load(Ordering::Relaxed),
                    last: segment.last.load(Ordering::Relaxed),
                })
                .collect(),
            highest: (0..Slot::COUNT)
                .zip(&self.highest)
                .filter(|(_, order)| **order > Order::ZERO)
                .map(|(slot, order)| (Slot::new(slot), *order))
                .collect(),
        };
        self.since_freeze = 0;
        // The list of what to flush and the tree's tables change together: the flusher takes the
        // list's lock first, too.
        self.shared.chores.add(|chores| {
            let mut tree = self.shared.tree.write();
            let mut next = Tree::clone(&tree);
            next.frozen.insert(0, Arc::clone(&next.active));
            next.active = Table::new(RwLock::new(Memtable::default()));
            *tree = Arc::new(next);
            chores.frozen.push_back(frozen);
        });
    }

    /// Holds commits back while tables pile up, so that memory stays bounded; not where they
    /// cannot be flushed for want of space.
    fn wait_for_flush(&self) {
        let moment = std::time::Duration::from_millis(100);
        let health = &self.shared.health;
        while self
            .shared
            .chores
            .look(|chores| chores.frozen.len() > FROZEN_MAX && !chores.stop)
            && !health.is_full()
            && health.check_write().is_ok()
        {
            let few = |chores: &super::shared::ChoreState| {
                chores.frozen.len() <= FROZEN_MAX || chores.stop
            };
            self.shared.chores.wait(Some(moment), few);
        }
    }
}

impl Waiter {
    fn answer(self, result: Result<(), Error>, position: u64) {
        // Whoever asked may have stopped waiting.
        let _ = match self {
            Self::Commit(answer) => answer
                .send(result.map(|()| Committed { position }))
                .is_err(),
            Self::Unit(answer) => answer.send(result).is_err(),
        };
    }
}

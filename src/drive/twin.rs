//! The twin: a drive in memory, for tests of the rooms above.
//!
//! It keeps the contract by the plainest means, and breaks it on demand. It has no clock and no
//! threads: a request happens when it is made, and its answer is ready at once, unless the twin
//! is stalled. What a crash leaves open is decided by a seed.

mod disk;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use types::{DataId, Kind, Order};

use crate::contract::{
    Commit, Committed, Discard, Drive, Error, Identity, MetaWrite, Reply, Rows, RowsRequest, Scan,
    ScanPage, Settles, ShardRead, ShardReader, Stage, Staged, Status,
};
use crate::register::Register;
use disk::Disk;

/// What can be wrong with a twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Answers everything with [`Error::Offline`].
    Offline,
    /// Refuses new bytes with [`Error::Full`]; rows without bytes, deletions and the small store go through.
    Full,
    /// Refuses every write with [`Error::ReadOnly`].
    ReadOnly,
    /// Works, and says [`Status::Joining`].
    Joining,
    /// Answers every read with [`Error::Io`].
    ReadError,
    /// Answers nothing until mended: requests wait in order, and happen even if nobody waits for
    /// their answers any more.
    Stall,
    /// Commits wait in order until mended, and other requests overtake them.
    LateCommits,
    /// Acknowledges writes that a crash undoes; mending it makes them durable.
    Lie,
}

/// A drive in memory. Clones are the same drive.
#[derive(Clone)]
pub struct Twin {
    identity: Arc<Identity>,
    state: Arc<Mutex<State>>,
}

type Waiting = Box<dyn FnOnce(&mut State) + Send>;

struct State {
    disk: Disk,
    /// The disk as it was when a lie began.
    truth: Option<Box<Disk>>,
    faults: BTreeSet<Fault>,
    waiting: VecDeque<Waiting>,
    seed: u64,
    /// Counts crashes: files being staged do not survive one.
    life: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    NewBytes,
}

impl Twin {
    /// An empty drive. The seed decides what crashes leave of requests that were not answered.
    pub fn new(identity: Identity, seed: u64) -> Self {
        let state = State {
            disk: Disk::default(),
            truth: None,
            faults: BTreeSet::new(),
            waiting: VecDeque::new(),
            seed,
            life: 0,
        };
        Self {
            identity: Arc::new(identity),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Begins a fault.
    pub fn fail(&self, fault: Fault) {
        let mut state = self.state.lock();
        state.faults.insert(fault);
        if fault == Fault::Lie && state.truth.is_none() {
            state.truth = Some(Box::new(state.disk.clone()));
        }
    }

    /// Ends a fault. After [`Fault::Stall`] and [`Fault::LateCommits`], all that waits happens
    /// now, in order.
    pub fn mend(&self, fault: Fault) {
        let mut state = self.state.lock();
        state.faults.remove(&fault);
        match fault {
            Fault::Lie => state.truth = None,
            Fault::Stall | Fault::LateCommits => {
                while let Some(waiting) = state.waiting.pop_front() {
                    waiting(&mut state);
                }
            }
            _ => {}
        }
    }

    /// A power cut and a new start. What was acknowledged is there (unless the drive lied); of
    /// settles since the last batch, and of requests that wait in a stall, some may have
    /// happened: the first ones. Their callers hear [`Error::Offline`]. Faults go on.
    pub fn crash(&self) {
        let mut state = self.state.lock();
        // Callers of an earlier life hear nothing of what happens from here on.
        state.life += 1;
        let waiting = std::mem::take(&mut state.waiting);
        let done = state.random() % (waiting.len() as u64 + 1);
        for (request, _) in waiting.into_iter().zip(0..done) {
            request(&mut state);
        }
        if state.random().is_multiple_of(2) {
            state.disk.forget_told();
        } else {
            state.disk.keep_told();
        }
        if let Some(truth) = &state.truth {
            state.disk = Disk::clone(truth);
        }
        state.disk.release_all();
    }

    /// An empty drive in the same place, as after a replacement.
    pub fn wipe(&self) {
        let mut state = self.state.lock();
        state.disk = Disk::default();
        state.truth = state.truth.take().map(|_| Box::default());
        state.waiting.clear();
        state.life += 1;
    }

    /// The shard files that are not removed, in order.
    pub fn files(&self) -> Vec<DataId> {
        self.state.lock().disk.files()
    }

    /// Damages a row in the index: reads and scans that need it fail with [`Error::Corrupt`] until
    /// it is committed again. `false` if there is no such row.
    pub fn damage_row(&self, register: &Register, born: Order, order: Order) -> bool {
        self.state.lock().disk.damage_row(register, born, order)
    }

    /// Flips a bit of a row in the log, of which the index still tells the head: reads that need
    /// more fail with [`Error::Corrupt`], until it is committed again. `false` if there is none.
    pub fn flip_row(&self, register: &Register, born: Order, order: Order) -> bool {
        self.state.lock().disk.flip_row(register, born, order)
    }

    /// Flips a bit in byte `at` of a row's inline frame; `false` if there is none.
    pub fn flip_inline(&self, register: &Register, born: Order, order: Order, at: usize) -> bool {
        self.state
            .lock()
            .disk
            .flip_inline(register, born, order, at)
    }

    /// Flips a bit in byte `at` of a shard file; `false` if there is none.
    pub fn flip_shard(&self, data: DataId, at: usize) -> bool {
        self.state.lock().disk.flip_shard(data, at)
    }
}

impl Twin {
    /// Does it now, or once a stall is over.
    fn answer<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut State) -> Result<T, Error> + Send + 'static,
    ) -> Reply<T> {
        self.answer_unless(&[Fault::Stall], request)
    }

    /// Does it now, or once none of these faults is on.
    fn answer_unless<T: Send + 'static>(
        &self,
        faults: &[Fault],
        request: impl FnOnce(&mut State) -> Result<T, Error> + Send + 'static,
    ) -> Reply<T> {
        let mut state = self.state.lock();
        if !faults.iter().any(|fault| state.faults.contains(fault)) {
            return Box::pin(ready(request(&mut state)));
        }
        let (sender, receiver) = oneshot::channel();
        let life = state.life;
        state.waiting.push_back(Box::new(move |state| {
            let result = request(state);
            if state.life == life {
                // Nobody may be waiting any more; it happened all the same.
                let _ = sender.send(result);
            }
        }));
        Box::pin(async move { receiver.await.unwrap_or_else(|_| Err(restarted())) })
    }
}

impl State {
    fn check(&self, access: Access) -> Result<(), Error> {
        let has = |fault| self.faults.contains(&fault);
        match access {
            _ if has(Fault::Offline) => Err(Error::Offline("switched off".into())),
            Access::Read if has(Fault::ReadError) => Err(Error::Io(std::io::ErrorKind::Other)),
            Access::Write | Access::NewBytes if has(Fault::ReadOnly) => Err(Error::ReadOnly),
            Access::NewBytes if has(Fault::Full) => Err(Error::Full),
            _ => Ok(()),
        }
    }

    fn check_staging(&self, life: u64) -> Result<(), Error> {
        self.check(Access::NewBytes)?;
        if self.life == life {
            Ok(())
        } else {
            Err(restarted())
        }
    }

    /// The next number of the seed (splitmix64).
    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn restarted() -> Error {
    Error::Offline("restarted".into())
}

impl Drive for Twin {
    fn identity(&self) -> Identity {
        Identity::clone(&self.identity)
    }

    fn status(&self) -> Status {
        let state = self.state.lock();
        let has = |fault| state.faults.contains(&fault);
        if has(Fault::Offline) {
            Status::Offline("switched off".into())
        } else if has(Fault::Joining) {
            Status::Joining
        } else if has(Fault::ReadOnly) {
            Status::ReadOnly
        } else if has(Fault::Full) {
            Status::Full
        } else {
            Status::Online
        }
    }

    fn commit(&self, commit: Commit) -> Reply<Committed> {
        let object = commit.row.head.kind == Kind::Object;
        let access = if object {
            Access::NewBytes
        } else {
            Access::Write
        };
        let late = [Fault::Stall, Fault::LateCommits];
        self.answer_unless(&late, move |state| {
            state.check(access).and_then(|()| state.disk.commit(commit))
        })
    }

    fn rows(&self, request: RowsRequest) -> Reply<Rows> {
        self.answer(move |state| {
            state.check(Access::Read)?;
            if request.raise.is_some() {
                state.check(Access::Write)?;
            }
            state.disk.rows(&request)
        })
    }

    fn scan(&self, scan: Scan) -> Reply<ScanPage> {
        self.answer(move |state| {
            state
                .check(Access::Read)
                .and_then(|()| state.disk.scan(&scan))
        })
    }

    fn settle(&self, settles: Settles) {
        drop(self.answer(move |state| {
            state.check(Access::Write)?;
            state.disk.settle(settles);
            Ok(())
        }));
    }

    fn discard(&self, discard: Discard) -> Reply<()> {
        self.answer(move |state| {
            state.check(Access::Write)?;
            state.disk.discard(&discard)
        })
    }

    fn stage(&self, data: DataId, _register: Arc<Register>) -> Reply<Box<dyn Stage>> {
        let twin = self.clone();
        self.answer(move |state| {
            state.check(Access::NewBytes)?;
            let stage = TwinStage {
                twin,
                data,
                bytes: Vec::new(),
                life: state.life,
            };
            Ok(Box::new(stage) as Box<dyn Stage>)
        })
    }

    fn read_shards(&self, files: Arc<[DataId]>) -> Box<dyn ShardReader> {
        let mut state = self.state.lock();
        let gone = state.disk.hold(&files).into();
        Box::new(TwinReader {
            twin: self.clone(),
            files,
            gone,
            life: state.life,
        })
    }

    fn meta_write(&self, writes: Vec<MetaWrite>) -> Reply<()> {
        self.answer(move |state| {
            state.check(Access::Write)?;
            state.disk.meta_write(writes);
            Ok(())
        })
    }

    fn meta_scan(&self, prefix: Bytes) -> Reply<Vec<(Bytes, Bytes)>> {
        self.answer(move |state| {
            state.check(Access::Read)?;
            Ok(state.disk.meta_scan(&prefix))
        })
    }

    fn positions(&self) -> (u64, Vec<(u8, u64)>) {
        self.state.lock().disk.positions()
    }
}

/// Shard files that somebody reads.
struct TwinReader {
    twin: Twin,
    files: Arc<[DataId]>,
    gone: Arc<[DataId]>,
    life: u64,
}

impl ShardReader for TwinReader {
    fn read(&self, read: ShardRead) -> Reply<Bytes> {
        let gone = Arc::clone(&self.gone);
        self.twin.answer(move |state| {
            state.check(Access::Read)?;
            state.disk.read_shard(read, &gone)
        })
    }
}

impl Drop for TwinReader {
    fn drop(&mut self) {
        let mut state = self.twin.state.lock();
        if state.life == self.life {
            state.disk.release(&self.files);
        }
    }
}

/// A shard file in the making; it is on the disk only once it is finished.
struct TwinStage {
    twin: Twin,
    data: DataId,
    bytes: Vec<u8>,
    life: u64,
}

impl Stage for TwinStage {
    fn append(
        &mut self,
        frames: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>> {
        self.bytes.extend_from_slice(&frames);
        let life = self.life;
        self.twin.answer(move |state| state.check_staging(life))
    }

    fn finish(self: Box<Self>) -> Reply<Staged> {
        let Self {
            twin,
            data,
            bytes,
            life,
        } = *self;
        twin.answer(move |state| {
            state.check_staging(life)?;
            let len = bytes.len() as u64;
            state.disk.staged(data, bytes);
            Ok(Staged { data, len })
        })
    }
}

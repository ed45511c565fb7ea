//! The drive on a mount point.

use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;
use types::DataId;

use super::batch::PEERS;
use super::committer::Committer;
use super::entry::{META_KEY_MAX, Standing};
use super::held::HeldFiles;
use super::keeper::Keeper;
use super::open::open;
use super::options::{Limits, Options};
use super::queue::{Answer, Force, Job};
use super::segment::{ENTRY_LEN_MAX, SPARES};
use super::shared::{ChoreState, Shared};
use super::stats::{Counters, Stats};
use super::{flusher, tidier};
use crate::contract::{
    Commit, Committed, Discard, Drive, Error, Identity, MetaWrite, Reply, Rows, RowsRequest, Scan,
    ScanPage, Settles, ShardRead, ShardReader, Stage, Status,
};
use crate::files::{Stages, Workers};
use crate::register::Register;

/// A drive on a mount point.
///
/// Its blocking work is done by threads of its own: one commits, one flushes, one tidies, and a
/// few read and stage. Dropping it stops them without flushing, as a crash would, but waits for
/// what they are at; [`LocalDrive::close`] leaves a drive that starts at once.
pub struct LocalDrive {
    identity: Identity,
    shared: Arc<Shared>,
    keeper: Arc<Keeper>,
    stages: Stages,
    lane: Lane,
    limits: Limits,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl LocalDrive {
    /// Opens the drive that `expected` names at `path`. Blocks while the tail of its log is
    /// read. [`Error::Offline`] says why it is not that drive, or not fit; a damaged one opens
    /// as [`Status::Joining`], a read-only one as [`Status::ReadOnly`].
    pub fn open(path: &Path, expected: &Identity, options: &Options) -> Result<Self, Error> {
        let name = tracing::error_span!("drive", path = %path.display());
        let _name = name.enter();
        let opened = open(path, expected, options)?;
        let shared = opened.shared;
        let limits = options.limits.clone();
        let keeper = Arc::new(opened.keeper);
        let mut threads = Vec::new();
        let writable = opened.beginning.is_some();
        if let Some(beginning) = opened.beginning {
            let place = expected.place;
            let committer = Committer::new(Arc::clone(&shared), beginning);
            threads.push(spawn(format!("drive-{place}-commit"), move || {
                committer.run()
            })?);
            let flushing = Arc::clone(&keeper);
            threads.push(spawn(format!("drive-{place}-flush"), move || {
                flusher::run(&flushing)
            })?);
            let tidying = Arc::clone(&keeper);
            threads.push(spawn(format!("drive-{place}-tidy"), move || {
                tidier::run(&tidying)
            })?);
        }
        let drive = Self {
            identity: expected.clone(),
            stages: Stages::new(Arc::clone(&shared.shards), limits.write),
            shared,
            keeper,
            lane: Lane::new(&limits),
            limits,
            threads: Mutex::new(threads),
        };
        if opened.damaged && writable {
            drive.leave_damage_behind();
        } else if writable && drive.shared.segments.spares() < SPARES {
            drive.write_out();
        }
        if writable {
            // Whoever asks a full drive first hears that it is.
            flusher::check_disk(&drive.keeper);
        }
        Ok(drive)
    }

    /// On a full disk the log gives space back only behind what a start replays. However many starts
    /// are cut short, each has that behind it, and what it can get back, before it writes more.
    fn write_out(&self) {
        self.shared.health.set_full(true);
        let (answer, frozen) = oneshot::channel();
        self.shared.queue.push(Job::Freeze(answer));
        // If the committer is gone the drive is offline.
        let _ = frozen.blocking_recv();
        self.shared.chores.add(|chores| chores.manifest_due = true);
        let flushed = |chores: &ChoreState| chores.frozen.is_empty() && !chores.manifest_due;
        let done = |chores: &ChoreState| {
            let tidied = flushed(chores) && !chores.tidy && !chores.at_work;
            tidied || chores.stuck || chores.stop
        };
        self.shared.chores.wait(Some(self.limits.write), done);
    }

    /// Writes what is left of a damaged log to a run, so that the next start begins behind the
    /// damage. Until that is done the drive does not come to vote.
    fn leave_damage_behind(&self) {
        let (answer, frozen) = oneshot::channel();
        self.shared.queue.push(Job::Freeze(answer));
        // If the committer is gone the drive is offline.
        let _ = frozen.blocking_recv();
        let waiting = |chores: &ChoreState| chores.damaged && !chores.stop;
        let health = &self.shared.health;
        while self.shared.chores.look(|chores| waiting(chores))
            && !health.is_full()
            && health.check().is_ok()
        {
            let moment = Some(Duration::from_millis(100));
            self.shared.chores.wait(moment, |chores| !waiting(chores));
        }
    }

    /// Writes out what only the log holds, so that the next start has nothing to replay, and
    /// stops. Requests are refused from then on. Blocks.
    pub fn close(&self) {
        if self.shared.health.check_write().is_ok() {
            let (answer, frozen) = oneshot::channel();
            let (told, written) = oneshot::channel();
            self.shared.queue.push(Job::Sync(Force::No, told));
            self.shared.queue.push(Job::Freeze(answer));
            // If the committer is gone there is nothing to write out.
            let _ = (written.blocking_recv(), frozen.blocking_recv());
        }
        self.stop();
        if self.shared.health.check_write().is_ok() {
            self.shared.chores.add(|chores| chores.manifest_due = true);
            flusher::flush_all(&self.keeper);
            tidier::remove_doomed(&self.shared);
        }
    }

    /// Where its directory is.
    pub fn path(&self) -> &Path {
        self.shared.root.path()
    }

    /// Whether the drive's answers vote from now on (commit rule 10): [`Standing::Voting`] once
    /// its rebuild is complete, [`Standing::Joining`] to begin one. Durable on return.
    pub fn set_standing(&self, standing: Standing) -> Reply<()> {
        self.write(|answer| Job::Standing(standing, answer))
    }

    /// Finds out whether the drive takes writes: one batch and its sync. Durable on return is everything
    /// that it was told, too.
    pub fn prove(&self) -> Reply<()> {
        self.write(|answer| Job::Sync(Force::Yes, answer))
    }

    /// Finds out whether the path still leads to this drive, which else only a write asks. A drive
    /// that was removed or swapped is out of service from then on.
    pub fn look(&self) -> Reply<()> {
        self.read(|shared| {
            let found = shared.root.still_itself();
            if let Err(Error::Offline(why)) = &found {
                shared.health.kill(why);
            }
            found
        })
    }

    /// Whether it is out of service until it is opened anew. One that hangs is not: it may answer again.
    pub fn is_dead(&self) -> bool {
        self.shared.health.is_dead()
    }

    /// Whether its answers vote, whatever else is wrong with it.
    pub fn standing(&self) -> Standing {
        self.shared.health.standing()
    }

    /// Stops without writing anything out, and waits until nothing of the drive is open any more: its
    /// threads and the reads under way, however long the disk takes. Says the last position that was
    /// acknowledged: whoever opens the drive again knows then what it must hold.
    pub fn abandon(self) -> u64 {
        self.tell_to_stop();
        self.join();
        let position = self.shared.position.load(Ordering::Acquire);
        let shared = Arc::downgrade(&self.shared);
        drop(self);
        while shared.strong_count() > 0 {
            thread::sleep(Duration::from_millis(10));
        }
        position
    }

    /// What it has done and what it holds.
    pub fn stats(&self) -> Stats {
        let counters = &self.shared.counters;
        let tree = self.shared.tree();
        let segments = self.shared.segments.all();
        let tables = std::iter::once(&tree.active).chain(&tree.frozen);
        let in_tables: usize = tables.map(|table| table.read().len()).sum();
        let in_runs: u64 = tree.runs.iter().map(|run| run.meta().entries).sum();
        Stats {
            batches: Counters::read(&counters.batches),
            commits: Counters::read(&counters.commits),
            log_bytes_written: Counters::read(&counters.log_bytes_written),
            queue_depth: self.shared.queue.depth() as u64,
            entries: in_runs + in_tables as u64,
            runs: tree.runs.len() as u64,
            log_bytes: segments.iter().map(|segment| segment.len).sum(),
            log_bytes_live: segments
                .iter()
                .map(|segment| segment.live.load(Ordering::Relaxed))
                .sum(),
            corrupt_reads: Counters::read(&counters.corrupt_reads),
            timeouts: Counters::read(&counters.timeouts),
        }
    }

    /// Has what is in memory written to a run, and waits for it.
    #[cfg(test)]
    pub(super) fn flush(&self) {
        let (answer, frozen) = oneshot::channel();
        self.shared.queue.push(Job::Freeze(answer));
        frozen.blocking_recv().unwrap().unwrap();
        let limit = Some(Duration::from_secs(60));
        self.shared
            .chores
            .wait(limit, |chores| chores.frozen.is_empty());
    }

    /// From now on nothing of the segment that is written to can be read.
    #[cfg(test)]
    pub(super) fn lose_log(&self) {
        let segments = &self.shared.segments;
        let active = segments.all().pop().unwrap();
        segments.insert(Arc::new(active.unreadable()));
    }

    /// The first batch that a start would replay.
    #[cfg(test)]
    pub(super) fn replayed_from(&self) -> u64 {
        self.keeper.replayed_from()
    }

    /// How many segments are prepared.
    #[cfg(test)]
    pub(super) fn spares(&self) -> usize {
        self.shared.segments.spares()
    }

    /// Has everything tidied that can be.
    #[cfg(test)]
    pub(super) fn tidy(&self) {
        tidier::tidy_once(&self.keeper);
    }

    fn stop(&self) {
        self.tell_to_stop();
        // If it hangs they may never return. What they hold goes when they do.
        if !self.shared.health.is_hung() {
            self.join();
        }
    }

    fn tell_to_stop(&self) {
        self.shared.queue.close("closed");
        self.shared.chores.add(|chores| chores.stop = true);
    }

    fn join(&self) {
        for thread in self.threads.lock().drain(..) {
            // A panic in one of them has ended the process.
            let _ = thread.join();
        }
    }

    /// Puts a job into the committer's queue now; the reply is its answer.
    fn write<T: Send + 'static>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Reply<T> {
        if let Err(error) = self.shared.health.check_write() {
            return Box::pin(ready(Err(error)));
        }
        let (answer, answered) = oneshot::channel();
        let job = job(answer);
        if job.bytes() > ENTRY_LEN_MAX {
            return Box::pin(ready(Err(Error::Io(std::io::ErrorKind::InvalidInput))));
        }
        self.shared.queue.push(job);
        let shared = Arc::clone(&self.shared);
        let limit = self.limits.write;
        Box::pin(async move { bounded(&shared, limit, answered).await })
    }

    /// Has a thread of the drive read; the reply is what it found.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Reply<T> {
        if let Err(error) = self.shared.health.check() {
            return Box::pin(ready(Err(error)));
        }
        self.reader().read(read)
    }

    fn reader(&self) -> Reader {
        Reader {
            shared: Arc::clone(&self.shared),
            lane: self.lane.clone(),
        }
    }
}

impl Drop for LocalDrive {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts a thread whose panic ends the process: what it left half done is safe at any instant,
/// going on without it is not.
fn spawn(
    name: String,
    work: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, Error> {
    let drive = tracing::Span::current();
    let body = move || {
        let _drive = drive.enter();
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            std::process::abort();
        }
    };
    let spawned = thread::Builder::new().name(name).spawn(body);
    spawned.map_err(|error| Error::Io(error.kind()))
}

/// An answer within a limit.
async fn bounded<T>(
    shared: &Shared,
    limit: Duration,
    answered: oneshot::Receiver<Result<T, Error>>,
) -> Result<T, Error> {
    match timeout(limit, answered).await {
        Ok(Ok(result)) => {
            shared.health.note_answer();
            result
        }
        Ok(Err(_)) => Err(Error::Offline(Arc::from("stopped"))),
        Err(_) => {
            Counters::add(&shared.counters.timeouts, 1);
            if shared.health.note_timeout() {
                shared.chores.add(|chores| chores.hung = true);
            }
            Err(Error::Timeout)
        }
    }
}

/// Where a drive's reads go.
#[derive(Clone)]
pub(super) struct Lane {
    workers: Arc<Workers>,
    reading: Arc<AtomicUsize>,
    limit: Duration,
    waiting_max: usize,
}

impl Lane {
    fn new(limits: &Limits) -> Self {
        Self {
            workers: Arc::new(Workers::new("drive-read", limits.readers)),
            reading: Arc::default(),
            limit: limits.read,
            waiting_max: limits.reads_waiting,
        }
    }
}

/// What a read needs, so that its reply can outlive the call.
pub(super) struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) lane: Lane,
}

impl Reader {
    fn read<T: Send + 'static>(
        self,
        read: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Reply<T> {
        let lane = self.lane;
        if lane.reading.fetch_add(1, Ordering::Relaxed) >= lane.waiting_max {
            lane.reading.fetch_sub(1, Ordering::Relaxed);
            return Box::pin(ready(Err(Error::Timeout)));
        }
        let (answer, answered) = oneshot::channel();
        let (shared, reading) = (Arc::clone(&self.shared), Arc::clone(&lane.reading));
        let submitted = lane.workers.submit(Box::new(move |_| {
            reading.fetch_sub(1, Ordering::Relaxed);
            if !answer.is_closed() {
                let result = read(&shared);
                drop(shared);
                // Whoever asked may have stopped waiting.
                let _ = answer.send(result);
            }
        }));
        if let Err(error) = submitted {
            return Box::pin(ready(Err(error)));
        }
        Box::pin(async move { bounded(&self.shared, lane.limit, answered).await })
    }

    /// Rows, at once if they are in memory.
    fn rows(self, request: RowsRequest) -> Reply<Rows> {
        match self.shared.read_rows_now(&request) {
            Some(rows) => Box::pin(ready(Ok(rows))),
            None => self.read(move |shared| shared.read_rows(&request)),
        }
    }

    /// Bytes of a shard file of a generation above that one, at once if they are in memory.
    pub(super) fn shard(self, read: ShardRead, above: Option<u32>) -> Reply<Bytes> {
        if let Err(error) = self.shared.health.check() {
            return refused(error);
        }
        match self.shared.read_shard_now(&read, above) {
            Some(bytes) => Box::pin(ready(Ok(bytes))),
            None => self.read(move |shared| shared.read_shard(&read, above)),
        }
    }
}

fn refused<T: Send + 'static>(error: Error) -> Reply<T> {
    Box::pin(ready(Err(error)))
}

impl Drive for LocalDrive {
    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn status(&self) -> Status {
        self.shared.health.status()
    }

    fn commit(&self, commit: Commit) -> Reply<Committed> {
        if commit.row.head.kind == types::Kind::Object
            && let Err(error) = self.shared.health.check_growth()
        {
            return refused(error);
        }
        self.write(|answer| Job::Commit(Box::new(commit), answer))
    }

    fn rows(&self, request: RowsRequest) -> Reply<Rows> {
        if let Err(error) = self.shared.health.check() {
            return refused(error);
        }
        let reader = self.reader();
        let Some(fence) = request.raise else {
            return reader.rows(request);
        };
        let stored = self.shared.fence(fence.slot);
        if fence.epoch < stored {
            return refused(Error::Fenced { stored });
        }
        if fence.epoch == stored {
            return reader.rows(request);
        }
        let raised = self.write(|answer| Job::Raise(fence, answer));
        Box::pin(async move {
            raised.await?;
            reader.rows(request).await
        })
    }

    fn scan(&self, scan: Scan) -> Reply<ScanPage> {
        self.read(move |shared| shared.read_page(&scan))
    }

    fn settle(&self, settles: Settles) {
        if self.shared.health.check_write().is_err() {
            return;
        }
        self.shared.settled.write().take_in(&settles);
        let mut told = self.shared.told.lock();
        let first = told.marks.is_empty() && told.floors.is_empty();
        told.marks.extend(settles.marks);
        told.floors.extend(settles.floors);
        told.peers.extend(settles.peers);
        drop(told);
        if first {
            self.shared.chores.tell();
        }
    }

    fn discard(&self, discard: Discard) -> Reply<()> {
        self.write(|answer| Job::Discard(Box::new(discard), answer))
    }

    fn stage(&self, data: DataId, register: Arc<Register>) -> Reply<Box<dyn Stage>> {
        let begun = self.shared.health.check_growth();
        let begun = begun.and_then(|()| self.stages.begin(data, Register::clone(&register)));
        Box::pin(ready(begun))
    }

    fn read_shards(&self, files: Arc<[DataId]>) -> Box<dyn ShardReader> {
        Box::new(HeldFiles::new(self.reader(), files))
    }

    fn meta_write(&self, writes: Vec<MetaWrite>) -> Reply<()> {
        if writes.iter().any(|write| write.key.len() > META_KEY_MAX) {
            return refused(Error::Io(std::io::ErrorKind::InvalidInput));
        }
        self.write(|answer| Job::Meta(writes, answer))
    }

    fn meta_scan(&self, prefix: Bytes) -> Reply<Vec<(Bytes, Bytes)>> {
        self.read(move |shared| shared.read_meta(&prefix))
    }

    fn positions(&self) -> (u64, Vec<(u8, u64)>) {
        let position = self.shared.position.load(Ordering::Acquire);
        let peers: [u64; PEERS] = *self.shared.peers.lock();
        let known = (0u8..).zip(peers).filter(|(_, position)| *position > 0);
        (position, known.collect())
    }
}

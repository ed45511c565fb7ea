//! Staging as the async side sees it: a queue in front of the drive's writer threads.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use types::DataId;

use super::shards::ShardFiles;
use super::staging::StageFile;
use super::workers::{BUFFER_LEN, Submitter, ThreadBuffer, Workers};
use crate::contract::{Error, Reply, Stage, Staged};
use crate::register::Register;

/// Threads that write a drive's shard files: enough for the disk's queue, and for their syncs to
/// share a journal's commit.
pub(super) const THREADS_MAX: usize = 4;
/// KiB of frames that wait for a drive's threads, over all its stages.
const QUEUED_KIB_MAX: u32 = 8 << 10;

/// Begins stages on one drive. Dropping it lets what is queued be written.
#[derive(Debug)]
pub(crate) struct Stages {
    files: Arc<ShardFiles>,
    workers: Workers,
    room: Arc<Semaphore>,
    deadline: Duration,
}

impl Stages {
    /// For the drive of `files`. Whatever takes longer than `deadline` is [`Error::Timeout`] for
    /// its caller, while the thread that hangs keeps the bytes it writes.
    pub(crate) fn new(files: Arc<ShardFiles>, deadline: Duration) -> Self {
        let room = Arc::new(Semaphore::new(QUEUED_KIB_MAX as usize));
        Self {
            files,
            workers: Workers::new("drive-stage", THREADS_MAX),
            room,
            deadline,
        }
    }

    /// Begins a shard file. Does no I/O itself: the file is created with its first frames. A
    /// drive that hangs is refused at once.
    pub(crate) fn begin(&self, data: DataId, register: Register) -> Result<Box<dyn Stage>, Error> {
        if self.busy_for() >= self.deadline {
            return Err(Error::Timeout);
        }
        let work = Arc::new(Work {
            files: Arc::clone(&self.files),
            submitter: self.workers.submitter(),
            data,
            register,
            progress: Mutex::default(),
        });
        Ok(Box::new(Handle {
            work,
            room: Arc::clone(&self.room),
            deadline: self.deadline,
            finished: false,
        }))
    }

    #[cfg(test)]
    pub(super) fn workers(&self) -> &Workers {
        &self.workers
    }

    /// How long the slowest write or sync under way has been at it.
    pub(crate) fn busy_for(&self) -> Duration {
        self.workers.busy_for()
    }
}

/// One stage, shared by its handle and the thread that is at it.
struct Work {
    files: Arc<ShardFiles>,
    submitter: Submitter,
    data: DataId,
    register: Register,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    queued: VecDeque<Queued>,
    file: Option<StageFile>,
    end: Option<End>,
    // A job for this stage is queued or runs: at most one, so that frames stay in order.
    scheduled: bool,
    failed: Option<Error>,
}

struct Queued {
    frames: Bytes,
    // Given back when the frames are written or dropped.
    _room: OwnedSemaphorePermit,
}

/// How a stage ends.
enum End {
    Finish(oneshot::Sender<Result<Staged, Error>>),
    Discard,
}

impl Work {
    /// Changes what is to be done and sees to it that a thread does it.
    fn update(self: &Arc<Self>, change: impl FnOnce(&mut Progress)) -> Result<(), Error> {
        {
            let progress = &mut *self.progress.lock();
            if let Some(error) = &progress.failed {
                return Err(error.clone());
            }
            change(progress);
            if progress.scheduled || progress.is_idle() {
                return Ok(());
            }
            progress.scheduled = true;
        }
        self.schedule()
    }

    fn schedule(self: &Arc<Self>) -> Result<(), Error> {
        let work = Arc::clone(self);
        let submitted = self
            .submitter
            .submit(Box::new(move |buffer| work.run(buffer)));
        submitted.inspect_err(|error| self.progress.lock().fail(error.clone()))
    }

    /// One turn of a thread: a buffer full of frames, and the end if nothing is left before it.
    fn run(self: &Arc<Self>, buffer: &mut ThreadBuffer) {
        let (batch, file, end) = self.progress.lock().take();
        let result = match end {
            None => self.append(file, &batch, buffer).map(Some),
            // Its file goes with it.
            Some(End::Discard) => Ok(None),
            Some(End::Finish(answer)) => {
                self.finish(file, &batch, buffer, answer);
                Ok(None)
            }
        };
        drop(batch);
        {
            let progress = &mut *self.progress.lock();
            match result {
                Ok(file) => progress.file = file,
                Err(error) => return progress.fail(error),
            }
            progress.scheduled = !progress.queued.is_empty() || progress.end.is_some();
            if !progress.scheduled {
                return;
            }
        }
        // A refusal is kept in the progress, where the handle finds it.
        let _ = self.schedule();
    }

    fn append(
        &self,
        file: Option<StageFile>,
        batch: &[Queued],
        buffer: &mut ThreadBuffer,
    ) -> Result<StageFile, Error> {
        let mut file = self.opened(file)?;
        file.append(&frames_of(batch), buffer.aligned())?;
        Ok(file)
    }

    fn finish(
        &self,
        file: Option<StageFile>,
        batch: &[Queued],
        buffer: &mut ThreadBuffer,
        answer: oneshot::Sender<Result<Staged, Error>>,
    ) {
        if answer.is_closed() {
            return;
        }
        let finished = self
            .opened(file)
            .and_then(|file| self.files.finish(file, &frames_of(batch), buffer.aligned()));
        if let Err(Ok(_)) = answer.send(finished) {
            // Whoever wanted it gave up meanwhile.
            self.files.discard_staged(self.data);
        }
    }

    fn opened(&self, file: Option<StageFile>) -> Result<StageFile, Error> {
        file.map_or_else(|| self.files.create(self.data, self.register.clone()), Ok)
    }
}

impl Progress {
    /// Nothing to write and nothing to remove.
    fn is_idle(&self) -> bool {
        let nothing_begun = self.queued.is_empty() && self.file.is_none();
        matches!(self.end, None | Some(End::Discard)) && nothing_begun
    }

    fn take(&mut self) -> (Vec<Queued>, Option<StageFile>, Option<End>) {
        let unwanted = match &self.end {
            None => false,
            Some(End::Discard) => true,
            Some(End::Finish(answer)) => answer.is_closed(),
        };
        if unwanted {
            self.queued.clear();
        }
        let mut len = 0;
        let mut batch = Vec::new();
        while let Some(next) = self.queued.pop_front() {
            len += next.frames.len();
            batch.push(next);
            if len >= BUFFER_LEN {
                break;
            }
        }
        let end = if self.queued.is_empty() {
            self.end.take()
        } else {
            None
        };
        (batch, self.file.take(), end)
    }

    fn fail(&mut self, error: Error) {
        self.queued.clear();
        self.file = None;
        self.scheduled = false;
        if let Some(End::Finish(answer)) = self.end.take() {
            let _ = answer.send(Err(error.clone()));
        }
        self.failed = Some(error);
    }
}

fn frames_of(batch: &[Queued]) -> Vec<Bytes> {
    batch.iter().map(|queued| queued.frames.clone()).collect()
}

/// The async end of a stage.
struct Handle {
    work: Arc<Work>,
    room: Arc<Semaphore>,
    deadline: Duration,
    finished: bool,
}

impl Stage for Handle {
    fn append(
        &mut self,
        frames: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>> {
        Box::pin(async move {
            if frames.is_empty() {
                return Ok(());
            }
            let kib = u32::try_from(frames.len().div_ceil(1024)).unwrap_or(u32::MAX);
            let room = Arc::clone(&self.room).acquire_many_owned(kib.min(QUEUED_KIB_MAX));
            let room = timeout(self.deadline, room)
                .await
                .map_err(|_| Error::Timeout)?;
            let room = room.expect("the semaphore is never closed");
            self.work.update(|progress| {
                progress.queued.push_back(Queued {
                    frames,
                    _room: room,
                })
            })
        })
    }

    fn finish(mut self: Box<Self>) -> Reply<Staged> {
        let (answer, reply) = oneshot::channel();
        let asked = self
            .work
            .update(|progress| progress.end = Some(End::Finish(answer)));
        self.finished = asked.is_ok();
        let deadline = self.deadline;
        Box::pin(async move {
            asked?;
            match timeout(deadline, reply).await {
                Ok(Ok(finished)) => finished,
                // The job panicked, or its drive was closed.
                Ok(Err(_)) => Err(Error::Offline(Arc::from("the writer stopped"))),
                Err(_) => Err(Error::Timeout),
            }
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.finished {
            // A stage that failed has discarded itself already.
            let _ = self
                .work
                .update(|progress| progress.end = Some(End::Discard));
        }
    }
}

//! MD5 of many uploads at once.
//!
//! One MD5 is a chain that no machine makes faster; sixteen of them side by side cost little
//! more than one. So threads take whatever streams wait, and advance them in step; a stream that
//! has more waits again at once, so that the lanes stay full and no chain waits for its upload.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use erasure::Md5;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Blocks of one stream that may wait: what it takes that its chain never does.
const AHEAD: u32 = 2;

/// How long a block waits, at most, for others to be hashed with, while its upload goes on.
const GATHER: Duration = Duration::from_millis(16);
/// The same for a block whose upload waits for its hash. The shards are on their way to the disk
/// meanwhile, which takes about as long.
const GATHER_PRESSING: Duration = Duration::from_millis(4);

/// Threads that hash: with two, a lone upload's neighbour does not wait for its whole block.
const THREADS: usize = 2;

/// Where long bodies are hashed, off the async threads.
pub(crate) struct Md5Lanes {
    queue: Arc<Queue>,
}

/// The hash of one body in the making.
pub(crate) struct Md5Stream {
    queue: Arc<Queue>,
    stream: Arc<Stream>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    news: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// Each stream at most once: a thread takes one block of it, and then puts it back.
    streams: VecDeque<Arc<Stream>>,
    /// Since when the first of them waits.
    since: Option<Instant>,
    /// Since when an upload waits for one of them.
    pressing_since: Option<Instant>,
    /// Streams that are not finished.
    alive: usize,
    closed: bool,
}

impl Waiting {
    /// How long what waits may go on waiting before one more thread hashes; `None` if nothing
    /// waits. Few streams are shared out over the threads. More gather, so that they fill the
    /// lanes of one thread: sixteen side by side cost what two cost one after the other.
    fn patience(&self) -> Option<Duration> {
        if self.streams.is_empty() {
            return None;
        }
        let few = self.alive <= THREADS;
        let all = self.streams.len() >= self.alive.min(Md5::lanes());
        if few || all {
            return Some(Duration::ZERO);
        }
        let left = |most: Duration, since: Option<Instant>| {
            since.map_or(most, |since| most.saturating_sub(since.elapsed()))
        };
        let patience = left(GATHER, self.since);
        Some(patience.min(left(GATHER_PRESSING, self.pressing_since)))
    }

    fn push(&mut self, streams: impl IntoIterator<Item = Arc<Stream>>) {
        self.streams.extend(streams);
        if !self.streams.is_empty() {
            self.since.get_or_insert_with(Instant::now);
        }
    }

    /// What a thread takes at once.
    fn take(&mut self) -> Vec<Arc<Stream>> {
        let most = if self.alive <= THREADS {
            1
        } else {
            Md5::lanes()
        };
        let count = self.streams.len().min(most);
        let taken = self.streams.drain(..count).collect();
        let rest = (!self.streams.is_empty()).then(Instant::now);
        (self.since, self.pressing_since) = (rest, rest);
        taken
    }
}

impl Queue {
    /// An upload waits for its hash from now on.
    fn press(&self) {
        let mut waiting = self.waiting.lock();
        if !waiting.streams.is_empty() {
            waiting.pressing_since.get_or_insert_with(Instant::now);
            self.news.notify_one();
        }
    }
}

struct Stream {
    progress: Mutex<Progress>,
    /// For blocks that wait. Closed if the hash is lost.
    room: Arc<Semaphore>,
}

struct Progress {
    /// `None` while a thread advances it.
    state: Option<Md5>,
    blocks: VecDeque<Block>,
    /// Whether it waits in the queue or is in a thread's hands.
    scheduled: bool,
}

struct Block {
    pieces: Vec<Bytes>,
    /// Given back once the block is hashed.
    _room: OwnedSemaphorePermit,
}

/// A block in a thread's hands.
struct Job {
    stream: Arc<Stream>,
    state: Md5,
    block: Block,
}

impl Md5Lanes {
    /// Starts the threads; they end when this is dropped.
    pub(crate) fn new() -> Self {
        let queue = Arc::new(Queue::default());
        for _ in 0..THREADS {
            let queue = Arc::clone(&queue);
            // Without its thread an upload would wait for ever; there is no service without it.
            thread::Builder::new()
                .name("store-md5".to_owned())
                .spawn(move || run(&queue))
                .expect("a process can start a thread");
        }
        Self { queue }
    }

    /// The hash of nothing yet.
    pub(crate) fn stream(&self) -> Md5Stream {
        let progress = Progress {
            state: Some(Md5::new()),
            blocks: VecDeque::new(),
            scheduled: false,
        };
        let stream = Stream {
            progress: Mutex::new(progress),
            room: Arc::new(Semaphore::new(AHEAD as usize)),
        };
        self.queue.waiting.lock().alive += 1;
        Md5Stream {
            queue: Arc::clone(&self.queue),
            stream: Arc::new(stream),
        }
    }
}

impl Md5Stream {
    /// Takes in a block's bytes; waits while too many wait before them. `false` if the hash is
    /// lost.
    pub(crate) async fn update(&mut self, pieces: Vec<Bytes>) -> bool {
        let Ok(room) = Arc::clone(&self.stream.room).acquire_owned().await else {
            return false;
        };
        let block = Block {
            pieces,
            _room: room,
        };
        let (first, full) = {
            let mut progress = self.stream.progress.lock();
            progress.blocks.push_back(block);
            let full = progress.blocks.len() >= AHEAD as usize;
            (!std::mem::replace(&mut progress.scheduled, true), full)
        };
        if first {
            let stream = Arc::clone(&self.stream);
            self.queue.waiting.lock().push([stream]);
            self.queue.news.notify_one();
        }
        if full {
            self.queue.press();
        }
        true
    }

    /// The hash of everything; `None` if it is lost.
    pub(crate) async fn finish(self) -> Option<[u8; 16]> {
        self.queue.press();
        // All room is free once every block is hashed.
        let _all = self.stream.room.acquire_many(AHEAD).await.ok()?;
        let state = self.stream.progress.lock().state.take();
        state.map(Md5::finalize)
    }
}

impl Drop for Md5Stream {
    fn drop(&mut self) {
        self.queue.waiting.lock().alive -= 1;
    }
}

impl Drop for Md5Lanes {
    fn drop(&mut self) {
        self.queue.waiting.lock().closed = true;
        self.queue.news.notify_all();
    }
}

fn run(queue: &Queue) {
    loop {
        let mut waiting = queue.waiting.lock();
        loop {
            match waiting.patience() {
                None if waiting.closed => return,
                None => queue.news.wait(&mut waiting),
                Some(Duration::ZERO) => break,
                Some(patience) => {
                    queue.news.wait_for(&mut waiting, patience);
                }
            }
        }
        let streams = waiting.take();
        drop(waiting);
        let mut jobs: Vec<Job> = streams.into_iter().filter_map(take).collect();
        let again: Vec<Arc<Stream>> = match catch_unwind(AssertUnwindSafe(|| hash(&mut jobs))) {
            Ok(()) => jobs.into_iter().filter_map(put_back).collect(),
            Err(_) => {
                tracing::error!("hashing panicked");
                jobs.iter().for_each(|job| job.stream.room.close());
                Vec::new()
            }
        };
        queue.waiting.lock().push(again);
    }
}

/// The next block of a stream.
fn take(stream: Arc<Stream>) -> Option<Job> {
    let (state, block) = {
        let mut progress = stream.progress.lock();
        (progress.state.take()?, progress.blocks.pop_front()?)
    };
    Some(Job {
        stream,
        state,
        block,
    })
}

/// Leaves the hash with its stream, which comes back if it has more to do.
fn put_back(job: Job) -> Option<Arc<Stream>> {
    let more = {
        let mut progress = job.stream.progress.lock();
        progress.state = Some(job.state);
        progress.scheduled = !progress.blocks.is_empty();
        progress.scheduled
    };
    // Only now does its room tell that the block is hashed.
    drop(job.block);
    more.then_some(job.stream)
}

/// Advances all jobs, piece by piece, in step.
fn hash(jobs: &mut [Job]) {
    let pieces = |job: &Job| job.block.pieces.len();
    let rounds = jobs.iter().map(pieces).max().unwrap_or(0);
    for round in 0..rounds {
        let step = |job| {
            let Job { state, block, .. }: &mut Job = job;
            block.pieces.get(round).map(|piece| (state, &piece[..]))
        };
        let mut lanes: Vec<(&mut Md5, &[u8])> = jobs.iter_mut().filter_map(step).collect();
        Md5::update_together(&mut lanes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_streams_side_by_side_hash_as_one_alone() {
        let lanes = Md5Lanes::new();
        let body = |stream: usize| vec![u8::try_from(stream).unwrap(); 1000 + 64 * stream];
        let hashes = futures_util::future::join_all((0..40).map(|number| {
            let mut stream = lanes.stream();
            async move {
                for block in body(number).chunks(100) {
                    let pieces = block.chunks(30).map(Bytes::copy_from_slice).collect();
                    assert!(stream.update(pieces).await);
                }
                stream.finish().await
            }
        }));
        for (number, hash) in hashes.await.into_iter().enumerate() {
            let mut alone = Md5::new();
            alone.update(&body(number));
            assert_eq!(hash, Some(alone.finalize()), "{number}");
        }
    }
}

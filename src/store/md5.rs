//! MD5 of many uploads at once.
//!
//! One MD5 is a chain that no machine makes faster; sixteen of them side by side cost little
//! more than one. So one thread takes whatever waits, and advances all of it in step.

use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use erasure::Md5;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// What a stream wants hashed next.
struct Job {
    state: Md5,
    pieces: Vec<Bytes>,
    answer: oneshot::Sender<Md5>,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Job>,
    /// Threads that hash just now.
    busy: usize,
    closed: bool,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    news: Condvar,
}

/// Threads that hash: with two, a lone upload's neighbour does not wait for its whole block.
const THREADS: usize = 2;

/// Where long bodies are hashed, off the async threads.
pub(crate) struct Md5Lanes {
    queue: Arc<Queue>,
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

    /// Takes in more bytes. `None` when the process stops.
    pub(crate) async fn update(&self, state: Md5, pieces: Vec<Bytes>) -> Option<Md5> {
        let (answer, answered) = oneshot::channel();
        self.queue.waiting.lock().jobs.push(Job {
            state,
            pieces,
            answer,
        });
        self.queue.news.notify_one();
        answered.await.ok()
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
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return;
            }
            queue.news.wait(&mut waiting);
        }
        // Few streams are shared out over the threads; many fill the lanes of one.
        let idle = THREADS - waiting.busy;
        let fair = waiting.jobs.len().div_ceil(idle.max(1));
        let count = if waiting.jobs.len() <= THREADS {
            fair
        } else {
            waiting.jobs.len().min(Md5::lanes())
        };
        let mut jobs: Vec<Job> = waiting.jobs.drain(..count).collect();
        waiting.busy += 1;
        drop(waiting);
        hash(&mut jobs);
        queue.waiting.lock().busy -= 1;
        for job in jobs {
            // An upload that is gone needs no answer.
            let _ = job.answer.send(job.state);
        }
    }
}

/// Advances all jobs, piece by piece, in step.
fn hash(jobs: &mut [Job]) {
    let rounds = jobs.iter().map(|job| job.pieces.len()).max().unwrap_or(0);
    for round in 0..rounds {
        let step = |job| {
            let Job { state, pieces, .. }: &mut Job = job;
            pieces.get(round).map(|piece| (state, &piece[..]))
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
        let states = futures_util::future::join_all((0..40).map(|stream| {
            let pieces = body(stream)
                .chunks(300)
                .map(Bytes::copy_from_slice)
                .collect();
            lanes.update(Md5::new(), pieces)
        }));
        for (stream, state) in states.await.into_iter().enumerate() {
            let mut alone = Md5::new();
            alone.update(&body(stream));
            assert_eq!(state.unwrap().finalize(), alone.finalize(), "{stream}");
        }
    }
}

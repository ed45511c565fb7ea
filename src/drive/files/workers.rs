//! Threads of one drive for calls that block: a hung disk holds these and nobody else.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::aligned::AlignedBuffer;
use crate::contract::Error;

/// A thread that had nothing to do for so long ends, and its buffer with it.
const IDLE_MAX: Duration = Duration::from_secs(2);
/// Bytes that a thread writes in one call.
pub(super) const BUFFER_LEN: usize = 1 << 20;

/// What a thread runs. It may use the thread's buffer while it runs.
pub(crate) type Job = Box<dyn FnOnce(&mut ThreadBuffer) + Send>;

/// A thread's own aligned buffer, made when first used.
#[derive(Debug, Default)]
pub(crate) struct ThreadBuffer(Option<AlignedBuffer>);

impl ThreadBuffer {
    /// The buffer, with whatever is in it.
    pub(crate) fn aligned(&mut self) -> &mut AlignedBuffer {
        self.0.get_or_insert_with(|| AlignedBuffer::new(BUFFER_LEN))
    }
}

/// A few threads, started when there is work and gone when there is none. Dropping the value
/// lets them finish what is queued; it does not wait for them, since a disk may never return.
#[derive(Debug)]
pub(crate) struct Workers {
    pool: Arc<Pool>,
}

struct Pool {
    name: String,
    threads_max: usize,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    // Bounded by what its submitters have under way: each has one job here at most.
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    // The jobs that run, by a number of their own, and since when.
    running: BTreeMap<u64, Instant>,
    jobs_begun: u64,
    closed: bool,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Workers {
    /// No threads yet; up to `threads_max`, named `name`, as work comes.
    pub(crate) fn new(name: &str, threads_max: usize) -> Self {
        let pool = Pool {
            name: name.to_owned(),
            threads_max,
            state: Mutex::default(),
            work: Condvar::new(),
        };
        Self {
            pool: Arc::new(pool),
        }
    }

    /// Has a thread run the job, in the order of submission. Never blocks on the disk. Fails
    /// only if there is no thread and none can be started.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Error> {
        submit(&self.pool, job)
    }

    /// For jobs that submit what is left of their work.
    pub(crate) fn submitter(&self) -> Submitter {
        Submitter(Arc::clone(&self.pool))
    }

    /// How long the job that takes longest has been running; zero if none is.
    pub(crate) fn busy_for(&self) -> Duration {
        let since = self.pool.state.lock().running.values().min().copied();
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.pool.state.lock().closed = true;
        self.pool.work.notify_all();
    }
}

/// Submits to [`Workers`] without keeping their threads alive.
#[derive(Debug, Clone)]
pub(crate) struct Submitter(Arc<Pool>);

impl Submitter {
    /// As [`Workers::submit`].
    pub(crate) fn submit(&self, job: Job) -> Result<(), Error> {
        submit(&self.0, job)
    }
}

fn submit(pool: &Arc<Pool>, job: Job) -> Result<(), Error> {
    let mut state = pool.state.lock();
    state.queue.push_back(job);
    if state.queue.len() <= state.idle {
        drop(state);
        pool.work.notify_one();
    } else if state.threads < pool.threads_max {
        let own = Arc::clone(pool);
        match thread::Builder::new()
            .name(pool.name.clone())
            .spawn(move || work(&own))
        {
            Ok(_) => state.threads += 1,
            Err(error) if state.threads == 0 => {
                state.queue.pop_back();
                return Err(Error::Io(error.kind()));
            }
            // Those that run will come to it.
            Err(_) => {}
        }
    }
    Ok(())
}

/// The life of a thread.
fn work(pool: &Pool) {
    let mut buffer = ThreadBuffer::default();
    let mut state = pool.state.lock();
    loop {
        if let Some(job) = state.queue.pop_front() {
            state.jobs_begun += 1;
            let number = state.jobs_begun;
            state.running.insert(number, Instant::now());
            drop(state);
            // A panic ends the job; whoever waits for it finds its channel closed.
            let ended = catch_unwind(AssertUnwindSafe(|| job(&mut buffer)));
            if ended.is_err() {
                tracing::error!(pool = pool.name, "a job panicked");
            }
            state = pool.state.lock();
            state.running.remove(&number);
        } else if state.closed {
            break;
        } else {
            state.idle += 1;
            let timed_out = pool.work.wait_for(&mut state, IDLE_MAX).timed_out();
            state.idle -= 1;
            if timed_out && state.queue.is_empty() {
                break;
            }
        }
    }
    state.threads -= 1;
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_run_at_the_same_time_up_to_the_bound() {
        let workers = Workers::new("test", 2);
        let (started, starts) = mpsc::channel();
        let gates: Vec<mpsc::Sender<()>> = (0..3)
            .map(|number| {
                let (open, gate) = mpsc::channel::<()>();
                let started = started.clone();
                let job = move |_: &mut ThreadBuffer| {
                    started.send(number).unwrap();
                    let _ = gate.recv();
                };
                workers.submit(Box::new(job)).unwrap();
                open
            })
            .collect();
        let mut first = [starts.recv().unwrap(), starts.recv().unwrap()];
        first.sort_unstable();
        assert_eq!(first, [0, 1]);
        assert!(starts.try_recv().is_err(), "the third waits for a thread");
        assert!(workers.busy_for() > Duration::ZERO);
        drop(gates);
        assert_eq!(starts.recv(), Ok(2));
    }

    #[test]
    fn a_panic_costs_one_job_and_no_thread() {
        let workers = Workers::new("test", 1);
        let (done, finished) = mpsc::channel();
        workers.submit(Box::new(|_| panic!("one job"))).unwrap();
        workers
            .submit(Box::new(move |_| done.send(()).unwrap()))
            .unwrap();
        assert_eq!(finished.recv(), Ok(()));
    }

    #[test]
    fn what_was_queued_is_done_although_the_workers_are_dropped() {
        let workers = Workers::new("test", 1);
        let (done, finished) = mpsc::channel();
        for number in 0..10 {
            let done = done.clone();
            workers
                .submit(Box::new(move |_| done.send(number).unwrap()))
                .unwrap();
        }
        drop((workers, done));
        assert_eq!(
            finished.iter().collect::<Vec<i32>>(),
            (0..10).collect::<Vec<i32>>()
        );
    }
}

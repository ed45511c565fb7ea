//! What a candidate must do, and group commit in front of it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Result, anyhow};

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// An ordered, durable map.
pub trait Engine: Send + Sync {
    /// Makes all rows durable, all or none, before it returns.
    fn commit(&self, rows: &[Row]) -> Result<()>;
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// Visits all rows in order of their keys.
    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()>;
    /// Counts all rows, as a listing visits them.
    fn list(&self) -> Result<u64> {
        let mut count = 0;
        self.scan(&mut |_, _| count += 1)?;
        Ok(count)
    }
}

/// Durable puts of single rows by many writers.
pub trait Put: Send + Sync {
    /// Returns when the row is durable.
    fn put(&self, row: Row) -> Result<()>;
}

/// Every writer commits for itself.
pub struct Direct(pub Arc<dyn Engine>);

impl Put for Direct {
    fn put(&self, row: Row) -> Result<()> {
        self.0.commit(&[row])
    }
}

#[derive(Default)]
struct Queue {
    pending: Vec<Row>,
    /// Number of the batch that `pending` becomes.
    filling: u64,
    /// Batches up to this one are done.
    done: u64,
    failed: bool,
    ended: bool,
}

/// One thread commits what came in meanwhile as one batch; no timer.
pub struct Batched {
    shared: Arc<(Mutex<Queue>, Condvar, Condvar)>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Batched {
    /// Starts the committer.
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        let queue = Queue {
            filling: 1,
            ..Queue::default()
        };
        let shared = Arc::new((Mutex::new(queue), Condvar::new(), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let thread = Some(thread::spawn(move || committer(&*engine, &theirs)));
        Self { shared, thread }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn committer(engine: &dyn Engine, shared: &(Mutex<Queue>, Condvar, Condvar)) {
    let (queue, arrived, finished) = shared;
    loop {
        let mut state = lock(queue);
        while state.pending.is_empty() && !state.ended {
            state = arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.pending.is_empty() {
            return;
        }
        let rows = std::mem::take(&mut state.pending);
        let number = state.filling;
        state.filling += 1;
        drop(state);
        let outcome = engine.commit(&rows);
        let mut state = lock(queue);
        state.done = number;
        state.failed |= outcome.is_err();
        drop(state);
        finished.notify_all();
    }
}

impl Put for Batched {
    fn put(&self, row: Row) -> Result<()> {
        let (queue, arrived, finished) = &*self.shared;
        let mut state = lock(queue);
        state.pending.push(row);
        let mine = state.filling;
        arrived.notify_one();
        while state.done < mine {
            state = finished.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // A failed sync is final: nothing after it is trusted.
        if state.failed {
            return Err(anyhow!("the committer failed"));
        }
        Ok(())
    }
}

impl Drop for Batched {
    fn drop(&mut self) {
        lock(&self.shared.0).ended = true;
        self.shared.1.notify_one();
        if let Some(thread) = self.thread.take() {
            // A committer that panicked has nothing left to wait for.
            let _ended = thread.join();
        }
    }
}

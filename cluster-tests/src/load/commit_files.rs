//! The baseline of a file per object: each object is committed on several directories at
//! once, on each by create, write, fsync, rename and a sync of the directory.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{Result, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::body::Bodies;
use super::report::{Report, Tally, process_cpu};

/// How many of what.
#[derive(Debug, Clone, clap::Args)]
pub struct Commits {
    /// One directory per drive; made if missing.
    #[arg(required = true)]
    pub directories: Vec<PathBuf>,
    /// Bytes of each file: a shard and its record.
    #[arg(long, default_value_t = 2560)]
    pub size: u64,
    /// Objects in flight.
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// Threads per directory.
    #[arg(long, default_value_t = 16)]
    pub threads: usize,
    /// Objects.
    #[arg(long, default_value_t = 10_000)]
    pub ops: u64,
}

/// One object on its way: how many directories are not done, and what went wrong.
type Pending = Arc<(Mutex<(usize, Option<std::io::Error>)>, Condvar)>;

/// The jobs of one directory; `None` ends a thread.
#[derive(Default)]
struct Queue {
    jobs: Mutex<VecDeque<Option<(u64, Pending)>>>,
    waiting: Condvar,
}

impl Queue {
    fn push(&self, job: Option<(u64, Pending)>) {
        lock(&self.jobs).push_back(job);
        self.waiting.notify_one();
    }

    fn pop(&self) -> Option<(u64, Pending)> {
        let mut jobs = lock(&self.jobs);
        loop {
            if let Some(job) = jobs.pop_front() {
                return job;
            }
            jobs = self
                .waiting
                .wait(jobs)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Commits objects and reports on it.
///
/// # Errors
/// The first failure of any file operation.
pub fn run(commits: &Commits) -> Result<Report> {
    let body: Vec<u8> = Bodies::new().piece(0, 0, commits.size).to_vec();
    let queues: Vec<_> = commits
        .directories
        .iter()
        .map(|_| Queue::default())
        .collect();
    for directory in &commits.directories {
        fs::create_dir_all(directory)?;
    }
    let next = AtomicU64::new(0);
    let (started, cpu) = (Instant::now(), process_cpu());
    let tally = thread::scope(|scope| {
        for (directory, queue) in commits.directories.iter().zip(&queues) {
            for _ in 0..commits.threads {
                scope.spawn(|| drive(directory, queue, &body));
            }
        }
        let clients: Vec<_> = (0..commits.clients)
            .map(|_| scope.spawn(|| client(&queues, &next, commits.ops)))
            .collect();
        let mut all: Result<_> = Ok(Tally::default());
        for client in clients {
            let part = client
                .join()
                .unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()));
            all = all.and_then(|mut tally| {
                tally.merge(part?);
                Ok(tally)
            });
        }
        for queue in &queues {
            (0..commits.threads).for_each(|_| queue.push(None));
        }
        all
    })?;
    let (wall, cpu) = (started.elapsed(), process_cpu().saturating_sub(cpu));
    Ok(Report::new(
        "commit-files",
        commits.size,
        commits.clients,
        wall,
        cpu,
        tally,
    ))
}

fn client(queues: &[Queue], next: &AtomicU64, ops: u64) -> Result<Tally> {
    let mut tally = Tally::default();
    loop {
        let object = next.fetch_add(1, Ordering::Relaxed);
        if object >= ops {
            return Ok(tally);
        }
        let started = Instant::now();
        let pending: Pending = Arc::new((Mutex::new((queues.len(), None)), Condvar::new()));
        for queue in queues {
            queue.push(Some((object, Arc::clone(&pending))));
        }
        let (state, done) = &*pending;
        let mut state = lock(state);
        while state.0 > 0 {
            state = done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(error) = state.1.take() {
            return Err(error);
        }
        let micros = started.elapsed().as_micros();
        tally.micros.push(u32::try_from(micros).unwrap_or(u32::MAX));
    }
}

fn drive(directory: &Path, queue: &Queue, body: &[u8]) {
    while let Some((object, pending)) = queue.pop() {
        let outcome = commit(directory, object, body);
        let (state, done) = &*pending;
        let mut state = lock(state);
        state.0 -= 1;
        state.1 = state.1.take().or(outcome.err());
        drop(state);
        done.notify_one();
    }
}

/// Spread over 64 directories, which is what is quickest on most file systems.
fn commit(directory: &Path, object: u64, body: &[u8]) -> Result<()> {
    let home = directory.join(format!("{:02x}", object % 64));
    let staged = directory.join(format!("staged-{object}"));
    let mut file = File::create_new(&staged)?;
    file.write_all(body)?;
    file.sync_all()?;
    drop(file);
    if !home.exists() {
        fs::create_dir_all(&home)?;
        File::open(directory)?.sync_all()?;
    }
    fs::rename(&staged, home.join(object.to_string()))?;
    File::open(&home)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{Commits, run};

    #[test]
    fn every_object_is_a_file_in_every_directory() {
        let root = std::env::temp_dir().join(format!("commit-files-{}", std::process::id()));
        let directories = vec![root.join("a"), root.join("b")];
        let commits = Commits {
            directories,
            size: 100,
            clients: 4,
            threads: 2,
            ops: 50,
        };
        let report = run(&commits).unwrap();
        assert_eq!(report.ops, 50);
        assert_eq!(std::fs::read(root.join("b/07/7")).unwrap().len(), 100);
        assert!(
            run(&commits).is_ok(),
            "a second run replaces the files of the first"
        );
        std::fs::remove_dir_all(root).unwrap();
    }
}

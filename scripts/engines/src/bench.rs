//! The benchmark. Each candidate runs in a process of its own, so that memory is its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};

use crate::candidates::Candidate;
use crate::engine::{Batched, Direct, Engine, Put};
use crate::rows::{key, splitmix, value};

/// Writers at once.
const WRITERS: [usize; 4] = [1, 8, 32, 64];
/// Rows of a batch while filling.
const FILL: u64 = 1000;
/// Keys of the hot set.
const HOT: u64 = 10_000;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only this one, in this process.
    #[arg(long, value_enum)]
    engine: Option<Candidate>,
    /// Where the stores go; emptied.
    #[arg(long, default_value = "target/bench")]
    directory: PathBuf,
    /// Rows of the large store.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Seconds of each put measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

/// Prints the table.
pub fn run(options: &Options) -> Result<()> {
    if let Some(engine) = options.engine {
        return measure(engine, options);
    }
    println!(
        "| | put 1 | 8 | 32 | 64 | batched 1 | 8 | 32 | 64 | CPU us/put | fill | disk MiB | reopen ms | get | scan | RSS MiB opened / read |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for engine in <Candidate as clap::ValueEnum>::value_variants() {
        let mut child = Command::new(std::env::current_exe()?);
        child.args(["bench", "--engine", engine.name(), "--directory"]);
        child.arg(&options.directory);
        child.args([
            "--rows",
            &options.rows.to_string(),
            "--seconds",
            &options.seconds.to_string(),
        ]);
        ensure!(child.status()?.success(), "{} failed", engine.name());
    }
    Ok(())
}

fn measure(engine: Candidate, options: &Options) -> Result<()> {
    let directory = options.directory.join(engine.name());
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    std::fs::create_dir_all(&directory)?;
    let mut line = format!("| {} ", engine.name());
    let length = Duration::from_secs_f64(options.seconds);
    let mut cpu = Vec::new();
    for batched in [false, true] {
        for writers in WRITERS {
            let home = directory.join(format!("put-{batched}-{writers}"));
            let (rate, each) = puts(&engine.open(&home)?, batched, writers, length)?;
            line += &format!("| {rate:.0} ");
            cpu.push(each);
            std::fs::remove_dir_all(&home)?;
        }
    }
    // Of 64 writers, direct and batched.
    line += &format!("| {:.0} / {:.0} ", cpu[3], cpu[7]);
    let home = directory.join("large");
    let started = Instant::now();
    {
        let store = engine.open(&home)?;
        // In an order unlike that of the keys, as objects come.
        for batch in 0..options.rows / FILL {
            let number = |index: u64| scattered(batch * FILL + index, options.rows);
            let rows: Vec<_> = (0..FILL)
                .map(|i| (key(number(i)), value(number(i), 1)))
                .collect();
            store.commit(&rows)?;
        }
    }
    let rate = options.rows as f64 / started.elapsed().as_secs_f64();
    line += &format!("| {rate:.0} | {:.0} ", disk(&home)?);
    let mut child = Command::new(std::env::current_exe()?);
    child
        .args(["reopen", engine.name()])
        .arg(&home)
        .arg(options.rows.to_string());
    let output = child.output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{line}{}", String::from_utf8(output.stdout)?.trim_end());
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

/// A bijection on `0..rows` for `rows` that 7,919 does not divide.
fn scattered(index: u64, rows: u64) -> u64 {
    index * 7919 % rows
}

/// Puts per second, and CPU microseconds per put.
fn puts(
    store: &Arc<dyn Engine>,
    batched: bool,
    writers: usize,
    length: Duration,
) -> Result<(f64, f64)> {
    let put: Arc<dyn Put> = match batched {
        true => Arc::new(Batched::new(Arc::clone(store))),
        false => Arc::new(Direct(Arc::clone(store))),
    };
    let next = Arc::new(AtomicU64::new(0));
    let (started, cpu) = (Instant::now(), process_cpu());
    let threads: Vec<_> = (0..writers)
        .map(|_| {
            let (put, next) = (Arc::clone(&put), Arc::clone(&next));
            thread::spawn(move || -> Result<u64> {
                let mut count = 0;
                while started.elapsed() < length {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    put.put((key(scattered(number, 1_000_003)), value(number, 1)))?;
                    count += 1;
                }
                Ok(count)
            })
        })
        .collect();
    let mut count = 0;
    for thread in threads {
        count += thread.join().ok().context("a writer panicked")??;
    }
    let (wall, cpu) = (started.elapsed(), process_cpu().saturating_sub(cpu));
    let count = count as f64;
    Ok((count / wall.as_secs_f64(), cpu.as_secs_f64() * 1e6 / count))
}

/// Opens the large store in a fresh process: start, hot gets, scan, memory.
pub fn reopen(engine: Candidate, directory: &Path, rows: u64) -> Result<()> {
    let started = Instant::now();
    let store = engine.open(directory)?;
    ensure!(store.get(&key(0))?.is_some(), "the first row is missing");
    let opened = started.elapsed();
    let resident = memory()?;
    let mut state = 1;
    let keys: Vec<_> = (0..HOT).map(|_| key(splitmix(&mut state) % rows)).collect();
    for key in &keys {
        ensure!(store.get(key)?.is_some(), "a row is missing");
    }
    let started = Instant::now();
    for index in 0..20 * HOT {
        let key = &keys[usize::try_from(splitmix(&mut state) % HOT)?];
        ensure!(store.get(key)?.is_some(), "row {index} is missing");
    }
    let gets = 20.0 * HOT as f64 / started.elapsed().as_secs_f64();
    let started = Instant::now();
    let count = store.list()?;
    ensure!(count == rows, "{count} of {rows} rows");
    let scan = count as f64 / started.elapsed().as_secs_f64();
    println!(
        "| {:.1} | {gets:.0} | {scan:.0} | {resident:.0} / {:.0} |",
        opened.as_secs_f64() * 1e3,
        memory()?
    );
    Ok(())
}

fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// MiB that this process has resident, without mapped files.
fn memory() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    let number = line
        .and_then(|line| line.split_whitespace().nth(1))
        .context("RssAnon")?;
    Ok(number.parse::<f64>()? / 1024.0)
}

/// MiB that a directory occupies.
fn disk(directory: &Path) -> Result<f64> {
    let mut bytes = 0.0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            bytes += disk(&entry.path())?;
        } else {
            use std::os::unix::fs::MetadataExt;
            bytes += metadata.blocks() as f64 * 512.0 / f64::from(1 << 20);
        }
    }
    Ok(bytes)
}

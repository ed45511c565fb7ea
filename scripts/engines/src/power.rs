//! Power cuts: XFS on a loop device, shut down without writing its log while a process puts
//! rows, then mounted again and compared with what that process acknowledged.

use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::candidates::Candidate;
use crate::engine::{Batched, Direct, Put};
use crate::rows::{key, proven, splitmix, value};

/// Rows of each writer; they are overwritten in turn.
const ROWS_EACH: u64 = 500;
/// Bytes of an acknowledgement: row, version.
const RECORD: usize = 16;

/// How to test.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Which.
    #[arg(long, value_enum)]
    engine: Candidate,
    /// How often.
    #[arg(long, default_value_t = 500)]
    cuts: u64,
    /// Where image and mount point go.
    #[arg(long, default_value = "target/power")]
    directory: PathBuf,
    /// A fresh file system after so many cuts.
    #[arg(long, default_value_t = 25)]
    fresh: u64,
    /// Writers at once.
    #[arg(long, default_value_t = 8)]
    writers: u64,
    /// Whether one thread commits for all or every writer for itself.
    #[arg(long, value_enum, default_value = "batched")]
    mode: Mode,
    /// Of the random times.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Who commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// One thread, for all that came meanwhile.
    Batched,
    /// Every writer for itself.
    Direct,
}

/// What the writing and the verifying process need to know.
#[derive(Debug, clap::Args)]
pub struct Store {
    /// Which.
    #[arg(value_enum)]
    engine: Candidate,
    /// Where.
    directory: PathBuf,
    /// Writers.
    writers: u64,
    /// Who commits.
    #[arg(value_enum)]
    mode: Mode,
    /// The number of this cycle; versions begin with it.
    cycle: u64,
}

/// What went wrong, over all cuts.
#[derive(Debug, Default)]
struct Findings {
    acknowledged: u64,
    /// Rows acknowledged and gone, or older than acknowledged.
    lost: u64,
    /// Cuts that lost any.
    bad_cuts: u64,
    /// The store did not open, or a row could not be read.
    not_opened: u64,
    first: Option<String>,
    first_unopened: Option<String>,
}

/// Runs the cuts and prints the findings.
pub fn run(options: &Options) -> Result<()> {
    let home = options.directory.join(options.engine.name());
    std::fs::create_dir_all(&home)?;
    let disk = Disk::new(&home)?;
    let mut findings = Findings::default();
    let mut state = options.seed;
    let mut expected = HashMap::new();
    let started = Instant::now();
    for cut in 0..options.cuts {
        if cut % options.fresh == 0 {
            disk.unmount();
            disk.format()?;
            expected.clear();
        }
        let wait = Duration::from_millis(splitmix(&mut state) % 200);
        cycle(options, &disk, cut, wait, &mut expected, &mut findings)
            .with_context(|| format!("cut {cut}"))?;
    }
    disk.unmount();
    println!(
        "| {} | {:?} | {} | {} | {} | {} | {} | {:.1} s |",
        options.engine.name(),
        options.mode,
        options.cuts,
        findings.acknowledged,
        findings.bad_cuts,
        findings.lost,
        findings.not_opened,
        started.elapsed().as_secs_f64() / options.cuts as f64
    );
    for first in [findings.first, findings.first_unopened]
        .into_iter()
        .flatten()
    {
        println!("  first: {first}");
    }
    Ok(())
}

/// One cut: write, cut, kill, mount, compare.
fn cycle(
    options: &Options,
    disk: &Disk,
    cut: u64,
    wait: Duration,
    expected: &mut HashMap<u64, u64>,
    findings: &mut Findings,
) -> Result<()> {
    disk.mount()?;
    let start = |command: &str| -> Result<Child> {
        let mut child = Command::new(std::env::current_exe()?);
        child
            .args([command, options.engine.name()])
            .arg(disk.mount.join("store"));
        child.arg(options.writers.to_string());
        child
            .arg(format!("{:?}", options.mode).to_lowercase())
            .arg(cut.to_string());
        child.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(child.spawn()?)
    };
    let mut writer = start("writer")?;
    let errors = drain(writer.stderr.take().context("stderr")?);
    let output = writer.stdout.take().context("stdout")?;
    let arrived = Arc::new(AtomicU64::new(0));
    let theirs = Arc::clone(&arrived);
    let reader = thread::spawn(move || records(output, &theirs));
    let patience = Instant::now() + Duration::from_secs(60);
    while arrived.load(Ordering::Acquire) == 0 && writer.try_wait()?.is_none() {
        ensure!(Instant::now() < patience, "the writer acknowledges nothing");
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(wait);
    let died = writer.try_wait()?.is_some();
    disk.cut()?;
    writer.kill()?;
    writer.wait()?;
    let acknowledged = reader.join().ok().context("the reader panicked")?;
    let mut words = errors.join().unwrap_or_default();
    disk.unmount();
    disk.mount()?;
    findings.acknowledged += acknowledged.len() as u64;
    expected.extend(acknowledged);
    let mut verifier = start("verify")?;
    let errors = drain(verifier.stderr.take().context("stderr")?);
    let found = records(
        verifier.stdout.take().context("stdout")?,
        &AtomicU64::new(0),
    );
    let status = verifier.wait()?;
    let text = errors.join().unwrap_or_default();
    disk.unmount();
    if died || !status.success() {
        if !died {
            words = text;
        }
        let words = words.lines().next().unwrap_or_default();
        findings.not_opened += 1;
        findings
            .first_unopened
            .get_or_insert(format!("cut {cut}: {words}"));
        // Nothing can be said about later cuts on this store.
        disk.format()?;
        expected.clear();
        return Ok(());
    }
    judge(cut, expected, &found.into_iter().collect(), findings);
    Ok(())
}

/// Compares, and takes what was found as the truth for the next cut.
fn judge(
    cut: u64,
    expected: &mut HashMap<u64, u64>,
    found: &HashMap<u64, u64>,
    findings: &mut Findings,
) {
    let older = |(row, version): &(&u64, &u64)| found.get(row).is_none_or(|got| got < version);
    let lost = expected.iter().filter(older).count() as u64;
    findings.lost += lost;
    findings.bad_cuts += u64::from(lost > 0);
    if lost > 0 {
        let text = format!("cut {cut}: {lost} of {} rows lost", expected.len());
        findings.first.get_or_insert(text);
    }
    expected.clone_from(found);
}

/// Puts rows until killed, and writes an acknowledgement after each.
pub fn write(store: &Store) -> Result<()> {
    let engine = store.engine.open(&store.directory)?;
    let put: Arc<dyn Put> = match store.mode {
        Mode::Batched => Arc::new(Batched::new(engine)),
        Mode::Direct => Arc::new(Direct(engine)),
    };
    let out = Arc::new(Mutex::new(std::io::stdout()));
    let first = (store.cycle + 1) << 32;
    let threads: Vec<_> = (0..store.writers)
        .map(|writer| {
            let (put, out) = (Arc::clone(&put), Arc::clone(&out));
            let directory = store.directory.clone();
            thread::spawn(move || -> Result<()> {
                for count in 0_u64.. {
                    let row = writer * ROWS_EACH + count % ROWS_EACH;
                    let version = first + count;
                    put.put((key(row), value(row, version)))?;
                    // A cut that a process survives: XFS may return 0 from an fsync that was
                    // under way when it shut down. Where the power is really off, nobody is
                    // left to acknowledge that; so ask whether it still was on.
                    std::fs::metadata(&directory)?;
                    let mut record = [0; RECORD];
                    record[..8].copy_from_slice(&row.to_le_bytes());
                    record[8..].copy_from_slice(&version.to_le_bytes());
                    let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
                    out.write_all(&record)?;
                    out.flush()?;
                }
                Ok(())
            })
        })
        .collect();
    for thread in threads {
        // After a cut every put fails; the process waits to be killed.
        let _failed = thread.join();
    }
    Ok(())
}

/// Prints every row, as a scan and as a get find it.
pub fn verify(store: &Store) -> Result<()> {
    let engine = store.engine.open(&store.directory)?;
    let (mut found, mut wrong) = (Vec::new(), 0);
    engine.scan(&mut |_, value| match proven(value) {
        Some(row) => found.push(row),
        None => wrong += 1,
    })?;
    ensure!(wrong == 0, "{wrong} rows hold wrong bytes");
    let mut out = std::io::stdout().lock();
    for (row, version) in found {
        let got = engine.get(&key(row))?.as_deref().and_then(proven);
        ensure!(
            got == Some((row, version)),
            "row {row}: scan {version}, get {got:?}"
        );
        out.write_all(&row.to_le_bytes())?;
        out.write_all(&version.to_le_bytes())?;
    }
    out.flush()?;
    Ok(())
}

/// Reads records until the end of the pipe; counts them as they arrive.
fn records(pipe: impl Read, arrived: &AtomicU64) -> Vec<(u64, u64)> {
    let mut reader = BufReader::new(pipe);
    let mut records = Vec::new();
    let mut record = [0; RECORD];
    while reader.read_exact(&mut record).is_ok() {
        let (row, version) = record.split_at(8);
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        records.push((number(row), number(version)));
        arrived.fetch_add(1, Ordering::Release);
    }
    records
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        // What cannot be read cannot be shown either.
        let _read = pipe.read_to_end(&mut text);
        String::from_utf8_lossy(&text).chars().take(500).collect()
    })
}

/// An XFS image and where it is mounted.
struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    fn new(home: &Path) -> Result<Self> {
        let home = home.canonicalize()?;
        let mount = home.join("mount");
        std::fs::create_dir_all(&mount)?;
        Ok(Self {
            image: home.join("image"),
            mount,
        })
    }

    fn format(&self) -> Result<()> {
        if self.image.exists() {
            std::fs::remove_file(&self.image)?;
        }
        std::fs::File::create(&self.image)?.set_len(1 << 30)?;
        command("mkfs.xfs", &["-q", "-f", text(&self.image)?])
    }

    fn mount(&self) -> Result<()> {
        command(
            "mount",
            &["-o", "loop", text(&self.image)?, text(&self.mount)?],
        )
    }

    /// All that was not synced is gone: no data, no journal is written any more.
    fn cut(&self) -> Result<()> {
        command("xfs_io", &["-x", "-c", "shutdown", text(&self.mount)?])
    }

    /// Unmounts, if mounted.
    fn unmount(&self) {
        let mut umount = Command::new("umount");
        umount.arg(&self.mount).stderr(Stdio::null());
        // Tried again because a killed process may hold its files for a moment.
        for _ in 0..50 {
            let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
            if !mounts.contains(self.mount.to_str().unwrap_or_default()) {
                return;
            }
            let _status = umount.status();
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not text")
}

fn command(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        bail!(
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

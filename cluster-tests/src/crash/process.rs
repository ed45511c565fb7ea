//! The server's process, and the power of the drives under it.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::load::body::Bodies;
use crate::load::sign::Signer;
use crate::load::wire::{Connection, Endpoint, Payload, Request, Want};

/// Drives of a run.
pub const DRIVES: usize = 4;
const USER: &str = "crashuser";
const PASSWORD: &str = "crashsecret";
/// A server that is not ready after this has failed.
const READY: Duration = Duration::from_secs(30);
/// Pause between two questions whether it is ready.
const ASK: Duration = Duration::from_millis(3);
/// What is told to be settled is written this soon, and is the last that upkeep writes.
const QUIET: Duration = Duration::from_millis(1_300);
/// A server whose upkeep has something to write for longer than this has failed.
const CALM: Duration = Duration::from_secs(60);
/// Pause between two looks whether it writes.
const LOOK: Duration = Duration::from_millis(50);
/// A tracer that answers every sync itself.
pub const LIES: [&str; 10] = [
    "strace",
    "-D",
    "-f",
    "-qq",
    "--seccomp-bpf",
    "-e",
    "trace=fsync,fdatasync",
    "-e",
    "inject=fsync,fdatasync:retval=0",
    "-o/dev/null",
];

/// How a run crashes the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// `kill -9`: what was written stays.
    Kill,
    /// The power of all drives goes first: what was written and not synced is lost.
    Power,
}

/// How to start the server, and the process while it runs.
#[derive(Debug)]
pub struct Server {
    binary: PathBuf,
    home: PathBuf,
    address: SocketAddr,
    tracer: Vec<String>,
    failpoint: Option<PathBuf>,
    away: Option<usize>,
    child: Option<Child>,
}

impl Server {
    /// A server on `home/d1` to `home/d4`, on a free port of loopback; not started.
    ///
    /// # Errors
    /// If the directories cannot be made or no port is free.
    pub fn new(binary: &Path, home: &Path) -> Result<Self> {
        for drive in drives(home) {
            fs::create_dir_all(drive)?;
        }
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Ok(Self {
            binary: fs::canonicalize(binary).context("the server's binary")?,
            home: home.to_owned(),
            address,
            tracer: Vec::new(),
            failpoint: None,
            away: None,
            child: None,
        })
    }

    /// From the next start on, runs it under this command, which must become the server: a
    /// tracer that puts itself aside.
    pub fn trace(&mut self, tracer: Vec<String>) {
        self.tracer = tracer;
    }

    /// From the next start on, a fail point that this file arms when it appears.
    pub fn fail_at(&mut self, file: PathBuf) {
        self.failpoint = Some(file);
    }

    /// From the next start on, the drive at this place is away, or none.
    pub fn hide(&mut self, away: Option<usize>) {
        self.away = away;
    }

    /// What the server prints goes here.
    pub fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    /// A connection of its own; opens nothing yet.
    pub fn connection(&self, bodies: &Bodies) -> Connection {
        let endpoint = Endpoint {
            address: self.address,
            signer: Signer::new(USER, PASSWORD, "us-east-1"),
            payload: Payload::Unsigned,
        };
        Connection::new(endpoint, bodies.clone())
    }

    /// Starts the process and does not wait until it is ready.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())?;
        let mut words = self.tracer.iter().map(OsStr::new);
        let mut command = match words.next() {
            Some(tracer) => {
                let mut command = Command::new(tracer);
                command.args(words).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("SARSEN_") || text.starts_with("MINIO_") {
                command.env_remove(&name);
            }
        }
        command
            .args(["server", "--address", &self.address.to_string()])
            .args(self.paths())
            .envs([
                ("SARSEN_ROOT_USER", USER),
                ("SARSEN_ROOT_PASSWORD", PASSWORD),
                ("SARSEN_PROMETHEUS_AUTH_TYPE", "public"),
            ])
            .envs(self.failpoint.iter().map(|file| ("DRIVE_FAILPOINT", file)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// The drives as the server is told; nothing lies where one is that is away.
    fn paths(&self) -> Vec<PathBuf> {
        let mut paths = drives(&self.home);
        let away = self.away.and_then(|place| paths.get_mut(place));
        if let Some(path) = away {
            path.set_extension("away");
        }
        paths
    }

    /// Waits until the server says that it is ready; returns how long that took.
    ///
    /// # Errors
    /// If the process ends, or is not ready in time.
    pub async fn ready(&mut self, bodies: &Bodies) -> Result<Duration> {
        let begun = Instant::now();
        let request = Request::new("GET", "/minio/health/ready");
        loop {
            let asked = self.connection(bodies).exchange(&request, Want::Text).await;
            if asked.is_ok_and(|reply| reply.status == 200) {
                return Ok(begun.elapsed());
            }
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()? {
                ensure!(status.is_none(), "the server ended: {status:?}");
            }
            ensure!(begun.elapsed() < READY, "not ready after {READY:?}");
            tokio::time::sleep(ASK).await;
        }
    }

    /// Waits until upkeep is through: a recount found all whole, what is settled is written, and
    /// nothing more is. Until then it passes the same places as a change that a client makes.
    ///
    /// # Errors
    /// If that takes too long, and what was waited for.
    pub async fn calm(&self, bodies: &Bodies) -> Result<()> {
        let begun = Instant::now();
        let (mut known, mut since) = (None, begun);
        loop {
            let healed = self.metric(bodies, "cluster", "sarsen_healed").await?;
            let batches = "sarsen_node_drive_log_batches_total";
            let now = (healed, self.metric(bodies, "node", batches).await?);
            if known != Some(now) {
                (known, since) = (Some(now), Instant::now());
            }
            if now.0 > 0.0 && since.elapsed() >= QUIET {
                return Ok(());
            }
            let (healed, batches) = now;
            ensure!(
                begun.elapsed() < CALM,
                "after {CALM:?} sarsen_healed is {healed}, and drives have written {batches} batches, \
                 the last {:?} ago",
                since.elapsed()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The sum of a metric's samples.
    async fn metric(&self, bodies: &Bodies, section: &str, name: &str) -> Result<f64> {
        let path = format!("/minio/v2/metrics/{section}");
        let mut connection = self.connection(bodies);
        let request = Request::new("GET", &path);
        let page = connection.exchange(&request, Want::Text).await?;
        let page = String::from_utf8(page.text)?;
        let samples = page.lines().filter_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix('{')?;
            value.rsplit_once(' ')?.1.parse::<f64>().ok()
        });
        let samples: Vec<f64> = samples.collect();
        ensure!(!samples.is_empty(), "no {name} in {path}");
        Ok(samples.iter().sum())
    }

    /// Waits until the process ends by itself; `false` if it still runs after `patience`.
    ///
    /// # Errors
    /// If the system does not tell.
    pub async fn ended(&mut self, patience: Duration) -> Result<bool> {
        let begun = Instant::now();
        let Some(child) = &mut self.child else {
            return Ok(true);
        };
        while child.try_wait()?.is_none() {
            if begun.elapsed() > patience {
                return Ok(false);
            }
            tokio::time::sleep(ASK).await;
        }
        Ok(true)
    }

    /// `kill -9`, and waits until the process is gone.
    ///
    /// # Errors
    /// If it had ended before by itself: it crashed.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let ended = child.try_wait()?;
        child.kill()?;
        child.wait()?;
        match ended {
            None => Ok(()),
            Some(status) => bail!("the server had ended by itself: {status}"),
        }
    }

    /// Crashes the server, and gives its drives their power again.
    ///
    /// # Errors
    /// If it had ended before by itself, or the drives do not come back.
    pub fn crash(&mut self, how: Crash) -> Result<()> {
        match how {
            Crash::Kill => self.kill(),
            Crash::Power => {
                cut(&self.home)?;
                // A server that ended by itself when its drives went is no violation.
                let _ended = self.kill();
                restore(&self.home)
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The run is over, and its result is known: an error has nobody to act on it.
        let _over = self.kill();
    }
}

/// The directories of the drives.
fn drives(home: &Path) -> Vec<PathBuf> {
    (1..=DRIVES).map(|n| home.join(format!("d{n}"))).collect()
}

/// Shuts down the file systems `home/d1` to `home/d4` at once, without a flush of their
/// journals: what was not synced is lost as in a power cut.
///
/// # Errors
/// If `xfs_io` is missing or a drive is no XFS mount.
fn cut(home: &Path) -> Result<()> {
    let shutdown = |drive: PathBuf| {
        let mut command = Command::new("xfs_io");
        command.args(["-x", "-c", "shutdown"]).arg(drive);
        command.spawn().context("xfs_io")
    };
    let running: Vec<_> = drives(home).into_iter().map(shutdown).collect();
    for child in running {
        let status = child?.wait()?;
        ensure!(status.success(), "xfs_io: {status}");
    }
    Ok(())
}

/// Mounts the drives again from `home/d1.img` to `home/d4.img`; the server must be dead.
///
/// # Errors
/// If a file system is busy or does not come back.
fn restore(home: &Path) -> Result<()> {
    for drive in drives(home) {
        run(Command::new("umount").arg(&drive))?;
    }
    for drive in drives(home) {
        let image = drive.with_extension("img");
        File::open(&image).with_context(|| image.display().to_string())?;
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(image)
            .arg(&drive))?;
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

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

/// How to start the server, and the process while it runs.
#[derive(Debug)]
pub struct Server {
    binary: PathBuf,
    home: PathBuf,
    address: SocketAddr,
    tracer: Vec<String>,
    failpoint: Option<String>,
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
            child: None,
        })
    }

    /// From the next start on, runs it under this command, which must become the server: a
    /// tracer that puts itself aside.
    pub fn trace(&mut self, tracer: Vec<String>) {
        self.tracer = tracer;
    }

    /// From the next start on, arms this fail point, or none.
    pub fn arm(&mut self, failpoint: Option<String>) {
        self.failpoint = failpoint;
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
            .args(drives(&self.home))
            .envs([
                ("SARSEN_ROOT_USER", USER),
                ("SARSEN_ROOT_PASSWORD", PASSWORD),
            ])
            .envs(self.failpoint.iter().map(|plan| ("DRIVE_FAILPOINT", plan)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Waits until the server says that it is ready; returns how long that took.
    ///
    /// # Errors
    /// If the process ends, or is not ready in time.
    pub async fn ready(&mut self, bodies: &Bodies) -> Result<Duration> {
        let begun = Instant::now();
        let request = Request {
            method: "GET",
            path: "/minio/health/ready",
            query: "",
            body: None,
        };
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
}

impl Drop for Server {
    fn drop(&mut self) {
        // The run is over, and its result is known: an error has nobody to act on it.
        let _over = self.kill();
    }
}

/// The directories of the drives.
pub fn drives(home: &Path) -> Vec<PathBuf> {
    (1..=DRIVES).map(|n| home.join(format!("d{n}"))).collect()
}

/// Shuts down the file systems `home/d1` to `home/d4` at once, without a flush of their
/// journals: what was not synced is lost as in a power cut.
///
/// # Errors
/// If `xfs_io` is missing or a drive is no XFS mount.
pub fn cut(home: &Path) -> Result<()> {
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
pub fn restore(home: &Path) -> Result<()> {
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

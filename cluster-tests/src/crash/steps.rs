//! A crash at every durable step of every operation, with every number of drives done.
//!
//! For each case the server is started with one fail point armed: some drives come to the end of
//! the step, the others wait at its place, and then the process aborts. After that the key must
//! be old or new: it is read first with one drive away, a different one from case to case, then
//! with all; and at the end of the run every key is read once more with each drive away.
//!
//! What it would catch: an acknowledgement before W drives have the change, an older version that
//! is dropped at the commit of a newer one, a name that is not there when its row is, a late
//! write that overtakes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::timeout;

use super::oracle::Oracle;
use super::process::{DRIVES, Server, drives};
use super::verify::verify;
use super::workload::{BUCKET, Wrong, error_code};
use crate::load::body::Bodies;
use crate::load::wire::{Connection, Request, Want};

/// What may be interrupted. Small bodies ride in the log, large ones have files.
const OPERATIONS: [Operation; 6] = [
    Operation::new("put-inline", None, Some(SMALL)),
    Operation::new("put-file", None, Some(LARGE)),
    Operation::new("overwrite-inline", Some(LARGE), Some(SMALL)),
    Operation::new("overwrite-file", Some(SMALL), Some(LARGE)),
    Operation::new("delete-inline", Some(SMALL), None),
    Operation::new("delete-file", Some(LARGE), None),
];
const SMALL: u64 = 5_000;
const LARGE: u64 = 300_000;

/// The places of the drive's engine, in the order of a write; the first four are those of files.
const PLACES: [&str; 9] = [
    "stage.before-sync",
    "stage.after-sync",
    "publish.before-sync",
    "publish.after-sync",
    "commit.before-write",
    "commit.before-sync",
    "commit.after-sync",
    "commit.visible",
    "commit.acknowledged",
];
const FILE_PLACES: usize = 4;

/// An operation passes a place at most so often: a raise, a commit, a settle.
const PASSES_MAX: u64 = 4;
/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a process may take to end after its answer.
const END: Duration = Duration::from_millis(250);

/// One kind of change: what the key holds before and after it, in bytes.
#[derive(Debug, Clone, Copy)]
struct Operation {
    name: &'static str,
    before: Option<u64>,
    after: Option<u64>,
}

impl Operation {
    const fn new(name: &'static str, before: Option<u64>, after: Option<u64>) -> Self {
        Self {
            name,
            before,
            after,
        }
    }

    fn places(self) -> &'static [&'static str] {
        match self.after {
            Some(LARGE) => &PLACES,
            _ => PLACES.get(FILE_PLACES..).unwrap_or_default(),
        }
    }
}

/// One crash.
#[derive(Debug, Clone, Copy)]
struct Case {
    operation: Operation,
    place: &'static str,
    pass: u64,
    drives: usize,
}

/// What came of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The process died at the place.
    Died,
    /// The operation was done, and does not pass the place so often.
    Passed,
}

/// A run over all cases.
#[derive(Debug)]
pub struct Steps {
    server: Server,
    home: PathBuf,
    bodies: Bodies,
    oracle: Oracle,
    /// Crashes so far.
    pub crashes: usize,
    /// What was broken.
    pub wrong: Vec<Wrong>,
}

impl Steps {
    /// On a server that is not started, with its drives below `home`.
    pub fn new(server: Server, home: &Path, seed: u64, bodies: Bodies) -> Self {
        Self {
            server,
            home: home.to_owned(),
            oracle: Oracle::new(seed, bodies.clone()),
            bodies,
            crashes: 0,
            wrong: Vec::new(),
        }
    }

    /// Every case.
    ///
    /// # Errors
    /// If the server does not start, does not die where it should, or refuses to prepare a case.
    pub async fn run(&mut self, say: impl Fn(&str)) -> Result<()> {
        self.start().await?;
        self.change("", Some(0)).await?;
        for operation in OPERATIONS {
            for place in operation.places() {
                let before = self.crashes;
                self.at(operation, place).await?;
                let crashes = self.crashes - before;
                say(&format!("{} at {place}: {crashes} crashes", operation.name));
            }
        }
        let keys = self.oracle.keys();
        for away in 0..DRIVES {
            self.restart(Some(away), &keys).await?;
        }
        self.restart(None, &keys).await
    }

    async fn at(&mut self, operation: Operation, place: &'static str) -> Result<()> {
        for pass in 1..=PASSES_MAX {
            for drives in 0..DRIVES {
                let case = Case {
                    operation,
                    place,
                    pass,
                    drives,
                };
                let outcome = self.case(case).await;
                match outcome.with_context(|| format!("{case:?}"))? {
                    Outcome::Died => self.crashes += 1,
                    Outcome::Passed if drives == 0 && pass > 1 => return Ok(()),
                    // The drives that were to stop do less: a quorum is raised, all take commits.
                    Outcome::Passed if pass > 1 => {}
                    Outcome::Passed => bail!("{case:?}: the place was not reached"),
                }
            }
        }
        Ok(())
    }

    /// Prepares the key, crashes the operation, and reads what is left. The server runs before
    /// and after.
    async fn case(&mut self, case: Case) -> Result<Outcome> {
        let Case {
            operation,
            place,
            pass,
            drives,
        } = case;
        let key = format!("{}/{place}/{pass}/{drives}", operation.name);
        if let Some(size) = operation.before {
            self.change(&key, Some(size)).await?;
        }
        self.server.kill()?;
        let trigger = self.home.join("armed");
        let plan = format!("{place}:{pass}:{drives}:{}", trigger.display());
        self.server.arm(Some(plan));
        self.start().await?;
        fs::write(&trigger, "")?;
        let changed = timeout(ANSWER, self.change(&key, operation.after)).await;
        let changed = changed.context("neither an answer nor an end")?;
        let died = self.server.ended(END).await?;
        fs::remove_file(&trigger)?;
        self.server.arm(None);
        if !died {
            changed?;
        }
        let keys = [key];
        let away = self.crashes % (DRIVES + 1);
        if away < DRIVES {
            self.restart(Some(away), &keys).await?;
        }
        self.restart(None, &keys).await?;
        Ok(match died {
            true => Outcome::Died,
            false => Outcome::Passed,
        })
    }

    /// Starts the server again, with one drive away if asked, and reads.
    async fn restart(&mut self, away: Option<usize>, keys: &[String]) -> Result<()> {
        // It may have ended before: that is what the case is about.
        let _ended = self.server.kill();
        let hidden = away.and_then(|place| drives(&self.home).into_iter().nth(place));
        if let Some(drive) = &hidden {
            fs::rename(drive, drive.with_extension("away"))?;
        }
        self.start().await?;
        let mut connection = self.server.connection(&self.bodies);
        let wrong = verify(&mut self.oracle, &mut connection, keys).await;
        self.wrong.extend(wrong);
        if let Some(drive) = &hidden {
            self.server.kill()?;
            fs::rename(drive.with_extension("away"), drive)?;
        }
        Ok(())
    }

    async fn start(&mut self) -> Result<()> {
        self.server.spawn()?;
        self.server.ready(&self.bodies).await?;
        Ok(())
    }

    /// Writes a body of that size, or deletes; no key stands for the bucket.
    async fn change(&mut self, key: &str, size: Option<u64>) -> Result<()> {
        let mut connection: Connection = self.server.connection(&self.bodies);
        let (id, path) = match key {
            "" => (0, format!("/{BUCKET}")),
            key => (self.oracle.begin(key, size), format!("/{BUCKET}/{key}")),
        };
        let request = Request {
            method: if size.is_some() { "PUT" } else { "DELETE" },
            path: &path,
            query: "",
            body: size.map(|size| (self.oracle.body_seed(id), size)),
        };
        let reply = connection.exchange(&request, Want::Text).await?;
        match reply.status {
            200 | 204 => self.oracle.acknowledge(key, id),
            status => bail!("{key}: {status} {}", error_code(&reply.text)),
        }
        Ok(())
    }
}

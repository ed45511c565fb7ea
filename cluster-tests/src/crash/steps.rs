//! A crash at every durable step of every operation, with every number of drives done.
//!
//! For each case a fail point is armed once nothing else is written: some drives come to the end
//! of the step, the others wait at its place, and then the process aborts; if asked, the power
//! goes with it. After that the key must be old or new: it is read first with one drive away, a
//! different one from case to case, then with all; and at the end of the run every key is read
//! once more with each drive away.
//!
//! What it would catch: an acknowledgement before W drives have the change, an older version that
//! is dropped at the commit of a newer one, a name that is not there when its row is, a late
//! write that overtakes.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::multipart::{self, Refused, ask};
use super::operation::{Case, Change, Operation};
use super::oracle::Oracle;
use super::process::{Crash, DRIVES, LIES, Server};
use super::uploads::Name;
use super::verify::{end_uploads, verify};
use super::workload::{BUCKET, Wrong, held, write};
use crate::load::body::Bodies;
use crate::load::wire::{Body, Connection, Request};

/// An answer that takes longer is none.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a process may take to end after its answer: until what it settled is written, and
/// drives that have nothing more to do are not waited for.
const END: Duration = Duration::from_secs(3);
/// How often a run says how far it is.
const SAY_EVERY: usize = 50;

/// What came of one case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The process died at the place.
    Died,
    /// The operation was done, and does not pass the place so often.
    Passed,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Crashes and cases whose place was not passed, by operation.
    pub operations: BTreeMap<&'static str, (usize, usize)>,
    /// What was broken.
    pub wrong: Vec<Wrong>,
}

/// One server of a run, which takes one case after the other.
#[derive(Debug)]
pub struct Lane {
    server: Server,
    trigger: PathBuf,
    crash: Crash,
    lied: bool,
    bodies: Bodies,
    oracle: Oracle,
    random: u64,
    /// Keys whose tags were to be changed: whether they are known to have been.
    tagged: BTreeMap<String, bool>,
    crashes: usize,
    wrong: Vec<Wrong>,
}

/// What the lanes of a run share.
#[derive(Debug)]
struct Work {
    cases: Mutex<VecDeque<Case>>,
    report: Mutex<Report>,
    total: usize,
    say: fn(&str),
}

/// Every case, on several servers at once.
///
/// # Errors
/// If a server does not start, does not die where it should, or refuses to prepare a case.
pub fn run(lanes: Vec<Lane>, cases: Vec<Case>, say: fn(&str)) -> Result<Report> {
    let work = Work {
        total: cases.len(),
        cases: Mutex::new(cases.into()),
        report: Mutex::default(),
        say,
    };
    // Each in a thread of its own: a power cut waits for the system.
    thread::scope(|scope| {
        let begin = |lane: Lane| scope.spawn(|| lane.run(&work));
        let running: Vec<_> = lanes.into_iter().map(begin).collect();
        let mut ends = running.into_iter().map(ScopedJoinHandle::join);
        ends.try_for_each(|end| end.unwrap_or_else(|_| bail!("a lane panicked")))
    })?;
    Ok(work
        .report
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner))
}

impl Work {
    fn next(&self) -> Option<Case> {
        let mut cases = held(&self.cases);
        let done = self.total - cases.len();
        if done > 0 && done.is_multiple_of(SAY_EVERY) {
            (self.say)(&format!("{done} of {} cases", self.total));
        }
        cases.pop_front()
    }

    fn count(&self, case: Case, outcome: Outcome, wrong: Vec<Wrong>) {
        let mut report = held(&self.report);
        let (died, passed) = report.operations.entry(case.operation.name).or_default();
        match outcome {
            Outcome::Died => *died += 1,
            Outcome::Passed => *passed += 1,
        }
        for said in wrong {
            (self.say)(&format!("{case}: {said:?}"));
            report.wrong.push(said);
        }
    }
}

impl Lane {
    /// A lane on four drives below `home`. If `lied`, every sync of its server says that it was
    /// done and is not.
    ///
    /// # Errors
    /// If the directories cannot be made or no port is free.
    pub fn new(
        binary: &Path,
        home: &Path,
        (crash, lied): (Crash, bool),
        seed: u64,
    ) -> Result<Self> {
        let (mut server, trigger) = (Server::new(binary, home)?, home.join("armed"));
        server.fail_at(trigger.clone());
        let bodies = Bodies::new();
        Ok(Self {
            server,
            trigger,
            crash,
            lied,
            oracle: Oracle::new(seed, bodies.clone()),
            bodies,
            random: seed,
            tagged: BTreeMap::new(),
            crashes: 0,
            wrong: Vec::new(),
        })
    }

    fn run(mut self, work: &Work) -> Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(async {
            self.begin().await?;
            self.work(work).await
        });
        if ended.is_err() {
            // The others need not go on.
            held(&work.cases).clear();
        }
        ended
    }

    /// Makes the bucket, which is there for good. If syncs are lied about, what follows is not.
    async fn begin(&mut self) -> Result<()> {
        self.start().await?;
        let path = format!("/{BUCKET}");
        let request = Request {
            body: Body::Text(""),
            ..Request::new("PUT", &path)
        };
        let made = ask(&mut self.connection(), &request).await;
        made.map_err(|refused| anyhow::anyhow!("no bucket: {refused}"))?;
        if self.lied {
            self.server.calm(&self.bodies).await?;
            self.server.kill()?;
            self.server.trace(LIES.map(str::to_owned).into());
            self.start().await?;
        }
        Ok(())
    }

    async fn work(&mut self, work: &Work) -> Result<()> {
        while let Some(case) = work.next() {
            let outcome = self.case(case).await;
            let outcome = outcome.with_context(|| case.to_string())?;
            if outcome == Outcome::Passed && case.pass == 1 {
                bail!("{case}: the place was not reached");
            }
            work.count(case, outcome, std::mem::take(&mut self.wrong));
        }
        let keys = self.oracle.keys();
        for away in (0..DRIVES).map(Some).chain([None]) {
            self.restart(away, &keys).await?;
        }
        held(&work.report).wrong.append(&mut self.wrong);
        Ok(())
    }

    /// Prepares the key, crashes the operation, and reads what is left. The server runs before
    /// and after.
    async fn case(&mut self, case: Case) -> Result<Outcome> {
        let key = case.key();
        let upload = self.prepare(case.operation, &key).await?;
        self.server.calm(&self.bodies).await?;
        self.arm(case)?;
        let changed = self.change(case.operation, &key, upload.as_ref());
        let changed = timeout(ANSWER, changed).await;
        let changed = changed.with_context(|| {
            format!("neither an answer nor an end {ANSWER:?} after the change was sent")
        })?;
        let died = self.server.ended(END).await?;
        // It may have ended by itself: that is what the case is about.
        let _ended = self.server.crash(self.crash);
        fs::remove_file(&self.trigger)?;
        if !died {
            changed.context("no end")?;
        }
        self.crashes += usize::from(died);
        let keys = [key];
        let away = self.crashes % (DRIVES + 1);
        if away < DRIVES {
            self.restart(Some(away), &keys).await?;
        }
        self.restart(None, &keys).await?;
        let mut connection = self.connection();
        let ended = end_uploads(&mut self.oracle, &mut connection, &mut self.random);
        self.wrong.extend(ended.await);
        Ok(match died {
            true => Outcome::Died,
            false => Outcome::Passed,
        })
    }

    /// Arms the fail point, in one step.
    fn arm(&self, case: Case) -> Result<()> {
        let Case {
            place,
            pass,
            drives,
            ..
        } = case;
        let draft = self.trigger.with_extension("draft");
        fs::write(&draft, format!("{place}:{pass}:{drives}"))?;
        Ok(fs::rename(draft, &self.trigger)?)
    }

    /// Starts the server again, with one drive away if asked, and reads.
    async fn restart(&mut self, away: Option<usize>, keys: &[String]) -> Result<()> {
        // It may be dead already.
        let _ended = self.server.kill();
        self.server.hide(away);
        self.start().await?;
        let mut connection = self.connection();
        let wrong = verify(&mut self.oracle, &mut connection, keys).await;
        self.wrong.extend(wrong);
        for key in keys {
            self.read_tags(key).await;
        }
        if away.is_some() {
            self.server.kill()?;
        }
        Ok(())
    }

    async fn start(&mut self) -> Result<()> {
        self.server.spawn()?;
        self.server.ready(&self.bodies).await?;
        Ok(())
    }

    fn connection(&self) -> Connection {
        self.server.connection(&self.bodies)
    }

    /// Writes what the key holds before, the source of a copy, and the parts of an upload, whose
    /// name it returns.
    async fn prepare(&mut self, operation: Operation, key: &str) -> Result<Option<Name>> {
        if let Some(size) = operation.before {
            self.put(key, Some(size)).await?;
        }
        match operation.change {
            Change::Copy(size) => {
                self.put(&source_of(key), Some(size)).await?;
                Ok(None)
            }
            Change::Complete(parts) | Change::Abort(parts) => {
                let name = self.upload(key, parts).await;
                name.map(Some)
                    .map_err(|refused| anyhow::anyhow!("{key}: {refused}"))
            }
            Change::Put(_) | Change::Delete | Change::Tag => Ok(None),
        }
    }

    async fn upload(&mut self, key: &str, parts: &[u64]) -> Result<Name, Refused> {
        let mut connection = self.connection();
        self.oracle.begin_upload(key);
        let name = multipart::begin(&mut connection, key).await?;
        let body = self.oracle.upload_begun(&name);
        let (seed, mut from) = (self.oracle.body_seed(body), 0);
        for (number, size) in (1..).zip(parts) {
            let size = *size;
            let body = Body::Made { seed, from, size };
            multipart::part(&mut connection, &name, number, body).await?;
            self.oracle.part_acknowledged(&name, size);
            from += size;
        }
        Ok(name)
    }

    /// The change that a case is about.
    async fn change(
        &mut self,
        operation: Operation,
        key: &str,
        upload: Option<&Name>,
    ) -> Result<()> {
        let mut connection = self.connection();
        let done = match operation.change {
            Change::Put(size) => return self.put(key, Some(size)).await,
            Change::Delete => return self.put(key, None).await,
            Change::Copy(_) => {
                let source = source_of(key);
                let leaves = self.oracle.certain(&source);
                let id = self.oracle.begin_as(key, leaves);
                let copied = multipart::copy(&mut connection, &source, key).await;
                copied.map(|()| self.oracle.acknowledge(key, id))
            }
            Change::Complete(_) => {
                let name = upload.context("no upload")?;
                let sums = self.oracle.part_sums(name);
                let step = self.oracle.begin_complete(name).context("no upload")?;
                let done = multipart::complete(&mut connection, name, &sums).await;
                done.map(|()| self.oracle.completed(name, step))
            }
            Change::Abort(_) => {
                let name = upload.context("no upload")?;
                self.oracle.begin_abort(name);
                let done = multipart::abort(&mut connection, name).await;
                done.map(|()| self.oracle.aborted(name))
            }
            Change::Tag => {
                self.tagged.insert(key.to_owned(), false);
                let done = multipart::set_tag(&mut connection, key).await;
                done.map(|()| {
                    self.tagged.insert(key.to_owned(), true);
                })
            }
        };
        done.map_err(|refused| anyhow::anyhow!("{key}: {refused}"))
    }

    /// Writes an object, or deletes it.
    async fn put(&mut self, key: &str, size: Option<u64>) -> Result<()> {
        let id = self.oracle.begin(key, size);
        let seed = self.oracle.body_seed(id);
        let body = size.map(|size| Body::whole(seed, size));
        let done = write(&mut self.connection(), key, body).await;
        done.map_err(|refused| anyhow::anyhow!("{key}: {refused}"))?;
        self.oracle.acknowledge(key, id);
        Ok(())
    }

    /// A key whose tags were to be changed has the old ones or the new ones, and once it was seen
    /// to have the new ones it keeps them.
    async fn read_tags(&mut self, key: &str) {
        let Some(known) = self.tagged.get(key).copied() else {
            return;
        };
        match multipart::has_tag(&mut self.connection(), key).await {
            Ok(has) => {
                if known && !has {
                    let said = format!("{key}: its tag is gone");
                    self.wrong.push(Wrong::Lost(said));
                }
                self.tagged.insert(key.to_owned(), has);
            }
            Err(refused) => self.wrong.push(Wrong::Refused(format!("{key}: {refused}"))),
        }
    }
}

/// Where a copy is made from.
fn source_of(key: &str) -> String {
    format!("{key}/source")
}

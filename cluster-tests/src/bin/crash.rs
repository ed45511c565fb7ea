//! Crashes the server under load again and again, and checks that no acknowledged write is
//! lost. See `crash --help`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use cluster_tests::crash::operation::cases;
use cluster_tests::crash::oracle::Oracle;
use cluster_tests::crash::process::{Crash, LIES, Server};
use cluster_tests::crash::steps::{self, Lane};
use cluster_tests::crash::syncs;
use cluster_tests::crash::verify::{end_uploads, verify};
use cluster_tests::crash::workload::{BUCKET, Cycle, Wrong, held, work};
use cluster_tests::load::body::{Bodies, splitmix};
use cluster_tests::load::wire::{Body, Request, Want};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What failed where a server does not start any more.
const RESTART: &str = "restart";
/// Older keys that are read after each crash beside those just written.
const SAMPLE: usize = 64;

/// Crashes of the real server under mixed load. The last line says how many cycles passed.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// `kill -9` on four directories.
    Kill {
        #[command(flatten)]
        run: Run,
        /// How often.
        #[arg(long, default_value_t = 100)]
        cycles: u64,
        /// Holds d1 to d4 and the server's log; removed if all cycles pass.
        #[arg(long)]
        data: Option<PathBuf>,
    },
    /// A crash at every durable step of every operation, with every number of drives done.
    Steps(StepsRun),
    /// A power cut of four XFS mounts at once, then `kill -9`. Needs root and xfs_io.
    Power {
        #[command(flatten)]
        run: Run,
        /// How often.
        #[arg(long, default_value_t = 30)]
        cuts: u64,
        /// Holds the mounts d1 to d4 and their images d1.img to d4.img.
        #[arg(long)]
        mounts: PathBuf,
        /// Whether the server's syncs are done.
        #[arg(long, default_value = "done")]
        syncs: Syncs,
    },
    /// The syncs of one PUT, compared with a golden file. Needs strace.
    Syncs {
        /// The server's binary.
        #[arg(long)]
        server: PathBuf,
        /// Holds d1 to d4, the trace and the server's log; removed if nothing is wrong.
        #[arg(long)]
        data: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct StepsRun {
    /// The server's binary.
    #[arg(long)]
    server: PathBuf,
    /// Holds the directories 1, 2 and so on of the servers, each with d1 to d4 and a log; they
    /// are removed if nothing is wrong.
    #[arg(long)]
    data: PathBuf,
    /// Each d1 to d4 is an XFS mount whose image d1.img to d4.img lies beside it, and its power
    /// is cut with each crash. Needs root and xfs_io.
    #[arg(long)]
    power: bool,
    /// Whether the server's syncs are done.
    #[arg(long, default_value = "done")]
    syncs: Syncs,
    /// Servers at once.
    #[arg(long, default_value_t = 4)]
    lanes: u64,
    /// Only one case in so many, others in each run.
    #[arg(long, default_value_t = 1)]
    every: usize,
    /// Repeats the choice of cases, sizes and bodies.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct Run {
    /// The server's binary.
    #[arg(long)]
    server: PathBuf,
    /// Repeats keys, sizes, bodies and delays of a run, though not what meets what in time.
    #[arg(long)]
    seed: Option<u64>,
    /// Clients at once.
    #[arg(long, default_value_t = 8)]
    clients: u64,
    /// Longest load before a crash.
    #[arg(long, default_value_t = 600)]
    millis: u64,
}

/// Whether the system does what a sync asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Syncs {
    /// As always.
    Done,
    /// Under strace, every sync says that it was done and is not. Then the cuts must be seen to
    /// lose what was acknowledged: they would see a sync that is missing in the server.
    Lied,
}

/// Which keys a cycle reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Those just written and a sample of the others.
    Sample,
    /// Every key of the run.
    All,
}

/// A run: the server, the oracle and the source of chance.
struct Bench {
    run: Run,
    crash: Crash,
    syncs: Syncs,
    server: Server,
    bodies: Bodies,
    oracle: Arc<Mutex<Oracle>>,
    random: u64,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Kill { run, cycles, data } => {
            let default = format!("crash-{}", std::process::id());
            let home = data.unwrap_or_else(|| std::env::temp_dir().join(default));
            let outcome = start(run, Crash::Kill, &home, cycles);
            match &outcome {
                Ok(()) => fs::remove_dir_all(&home)?,
                Err(_) => say(&format!("the data stays in {}", home.display())),
            }
            outcome
        }
        Command::Steps(run) => steps(&run),
        Command::Syncs { server, data } => {
            let (bodies, traced) = (Bodies::new(), Server::new(&server, &data)?);
            let runtime = Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(syncs::run(traced, &data, &bodies))?;
            say("the syncs of a PUT are as they should be");
            fs::remove_dir_all(data)?;
            Ok(())
        }
        Command::Power {
            run,
            cuts,
            mounts,
            syncs: Syncs::Done,
        } => start(run, Crash::Power, &mounts, cuts),
        Command::Power {
            run, cuts, mounts, ..
        } => {
            let lost = bench(run, Crash::Power, &mounts, Syncs::Lied, cuts)?.lost;
            ensure!(lost > 0, "{cuts} cuts did not see that nothing was synced");
            say(&format!("seen: {lost} lost without syncs"));
            Ok(())
        }
    }
}

fn steps(run: &StepsRun) -> Result<()> {
    let seed = seed(run.seed)?;
    let crash = match run.power {
        true => Crash::Power,
        false => Crash::Kill,
    };
    let how = (crash, run.syncs == Syncs::Lied);
    let lane = |number: u64| {
        let home = run.data.join(number.to_string());
        Lane::new(&run.server, &home, how, seed + number)
    };
    let lanes = (1..=run.lanes).map(lane).collect::<Result<_>>()?;
    let report = steps::run(lanes, cases(run.every, seed), say);
    let report = report.with_context(|| format!("the data stays in {}", run.data.display()))?;
    let (mut crashes, mut missed) = (0, 0);
    for (operation, (died, passed)) in &report.operations {
        say(&format!(
            "{operation}: {died} crashes, {passed} places not passed"
        ));
        (crashes, missed) = (crashes + died, missed + passed);
    }
    let lost = report
        .wrong
        .iter()
        .filter(|said| matches!(said, Wrong::Lost(_)));
    let (lost, wrong) = (lost.count(), report.wrong.len());
    say(&format!(
        "{crashes} crashes, {missed} places not passed, {lost} lost or wrong, {} refused",
        wrong - lost
    ));
    match run.syncs {
        Syncs::Done => ensure!(wrong == 0, "the data stays in {}", run.data.display()),
        Syncs::Lied => ensure!(lost > 0, "nobody saw that nothing was synced"),
    }
    if crash == Crash::Kill {
        fs::remove_dir_all(&run.data)?;
    }
    Ok(())
}

fn seed(given: Option<u64>) -> Result<u64> {
    let seed = match given {
        Some(seed) => seed,
        None => u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()),
    };
    say(&format!("seed {seed}"));
    Ok(seed)
}

fn start(run: Run, crash: Crash, home: &Path, cycles: u64) -> Result<()> {
    let failed = bench(run, crash, home, Syncs::Done, cycles)?.failed;
    ensure!(failed == 0, "{failed} of {cycles} cycles broke a promise");
    Ok(())
}

/// How a run went.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    passed: u64,
    failed: u64,
    lost: usize,
    refused: usize,
}

fn bench(run: Run, crash: Crash, home: &Path, syncs: Syncs, cycles: u64) -> Result<Counts> {
    let seed = seed(run.seed)?;
    let bodies = Bodies::new();
    let mut bench = Bench {
        server: Server::new(&run.server, home)?,
        oracle: Arc::new(Mutex::new(Oracle::new(seed, bodies.clone()))),
        random: seed,
        run,
        crash,
        syncs,
        bodies,
    };
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build()?;
    runtime.block_on(bench.cycles(cycles))
}

impl Bench {
    async fn cycles(&mut self, cycles: u64) -> Result<Counts> {
        self.server.spawn()?;
        self.server.ready(&self.bodies).await?;
        self.make_bucket().await?;
        if self.syncs == Syncs::Lied {
            // The bucket is there for good; what follows is not.
            self.server.kill()?;
            self.server.trace(LIES.map(str::to_owned).into());
            self.server.spawn()?;
            self.server.ready(&self.bodies).await?;
        }
        let mut counts = Counts::default();
        for number in 1..=cycles {
            let reach = match number {
                last if last == cycles => Reach::All,
                _ => Reach::Sample,
            };
            let wrong = match self.cycle(number, reach).await {
                Ok(wrong) => wrong,
                Err(error) if self.syncs == Syncs::Lied && error.to_string() == RESTART => {
                    say(&format!("cycle {number}: {error:#}: all is lost"));
                    counts.lost += 1;
                    counts.failed += 1;
                    break;
                }
                Err(error) => {
                    let log = self.server.log();
                    say(&format!("cycle {number}: {error:#}; see {}", log.display()));
                    let Counts { passed, failed, .. } = counts;
                    say(&format!("{passed} passed, {} failed", failed + 1));
                    bail!("the run ended early");
                }
            };
            for said in wrong.iter().take(20) {
                say(&format!("cycle {number}: {said:?}"));
            }
            let gone = wrong.iter().filter(|said| matches!(said, Wrong::Lost(_)));
            let gone = gone.count();
            counts.lost += gone;
            counts.refused += wrong.len() - gone;
            if wrong.is_empty() {
                counts.passed += 1;
            } else {
                counts.failed += 1;
            }
        }
        let (lost, refused) = (counts.lost, counts.refused);
        say(&format!("{lost} lost or wrong, {refused} refused"));
        say(&format!(
            "{} passed, {} failed",
            counts.passed, counts.failed
        ));
        Ok(counts)
    }

    async fn make_bucket(&self) -> Result<()> {
        let path = format!("/{BUCKET}");
        let request = Request {
            body: Body::Text(""),
            ..Request::new("PUT", &path)
        };
        let mut connection = self.server.connection(&self.bodies);
        let reply = connection.exchange(&request, Want::Text).await?;
        match reply.status {
            200 => Ok(()),
            status => bail!(
                "no bucket: {status} {}",
                String::from_utf8_lossy(&reply.text)
            ),
        }
    }

    /// Load, crash, restart, verdict.
    async fn cycle(&mut self, number: u64, reach: Reach) -> Result<Vec<Wrong>> {
        let cycle = Arc::new(Cycle {
            number,
            oracle: Arc::clone(&self.oracle),
            crashing: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            slowed: AtomicU64::new(0),
            wrong: Mutex::new(Vec::new()),
        });
        let mut clients = JoinSet::new();
        for client in 0..self.run.clients {
            let random = splitmix(&mut self.random);
            let connection = self.server.connection(&self.bodies);
            clients.spawn(work(Arc::clone(&cycle), client, random, connection));
        }
        let millis = 10 + splitmix(&mut self.random) % self.run.millis.max(1);
        sleep(Duration::from_millis(millis)).await;
        cycle.crashing.store(true, Ordering::SeqCst);
        self.server.crash(self.crash)?;
        clients.join_all().await;
        self.server.spawn()?;
        // One restart in eight is itself interrupted.
        if splitmix(&mut self.random).is_multiple_of(8) {
            sleep(Duration::from_micros(splitmix(&mut self.random) % 60_000)).await;
            self.server.crash(self.crash)?;
            self.server.spawn()?;
        }
        let ready = self.server.ready(&self.bodies).await.context(RESTART)?;
        let keys = self.chosen(reach);
        let mut connection = self.server.connection(&self.bodies);
        let mut oracle = held(&self.oracle);
        let random = &mut self.random;
        let found = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let mut found = verify(&mut oracle, &mut connection, &keys).await;
                found.extend(end_uploads(&mut oracle, &mut connection, random).await);
                found
            })
        });
        drop(oracle);
        let mut wrong = std::mem::take(&mut *held(&cycle.wrong));
        wrong.extend(found);
        say(&format!(
            "cycle {number}: {millis} ms, {} acknowledged, {} slowed, ready in {ready:?}, {} keys read",
            cycle.acknowledged.load(Ordering::Relaxed),
            cycle.slowed.load(Ordering::Relaxed),
            keys.len(),
        ));
        Ok(wrong)
    }

    fn chosen(&mut self, reach: Reach) -> Vec<String> {
        let oracle = held(&self.oracle);
        let keys = oracle.keys();
        if reach == Reach::All {
            return keys;
        }
        let mut chosen: BTreeSet<_> = oracle.touched().into_iter().collect();
        for _ in 0..SAMPLE {
            let at = splitmix(&mut self.random) % (keys.len() as u64).max(1);
            chosen.extend(
                usize::try_from(at)
                    .ok()
                    .and_then(|at| keys.get(at))
                    .cloned(),
            );
        }
        chosen.into_iter().collect()
    }
}

#[expect(clippy::print_stdout, reason = "a program whose output is its result")]
fn say(line: &str) {
    println!("{line}");
}

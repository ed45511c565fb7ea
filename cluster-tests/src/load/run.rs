//! Runs one kind of request many times, over many connections, on few threads.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use super::body::{Bodies, Check};
use super::list;
use super::report::{Report, Tally, process_cpu};
use super::sign::Signer;
use super::wire::{Body, Connection, Endpoint, Payload, Reply, Request, Want};

/// Failures whose text is kept; the rest are counted by status alone.
const TEXT_KEPT: usize = 160;

/// Where to ask and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Server {
    /// Address of the server; only plain HTTP.
    #[arg(long, default_value = "127.0.0.1:9000")]
    pub address: SocketAddr,
    /// Access key.
    #[arg(long, env = "SARSEN_ROOT_USER", default_value = "benchuser")]
    pub access: String,
    /// Secret key.
    #[arg(long, env = "SARSEN_ROOT_PASSWORD", default_value = "benchsecret")]
    pub secret: String,
    /// Region to sign for.
    #[arg(long, default_value = "us-east-1")]
    pub region: String,
    /// How bodies are signed.
    #[arg(long, value_enum, default_value = "unsigned")]
    pub payload: Payload,
}

impl Server {
    /// A connection that is opened when first used.
    pub fn connection(&self, bodies: &Bodies) -> Connection {
        let endpoint = Endpoint {
            address: self.address,
            signer: Signer::new(&self.access, &self.secret, &self.region),
            payload: self.payload,
        };
        Connection::new(endpoint, bodies.clone())
    }
}

/// One kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Op {
    /// Puts keys 0, 1, 2 …
    Put,
    /// Gets keys in scrambled order.
    Get,
    /// As `get`, without bodies.
    Head,
    /// Deletes keys 0, 1, 2 …
    Delete,
    /// One page of a listing that starts after a scrambled key.
    Page,
}

/// How many of what.
#[derive(Debug, Clone, clap::Args)]
pub struct Work {
    /// Bucket; it must exist.
    #[arg(long, default_value = "bench")]
    pub bucket: String,
    /// Put before every key's number.
    #[arg(long, default_value = "k")]
    pub prefix: String,
    /// Keys per pseudo-directory; 0 for none.
    #[arg(long, default_value_t = 0)]
    pub fan: u64,
    /// Keys that exist, for `get`, `head`, `page`.
    #[arg(long, default_value_t = 1)]
    pub keys: u64,
    /// Bytes per object.
    #[arg(long, default_value_t = 4096)]
    pub size: u64,
    /// Requests in flight.
    #[arg(long, default_value_t = 1)]
    pub clients: usize,
    /// Threads of this program; at most one per client.
    #[arg(long, default_value_t = 2)]
    pub threads: usize,
    /// Stop after so many requests.
    #[arg(long)]
    pub ops: Option<u64>,
    /// Stop after so many seconds.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// How closely bodies are compared.
    #[arg(long, value_enum, default_value = "sample")]
    pub check: Check,
}

impl Work {
    /// The path of key number `index`.
    pub fn path(&self, index: u64) -> String {
        let Self { bucket, prefix, .. } = self;
        match self.fan {
            0 => format!("/{bucket}/{prefix}{index:08}"),
            fan => format!("/{bucket}/{prefix}{:05}/{:05}", index / fan, index % fan),
        }
    }
}

/// What all connections of a run share.
struct Shared {
    server: Server,
    op: Op,
    work: Work,
    bodies: Bodies,
    next: AtomicU64,
}

/// Does the work and reports on it. Connections open within the measured time.
///
/// # Errors
/// If neither a number of requests nor a time is given, or a thread cannot start.
pub fn run(server: &Server, op: Op, work: &Work) -> Result<Report> {
    ensure!(
        work.ops.is_some() || work.seconds.is_some(),
        "give --ops or --seconds"
    );
    let threads = work.threads.clamp(1, work.clients.max(1));
    let shared = Arc::new(Shared {
        server: server.clone(),
        op,
        work: work.clone(),
        bodies: Bodies::new(),
        next: AtomicU64::new(0),
    });
    let ready = Arc::new(Barrier::new(threads + 1));
    let mut workers = Vec::new();
    for index in 0..threads {
        let clients = work.clients / threads + usize::from(index < work.clients % threads);
        let (shared, ready) = (Arc::clone(&shared), Arc::clone(&ready));
        let body = move || worker(&shared, clients, &ready);
        workers.push(
            thread::Builder::new()
                .name(format!("load-{index}"))
                .spawn(body)?,
        );
    }
    ready.wait();
    let (started, cpu) = (Instant::now(), process_cpu());
    let mut tally = Tally::default();
    for worker in workers {
        let part = worker.join().ok().context("a load thread panicked")??;
        tally.merge(part);
    }
    let (wall, cpu) = (started.elapsed(), process_cpu().saturating_sub(cpu));
    let name = format!("{op:?}").to_lowercase();
    Ok(Report::new(
        &name,
        work.size,
        work.clients,
        wall,
        cpu,
        tally,
    ))
}

/// Runs `clients` connections on this thread until the work is done.
fn worker(shared: &Arc<Shared>, clients: usize, ready: &Barrier) -> Result<Tally> {
    let runtime = Builder::new_current_thread().enable_all().build();
    ready.wait();
    let deadline = shared
        .work
        .seconds
        .map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
    let local = LocalSet::new();
    let tasks: Vec<_> = (0..clients)
        .map(|_| local.spawn_local(client(Arc::clone(shared), deadline)))
        .collect();
    runtime?.block_on(local.run_until(async {
        let mut tally = Tally::default();
        for task in tasks {
            tally.merge(task.await?);
        }
        Ok(tally)
    }))
}

async fn client(shared: Arc<Shared>, deadline: Option<Instant>) -> Tally {
    let mut connection = shared.server.connection(&shared.bodies);
    let mut tally = Tally::default();
    let ops = shared.work.ops.unwrap_or(u64::MAX);
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        if number >= ops || deadline.is_some_and(|deadline| started >= deadline) {
            return tally;
        }
        match once(&shared, &mut connection, number).await {
            Ok(done) => {
                let micros = started.elapsed().as_micros();
                tally.micros.push(u32::try_from(micros).unwrap_or(u32::MAX));
                tally.bytes += done.bytes;
                tally.keys += done.keys;
            }
            Err(failure) => tally.fail(failure),
        }
    }
}

/// What one good request moved.
struct Done {
    bytes: u64,
    keys: u64,
}

async fn once(shared: &Shared, connection: &mut Connection, number: u64) -> Result<Done, String> {
    let Shared {
        op, work, bodies, ..
    } = shared;
    let keys = work.keys.max(1);
    let index = match op {
        Op::Put | Op::Delete => number,
        // A multiplication by an odd constant visits keys in no order that a cache likes.
        Op::Get | Op::Head | Op::Page => (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16) % keys,
    };
    let path = work.path(index);
    let seed = bodies.seed(&path);
    let bucket = format!("/{}", work.bucket);
    let query = match op {
        Op::Page => list::page_query("", path.get(bucket.len() + 1..).unwrap_or_default()),
        _ => String::new(),
    };
    let want = match op {
        Op::Get => Want::Object {
            seed,
            check: work.check,
        },
        _ => Want::Text,
    };
    let method = match op {
        Op::Put => "PUT",
        Op::Get | Op::Page => "GET",
        Op::Head => "HEAD",
        Op::Delete => "DELETE",
    };
    let target = if *op == Op::Page { &bucket } else { &path };
    let body = match op {
        Op::Put => Body::whole(seed, work.size),
        _ => Body::Nothing,
    };
    let request = Request {
        query: &query,
        body,
        ..Request::new(method, target)
    };
    let reply = connection.exchange(&request, want).await;
    judge(*op, work.size, reply)
}

/// Sorts an answer into good and bad, and the bad by kind.
fn judge(op: Op, size: u64, reply: std::io::Result<Reply>) -> Result<Done, String> {
    let reply = reply.map_err(|error| format!("i/o: {error}"))?;
    if !(200..300).contains(&reply.status) {
        let text = String::from_utf8_lossy(&reply.text);
        let code = text
            .split("<Code>")
            .nth(1)
            .and_then(|rest| rest.split('<').next());
        let code = code.map_or_else(|| text.chars().take(TEXT_KEPT).collect(), str::to_owned);
        return Err(format!("status {} {code}", reply.status));
    }
    match op {
        Op::Get | Op::Head if reply.length != size => Err(format!("length {}", reply.length)),
        Op::Get if !reply.intact => Err("wrong bytes".into()),
        Op::Get | Op::Put => Ok(Done {
            bytes: size,
            keys: 0,
        }),
        Op::Page => {
            let page = list::Page::parse(&reply.text)?;
            Ok(Done {
                bytes: reply.text.len() as u64,
                keys: page.keys,
            })
        }
        Op::Head | Op::Delete => Ok(Done { bytes: 0, keys: 0 }),
    }
}

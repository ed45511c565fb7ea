//! Builds the rooms from a configuration, opens the door, and closes everything in order.
//! The only file that knows every room.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use drive::{Drive, Status};
use http::Extensions;
use ledger::{ClusterSecret, Ledger};
use placement::Classes;
use rustix::fs::StatVfs;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use s3wire::Domains;
use store::{SetConfig, Store};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use types::Slot;
use upkeep::{Pace, Upkeep, UpkeepStats};

use crate::banner::{Access, Start, access_warning, render};
use crate::config::{Config, Secret};
use crate::form::{self, FormError, Formed};
use crate::front::{Front, Node};
use crate::health::{HealthView, Phase, SetHealth};
use crate::intent::{self, IntentError, Made};
use crate::listen::{BindError, Door, bind};
use crate::metrics::{DriveFacts, Facts, HealFacts, Metrics};
use crate::rebuild;
use crate::reseat::{self, Usher};
use crate::s3_service::S3Service;
use crate::seat::Seat;
use crate::shutdown::{Stop, hangups};
use crate::tls::Certificates;
use crate::{telemetry, tls};

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Logs cannot be had as asked for.
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    /// Certificates cannot be had.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The drives cannot be had.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The ledger cannot be had.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// Codes or hashes do not give what they should on this machine.
    #[error("the self test of codes and hashes failed: this machine computes wrongly")]
    SelfTest,
    /// The system refuses what every process may have.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Serves until the process is told to stop.
pub async fn run(config: Config) -> Result<(), Error> {
    telemetry::start(&config.output)?;
    let stop = Stop::listen()?;
    let hangups = hangups()?;
    raise_file_limit();
    let interfaces = interfaces();
    let certificates = Certificates::load(&config.tls, &interfaces)?;
    let tls = certificates.as_ref().map(|found| found.server_config());
    let acceptor = tls.transpose()?.map(|tls| TlsAcceptor::from(Arc::new(tls)));
    let listeners = bind(&config.address).await?;
    let listening: Vec<SocketAddr> = listeners
        .iter()
        .map(|listener| listener.local_addr())
        .collect::<Result<_, _>>()?;
    erasure::self_test().map_err(|_| Error::SelfTest)?;

    let told = config.clone();
    let formed = tokio::task::spawn_blocking(move || form::form(&told)).await;
    let formed = formed.map_err(|_| FormError::Interrupted)??;
    let begun = intent::begin(&config, &formed).await?;
    let ledger = Arc::new(begun.ledger);
    let store = Arc::new(open_store(&formed, &ledger));

    let formed = Arc::new(formed);
    let chores = Chores::start(config.pace, &store, &formed, &ledger, begun.shared);
    let metrics = Arc::new(Metrics::new());
    let (tell, told) = watch::channel(false);
    let node = Arc::new(ThisNode {
        draining: told.clone(),
        listening: listening.clone(),
        formed,
        store: Arc::clone(&store),
        ledger: Arc::clone(&ledger),
        upkeep: Arc::clone(chores.upkeep.stats()),
    });
    let s3 = S3Service::new(
        s3::Door::new(s3::DoorConfig {
            store: Arc::clone(&store),
            ledger: Arc::clone(&ledger),
            region: config.region.clone(),
            domains: Domains::new(config.domains.iter().map(String::as_str)),
            body_wait: config.limits.idle_wait,
        }),
        &config.limits,
    );
    let operation = |extensions: &Extensions| extensions.get().map(|s3::Operation(name)| *name);
    let front = Front::new(
        Arc::clone(&node),
        Arc::clone(&metrics),
        config.metrics,
        s3,
        operation,
    );
    let door = Door::new(front, acceptor, metrics, &config.limits);

    let access = access_of(certificates.as_deref());
    announce(&config, access, &node, begun.made, interfaces)?;
    if let Some(certificates) = certificates {
        tokio::spawn(certificates.keep_fresh(hangups));
    }
    tokio::select! {
        abandoned = door.serve(listeners, told) => {
            if abandoned > 0 {
                tracing::warn!(abandoned, "connections were still busy at the end");
            }
        }
        () = stop.watch(tell) => {}
    }
    chores.stop().await;
    store.settle();
    close(&ledger, &node.formed).await;
    Ok(())
}

/// How long the drives may take to write out what only their logs hold.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// What goes on whether or not anybody asks for it.
struct Chores {
    upkeep: Upkeep,
    ushers: JoinSet<()>,
}

impl Chores {
    /// Begins to heal, to recount and to scrub, lets drives vote that are rebuilt, and takes back those
    /// that were away.
    fn start(
        pace: Pace,
        store: &Arc<Store>,
        formed: &Arc<Formed>,
        ledger: &Arc<Ledger>,
        secret: Option<ClusterSecret>,
    ) -> Self {
        let upkeep = Upkeep::start(Arc::clone(store), pace);
        tokio::spawn(rebuild::watch(
            Arc::clone(formed),
            Arc::clone(ledger),
            Arc::clone(store),
            Arc::clone(upkeep.stats()),
            upkeep.sound(),
        ));
        let ushers = reseat::attend(&Arc::new(Usher {
            formed: Arc::clone(formed),
            ledger: Arc::clone(ledger),
            store: Arc::clone(store),
            secret,
        }));
        Self { upkeep, ushers }
    }

    async fn stop(mut self) {
        self.ushers.shutdown().await;
        self.upkeep.stop().await;
    }
}

/// Stops the ledger and writes out what only the drives' logs hold.
async fn close(ledger: &Ledger, formed: &Arc<Formed>) {
    let drives = async {
        ledger.close().await;
        let mut closing = JoinSet::new();
        for drive in formed.local() {
            closing.spawn_blocking(move || drive.close());
        }
        while closing.join_next().await.is_some() {}
    };
    if timeout(CLOSE_WAIT, drives).await.is_err() {
        tracing::warn!("a drive was not closed; its log is replayed at the next start");
        // To drop a drive is to wait for its threads, and one of them hangs: the process ends
        // without it.
        std::mem::forget(Arc::clone(formed));
    }
}

/// How clients are told to connect.
fn access_of(certificates: Option<&Certificates>) -> Access {
    match certificates.map(Certificates::own_authority) {
        None => Access::Http,
        Some(None) => Access::Https,
        Some(Some(path)) => Access::OwnAuthority(path),
    }
}

/// The store on these drives, with every lease that this process was granted.
pub(crate) fn open_store(formed: &Formed, ledger: &Ledger) -> Store {
    let state = ledger.view();
    let drive = |seat: &Arc<Seat>| Arc::clone(seat) as Arc<dyn Drive>;
    let config = |(set, seats): (usize, &Vec<Arc<Seat>>)| SetConfig {
        deployment: formed.deployment,
        drives: seats.iter().map(drive).collect(),
        standard: formed.classes.standard,
        reduced: formed.classes.reduced,
        membership: state.membership(0, u16::try_from(set).unwrap_or(u16::MAX)),
    };
    let store = Store::new(
        formed.deployment,
        formed.sets.iter().enumerate().map(config).collect(),
    );
    for (slot, lease) in (0..).zip(&state.leases) {
        store.grant(Slot::new(slot), lease.epoch());
    }
    store
}

/// Prints the banner, and logs what its owner should know.
fn announce(
    config: &Config,
    access: Access,
    node: &ThisNode,
    made: Option<Made>,
    interfaces: Vec<IpAddr>,
) -> io::Result<()> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(warning) = access_warning(&access) {
        tracing::warn!("{warning}");
    }
    let sets = &node.formed.sets;
    let root = node.ledger.view().root.clone();
    let start = Start {
        listening: node.listening.clone(),
        interfaces,
        access,
        root_user: root.map_or_else(String::new, |root| root.access_key),
        new_password: made.map(|made| Secret::new(made.secret_key)),
        drives: (
            sets.iter().flatten().filter(|seat| online(seat)).count(),
            sets.iter().map(Vec::len).sum(),
        ),
        sets: sets.len(),
        parity: node.formed.classes.standard.parity(),
    };
    io::stdout().write_all(render(config.output.banner, &start).as_bytes())
}

/// Lets this process open as many files as it may: each connection and each drive takes some.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// The addresses of this machine that others may use.
fn interfaces() -> Vec<IpAddr> {
    let found = if_addrs::get_if_addrs().unwrap_or_default();
    let mut addresses: Vec<IpAddr> = found
        .into_iter()
        .filter(|interface| !interface.is_link_local())
        .map(|interface| interface.ip())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// This node as its probes and metrics see it.
struct ThisNode {
    draining: watch::Receiver<bool>,
    listening: Vec<SocketAddr>,
    formed: Arc<Formed>,
    store: Arc<Store>,
    ledger: Arc<Ledger>,
    upkeep: Arc<UpkeepStats>,
}

fn online(seat: &Seat) -> bool {
    !matches!(seat.status(), Status::Offline(_))
}

impl ThisNode {
    /// Whether nobody asked for another parity.
    fn default_classes(&self) -> bool {
        let classes = self.formed.classes;
        Classes::new(classes.standard.drives(), None, None).is_ok_and(|default| default == classes)
    }
}

impl Node for ThisNode {
    fn health(&self) -> HealthView {
        let phase = if *self.draining.borrow() {
            Phase::Draining
        } else {
            Phase::Serving
        };
        let set = |seats: &Vec<Arc<Seat>>| {
            let count = |test: fn(&Seat) -> bool| seats.iter().filter(|seat| test(seat)).count();
            let online = count(online);
            SetHealth {
                geometry: self.formed.classes.standard,
                online,
                local: online,
                healing: count(|seat| seat.status() == Status::Joining),
            }
        };
        HealthView {
            phase,
            sets: self.formed.sets.iter().map(set).collect(),
            default_classes: self.default_classes(),
        }
    }

    fn facts(&self) -> Facts {
        let seat = |seat: &Arc<Seat>| {
            let stats = seat.local().map(|local| local.stats());
            let (online, path) = (online(seat), seat.path());
            // What lies at the path of a drive that is gone is another disk, and one that hangs is not
            // to be asked here.
            let space = online.then(|| rustix::fs::statvfs(path).ok()).flatten();
            let of = |size: fn(&StatVfs) -> u64| space.as_ref().map_or(0, size);
            DriveFacts {
                path: path.display().to_string(),
                online,
                total_bytes: of(|space| space.f_blocks * space.f_frsize),
                free_bytes: of(|space| space.f_bavail * space.f_frsize),
                free_inodes: of(|space| space.f_favail),
                timeouts: stats.as_ref().map_or(0, |stats| stats.timeouts),
                errors: stats.as_ref().map_or(0, |stats| stats.corrupt_reads),
                batches: stats.as_ref().map_or(0, |stats| stats.batches),
                returns: seat.returns(),
            }
        };
        let (counters, upkeep) = (self.store.counters(), &self.upkeep);
        Facts {
            server: self
                .listening
                .first()
                .map(SocketAddr::to_string)
                .unwrap_or_default(),
            health: self.health(),
            drives: self.formed.seats().map(seat).collect(),
            buckets: self.ledger.view().buckets.len(),
            heal: HealFacts {
                scanned: upkeep.recounted() + upkeep.scrubbed() + upkeep.hints(),
                healed: upkeep.repaired(),
                failed: upkeep.unhealed(),
                bad: counters.bad_shards(),
                scrubs: upkeep.scrubs(),
                // What upkeep says is a moment old.
                whole: upkeep.healed() && !self.store.is_amiss(),
                recounting: upkeep.recounting(),
                expected: rebuild::expected(&self.formed),
            },
        }
    }

    fn metrics_secret(&self, access_key: &str) -> Option<String> {
        let root = self.ledger.view().root.clone()?;
        (root.access_key == access_key).then_some(root.secret_key)
    }
}

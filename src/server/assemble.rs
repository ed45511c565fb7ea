//! Builds the rooms from a configuration, opens the door, and closes everything in order.
//! The only file that knows every room.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::banner::{Access, Start, access_warning, render};
use crate::config::Config;
use crate::front::{Front, Node};
use crate::health::{HealthView, Phase};
use crate::listen::{BindError, Caller, Door, Service, bind};
use crate::metrics::{Facts, HealFacts, Metrics};
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
    let acceptor = match &certificates {
        Some(certificates) => Some(TlsAcceptor::from(Arc::new(certificates.server_config()?))),
        None => None,
    };
    let listeners = bind(&config.address).await?;
    let listening: Vec<SocketAddr> = listeners
        .iter()
        .map(|listener| listener.local_addr())
        .collect::<Result<_, _>>()?;

    let metrics = Arc::new(Metrics::new());
    let (tell, told) = watch::channel(false);
    let node = Arc::new(ThisNode {
        draining: told.clone(),
        listening: listening.clone(),
    });
    let front = Front::new(node, Arc::clone(&metrics), config.metrics, NoDoor, |_| None);
    let door = Door::new(front, acceptor, metrics, &config.limits);

    let access = match certificates
        .as_ref()
        .map(|certificates| certificates.own_authority())
    {
        None => Access::Http,
        Some(None) => Access::Https,
        Some(Some(path)) => Access::OwnAuthority(path),
    };
    announce(&config, access, listening, interfaces)?;
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
    Ok(())
}

/// Prints the banner, and logs what its owner should know.
fn announce(
    config: &Config,
    access: Access,
    listening: Vec<SocketAddr>,
    interfaces: Vec<IpAddr>,
) -> io::Result<()> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(warning) = access_warning(&access) {
        tracing::warn!("{warning}");
    }
    let sets: Vec<usize> = config
        .pools
        .iter()
        .flat_map(|pool| pool.sets.iter().map(Vec::len))
        .collect();
    let drives = sets.iter().sum();
    let start = Start {
        listening,
        interfaces,
        access,
        root_user: config
            .root
            .as_ref()
            .map_or_else(String::new, |root| root.access_key.clone()),
        new_password: None,
        drives: (0, drives),
        sets: sets.len(),
        parity: config
            .pools
            .iter()
            .map(|pool| pool.classes.standard.parity())
            .min()
            .unwrap_or(0),
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
}

impl Node for ThisNode {
    fn health(&self) -> HealthView {
        let phase = if *self.draining.borrow() {
            Phase::Draining
        } else {
            Phase::Starting
        };
        HealthView {
            phase,
            sets: Vec::new(),
            default_classes: true,
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            server: self
                .listening
                .first()
                .map(SocketAddr::to_string)
                .unwrap_or_default(),
            health: self.health(),
            drives: Vec::new(),
            buckets: Vec::new(),
            heal: HealFacts::default(),
        }
    }

    fn metrics_secret(&self, _access_key: &str) -> Option<String> {
        None
    }
}

/// Answers that nothing is served.
struct NoDoor;

impl Service for NoDoor {
    type Body = Full<Bytes>;

    async fn call(&self, _request: Request<Incoming>, _caller: Caller) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    }
}

//! The port: connections in, requests to a service, answers out.
//!
//! What a request means is the service's matter. Here are the bounds of a connection: how many
//! there are, how slow a client may be, how large a head is, and how the port closes.

mod flight;
mod pace;

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::config::{Address, Limits};
use crate::metrics::Metrics;
use flight::{Flight, respond};
use pace::{Activity, Paced, Patience};

/// Connections open at once; more wait in the system's backlog.
const CONNECTIONS_MAX: u32 = 16_384;
/// The longest head of a request. Presigned URLs with long keys and full user metadata fit often.
const HEAD_LEN_MAX: usize = 64 * 1024;
/// What a connection may buffer: bounds memory, and the size of one read of a body.
const BUFFER_LEN_MAX: usize = 256 * 1024;
/// How long to leave a port alone that cannot accept, for want of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a client may take nothing of an answer that is ready for it.
const STALL_MAX: Duration = Duration::from_secs(300);
/// What a client of plain HTTP hears on a port of TLS.
const WRONG_SCHEME: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
    Content-Length: 43\r\nConnection: close\r\n\r\nThis port speaks HTTPS, and not plain HTTP.";

/// The error of a body that breaks off.
pub(crate) type BodyError = Box<dyn StdError + Send + Sync>;

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The other end of the connection.
    pub(crate) address: SocketAddr,
    /// How it connects.
    pub(crate) scheme: Scheme,
}

/// How a client connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

/// What answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// The body of its answers.
    type Body: Body<Data = Bytes, Error: Into<BodyError>> + Send + 'static;

    /// Answers one request. A panic becomes one answer of status 500.
    fn call(
        &self,
        request: Request<Incoming>,
        caller: Caller,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Why a port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {host}:{port}: {reason}")]
pub struct BindError {
    host: String,
    port: u16,
    reason: io::Error,
}

/// Opens the port on every address that the configuration means.
pub(crate) async fn bind(address: &Address) -> Result<Vec<TcpListener>, BindError> {
    let wrong = |reason| BindError {
        host: address.host.clone(),
        port: address.port,
        reason,
    };
    if address.host.is_empty() {
        return bind_everywhere(address.port)
            .await
            .map(|listener| vec![listener])
            .map_err(wrong);
    }
    let found = lookup_host((address.host.as_str(), address.port))
        .await
        .map_err(wrong)?;
    let mut listeners = Vec::new();
    let mut refused = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for target in found {
        match TcpListener::bind(target).await {
            Ok(listener) => listeners.push(listener),
            Err(error) => refused = error,
        }
        // A port that the system chooses would be another one on the next address.
        if address.port == 0 && !listeners.is_empty() {
            break;
        }
    }
    if listeners.is_empty() {
        Err(wrong(refused))
    } else {
        Ok(listeners)
    }
}

/// A socket for both families, or for IPv4 where there is no other.
async fn bind_everywhere(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((IpAddr::from(Ipv6Addr::UNSPECIFIED), port)).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(_) => TcpListener::bind((IpAddr::from(Ipv4Addr::UNSPECIFIED), port)).await,
        bound => bound,
    }
}

/// A service behind a port.
pub(crate) struct Door<S> {
    service: Arc<S>,
    tls: Option<TlsAcceptor>,
    metrics: Arc<Metrics>,
    patience: Patience,
    drain_wait: Duration,
    connections: Arc<Semaphore>,
}

impl<S> Clone for Door<S> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            tls: self.tls.clone(),
            metrics: Arc::clone(&self.metrics),
            connections: Arc::clone(&self.connections),
            ..*self
        }
    }
}

impl<S: Service> Door<S> {
    /// A door that lets clients in to `service`, over TLS if there is an acceptor.
    pub(crate) fn new(
        service: S,
        tls: Option<TlsAcceptor>,
        metrics: Arc<Metrics>,
        limits: &Limits,
    ) -> Self {
        Self {
            service: Arc::new(service),
            tls,
            metrics,
            patience: Patience {
                head: limits.head_wait,
                idle: limits.idle_wait,
                stall: STALL_MAX,
            },
            drain_wait: limits.drain_wait,
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX as usize)),
        }
    }

    /// Serves until `stop` holds true: then nothing new is accepted, idle connections close, and
    /// requests in flight are finished, up to the time that the limits set. Answers with how many
    /// connections had to be abandoned then.
    pub(crate) async fn serve(
        self,
        listeners: Vec<TcpListener>,
        stop: watch::Receiver<bool>,
    ) -> usize {
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(self.clone().accept(listener, stop.clone()));
        }
        accepting.join_all().await;
        // Each connection holds a permit: all of them are back when the last one is closed.
        let drained = timeout(
            self.drain_wait,
            self.connections.acquire_many(CONNECTIONS_MAX),
        )
        .await;
        let open = CONNECTIONS_MAX as usize - self.connections.available_permits();
        if drained.is_ok() { 0 } else { open }
    }

    async fn accept(self, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        loop {
            let next = async {
                let permit = Arc::clone(&self.connections).acquire_owned().await;
                (
                    permit.expect("the semaphore is never closed"),
                    listener.accept().await,
                )
            };
            let (permit, accepted) = tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                next = next => next,
            };
            match accepted {
                Ok((stream, address)) => {
                    let door = self.clone();
                    let stop = stop.clone();
                    tokio::spawn(async move {
                        let metrics = Arc::clone(&door.metrics);
                        let connection = AssertUnwindSafe(door.connection(stream, address, stop));
                        if connection.catch_unwind().await.is_err() {
                            metrics.panicked();
                            tracing::error!(%address, "a connection ended in a panic");
                        }
                        drop(permit);
                    });
                }
                // The client is gone already: nobody to tell.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, address: SocketAddr, stop: watch::Receiver<bool>) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "a connection closed before its first byte");
            return;
        }
        let Some(acceptor) = self.tls.clone() else {
            return self
                .http(
                    stream,
                    Caller {
                        address,
                        scheme: Scheme::Http,
                    },
                    stop,
                )
                .await;
        };
        match timeout(self.patience.head, handshake(acceptor, stream)).await {
            Ok(Ok(stream)) => {
                let caller = Caller {
                    address,
                    scheme: Scheme::Https,
                };
                self.http(stream, caller, stop).await;
            }
            Ok(Err(error)) => tracing::debug!(%address, %error, "no TLS handshake"),
            Err(_) => tracing::debug!(%address, "a TLS handshake took too long"),
        }
    }

    async fn http<T>(self, stream: T, caller: Caller, mut stop: watch::Receiver<bool>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Arc::new(Activity::default());
        let metrics = Arc::clone(&self.metrics);
        let stream = Paced::new(stream, Arc::clone(&activity), metrics, self.patience);
        let service = service_fn(|request| {
            let flight = Flight::begin(Arc::clone(&activity), Arc::clone(&self.metrics));
            respond(&*self.service, request, caller, flight)
        });
        let connection = http1::Builder::new()
            .half_close(false)
            .max_header_size(HEAD_LEN_MAX)
            .max_buf_size(BUFFER_LEN_MAX)
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopped(&mut stop) => {
                activity.hurry();
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(address = %caller.address, %error, "a connection broke");
        }
    }
}

/// Returns once `stop` holds true, or can no more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it whoever could keep the server running.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn handshake(
    acceptor: TlsAcceptor,
    mut stream: TcpStream,
) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    if first.iter().all(u8::is_ascii_uppercase) {
        stream.write_all(WRONG_SCHEME).await?;
        stream.shutdown().await?;
        // Closing with bytes unread would reset the connection, and the client not hear this.
        copy(&mut stream.take(HEAD_LEN_MAX as u64), &mut sink()).await?;
        return Err(io::Error::other("plain HTTP on a port of TLS"));
    }
    acceptor.accept(stream).await
}

#[cfg(test)]
mod tests;

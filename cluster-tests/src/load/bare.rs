//! A bare hyper server: the limit that loopback and HTTP set for any server here.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::body::Bodies;

/// The body of a GET: pieces of the shared pool, nothing copied before the socket.
struct Source {
    bodies: Bodies,
    seed: u64,
    sent: u64,
    size: u64,
}

impl Body for Source {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.sent == self.size {
            return Poll::Ready(None);
        }
        let piece = self
            .bodies
            .piece(self.seed, self.sent, self.size - self.sent);
        self.sent += piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.size
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.size - self.sent)
    }
}

/// Serves until the process ends: a PUT's body is read and dropped, a GET answers the body
/// that belongs to its path, `size` bytes long; nothing is checked or kept.
///
/// # Errors
/// If the address cannot be bound.
pub async fn serve(address: SocketAddr, size: u64) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let bodies = Bodies::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let bodies = bodies.clone();
        let service = service_fn(move |request| answer(request, bodies.clone(), size));
        tokio::spawn(async move {
            // A client that goes away is not an error here.
            let _gone = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    bodies: Bodies,
    size: u64,
) -> Result<Response<Source>, hyper::Error> {
    let get = request.method() == Method::GET;
    let seed = bodies.seed(request.uri().path());
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    let size = if get { size } else { 0 };
    Ok(Response::new(Source {
        bodies,
        seed,
        sent: 0,
        size,
    }))
}

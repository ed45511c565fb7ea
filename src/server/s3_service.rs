//! The S3 door as a service of this port: admission, and what belongs to a connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use s3::{AnswerBody, Door};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;
use crate::listen::{Caller, Service};

/// Requests served at once, where nobody says otherwise. Memory is bounded by the store's
/// buffers; this bounds the rest.
const REQUESTS_MAX: usize = 512;

/// Admits requests, and passes them to the door.
pub(crate) struct S3Service {
    door: Door,
    turns: Arc<Semaphore>,
    wait: Duration,
}

impl S3Service {
    pub(crate) fn new(door: Door, limits: &Limits) -> Self {
        let turns = limits.requests_max.unwrap_or(REQUESTS_MAX);
        Self {
            door,
            turns: Arc::new(Semaphore::new(turns)),
            wait: limits.request_wait,
        }
    }
}

impl Service for S3Service {
    type Body = Admitted;

    async fn call(&self, request: Request<Incoming>, _caller: Caller) -> Response<Admitted> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        match tokio::time::timeout(self.wait, turn).await {
            Ok(Ok(turn)) => {
                let response = self.door.call(request).await;
                response.map(|body| Admitted {
                    body,
                    _turn: Some(turn),
                })
            }
            _ => Door::slow_down(&request).map(|body| Admitted { body, _turn: None }),
        }
    }
}

/// An answer's body, which keeps its turn until it is sent.
pub(crate) struct Admitted {
    body: AnswerBody,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Body for Admitted {
    type Data = Bytes;
    type Error = <AnswerBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

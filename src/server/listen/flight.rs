//! One request, from its head to the last byte of its answer.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use crate::listen::pace::Activity;
use crate::listen::{BodyError, Caller, Service};
use crate::metrics::Metrics;

/// A request from its head to the end of its answer.
pub(super) struct Flight {
    activity: Arc<Activity>,
    metrics: Arc<Metrics>,
}

impl Flight {
    pub(super) fn begin(activity: Arc<Activity>, metrics: Arc<Metrics>) -> Self {
        activity.busy();
        metrics.began();
        Self { activity, metrics }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.activity.idle();
        self.metrics.ended();
    }
}

pub(super) async fn respond<S: Service>(
    service: &S,
    request: Request<Incoming>,
    caller: Caller,
    flight: Flight,
) -> Result<Response<Answer>, Infallible> {
    let response = if names_one_host(&request) {
        let answered = AssertUnwindSafe(async { service.call(request, caller).await });
        match answered.catch_unwind().await {
            Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
            Err(_) => {
                flight.metrics.panicked();
                tracing::error!(address = %caller.address, "a request ended in a panic");
                refusal(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL_ERROR)
            }
        }
    } else {
        let mut response = refusal(StatusCode::BAD_REQUEST, NO_HOST);
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
        response
    };
    Ok(response.map(|body| Answer {
        body,
        _flight: flight,
    }))
}

/// Whether two parties that read a request could not disagree whom it is for (RFC 9112,
/// section 3.2).
fn names_one_host(request: &Request<Incoming>) -> bool {
    request.version() < Version::HTTP_11 || request.headers().get_all(HOST).iter().count() == 1
}

const INTERNAL_ERROR: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>\
    <Code>InternalError</Code>\
    <Message>We encountered an internal error. Please try again.</Message></Error>";
const NO_HOST: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>\
    <Code>InvalidRequest</Code>\
    <Message>A request names exactly one host.</Message></Error>";

fn refusal(status: StatusCode, text: &'static str) -> Response<UnsyncBoxBody<Bytes, BodyError>> {
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// A body that keeps its request in flight until it is sent or dropped.
pub(super) struct Answer {
    body: UnsyncBoxBody<Bytes, BodyError>,
    _flight: Flight,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

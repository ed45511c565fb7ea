//! What the door answers with.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::BoxStream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tracing::Span;

/// A broken body: the connection is cut, so that nobody takes it for whole.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer: in hand, or streamed from drives.
pub enum AnswerBody {
    /// Bytes in hand.
    Whole(Option<Bytes>),
    /// So many bytes to come, and the request that they answer.
    Stream(u64, BoxStream<'static, Result<Bytes, store::Error>>, Span),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(left, stream, span) => {
                let _request = span.enter();
                match Pin::new(stream).poll_next(context) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Some(Ok(bytes))) => {
                        *left = left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                        Poll::Ready(Some(Ok(Frame::data(bytes))))
                    }
                    Poll::Ready(Some(Err(error))) => {
                        tracing::error!(%error, "a body breaks off");
                        Poll::Ready(Some(Err(error.into())))
                    }
                    Poll::Ready(None) if *left > 0 => {
                        Poll::Ready(Some(Err(store::Error::Damaged.into())))
                    }
                    Poll::Ready(None) => Poll::Ready(None),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(left, ..) => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                let len = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(len).unwrap_or(u64::MAX))
            }
            Self::Stream(left, ..) => SizeHint::with_exact(*left),
        }
    }
}

/// An answer under construction.
pub(crate) struct Answer {
    response: Response<AnswerBody>,
}

impl Answer {
    /// An answer without a body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        let mut response = Response::new(AnswerBody::Whole(None));
        *response.status_mut() = status;
        Self { response }
    }

    /// An XML document.
    pub(crate) fn xml(status: StatusCode, document: String) -> Self {
        let mut answer = Self::empty(status).with(CONTENT_TYPE, "application/xml");
        *answer.response.body_mut() = AnswerBody::Whole(Some(document.into()));
        answer
    }

    /// The same answer with a stream of `len` bytes.
    pub(crate) fn with_stream(
        mut self,
        len: u64,
        stream: BoxStream<'static, Result<Bytes, store::Error>>,
    ) -> Self {
        *self.response.body_mut() = AnswerBody::Stream(len, stream, Span::current());
        self
    }

    /// Adds a header; a value that no header can hold is left out.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.response.headers_mut().insert(name, value);
        } else if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            self.response.headers_mut().insert(name, value);
        }
        self
    }

    /// Adds a header whose name is not known beforehand.
    pub(crate) fn with_named(self, name: &str, value: &str) -> Self {
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => self.with(name, value),
            Err(_) => self,
        }
    }

    /// Says how long the body would be, for an answer to HEAD.
    pub(crate) fn with_length(self, len: u64) -> Self {
        self.with(CONTENT_LENGTH, &len.to_string())
    }

    pub(crate) fn finish(self) -> Response<AnswerBody> {
        self.response
    }
}

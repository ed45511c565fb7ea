//! Why a request is not believed.

/// Each variant names the S3 error code that answers it. Nothing secret is in any of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `InvalidArgument`: two credentials, in whatever places.
    #[error("only one authentication mechanism is allowed")]
    SeveralCredentials,
    /// `InvalidRequest`: signature version 2, or something unheard of.
    #[error("the authorization mechanism is not supported, use AWS4-HMAC-SHA256")]
    UnsupportedMechanism,
    /// `AuthorizationHeaderMalformed`.
    #[error("the authorization header is malformed: {0}")]
    HeaderMalformed(&'static str),
    /// `AuthorizationQueryParametersError`.
    #[error("the authorization query parameters are malformed: {0}")]
    QueryMalformed(&'static str),
    /// `AuthorizationHeaderMalformed`, or `AuthorizationQueryParametersError` when presigned, with
    /// the element `Region`.
    #[error("the region is wrong, expecting {expected}")]
    RegionMismatch {
        /// The server's region.
        expected: String,
        /// Whether the request was presigned.
        presigned: bool,
    },
    /// `AccessDenied`: neither `x-amz-date` nor `date` in the form that signatures use.
    #[error("authentication needs a valid date or x-amz-date header")]
    MissingDate,
    /// `InvalidRequest`: a signed header needs it.
    #[error("missing required header for this request: x-amz-content-sha256")]
    MissingContentSha256,
    /// `InvalidArgument`.
    #[error(
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value"
    )]
    InvalidContentSha256,
    /// `AccessDenied`, with the element `HeadersNotSigned`.
    #[error("there were headers present in the request which were not signed: {0}")]
    HeadersNotSigned(String),
    /// `RequestTimeTooSkewed`.
    #[error("the difference between the request time and the server's time is too large")]
    Skewed,
    /// `AccessDenied`: a presigned request came too late.
    #[error("request has expired")]
    Expired,
    /// `AccessDenied`: a presigned request came too early.
    #[error("request is not valid yet")]
    NotValidYet,
    /// `InvalidToken`: a session token, which nothing here has given out.
    #[error("the session token is not valid")]
    InvalidToken,
    /// `SignatureDoesNotMatch`, of a request, a chunk or a trailer.
    #[error("the request signature does not match")]
    SignatureMismatch,
}

//! Every error that this server can answer in S3's words.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderName, StatusCode};

macro_rules! codes {
    ($($code:ident $status:ident $message:literal)*) => {
        /// An S3 error code (S3 API Reference, "Error responses"). Closed: what is not here is
        /// never answered.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "a code is documented by its message in the table")]
        pub enum ErrorCode { $($code),* }

        impl ErrorCode {
            /// Every code, for tests that walk the table.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$code),*];

            /// The code as clients read it in `<Code>`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$code => stringify!($code)),* }
            }

            /// The HTTP status that goes with the code.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$code => StatusCode::$status),* }
            }

            /// What is said when nothing more exact is known.
            pub fn message(self) -> &'static str {
                match self { $(Self::$code => $message),* }
            }
        }
    };
}

codes! {
    AccessControlListNotSupported BAD_REQUEST "The bucket does not allow ACLs."
    AccessDenied FORBIDDEN "Access Denied"
    AllAccessDisabled FORBIDDEN "All access to this resource has been disabled."
    AuthorizationHeaderMalformed BAD_REQUEST "The authorization header that you provided is not valid."
    AuthorizationQueryParametersError BAD_REQUEST "The authorization query parameters that you provided are not valid."
    BadDigest BAD_REQUEST "The Content-MD5 or checksum value that you specified did not match what the server received."
    BadRequest BAD_REQUEST "Bad Request"
    BucketAlreadyExists CONFLICT "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Specify a different name and try again."
    BucketAlreadyOwnedByYou CONFLICT "The bucket that you tried to create already exists, and you own it."
    BucketNotEmpty CONFLICT "The bucket that you tried to delete is not empty."
    ConditionalRequestConflict CONFLICT "The conditional request cannot succeed because of a conflicting operation against this resource."
    EntityTooLarge BAD_REQUEST "Your proposed upload exceeds the maximum allowed object size."
    EntityTooSmall BAD_REQUEST "Your proposed upload is smaller than the minimum allowed object size."
    ExpiredToken BAD_REQUEST "The provided token has expired."
    IllegalLocationConstraintException BAD_REQUEST "The location constraint that you specified is not the region of this server."
    IllegalVersioningConfigurationException BAD_REQUEST "The versioning configuration specified in the request is not valid."
    IncompleteBody BAD_REQUEST "You did not provide the number of bytes specified by the Content-Length HTTP header."
    InternalError INTERNAL_SERVER_ERROR "We encountered an internal error. Please try again."
    InvalidAccessKeyId FORBIDDEN "The AWS Access Key Id you provided does not exist in our records."
    InvalidArgument BAD_REQUEST "Invalid Argument"
    InvalidBucketName BAD_REQUEST "The specified bucket is not valid."
    InvalidBucketState CONFLICT "The request is not valid for the current state of the bucket."
    InvalidDigest BAD_REQUEST "The Content-MD5 or checksum value that you specified is not valid."
    InvalidLocationConstraint BAD_REQUEST "The specified location constraint is not valid."
    InvalidObjectState FORBIDDEN "The operation is not valid for the current state of the object."
    InvalidPart BAD_REQUEST "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."
    InvalidPartNumber RANGE_NOT_SATISFIABLE "The requested partnumber is not satisfiable."
    InvalidPartOrder BAD_REQUEST "The list of parts was not in ascending order. Parts must be ordered by part number."
    InvalidRange RANGE_NOT_SATISFIABLE "The requested range is not satisfiable."
    InvalidRequest BAD_REQUEST "Invalid Request"
    InvalidStorageClass BAD_REQUEST "The storage class you specified is not valid."
    InvalidTag BAD_REQUEST "The tag provided was not a valid tag."
    InvalidToken BAD_REQUEST "The provided token is malformed or otherwise not valid."
    InvalidURI BAD_REQUEST "Couldn't parse the specified URI."
    KeyTooLongError BAD_REQUEST "Your key is too long."
    MalformedACLError BAD_REQUEST "The ACL that you provided was not well formed or did not validate against our published schema."
    MalformedTrailerError BAD_REQUEST "The request contained trailing data that was not well-formed or did not conform to our published schema."
    MalformedXML BAD_REQUEST "The XML you provided was not well-formed or did not validate against our published schema."
    MaxMessageLengthExceeded BAD_REQUEST "Your request was too large."
    MetadataTooLarge BAD_REQUEST "Your metadata headers exceed the maximum allowed metadata size."
    MethodNotAllowed METHOD_NOT_ALLOWED "The specified method is not allowed against this resource."
    MissingContentLength LENGTH_REQUIRED "You must provide the Content-Length HTTP header."
    MissingRequestBodyError BAD_REQUEST "Request Body is empty"
    NoSuchBucket NOT_FOUND "The specified bucket does not exist"
    NoSuchBucketPolicy NOT_FOUND "The bucket policy does not exist"
    NoSuchCORSConfiguration NOT_FOUND "The CORS configuration does not exist"
    NoSuchKey NOT_FOUND "The specified key does not exist."
    NoSuchLifecycleConfiguration NOT_FOUND "The lifecycle configuration does not exist"
    NoSuchPublicAccessBlockConfiguration NOT_FOUND "The public access block configuration was not found"
    NoSuchTagSet NOT_FOUND "The TagSet does not exist"
    NoSuchUpload NOT_FOUND "The specified multipart upload does not exist. The upload ID might not be valid, or the multipart upload might have been aborted or completed."
    NoSuchVersion NOT_FOUND "The specified version does not exist."
    NoSuchWebsiteConfiguration NOT_FOUND "The specified bucket does not have a website configuration"
    NotImplemented NOT_IMPLEMENTED "A header or query you provided implies functionality that is not implemented."
    NotModified NOT_MODIFIED "Not Modified"
    ObjectLockConfigurationNotFoundError NOT_FOUND "Object Lock configuration does not exist for this bucket"
    OperationAborted CONFLICT "A conflicting conditional operation is currently in progress against this resource. Try again."
    OwnershipControlsNotFoundError NOT_FOUND "The bucket ownership controls were not found"
    PreconditionFailed PRECONDITION_FAILED "At least one of the pre-conditions you specified did not hold"
    ReplicationConfigurationNotFoundError NOT_FOUND "The replication configuration was not found"
    RequestHeaderSectionTooLarge BAD_REQUEST "Your request header section exceeds the maximum allowed size."
    RequestTimeTooSkewed FORBIDDEN "The difference between the request time and the server's time is too large."
    RequestTimeout BAD_REQUEST "Your socket connection to the server was not read from or written to within the timeout period."
    ServerSideEncryptionConfigurationNotFoundError NOT_FOUND "The server side encryption configuration was not found"
    ServiceUnavailable SERVICE_UNAVAILABLE "Service is unable to handle request."
    SignatureDoesNotMatch FORBIDDEN "The request signature we calculated does not match the signature you provided. Check your key and signing method."
    SlowDown SERVICE_UNAVAILABLE "Please reduce your request rate."
    TooManyBuckets BAD_REQUEST "You have attempted to create more buckets than allowed."
    UnexpectedContent BAD_REQUEST "This request contains unsupported content."
    XAmzContentSHA256Mismatch BAD_REQUEST "The provided 'x-amz-content-sha256' header does not match what was computed."
    XMinioStorageFull INSUFFICIENT_STORAGE "The drives have reached their minimum of free space. Delete objects or add space to go on."
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The room's error: a code, what to tell the client, and the further elements that AWS puts into
/// the answer for that code (for example `ArgumentName`).
///
/// The message is shown to clients as it is: no secrets, no paths, no insides.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct S3Error {
    /// Decides the status.
    pub code: ErrorCode,
    /// Clients read it in `<Message>`.
    pub message: Cow<'static, str>,
    /// Elements after `<Message>`, in order: name and text.
    pub details: Vec<(&'static str, String)>,
    /// Headers that the answer has besides those of every error.
    pub headers: Vec<(HeaderName, String)>,
}

impl S3Error {
    /// An error with a message of its own.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Adds an element to the answer, for example `("Key", key)`.
    pub fn with(mut self, element: &'static str, text: impl Into<String>) -> Self {
        self.details.push((element, text.into()));
        self
    }

    /// Adds a header to the answer.
    pub fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// `InvalidArgument`, naming the argument as AWS does.
    pub(crate) fn argument(name: &str, value: &str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidArgument, message)
            .with("ArgumentName", name)
            .with("ArgumentValue", value)
    }

    /// `InvalidRequest` with a message of its own.
    pub fn request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// `NotImplemented`, naming what was asked for.
    pub fn not_implemented(what: &str) -> Self {
        Self::new(
            ErrorCode::NotImplemented,
            format!("{what} is not implemented."),
        )
    }
}

impl From<ErrorCode> for S3Error {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, code.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_aws() {
        let table = [
            (ErrorCode::NoSuchKey, 404),
            (ErrorCode::InvalidRange, 416),
            (ErrorCode::PreconditionFailed, 412),
            (ErrorCode::NotModified, 304),
            (ErrorCode::ConditionalRequestConflict, 409),
            (ErrorCode::SlowDown, 503),
            (ErrorCode::MissingContentLength, 411),
            (ErrorCode::NotImplemented, 501),
            (ErrorCode::XAmzContentSHA256Mismatch, 400),
            (ErrorCode::RequestTimeTooSkewed, 403),
        ];
        for (code, status) in table {
            assert_eq!(code.status().as_u16(), status, "{code}");
        }
    }

    #[test]
    fn every_code_is_an_error_and_says_something() {
        for code in ErrorCode::ALL {
            assert!(code.status().as_u16() >= 300, "{code}");
            assert!(!code.message().is_empty(), "{code}");
        }
    }
}

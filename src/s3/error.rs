//! The one table from the store's, the ledger's and auth's errors to S3's.

use s3wire::{ErrorCode, S3Error};

/// What a store error is in S3's words.
pub(crate) fn of_store(error: &store::Error) -> S3Error {
    use store::Error;
    let code = match error {
        Error::NoSuchKey | Error::DeleteMarker { .. } => ErrorCode::NoSuchKey,
        Error::NoSuchVersion => ErrorCode::NoSuchVersion,
        Error::NoSuchUpload => ErrorCode::NoSuchUpload,
        Error::InvalidPart(_) => ErrorCode::InvalidPart,
        Error::PreconditionFailed => ErrorCode::PreconditionFailed,
        Error::Full => ErrorCode::XMinioStorageFull,
        Error::BodyLength { .. } => ErrorCode::IncompleteBody,
        Error::Unavailable(_) => ErrorCode::ServiceUnavailable,
        Error::Damaged | Error::Name(_) => ErrorCode::InternalError,
    };
    if matches!(
        code,
        ErrorCode::ServiceUnavailable | ErrorCode::InternalError
    ) {
        tracing::warn!(%error, "a request was not served");
    }
    code.into()
}

/// What a refused signature is in S3's words.
pub(crate) fn of_auth(error: &auth::Error) -> S3Error {
    use auth::Error;
    let code = match error {
        Error::SeveralCredentials | Error::UnsupportedMechanism | Error::MissingContentSha256 => {
            ErrorCode::InvalidRequest
        }
        Error::HeaderMalformed(_) => ErrorCode::AuthorizationHeaderMalformed,
        Error::QueryMalformed(_) => ErrorCode::AuthorizationQueryParametersError,
        Error::RegionMismatch {
            presigned: false, ..
        } => ErrorCode::AuthorizationHeaderMalformed,
        Error::RegionMismatch {
            presigned: true, ..
        } => ErrorCode::AuthorizationQueryParametersError,
        Error::MissingDate | Error::HeadersNotSigned(_) | Error::Expired | Error::NotValidYet => {
            ErrorCode::AccessDenied
        }
        Error::InvalidContentSha256 => ErrorCode::InvalidArgument,
        Error::Skewed => ErrorCode::RequestTimeTooSkewed,
        Error::InvalidToken => ErrorCode::InvalidToken,
        Error::SignatureMismatch => ErrorCode::SignatureDoesNotMatch,
    };
    let refused = match error {
        Error::SignatureMismatch | Error::Skewed => code.into(),
        _ => S3Error::new(code, capitalised(&error.to_string())),
    };
    match error {
        Error::RegionMismatch { expected, .. } => refused.with("Region", expected.clone()),
        _ => refused,
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// What a refused change of intent is in S3's words.
pub(crate) fn of_ledger(error: &ledger::ProposeError) -> S3Error {
    use ledger::{ProposeError, Refusal};
    match error {
        ProposeError::Refused(Refusal::BucketExists) => ErrorCode::BucketAlreadyOwnedByYou.into(),
        ProposeError::Refused(Refusal::NoSuchBucket) => ErrorCode::NoSuchBucket.into(),
        ProposeError::Refused(Refusal::BucketDeleting) => ErrorCode::OperationAborted.into(),
        ProposeError::Refused(refusal) => {
            tracing::error!(%refusal, "a change of intent was refused");
            ErrorCode::InternalError.into()
        }
        ProposeError::Unavailable(_) => ErrorCode::ServiceUnavailable.into(),
    }
}

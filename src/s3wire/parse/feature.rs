//! Wishes in headers that this server cannot fulfil.

use http::HeaderMap;

use crate::error::{ErrorCode, S3Error};
use crate::field::filled;
use crate::op::Op;

/// Something that a header asks for and this server does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// `x-amz-server-side-encryption*`, SSE-C of a copy's source included.
    Encryption,
    /// `x-amz-object-lock-*`, `x-amz-bucket-object-lock-enabled`.
    ObjectLock,
    /// An ACL that is not the owner's alone.
    Acl,
    /// `x-amz-website-redirect-location`.
    WebsiteRedirect,
    /// `x-amz-write-offset-bytes`.
    Append,
    /// `x-amz-meta-snowball-auto-extract` and `x-minio-extract`.
    Extract,
    /// `x-minio-force-delete`.
    ForceDelete,
    /// Conditions of directory buckets on a delete, which must not be ignored.
    DeleteCondition,
}

impl Feature {
    /// The answer to a request that asks for it.
    pub fn refusal(self) -> S3Error {
        S3Error::not_implemented(match self {
            Self::Encryption => "Server-side encryption",
            Self::ObjectLock => "Object Lock",
            Self::Acl => "An ACL other than private",
            Self::WebsiteRedirect => "Website redirection",
            Self::Append => "Appending to an object",
            Self::Extract => "Extraction of archives",
            Self::ForceDelete => "Forced deletion of a bucket",
            Self::DeleteCondition => "A condition on time or size of a deletion",
        })
    }

    pub(super) fn asked_for(headers: &HeaderMap, op: &Op) -> Result<Option<Self>, S3Error> {
        if let Some(feature) = headers
            .keys()
            .find_map(|name| Self::of_header(name.as_str()))
        {
            return Ok(Some(feature));
        }
        let yes = |name| -> Result<bool, S3Error> {
            Ok(filled(headers, name)?.is_some_and(|value| value.eq_ignore_ascii_case("true")))
        };
        if yes("x-amz-bucket-object-lock-enabled")? {
            return Ok(Some(Self::ObjectLock));
        }
        if yes("x-amz-meta-snowball-auto-extract")? || yes("x-minio-extract")? {
            return Ok(Some(Self::Extract));
        }
        if matches!(op, Op::DeleteBucket(_)) && yes("x-minio-force-delete")? {
            return Ok(Some(Self::ForceDelete));
        }
        acl(headers)
    }

    /// Features that a header asks for by its mere presence.
    fn of_header(name: &str) -> Option<Self> {
        let name = name.strip_prefix("x-amz-")?;
        let encrypts = name.starts_with("server-side-encryption")
            || name.starts_with("copy-source-server-side-encryption");
        match name {
            _ if encrypts => Some(Self::Encryption),
            _ if name.starts_with("object-lock-") => Some(Self::ObjectLock),
            _ if name.starts_with("grant-") => Some(Self::Acl),
            "website-redirect-location" => Some(Self::WebsiteRedirect),
            "write-offset-bytes" => Some(Self::Append),
            "if-match-last-modified-time" | "if-match-size" => Some(Self::DeleteCondition),
            _ => None,
        }
    }
}

/// Everything belongs to one owner, so the two canned ACLs that say so change nothing
/// (S3 User Guide, "Controlling ownership of objects": bucket owner enforced).
fn acl(headers: &HeaderMap) -> Result<Option<Feature>, S3Error> {
    match filled(headers, "x-amz-acl")?.as_deref() {
        None | Some("private" | "bucket-owner-full-control") => {}
        Some(
            "public-read" | "public-read-write" | "authenticated-read" | "aws-exec-read"
            | "bucket-owner-read" | "log-delivery-write",
        ) => return Ok(Some(Feature::Acl)),
        Some(other) => return Err(S3Error::argument("x-amz-acl", other, "Invalid Argument")),
    }
    match filled(headers, "x-amz-object-ownership")?.as_deref() {
        None | Some("BucketOwnerEnforced") => Ok(None),
        Some("BucketOwnerPreferred" | "ObjectWriter") => Ok(Some(Feature::Acl)),
        Some(_) => Err(ErrorCode::InvalidArgument.into()),
    }
}

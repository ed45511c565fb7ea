//! The closed list of operations, and what each one carries.

use types::{BucketName, ObjectKey, RangeSpec, VersionId};

use crate::absent::AbsentConfiguration;
use crate::attributes::{ChecksumWanted, NewObject};
use crate::checksum::{Checksum, ChecksumType};
use crate::condition::{ReadConditions, WriteConditions};
use crate::copy::{CopyRange, CopySource, Directive};
use crate::range::IfRange;

macro_rules! ops {
    ($($(#[$doc:meta])* $kind:ident $name:ident($payload:ty),)*) => {
        /// One S3 operation, parsed: names are legal, numbers are within their bounds. Nothing has
        /// been authorised. Bodies are read by the functions of `xml`.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Op {
            $($(#[$doc])* $name($payload),)*
            /// An operation of S3 that this server does not have. It is answered as such, loudly.
            NotImplemented(NotImplemented),
        }

        impl Op {
            /// The operation's name in the S3 API Reference.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                    Self::NotImplemented(op) => op.name,
                }
            }

            /// The bucket that the operation is about.
            pub fn bucket(&self) -> Option<&BucketName> {
                match self {
                    $(Self::$name(op) => ops!(@bucket $kind op),)*
                    Self::NotImplemented(op) => op.bucket.as_ref(),
                }
            }

            /// The key that the operation is about.
            pub fn key(&self) -> Option<&ObjectKey> {
                match self {
                    $(Self::$name(op) => ops!(@key $kind op),)*
                    Self::NotImplemented(op) => op.key.as_ref(),
                }
            }
        }
    };
    (@bucket service $op:ident) => {{ let _ = $op; None }};
    (@bucket $kind:ident $op:ident) => { Some(&$op.bucket) };
    (@key object $op:ident) => { Some(&$op.key) };
    (@key $kind:ident $op:ident) => {{ let _ = $op; None }};
}

ops! {
    /// `GET /`.
    service ListBuckets(ListBuckets),
    /// `PUT /bucket`; the body is read by `parse_create_bucket`.
    bucket CreateBucket(OnBucket),
    /// `HEAD /bucket`.
    bucket HeadBucket(OnBucket),
    /// `DELETE /bucket`.
    bucket DeleteBucket(OnBucket),
    /// `GET /bucket?location`.
    bucket GetBucketLocation(OnBucket),
    /// `GET /bucket?versioning`.
    bucket GetBucketVersioning(OnBucket),
    /// `PUT /bucket?versioning`; the body is read by `parse_versioning`.
    bucket PutBucketVersioning(OnBucket),
    /// `GET /bucket?tagging`.
    bucket GetBucketTagging(OnBucket),
    /// `PUT /bucket?tagging`; the body is read by `parse_tagging`.
    bucket PutBucketTagging(OnBucket),
    /// `DELETE /bucket?tagging`.
    bucket DeleteBucketTagging(OnBucket),
    /// `GET /bucket?acl`: the owner, and nobody else.
    bucket GetBucketAcl(OnBucket),
    /// `PUT /bucket?acl`: only `private` is legal, in the header or in the body, which is read by
    /// `parse_acl`.
    bucket PutBucketAcl(OnBucket),
    /// `GET` of a configuration that no bucket can have here.
    bucket GetAbsentConfiguration(GetAbsentConfiguration),
    /// `DELETE /bucket?website`: there is none, so it is done.
    bucket DeleteBucketWebsite(OnBucket),
    /// `GET /bucket`.
    bucket ListObjects(ListObjects),
    /// `GET /bucket?list-type=2`.
    bucket ListObjectsV2(ListObjectsV2),
    /// `GET /bucket?versions`.
    bucket ListObjectVersions(ListObjectVersions),
    /// `GET /bucket?uploads`.
    bucket ListMultipartUploads(ListMultipartUploads),
    /// `POST /bucket?delete`; the body is read by `parse_delete`.
    bucket DeleteObjects(OnBucket),
    /// `GET /bucket/key`.
    object GetObject(ReadObject),
    /// `HEAD /bucket/key`.
    object HeadObject(ReadObject),
    /// `PUT /bucket/key`.
    object PutObject(PutObject),
    /// `PUT /bucket/key` with `x-amz-copy-source`.
    object CopyObject(CopyObject),
    /// `DELETE /bucket/key`.
    object DeleteObject(DeleteObject),
    /// `GET /bucket/key?attributes`.
    object GetObjectAttributes(GetObjectAttributes),
    /// `GET /bucket/key?tagging`.
    object GetObjectTagging(OnVersion),
    /// `PUT /bucket/key?tagging`; the body is read by `parse_tagging`.
    object PutObjectTagging(OnVersion),
    /// `DELETE /bucket/key?tagging`.
    object DeleteObjectTagging(OnVersion),
    /// `GET /bucket/key?acl`.
    object GetObjectAcl(OnVersion),
    /// `PUT /bucket/key?acl`, as for buckets.
    object PutObjectAcl(OnVersion),
    /// `POST /bucket/key?uploads`.
    object CreateMultipartUpload(CreateMultipartUpload),
    /// `PUT /bucket/key?partNumber&uploadId`.
    object UploadPart(UploadPart),
    /// The same with `x-amz-copy-source`.
    object UploadPartCopy(UploadPartCopy),
    /// `GET /bucket/key?uploadId`.
    object ListParts(ListParts),
    /// `POST /bucket/key?uploadId`; the body is read by `parse_complete`.
    object CompleteMultipartUpload(CompleteMultipartUpload),
    /// `DELETE /bucket/key?uploadId`.
    object AbortMultipartUpload(AbortMultipartUpload),
}

/// An operation that is known and not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotImplemented {
    /// Its name in the S3 API Reference.
    pub name: &'static str,
    /// The bucket it is about.
    pub bucket: Option<BucketName>,
    /// The key it is about.
    pub key: Option<ObjectKey>,
}

/// An operation on a bucket that says nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnBucket {
    /// The bucket.
    pub bucket: BucketName,
}

/// An operation on an object or one of its versions that says nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnVersion {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// `versionId`; `None` means the current version.
    pub version: Option<VersionId>,
}

/// Parameters of `ListBuckets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListBuckets {
    /// Only names that start so.
    pub prefix: String,
    /// Where to go on: the name that the last page ended with.
    pub after: Option<String>,
    /// The size of a page; `None` means all, without pages.
    pub buckets_max: Option<u32>,
}

/// Asks for a configuration that no bucket can have here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetAbsentConfiguration {
    /// The bucket, which must exist.
    pub bucket: BucketName,
    /// Which configuration.
    pub what: AbsentConfiguration,
}

/// How names are written in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// As they are.
    #[default]
    Plain,
    /// `encoding-type=url`.
    Url,
}

/// Parameters that all lists of objects share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListScope {
    /// Only keys that start so.
    pub prefix: String,
    /// Keys are rolled up at its first place after the prefix; never empty.
    pub delimiter: Option<String>,
    /// The most keys and common prefixes of a page, at most 1,000.
    pub keys_max: u32,
    /// How names are written.
    pub encoding: Encoding,
}

/// Parameters of `ListObjects`, version 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListObjects {
    /// The bucket.
    pub bucket: BucketName,
    /// Prefix, delimiter and page.
    pub scope: ListScope,
    /// Only keys and common prefixes after this; may be empty.
    pub marker: String,
}

/// Parameters of `ListObjectsV2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListObjectsV2 {
    /// The bucket.
    pub bucket: BucketName,
    /// Prefix, delimiter and page.
    pub scope: ListScope,
    /// `start-after`: only keys after this. A continuation goes first.
    pub start_after: Option<String>,
    /// Where the last page ended: the key or common prefix in the continuation token.
    pub after: Option<String>,
    /// `continuation-token` as it was sent, for the answer.
    pub continuation_token: Option<String>,
    /// `fetch-owner`.
    pub fetch_owner: bool,
}

/// Parameters of `ListObjectVersions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListObjectVersions {
    /// The bucket.
    pub bucket: BucketName,
    /// Prefix, delimiter and page.
    pub scope: ListScope,
    /// `key-marker`; may be empty.
    pub key_marker: String,
    /// `version-id-marker`: after this version of the marker's key.
    pub version_marker: Option<VersionId>,
}

/// Parameters of `ListMultipartUploads`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListMultipartUploads {
    /// The bucket.
    pub bucket: BucketName,
    /// Prefix, delimiter and page.
    pub scope: ListScope,
    /// `key-marker`; may be empty.
    pub key_marker: String,
    /// `upload-id-marker`; only together with a key marker.
    pub upload_id_marker: Option<String>,
}

/// Headers of the answer that the request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseOverrides {
    /// `response-content-type`.
    pub content_type: Option<String>,
    /// `response-content-language`.
    pub content_language: Option<String>,
    /// `response-expires`.
    pub expires: Option<String>,
    /// `response-cache-control`.
    pub cache_control: Option<String>,
    /// `response-content-disposition`.
    pub content_disposition: Option<String>,
    /// `response-content-encoding`.
    pub content_encoding: Option<String>,
}

/// Parameters of GET and HEAD of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadObject {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// `versionId`; `None` means the current version.
    pub version: Option<VersionId>,
    /// `Range`; never together with a part.
    pub range: Option<RangeSpec>,
    /// `If-Range`.
    pub if_range: Option<IfRange>,
    /// `partNumber`, 1 to 10,000.
    pub part_number: Option<u32>,
    /// `If-*`.
    pub conditions: ReadConditions,
    /// `response-*`.
    pub overrides: ResponseOverrides,
    /// `x-amz-checksum-mode: ENABLED`.
    pub with_checksum: bool,
}

/// Parameters of `PutObject`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutObject {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// What to store with the bytes.
    pub new: NewObject,
    /// `If-Match`, `If-None-Match`.
    pub conditions: WriteConditions,
}

/// Parameters of `CopyObject`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyObject {
    /// The destination's bucket.
    pub bucket: BucketName,
    /// The destination's key.
    pub key: ObjectKey,
    /// The source and its conditions.
    pub source: CopySource,
    /// Whose headers and metadata the copy gets.
    pub metadata: Directive,
    /// Whose tags the copy gets.
    pub tagging: Directive,
    /// The request's headers and tags, for `Replace`; the storage class counts in any case.
    pub new: NewObject,
    /// `x-amz-checksum-algorithm`: compute this one; otherwise the source's is kept.
    pub checksum: Option<ChecksumWanted>,
    /// Conditions on the destination.
    pub conditions: WriteConditions,
}

/// Parameters of `DeleteObject`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteObject {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// `versionId`: delete exactly this one.
    pub version: Option<VersionId>,
    /// `If-Match`.
    pub conditions: WriteConditions,
}

/// What `GetObjectAttributes` can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// The entity tag.
    ETag,
    /// The checksum.
    Checksum,
    /// The parts of a multipart object.
    ObjectParts,
    /// The storage class.
    StorageClass,
    /// The size in bytes.
    ObjectSize,
}

/// Parameters of `GetObjectAttributes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetObjectAttributes {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// `versionId`; `None` means the current version.
    pub version: Option<VersionId>,
    /// What to tell; never empty.
    pub attributes: Vec<Attribute>,
    /// The most parts, at most 1,000.
    pub parts_max: u32,
    /// Only parts after this number.
    pub part_number_marker: u32,
}

/// Parameters of `CreateMultipartUpload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateMultipartUpload {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// What to store with the object.
    pub new: NewObject,
    /// The checksum that parts will bring.
    pub checksum: Option<ChecksumWanted>,
}

/// Parameters of `UploadPart`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadPart {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// The upload, as the client names it; it may be anything.
    pub upload_id: String,
    /// 1 to 10,000.
    pub part_number: u32,
}

/// Parameters of `UploadPartCopy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadPartCopy {
    /// The destination's bucket.
    pub bucket: BucketName,
    /// The destination's key.
    pub key: ObjectKey,
    /// The upload, as the client names it; it may be anything.
    pub upload_id: String,
    /// 1 to 10,000.
    pub part_number: u32,
    /// The source and its conditions.
    pub source: CopySource,
    /// What of the source; `None` means all of it.
    pub range: Option<CopyRange>,
}

/// Parameters of `ListParts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListParts {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// The upload, as the client names it; it may be anything.
    pub upload_id: String,
    /// Only parts after this number.
    pub part_number_marker: u32,
    /// The most parts of a page, at most 1,000.
    pub parts_max: u32,
    /// How names are written.
    pub encoding: Encoding,
}

/// Parameters of `CompleteMultipartUpload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompleteMultipartUpload {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// The upload, as the client names it; it may be anything.
    pub upload_id: String,
    /// `If-Match`, `If-None-Match`.
    pub conditions: WriteConditions,
    /// `x-amz-checksum-*`: what the object's checksum must be.
    pub checksum: Option<Checksum>,
    /// `x-amz-checksum-type`: must be the upload's.
    pub checksum_type: Option<ChecksumType>,
    /// `x-amz-mp-object-size`: what the object's size must be.
    pub object_size: Option<u64>,
}

/// Parameters of `AbortMultipartUpload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbortMultipartUpload {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// The upload, as the client names it; it may be anything.
    pub upload_id: String,
}

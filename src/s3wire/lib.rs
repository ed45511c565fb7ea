//! S3 as text: which operation a request is, what its headers and documents say, how bodies are
//! framed and summed, and how answers and errors are written.
//!
//! This room has no behaviour: it does not know who asks, what is stored, or that there is a
//! network. It reads no clock and no randomness. What it returns was checked against S3's rules
//! once and is legal afterwards; whatever bytes come in, it never panics.

mod absent;
mod attributes;
mod body;
mod checksum;
mod chunked;
mod condition;
mod copy;
mod error;
mod field;
mod op;
mod parse;
mod percent;
mod query;
mod range;
mod tags;
mod target;
mod time;
mod token;
mod xml;

pub use absent::AbsentConfiguration;
pub use attributes::{ChecksumWanted, NewObject, ObjectHeaders, storage_class_name};
pub use body::{BodyChecksum, BodyHeaders};
pub use checksum::{
    Checksum, ChecksumAlgorithm, ChecksumType, Checksummer, ObjectChecksum, combine, composite,
    multipart_etag,
};
pub use chunked::{ChunkEvent, ChunkedDecoder, Framing, Trailers};
pub use condition::{EtagMatch, ReadConditions, WriteConditions};
pub use copy::{CopyRange, CopySource, Directive};
pub use error::{ErrorCode, S3Error};
pub use op::{
    AbortMultipartUpload, Attribute, CompleteMultipartUpload, CopyObject, CreateMultipartUpload,
    DeleteObject, Encoding, GetAbsentConfiguration, GetObjectAttributes, ListBuckets,
    ListMultipartUploads, ListObjectVersions, ListObjects, ListObjectsV2, ListParts, ListScope,
    NotImplemented, OnBucket, OnVersion, Op, PutObject, ReadObject, ResponseOverrides, UploadPart,
    UploadPartCopy,
};
pub use parse::{Feature, Request, parse};
pub use range::IfRange;
pub use tags::{TagSet, Tagged};
pub use target::Domains;
pub use time::{http_date, iso8601, parse_http_date, parse_iso8601};
pub use token::continuation_token;
pub use xml::{
    Completed, CompletedPart, Delete, DeleteEntry, DeleteOutcome, Deleted, ListedBucket,
    ListedObject, ListedPart, ListedUpload, ListedVersion, ObjectAttributes, ObjectToDelete, Owner,
    Page, UploadDescription, VersionKind, Versioning, access_control_policy, bucket_list,
    complete_result, copy_object_result, copy_part_result, delete_result, initiate_result,
    location_constraint, object_attributes, object_list, object_list_v2, parse_acl, parse_complete,
    parse_create_bucket, parse_delete, parse_tagging, parse_versioning, part_list, tagging,
    upload_list, version_list, versioning_configuration,
};

//! Operations on an object.

use http::Method;
use types::{BucketName, ObjectKey};

use crate::attributes::{ChecksumWanted, NewObject, checksum_type};
use crate::checksum::{Checksum, ChecksumAlgorithm};
use crate::condition::{ReadConditions, WriteConditions};
use crate::copy::{CopyRange, CopySource, Directive};
use crate::error::{ErrorCode, S3Error};
use crate::field::{filled, length, text_of};
use crate::op::{
    AbortMultipartUpload, Attribute, CompleteMultipartUpload, CopyObject, CreateMultipartUpload,
    DeleteObject, GetObjectAttributes, ListParts, NotImplemented, OnVersion, Op, PutObject,
    ReadObject, ResponseOverrides, UploadPart, UploadPartCopy,
};
use crate::parse::Head;
use crate::parse::bucket::encoding;
use crate::query::Query;
use crate::range::{IfRange, range};

/// Parameters that turn a request for an object into another one.
const SELECTORS: [&str; 14] = [
    "acl",
    "append",
    "attributes",
    "encryption",
    "lambdaArn",
    "legal-hold",
    "renameObject",
    "restore",
    "retention",
    "select",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
];

/// The largest part number, and the most parts of an upload.
const PARTS_MAX: u32 = 10_000;
/// The most parts of a page.
const PARTS_PAGE_MAX: u32 = 1000;

pub(super) fn object_op(
    head: &Head<'_>,
    bucket: BucketName,
    key: ObjectKey,
) -> Result<Op, S3Error> {
    match head.selector(&SELECTORS)? {
        None => whole_object(head, bucket, key),
        Some("uploadId") => upload_op(head, bucket, key),
        Some(selector) => sub_resource(head, selector, bucket, key),
    }
}

fn whole_object(head: &Head<'_>, bucket: BucketName, key: ObjectKey) -> Result<Op, S3Error> {
    let headers = head.headers;
    match *head.method {
        Method::GET => read_object(head, bucket, key).map(Op::GetObject),
        Method::HEAD => read_object(head, bucket, key).map(Op::HeadObject),
        Method::PUT if head.query.has("partNumber") => Err(S3Error::argument(
            "uploadId",
            "",
            "This operation does not accept partNumber without uploadId",
        )),
        Method::PUT => match CopySource::from_headers(headers)? {
            Some(source) => copy_object(head, bucket, key, source),
            None => Ok(Op::PutObject(PutObject {
                bucket,
                key,
                new: NewObject::from_headers(headers)?,
                conditions: WriteConditions::from_headers(headers)?,
            })),
        },
        Method::DELETE => Ok(Op::DeleteObject(DeleteObject {
            bucket,
            key,
            version: head.query.version()?,
            conditions: WriteConditions::from_headers(headers)?,
        })),
        Method::OPTIONS => Ok(Op::NotImplemented(NotImplemented {
            name: "Preflight",
            bucket: Some(bucket),
            key: Some(key),
        })),
        _ => Err(head.method_not_allowed()),
    }
}

fn sub_resource(
    head: &Head<'_>,
    selector: &str,
    bucket: BucketName,
    key: ObjectKey,
) -> Result<Op, S3Error> {
    let on = |bucket, key| {
        let version = head.query.version()?;
        Ok::<_, S3Error>(OnVersion {
            bucket,
            key,
            version,
        })
    };
    let name = match (head.method, selector) {
        (&Method::GET, "attributes") => {
            return attributes(head, bucket, key).map(Op::GetObjectAttributes);
        }
        (&Method::GET, "tagging") => return on(bucket, key).map(Op::GetObjectTagging),
        (&Method::PUT, "tagging") => return on(bucket, key).map(Op::PutObjectTagging),
        (&Method::DELETE, "tagging") => return on(bucket, key).map(Op::DeleteObjectTagging),
        (&Method::GET, "acl") => return on(bucket, key).map(Op::GetObjectAcl),
        (&Method::PUT, "acl") => return on(bucket, key).map(Op::PutObjectAcl),
        (&Method::POST, "uploads") => {
            return Ok(Op::CreateMultipartUpload(CreateMultipartUpload {
                bucket,
                key,
                new: NewObject::from_headers(head.headers)?,
                checksum: ChecksumWanted::from_headers(head.headers)?,
            }));
        }
        (&Method::PUT, "append") => "AppendObject",
        (&Method::PUT, "encryption") => "UpdateObjectEncryption",
        (&Method::GET, "lambdaArn") => "GetObjectLambda",
        (&Method::GET, "legal-hold") => "GetObjectLegalHold",
        (&Method::PUT, "legal-hold") => "PutObjectLegalHold",
        (&Method::PUT, "renameObject") => "RenameObject",
        (&Method::POST, "restore") => "RestoreObject",
        (&Method::GET, "retention") => "GetObjectRetention",
        (&Method::PUT, "retention") => "PutObjectRetention",
        (&Method::POST, "select") => "SelectObjectContent",
        (&Method::GET, "torrent") => "GetObjectTorrent",
        (&Method::DELETE, "acl") => "DeleteObjectAcl",
        (&Method::OPTIONS, _) => "Preflight",
        _ => return Err(head.method_not_allowed()),
    };
    Ok(Op::NotImplemented(NotImplemented {
        name,
        bucket: Some(bucket),
        key: Some(key),
    }))
}

fn upload_op(head: &Head<'_>, bucket: BucketName, key: ObjectKey) -> Result<Op, S3Error> {
    let upload_id = head.query.text("uploadId");
    if upload_id.is_empty() {
        return Err(ErrorCode::NoSuchUpload.into());
    }
    match *head.method {
        Method::GET => Ok(Op::ListParts(ListParts {
            bucket,
            key,
            upload_id,
            part_number_marker: head.query.count("part-number-marker", PARTS_MAX).map(
                |marker| {
                    let given = head.query.filled("part-number-marker").is_some();
                    if given { marker } else { 0 }
                },
            )?,
            parts_max: head.query.count("max-parts", PARTS_PAGE_MAX)?,
            encoding: encoding(head.query)?,
        })),
        Method::PUT => upload_part(head, bucket, key, upload_id),
        Method::POST => Ok(Op::CompleteMultipartUpload(CompleteMultipartUpload {
            bucket,
            key,
            upload_id,
            conditions: WriteConditions::from_headers(head.headers)?,
            checksum: object_checksum(head)?,
            checksum_type: checksum_type(head.headers)?,
            object_size: length(head.headers, "x-amz-mp-object-size")?,
        })),
        Method::DELETE => Ok(Op::AbortMultipartUpload(AbortMultipartUpload {
            bucket,
            key,
            upload_id,
        })),
        _ => Err(head.method_not_allowed()),
    }
}

fn upload_part(
    head: &Head<'_>,
    bucket: BucketName,
    key: ObjectKey,
    upload_id: String,
) -> Result<Op, S3Error> {
    let Some(part_number) = part_number(head.query)? else {
        let message = "This operation needs partNumber together with uploadId";
        return Err(S3Error::argument("partNumber", "", message));
    };
    Ok(match CopySource::from_headers(head.headers)? {
        None => Op::UploadPart(UploadPart {
            bucket,
            key,
            upload_id,
            part_number,
        }),
        Some(source) => Op::UploadPartCopy(UploadPartCopy {
            bucket,
            key,
            upload_id,
            part_number,
            source,
            range: CopyRange::from_headers(head.headers)?,
        }),
    })
}

fn part_number(query: &Query) -> Result<Option<u32>, S3Error> {
    let Some(text) = query.value("partNumber") else {
        return Ok(None);
    };
    match text.parse::<u32>() {
        Ok(number @ 1..=PARTS_MAX) => Ok(Some(number)),
        _ => {
            let message = "Part number must be an integer between 1 and 10000, inclusive";
            Err(S3Error::argument("partNumber", text, message))
        }
    }
}

/// The object's checksum when a multipart upload is completed: `value` or, as the composite form
/// is written elsewhere, `value-N`.
fn object_checksum(head: &Head<'_>) -> Result<Option<Checksum>, S3Error> {
    let mut found = None;
    for algorithm in ChecksumAlgorithm::ALL {
        let Some(text) = text_of(head.headers, algorithm.header())? else {
            continue;
        };
        let value = text
            .split_once('-')
            .map_or(text.as_str(), |(value, _)| value);
        let checksum = Checksum::parse(algorithm, value).ok_or_else(|| {
            let name = algorithm.header();
            S3Error::request(format!("Value for {name} header is invalid."))
        })?;
        if found.replace(checksum).is_some() {
            return Err(S3Error::request(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not \
                 allowed.",
            ));
        }
    }
    Ok(found)
}

fn read_object(head: &Head<'_>, bucket: BucketName, key: ObjectKey) -> Result<ReadObject, S3Error> {
    let range = range(head.headers)?;
    let part_number = part_number(head.query)?;
    if range.is_some() && part_number.is_some() {
        return Err(S3Error::request(
            "Cannot specify both Range header and partNumber query parameter",
        ));
    }
    let mode = filled(head.headers, "x-amz-checksum-mode")?;
    Ok(ReadObject {
        bucket,
        key,
        version: head.query.version()?,
        range,
        if_range: IfRange::from_headers(head.headers)?,
        part_number,
        conditions: ReadConditions::from_headers(head.headers)?,
        overrides: overrides(head.query)?,
        with_checksum: mode.is_some_and(|mode| mode.eq_ignore_ascii_case("ENABLED")),
    })
}

fn overrides(query: &Query) -> Result<ResponseOverrides, S3Error> {
    let value = |name| match query.filled(name) {
        // A line break would let a link forge further headers.
        Some(text) if text.chars().any(char::is_control) => {
            Err(S3Error::argument(name, &text, "Invalid Argument"))
        }
        other => Ok(other),
    };
    Ok(ResponseOverrides {
        content_type: value("response-content-type")?,
        content_language: value("response-content-language")?,
        expires: value("response-expires")?,
        cache_control: value("response-cache-control")?,
        content_disposition: value("response-content-disposition")?,
        content_encoding: value("response-content-encoding")?,
    })
}

fn copy_object(
    head: &Head<'_>,
    bucket: BucketName,
    key: ObjectKey,
    source: CopySource,
) -> Result<Op, S3Error> {
    let headers = head.headers;
    Ok(Op::CopyObject(CopyObject {
        bucket,
        key,
        source,
        metadata: Directive::from_headers(headers, "x-amz-metadata-directive")?,
        tagging: Directive::from_headers(headers, "x-amz-tagging-directive")?,
        new: NewObject::from_headers(headers)?,
        checksum: ChecksumWanted::from_headers(headers)?,
        conditions: WriteConditions::from_headers(headers)?,
    }))
}

fn attributes(
    head: &Head<'_>,
    bucket: BucketName,
    key: ObjectKey,
) -> Result<GetObjectAttributes, S3Error> {
    let name = "x-amz-object-attributes";
    let text = text_of(head.headers, name)?.unwrap_or_default();
    let mut attributes = Vec::new();
    for word in text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        attributes.push(match word {
            "ETag" => Attribute::ETag,
            "Checksum" => Attribute::Checksum,
            "ObjectParts" => Attribute::ObjectParts,
            "StorageClass" => Attribute::StorageClass,
            "ObjectSize" => Attribute::ObjectSize,
            other => {
                let message = "Invalid attribute name specified.";
                return Err(S3Error::argument(name, other, message));
            }
        });
    }
    if attributes.is_empty() {
        return Err(S3Error::request(
            "The x-amz-object-attributes header specifying the attributes to be retrieved is \
             either missing or empty",
        ));
    }
    let count = |name: &str| -> Result<Option<u32>, S3Error> {
        length(head.headers, name)?
            .map(|n| u32::try_from(n).map_err(|_| ErrorCode::InvalidArgument.into()))
            .transpose()
    };
    Ok(GetObjectAttributes {
        bucket,
        key,
        version: head.query.version()?,
        attributes,
        parts_max: count("x-amz-max-parts")?
            .unwrap_or(PARTS_PAGE_MAX)
            .min(PARTS_PAGE_MAX),
        part_number_marker: count("x-amz-part-number-marker")?.unwrap_or(0),
    })
}

//! Objects: put, get, head, delete.

use auth::{Action, Resource};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, HeaderName, LAST_MODIFIED,
};
use s3wire::{
    Checksum, ChecksumType, DeleteObject, DeleteOutcome, Deleted, ErrorCode, EtagMatch, NewObject,
    ObjectChecksum, ObjectToDelete, OnBucket, PutObject, ReadObject, ResponseOverrides, S3Error,
    WriteConditions,
};
use store::{Delete, Expect, Found, Properties, Put, Tags, Versioning, WriteError};
use types::{BucketName, ByteRange, Etag, ObjectKey, Order, Timestamp, VersionId};

use crate::answer::Answer;
use crate::body::algorithm_of;
use crate::door::{Call, Door};
use crate::error::of_store;

/// The largest object that one PUT makes (S3 User Guide, "Uploading objects").
const PUT_MAX: u64 = 5 << 30;

pub(crate) const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");
const DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");

pub(crate) fn versioning(of: ledger::Versioning) -> Versioning {
    match of {
        ledger::Versioning::Off => Versioning::Off,
        ledger::Versioning::Enabled => Versioning::Enabled,
        ledger::Versioning::Suspended => Versioning::Suspended,
    }
}

fn tags(of: &EtagMatch) -> Tags {
    match of {
        EtagMatch::Any => Tags::Any,
        EtagMatch::OneOf(tags) => Tags::OneOf(tags.clone()),
    }
}

pub(crate) fn expect(conditions: &WriteConditions) -> Result<Expect, S3Error> {
    match (&conditions.if_match, &conditions.if_none_match) {
        (None, None) => Ok(Expect::Anything),
        (Some(of), None) => Ok(Expect::Match(tags(of))),
        (None, Some(of)) => Ok(Expect::NoneMatch(tags(of))),
        (Some(_), Some(_)) => Err(S3Error::not_implemented(
            "If-Match together with If-None-Match",
        )),
    }
}

/// What a version keeps of a request's headers.
pub(crate) fn properties(new: NewObject) -> Properties {
    let named = [
        ("content-type", new.headers.content_type),
        ("content-encoding", new.headers.content_encoding),
        ("content-disposition", new.headers.content_disposition),
        ("content-language", new.headers.content_language),
        ("cache-control", new.headers.cache_control),
        ("expires", new.headers.expires),
    ];
    let headers = named
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Properties {
        headers: headers.collect(),
        user: new.headers.user_metadata,
        tags: new.tags.pairs().to_vec(),
        ..Properties::default()
    }
}

pub(crate) async fn put(door: &Door, op: PutObject, call: Call) -> Result<Answer, S3Error> {
    let bucket = call.bucket(&op.bucket)?;
    let _pass = door.store.enter(bucket.id());
    door.alive(&op.bucket, bucket.id())?;
    let class = op.new.storage_class;
    let now = call.now;
    let mut body = call.body(properties(op.new))?;
    if body.size() > PUT_MAX {
        return Err(ErrorCode::EntityTooLarge.into());
    }
    let put = Put {
        versioning: versioning(bucket.versioning),
        expect: expect(&op.conditions)?,
        size: body.size(),
        class,
        now,
    };
    if body.can_be_spared() {
        let held = door.store.check(bucket.id(), &op.key, &put.expect).await;
        held.map_err(|error| of_store(&error))?;
    }
    let written = door.store.put(bucket.id(), &op.key, &put, &mut body).await;
    let written = written.map_err(|error| match error {
        WriteError::Store(error) => of_store(&error),
        WriteError::Body(error) => error,
    })?;
    let answer = Answer::empty(StatusCode::OK).with(ETAG, &format!("\"{}\"", written.etag));
    let versioned = bucket.versioning != ledger::Versioning::Off;
    let mut answer = with_version(answer, versioned, written.version);
    for checksum in &written.checksums {
        if let Some(sum) = shown(checksum) {
            answer = answer
                .with_named(sum.checksum.algorithm().header(), &sum.to_text())
                .with_named("x-amz-checksum-type", sum.kind.as_str());
        }
    }
    Ok(answer)
}

/// A kept checksum as clients see it.
pub(crate) fn shown(kept: &store::Checksum) -> Option<ObjectChecksum> {
    let checksum = Checksum::from_bytes(algorithm_of(kept.kind), &kept.sum)?;
    Some(match kept.composite {
        None => ObjectChecksum::whole(checksum),
        Some(parts) => ObjectChecksum {
            checksum,
            kind: ChecksumType::Composite,
            parts: u32::from(parts),
        },
    })
}

/// What a read is to answer with.
struct Reading {
    found: Found,
    range: ByteRange,
    status: StatusCode,
    /// Whether the bucket ever kept versions.
    versioned: bool,
}

/// Finds a version, and says whether its bucket ever kept versions. A delete marker is not found
/// if it is current, and not allowed if it was asked for by name.
pub(crate) async fn find(
    door: &Door,
    call: &Call,
    (bucket, key, version): (&BucketName, &ObjectKey, Option<VersionId>),
    method: &'static str,
) -> Result<(Found, bool), S3Error> {
    let bucket = call.bucket(bucket)?;
    let versioned = bucket.versioning != ledger::Versioning::Off;
    match door.store.find(bucket.id(), key, version).await {
        Ok(found) => Ok((found, versioned)),
        Err(store::Error::DeleteMarker {
            version: marker,
            modified,
        }) => Err(of_marker(version, marker, modified, method)),
        Err(error) => Err(of_store(&error)),
    }
}

/// What a delete marker is to whoever `asked` for a version, or for the current one.
pub(crate) fn of_marker(
    asked: Option<VersionId>,
    marker: VersionId,
    modified: Timestamp,
    method: &'static str,
) -> S3Error {
    let refused = match asked {
        None => S3Error::from(ErrorCode::NoSuchKey),
        Some(_) => S3Error::from(ErrorCode::MethodNotAllowed)
            .with("Method", method)
            .with("ResourceType", "DeleteMarker")
            .with_header(ALLOW, "DELETE")
            .with_header(LAST_MODIFIED, s3wire::http_date(modified)),
    };
    refused
        .with_header(DELETE_MARKER, "true")
        .with_header(VERSION_ID, marker.to_string())
}

/// Names the version, if the bucket ever kept versions.
pub(crate) fn with_version(answer: Answer, versioned: bool, version: VersionId) -> Answer {
    if versioned {
        answer.with(VERSION_ID, &version.to_string())
    } else {
        answer
    }
}

async fn read(
    door: &Door,
    op: &ReadObject,
    call: &Call,
    method: &'static str,
) -> Result<Reading, S3Error> {
    let what = (&op.bucket, &op.key, op.version);
    let (found, versioned) = find(door, call, what, method).await?;
    let etag = found.head.etag.to_string();
    let met = op.conditions.check(&etag, found.head.modified);
    met.map_err(|error| named(error, &found))?;
    let holds = |condition: &s3wire::IfRange| condition.holds(&etag, found.head.modified);
    let wanted = op.range.filter(|_| op.if_range.as_ref().is_none_or(holds));
    let size = found.head.size;
    let part = op.part_number.map(|number| part(&found, number));
    let part = part.transpose()?.filter(|_| size > 0);
    let (range, status) = match (part, wanted) {
        (Some(part), _) => (part, StatusCode::PARTIAL_CONTENT),
        (None, None) => (ByteRange::whole(size), StatusCode::OK),
        (None, Some(spec)) => {
            let range = spec.resolve(size).map_err(|_| {
                S3Error::from(ErrorCode::InvalidRange)
                    .with("ActualObjectSize", size.to_string())
                    .with_header(CONTENT_RANGE, format!("bytes */{size}"))
            })?;
            (range, StatusCode::PARTIAL_CONTENT)
        }
    };
    Ok(Reading {
        found,
        range,
        status,
        versioned,
    })
}

/// A client whose copy is as good hears once more what it is called (RFC 9110, section 15.4.5).
fn named(error: S3Error, found: &Found) -> S3Error {
    let head = &found.head;
    match error.code {
        ErrorCode::NotModified => error
            .with_header(ETAG, format!("\"{}\"", head.etag))
            .with_header(LAST_MODIFIED, s3wire::http_date(head.modified)),
        _ => error,
    }
}

/// The bytes of one part. An object that was written whole has one.
fn part(found: &Found, number: u32) -> Result<ByteRange, S3Error> {
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    let sizes = found.properties.extents.iter().map(|extent| extent.size);
    let before: u64 = sizes.clone().take(number.saturating_sub(1)).sum();
    match sizes.clone().nth(number.saturating_sub(1)) {
        Some(size) => Ok(ByteRange {
            start: before,
            end: before + size,
        }),
        None if number == 1 => Ok(ByteRange::whole(0)),
        None => Err(S3Error::from(ErrorCode::InvalidPartNumber)
            .with("PartNumberRequested", number.to_string())
            .with("ActualPartCount", sizes.len().to_string())),
    }
}

/// Everything about an object but its bytes.
fn described(mut answer: Answer, op: &ReadObject, reading: &Reading) -> Answer {
    let (head, properties) = (&reading.found.head, &reading.found.properties);
    answer = answer
        .with(ETAG, &format!("\"{}\"", head.etag))
        .with(LAST_MODIFIED, &s3wire::http_date(head.modified))
        .with(ACCEPT_RANGES, "bytes");
    if !properties
        .headers
        .iter()
        .any(|(name, _)| name == "content-type")
    {
        answer = answer.with(CONTENT_TYPE, "binary/octet-stream");
    }
    for (name, value) in &properties.headers {
        answer = answer.with_named(name, value);
    }
    for (name, value) in &properties.user {
        answer = answer.with_named(&format!("x-amz-meta-{name}"), value);
    }
    answer = with_version(answer, reading.versioned, head.version);
    if !properties.tags.is_empty() {
        answer = answer.with_named("x-amz-tagging-count", &properties.tags.len().to_string());
    }
    if head.class != types::StorageClass::Standard {
        let name = s3wire::storage_class_name(head.class);
        answer = answer.with_named("x-amz-storage-class", name);
    }
    if op.part_number.is_some()
        && let Etag::Parts(_, parts) = head.etag
    {
        answer = answer.with_named("x-amz-mp-parts-count", &parts.to_string());
    }
    if reading.status == StatusCode::PARTIAL_CONTENT && !reading.range.is_empty() {
        let (first, last) = (reading.range.start, reading.range.end - 1);
        answer = answer.with(
            CONTENT_RANGE,
            &format!("bytes {first}-{last}/{}", head.size),
        );
    } else if op.with_checksum {
        for sum in properties.checksums.iter().filter_map(shown) {
            answer = answer
                .with_named(sum.checksum.algorithm().header(), &sum.to_text())
                .with_named("x-amz-checksum-type", sum.kind.as_str());
        }
    }
    overridden(answer, &op.overrides)
}

fn overridden(mut answer: Answer, overrides: &ResponseOverrides) -> Answer {
    let named = [
        (CONTENT_TYPE, &overrides.content_type),
        (CONTENT_LANGUAGE, &overrides.content_language),
        (EXPIRES, &overrides.expires),
        (CACHE_CONTROL, &overrides.cache_control),
        (CONTENT_DISPOSITION, &overrides.content_disposition),
        (CONTENT_ENCODING, &overrides.content_encoding),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            answer = answer.with(name, value);
        }
    }
    answer
}

pub(crate) async fn get(door: &Door, op: &ReadObject, call: &Call) -> Result<Answer, S3Error> {
    let mut beginning = Beginning::default();
    loop {
        let reading = read(door, op, call, "GET").await?;
        let described = described(Answer::empty(reading.status), op, &reading);
        let range = reading.range;
        if let Some(bytes) = beginning.bytes(reading.found, range).await? {
            return Ok(described.with_stream(range.len(), bytes));
        }
    }
}

/// How often a version is looked for whose bytes go between its being found and read.
const FINDS_MAX: usize = 4;

/// The bytes of an object on their way.
pub(crate) type ObjectBytes = BoxStream<'static, Result<Bytes, store::Error>>;

/// The begin of a read: the first bytes are read before an answer begins, so that damage is an
/// error and not a broken body.
#[derive(Default)]
pub(crate) struct Beginning {
    finds: usize,
    found: Option<Order>,
}

impl Beginning {
    /// The bytes of a version that was just found; `None` if it should be found again. One that
    /// was replaced after it was found has lost its bytes and not damaged them.
    pub(crate) async fn bytes(
        &mut self,
        found: Found,
        range: ByteRange,
    ) -> Result<Option<ObjectBytes>, S3Error> {
        self.finds += 1;
        let before = self.found.replace(found.head.order);
        let again = self.finds < FINDS_MAX && before != self.found;
        let mut bytes = found.stream(range).boxed();
        let first = match bytes.next().await {
            Some(Err(store::Error::Damaged)) if again => return Ok(None),
            first => first.transpose().map_err(|error| of_store(&error))?,
        };
        let first = futures_util::stream::iter(first.map(Ok));
        Ok(Some(first.chain(bytes).boxed()))
    }
}

pub(crate) async fn head(door: &Door, op: &ReadObject, call: &Call) -> Result<Answer, S3Error> {
    let reading = read(door, op, call, "HEAD").await?;
    let answer = described(Answer::empty(reading.status), op, &reading);
    Ok(answer.with_length(reading.range.len()))
}

async fn delete_one(
    door: &Door,
    call: &Call,
    bucket: &BucketName,
    key: &ObjectKey,
    version: Option<VersionId>,
    expect: Expect,
) -> Result<store::Deleted, S3Error> {
    let name = bucket;
    let bucket = call.bucket(name)?;
    let _pass = door.store.enter(bucket.id());
    door.alive(name, bucket.id())?;
    let delete = Delete {
        versioning: versioning(bucket.versioning),
        version,
        expect,
        now: call.now,
    };
    let deleted = door.store.delete(bucket.id(), key, &delete).await;
    deleted.map_err(|error| of_store(&error))
}

pub(crate) async fn delete(door: &Door, op: &DeleteObject, call: &Call) -> Result<Answer, S3Error> {
    let expect = expect(&op.conditions)?;
    let done = delete_one(door, call, &op.bucket, &op.key, op.version, expect).await?;
    let mut answer = Answer::empty(StatusCode::NO_CONTENT);
    if done.marker {
        answer = answer.with(DELETE_MARKER, "true");
    }
    if let Some(version) = done.version {
        answer = answer.with(VERSION_ID, &version.to_string());
    }
    Ok(answer)
}

/// Deletes of one bulk request that run side by side.
const DELETES_AT_ONCE: usize = 32;

pub(crate) async fn delete_many(door: &Door, op: &OnBucket, call: Call) -> Result<Answer, S3Error> {
    call.bucket(&op.bucket)?;
    let (call, body) = call.split(Properties::default())?;
    let document = body.document().await?;
    let request = s3wire::parse_delete(&document)?;
    let act = |entry: &s3wire::DeleteEntry| {
        let object = entry.object.clone();
        let (call, bucket) = (&call, &op.bucket);
        async move { delete_entry(door, call, bucket, object?).await }
    };
    let results: Vec<Result<Deleted, S3Error>> = futures_util::stream::iter(&request.entries)
        .map(act)
        .buffered(DELETES_AT_ONCE)
        .collect()
        .await;
    let outcomes: Vec<DeleteOutcome<'_>> = request
        .entries
        .iter()
        .zip(results)
        .map(|(entry, result)| DeleteOutcome {
            key: &entry.key,
            version: entry.version.as_deref(),
            result,
        })
        .collect();
    Ok(Answer::xml(
        StatusCode::OK,
        s3wire::delete_result(&outcomes, request.quiet),
    ))
}

/// One entry of a bulk request, with a permit of its own.
async fn delete_entry(
    door: &Door,
    call: &Call,
    bucket: &BucketName,
    object: ObjectToDelete,
) -> Result<Deleted, S3Error> {
    let action = match object.version {
        None => Action::DeleteObject,
        Some(_) => Action::DeleteObjectVersion,
    };
    let resource = Resource::Object(bucket.clone(), object.key.clone());
    call.authorize(action, resource)?;
    let expect = object
        .if_match
        .as_ref()
        .map_or(Expect::Anything, |of| Expect::Match(tags(of)));
    let done = delete_one(door, call, bucket, &object.key, object.version, expect).await?;
    Ok(match (done.marker, object.version, done.version) {
        (true, None, Some(version)) => Deleted::MarkerMade(version),
        (true, Some(_), Some(version)) => Deleted::MarkerGone(version),
        _ => Deleted::Gone,
    })
}

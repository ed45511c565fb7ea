//! Copies: read and written again as one object or as one part of an upload, in a stream.

use auth::{Action, Resource};
use bytes::Bytes;
use futures_util::StreamExt;
use http::StatusCode;
use http::header::HeaderName;
use s3wire::{
    Checksummer, CopyObject, CopySource, Directive, ErrorCode, ObjectChecksum, S3Error,
    UploadPartCopy,
};
use store::{Properties, Put, PutPart, WriteError};
use types::{ByteRange, Head, VersionId};

use crate::answer::Answer;
use crate::body::{algorithm_of, kept};
use crate::door::{Call, Door};
use crate::error::of_store;
use crate::multipart::{PART_MAX, number_of, part_checksum, upload_of, wanted};
use crate::object::{Beginning, ObjectBytes, expect, properties, shown, versioning, with_version};

/// The largest object that one copy makes (S3 API Reference, `CopyObject`).
const COPY_MAX: u64 = 5 << 30;

const SOURCE_VERSION_ID: HeaderName = HeaderName::from_static("x-amz-copy-source-version-id");

/// A copy's source, of which the first bytes are read.
struct Source {
    properties: Properties,
    /// Its version, if its bucket ever kept any.
    version: Option<VersionId>,
    /// What is read of it.
    range: ByteRange,
    bytes: ObjectBytes,
}

impl Source {
    /// Finds a copy's source, which whoever asks must be allowed to read, checks the conditions on
    /// it, and begins to read what `cut` says.
    async fn begin(
        door: &Door,
        call: &Call,
        of: &CopySource,
        cut: impl Fn(&Head) -> Result<ByteRange, S3Error>,
    ) -> Result<Self, S3Error> {
        let action = match of.version {
            None => Action::GetObject,
            Some(_) => Action::GetObjectVersion,
        };
        call.authorize(action, Resource::Object(of.bucket.clone(), of.key.clone()))?;
        let bucket = call.bucket(&of.bucket)?;
        let versioned = bucket.versioning != ledger::Versioning::Off;
        let mut beginning = Beginning::default();
        loop {
            let found = door.store.find(bucket.id(), &of.key, of.version).await;
            let found = found.map_err(|error| of_source(&error, of))?;
            let (head, properties) = (found.head, found.properties.clone());
            let etag = head.etag.to_string();
            of.conditions.check_copy_source(&etag, head.modified)?;
            let range = cut(&head)?;
            if let Some(bytes) = beginning.bytes(found, range).await? {
                return Ok(Self {
                    properties,
                    version: versioned.then_some(head.version),
                    range,
                    bytes,
                });
            }
        }
    }
}

fn of_source(error: &store::Error, of: &CopySource) -> S3Error {
    match error {
        store::Error::DeleteMarker { .. } if of.version.is_some() => S3Error::request(
            "The source of a copy request may not specifically refer to a delete marker by \
             version id.",
        ),
        error => of_store(error),
    }
}

/// The source's bytes on their way into the copy.
struct CopyBody {
    bytes: ObjectBytes,
    checksummer: Option<Checksummer>,
    /// What the copy keeps.
    properties: Properties,
}

impl store::Body for CopyBody {
    type Error = store::Error;

    async fn next(&mut self) -> Result<Option<Bytes>, store::Error> {
        let piece = self.bytes.next().await.transpose()?;
        if let (Some(piece), Some(checksummer)) = (&piece, &mut self.checksummer) {
            checksummer.update(piece);
        }
        Ok(piece)
    }

    fn finish(&mut self, _: [u8; 16]) -> Result<Properties, store::Error> {
        let mut properties = std::mem::take(&mut self.properties);
        if let Some(checksummer) = self.checksummer.take() {
            properties.checksums = vec![kept(&ObjectChecksum::whole(checksummer.finish()))];
        }
        Ok(properties)
    }
}

/// What the copy keeps of its source and of the request, and what of it is summed anew.
fn body(op: &CopyObject, bytes: ObjectBytes, of_source: Properties) -> CopyBody {
    let of_request = properties(op.new.clone());
    let (headers, user) = match op.metadata {
        Directive::Copy => (of_source.headers, of_source.user),
        Directive::Replace => (of_request.headers, of_request.user),
    };
    let tags = match op.tagging {
        Directive::Copy => of_source.tags,
        Directive::Replace => of_request.tags,
    };
    // The copy has no parts, so a checksum over parts becomes one over the whole.
    let composite = of_source
        .checksums
        .iter()
        .find(|sum| sum.composite.is_some());
    let anew = op.checksum.map(|wanted| wanted.algorithm);
    let anew = anew.or_else(|| composite.map(|sum| algorithm_of(sum.kind)));
    let checksums = match anew {
        Some(_) => Vec::new(),
        None => of_source.checksums,
    };
    CopyBody {
        bytes,
        checksummer: anew.map(Checksummer::new),
        properties: Properties {
            headers,
            user,
            tags,
            checksums,
            ..Properties::default()
        },
    }
}

/// Fails if a source is too large to be copied whole.
fn check_size(size: u64) -> Result<(), S3Error> {
    if size <= COPY_MAX {
        return Ok(());
    }
    Err(S3Error::request(format!(
        "The specified copy source is larger than the maximum allowable size for a copy source: \
         {COPY_MAX}"
    )))
}

/// Of a copy, both sides are the store's.
fn of_write(error: WriteError<store::Error>) -> S3Error {
    match error {
        WriteError::Store(error) | WriteError::Body(error) => of_store(&error),
    }
}

/// All of a source, unless it is too large, or would be copied to itself for nothing. A version
/// that is named may become the current one that way.
fn whole(op: &CopyObject, source: &Head) -> Result<ByteRange, S3Error> {
    check_size(source.size)?;
    let same = (&op.source.bucket, &op.source.key) == (&op.bucket, &op.key);
    let unchanged = op.metadata == Directive::Copy && op.new.storage_class == source.class;
    if same && op.source.version.is_none() && unchanged {
        return Err(S3Error::request(
            "This copy request is illegal because it is trying to copy an object to itself \
             without changing the object's metadata, storage class, website redirect location \
             or encryption attributes.",
        ));
    }
    Ok(ByteRange::whole(source.size))
}

pub(crate) async fn object(door: &Door, op: &CopyObject, call: &Call) -> Result<Answer, S3Error> {
    let bucket = call.bucket(&op.bucket)?;
    let cut = |source: &Head| whole(op, source);
    let source = Source::begin(door, call, &op.source, cut).await?;
    let _pass = door.store.enter(bucket.id());
    door.alive(&op.bucket, bucket.id())?;
    let put = Put {
        versioning: versioning(bucket.versioning),
        expect: expect(&op.conditions)?,
        size: source.range.len(),
        class: op.new.storage_class,
        now: call.now,
    };
    let held = door.store.check(bucket.id(), &op.key, &put.expect).await;
    held.map_err(|error| of_store(&error))?;
    let mut body = body(op, source.bytes, source.properties);
    let written = door.store.put(bucket.id(), &op.key, &put, &mut body).await;
    let written = written.map_err(of_write)?;
    let checksum = written.checksums.iter().find_map(shown);
    let document = s3wire::copy_object_result(written.etag, call.now, checksum.as_ref());
    let answer = with_source(document, source.version);
    let versioned = bucket.versioning != ledger::Versioning::Off;
    Ok(with_version(answer, versioned, written.version))
}

/// The bytes of a source that become a part.
fn part_of(op: &UploadPartCopy, size: u64) -> Result<ByteRange, S3Error> {
    let Some(range) = op.range else {
        check_size(size)?;
        return Ok(ByteRange::whole(size));
    };
    let range = range.within(size)?;
    if range.len() > PART_MAX {
        return Err(ErrorCode::EntityTooLarge.into());
    }
    Ok(range)
}

pub(crate) async fn part(door: &Door, op: &UploadPartCopy, call: &Call) -> Result<Answer, S3Error> {
    let bucket = call.bucket(&op.bucket)?.id();
    let _pass = door.store.enter(bucket);
    door.alive(&op.bucket, bucket)?;
    let (id, upload) = upload_of(door, bucket, &op.key, &op.upload_id).await?;
    let number = number_of(op.part_number)?;
    let cut = |source: &Head| part_of(op, source.size);
    let source = Source::begin(door, call, &op.source, cut).await?;
    let put = PutPart {
        number,
        size: source.range.len(),
        class: upload.head.class,
        now: call.now,
    };
    let mut body = CopyBody {
        bytes: source.bytes,
        checksummer: wanted(&upload).map(|wanted| Checksummer::new(wanted.algorithm)),
        properties: Properties::default(),
    };
    let part = door.store.put_part(bucket, &op.key, id, &put, &mut body);
    let part = part.await.map_err(of_write)?;
    let document =
        s3wire::copy_part_result(part.etag(), part.modified, part_checksum(&part).as_ref());
    Ok(with_source(document, source.version))
}

/// Names the source's version, if it has one.
fn with_source(document: String, version: Option<VersionId>) -> Answer {
    let answer = Answer::xml(StatusCode::OK, document);
    match version {
        Some(version) => answer.with(SOURCE_VERSION_ID, &version.to_string()),
        None => answer,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};
    use s3wire::{Domains, Op};

    use super::*;

    const GIB: u64 = 1 << 30;

    fn upload_part_copy(range: Option<&str>) -> UploadPartCopy {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("localhost"));
        headers.insert(
            "x-amz-copy-source",
            HeaderValue::from_static("bucket/source"),
        );
        if let Some(range) = range {
            let range = HeaderValue::from_str(range).unwrap();
            headers.insert("x-amz-copy-source-range", range);
        }
        let query = "partNumber=1&uploadId=u";
        let domains = Domains::default();
        let request = s3wire::parse(&Method::PUT, "/bucket/k", query, &headers, &domains).unwrap();
        let Op::UploadPartCopy(op) = request.op else {
            panic!("{:?}", request.op)
        };
        op
    }

    #[test]
    fn a_part_has_five_gibibytes_at_most() {
        let of = |range, size| {
            let part = part_of(&upload_part_copy(range), size);
            part.map(|range| range.len()).map_err(|error| error.code)
        };
        assert_eq!(of(None, 5 * GIB), Ok(5 * GIB));
        assert_eq!(of(None, 5 * GIB + 1), Err(ErrorCode::InvalidRequest));
        let most = "bytes=1-5368709120";
        assert_eq!(of(Some(most), 9 * GIB), Ok(5 * GIB));
        let more = "bytes=0-5368709120";
        assert_eq!(of(Some(more), 9 * GIB), Err(ErrorCode::EntityTooLarge));
        assert_eq!(of(Some(more), 5 * GIB), Err(ErrorCode::InvalidArgument));
    }
}

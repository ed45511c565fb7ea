//! Copies: read and written again as one object, in a stream.

use auth::{Action, Denied, Resource, authorize};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::StatusCode;
use http::header::HeaderName;
use s3wire::{Checksummer, CopyObject, CopySource, Directive, ErrorCode, ObjectChecksum, S3Error};
use store::{Found, Properties, Put, WriteError};
use types::{ByteRange, StorageClass};

use crate::answer::Answer;
use crate::body::{algorithm_of, kept};
use crate::door::{Call, Door};
use crate::error::of_store;
use crate::object::{expect, properties, shown, versioning, with_version};

/// The largest object that one copy makes (S3 API Reference, `CopyObject`).
const COPY_MAX: u64 = 5 << 30;

const SOURCE_VERSION_ID: HeaderName = HeaderName::from_static("x-amz-copy-source-version-id");

/// Finds a copy's source, which whoever asks must be allowed to read, and checks the conditions
/// on it. Says too whether its bucket ever kept versions.
pub(crate) async fn source(
    door: &Door,
    call: &Call,
    source: &CopySource,
) -> Result<(Found, bool), S3Error> {
    let action = match source.version {
        None => Action::GetObject,
        Some(_) => Action::GetObjectVersion,
    };
    let resource = Resource::Object(source.bucket.clone(), source.key.clone());
    authorize(&call.identity, action, resource)
        .map_err(|Denied| S3Error::from(ErrorCode::AccessDenied))?;
    let bucket = call.bucket(&source.bucket)?;
    let found = door.store.find(bucket.id(), &source.key, source.version);
    let found = match found.await {
        Ok(found) => found,
        Err(store::Error::DeleteMarker { .. }) if source.version.is_some() => {
            return Err(S3Error::new(
                ErrorCode::InvalidRequest,
                "The source of a copy request may not specifically refer to a delete marker by \
                 version id.",
            ));
        }
        Err(error) => return Err(of_store(&error)),
    };
    let etag = found.head.etag.to_string();
    source
        .conditions
        .check_copy_source(&etag, found.head.modified)?;
    Ok((found, bucket.versioning != ledger::Versioning::Off))
}

/// The source's bytes on their way into the copy.
struct CopyBody {
    bytes: BoxStream<'static, Result<Bytes, store::Error>>,
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
fn body(op: &CopyObject, found: Found) -> CopyBody {
    let of_source = found.properties.clone();
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
    let whole = ByteRange::whole(found.head.size);
    CopyBody {
        bytes: found.stream(whole).boxed(),
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

/// Whether an object would be copied to itself for nothing. A version that is named may become
/// the current one that way.
fn is_idle(op: &CopyObject, class: StorageClass) -> bool {
    let same = (&op.source.bucket, &op.source.key) == (&op.bucket, &op.key);
    let unchanged = op.metadata == Directive::Copy && op.new.storage_class == class;
    same && op.source.version.is_none() && unchanged
}

pub(crate) async fn object(door: &Door, op: &CopyObject, call: &Call) -> Result<Answer, S3Error> {
    let bucket = call.bucket(&op.bucket)?;
    let (found, source_versioned) = source(door, call, &op.source).await?;
    if found.head.size > COPY_MAX {
        return Err(S3Error::new(
            ErrorCode::InvalidRequest,
            format!(
                "The specified copy source is larger than the maximum allowable size for a copy \
                 source: {COPY_MAX}"
            ),
        ));
    }
    if is_idle(op, found.head.class) {
        return Err(S3Error::new(
            ErrorCode::InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself \
             without changing the object's metadata, storage class, website redirect location \
             or encryption attributes.",
        ));
    }
    let _pass = door.store.enter(bucket.id());
    door.alive(&op.bucket, bucket.id())?;
    let put = Put {
        versioning: versioning(bucket.versioning),
        expect: expect(&op.conditions)?,
        size: found.head.size,
        class: op.new.storage_class,
        now: call.now,
    };
    let source_version = found.head.version;
    let mut body = body(op, found);
    let written = door.store.put(bucket.id(), &op.key, &put, &mut body).await;
    let written = written.map_err(|error| match error {
        WriteError::Store(error) | WriteError::Body(error) => of_store(&error),
    })?;
    let checksum = written.checksums.iter().find_map(shown);
    let document = s3wire::copy_object_result(written.etag, call.now, checksum.as_ref());
    let mut answer = Answer::xml(StatusCode::OK, document);
    if source_versioned {
        answer = answer.with(SOURCE_VERSION_ID, &source_version.to_string());
    }
    let versioned = bucket.versioning != ledger::Versioning::Off;
    Ok(with_version(answer, versioned, written.version))
}

//! Tags of objects.

use http::StatusCode;
use s3wire::{OnVersion, S3Error, TagSet, Tagged};
use store::Properties;
use types::VersionId;

use crate::answer::Answer;
use crate::door::{Call, Door};
use crate::error::of_store;
use crate::object::{find, of_marker, with_version};

pub(crate) async fn get(door: &Door, op: &OnVersion, call: &Call) -> Result<Answer, S3Error> {
    let what = (&op.bucket, &op.key, op.version);
    let (found, versioned) = find(door, call, what, "GET").await?;
    let tags = TagSet::new(found.properties.tags, Tagged::Object)?;
    let answer = Answer::xml(StatusCode::OK, s3wire::tagging(&tags));
    Ok(with_version(answer, versioned, found.head.version))
}

pub(crate) async fn put(door: &Door, op: OnVersion, call: Call) -> Result<Answer, S3Error> {
    call.bucket(&op.bucket)?;
    let (call, body) = call.split(Properties::default())?;
    let tags = s3wire::parse_tagging(&body.document().await?, Tagged::Object)?;
    let (version, versioned) = set(door, &op, &call, tags.pairs().to_vec(), "PUT").await?;
    Ok(with_version(
        Answer::empty(StatusCode::OK),
        versioned,
        version,
    ))
}

pub(crate) async fn delete(door: &Door, op: &OnVersion, call: &Call) -> Result<Answer, S3Error> {
    let (version, versioned) = set(door, op, call, Vec::new(), "DELETE").await?;
    let answer = Answer::empty(StatusCode::NO_CONTENT);
    Ok(with_version(answer, versioned, version))
}

/// Replaces the tags. Says of which version, and whether the bucket ever kept versions.
async fn set(
    door: &Door,
    op: &OnVersion,
    call: &Call,
    tags: Vec<(String, String)>,
    method: &'static str,
) -> Result<(VersionId, bool), S3Error> {
    let bucket = call.bucket(&op.bucket)?;
    let _pass = door.store.enter(bucket.id());
    door.alive(&op.bucket, bucket.id())?;
    let done = door.store.set_tags(bucket.id(), &op.key, op.version, tags);
    let versioned = bucket.versioning != ledger::Versioning::Off;
    match done.await {
        Ok(version) => Ok((version, versioned)),
        Err(store::Error::DeleteMarker { version, modified }) => {
            Err(of_marker(op.version, version, modified, method))
        }
        Err(error) => Err(of_store(&error)),
    }
}

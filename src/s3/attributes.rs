//! What is told of objects besides their bytes: attributes and ACLs.

use http::StatusCode;
use http::header::LAST_MODIFIED;
use s3wire::{GetObjectAttributes, ListedPart, ObjectAttributes, OnBucket, OnVersion, S3Error};
use store::Properties;
use types::Etag;

use crate::answer::Answer;
use crate::door::{Call, Door};
use crate::object::{find, shown, with_version};

pub(crate) async fn get(
    door: &Door,
    op: &GetObjectAttributes,
    call: &Call,
) -> Result<Answer, S3Error> {
    let what = (&op.bucket, &op.key, op.version);
    let (found, versioned) = find(door, call, what, "GET").await?;
    let (head, properties) = (&found.head, &found.properties);
    let parts = properties.extents.iter().filter(|extent| extent.number > 0);
    let part = |extent: &store::Extent| ListedPart {
        number: u32::from(extent.number),
        modified: head.modified,
        etag: Etag::Md5(extent.md5),
        size: extent.size,
        checksum: extent
            .checksum
            .as_ref()
            .and_then(shown)
            .map(|sum| sum.checksum),
    };
    let parts: Vec<ListedPart> = parts.map(part).collect();
    let checksum = properties.checksums.iter().find_map(shown);
    let document = s3wire::object_attributes(
        op,
        &ObjectAttributes {
            etag: head.etag,
            checksum: checksum.as_ref(),
            parts: &parts,
            storage_class: head.class,
            size: head.size,
        },
    );
    let answer = Answer::xml(StatusCode::OK, document)
        .with(LAST_MODIFIED, &s3wire::http_date(head.modified));
    Ok(with_version(answer, versioned, head.version))
}

/// The ACL of an object: its owner's, and nobody else's.
pub(crate) async fn acl(door: &Door, op: &OnVersion, call: &Call) -> Result<Answer, S3Error> {
    let what = (&op.bucket, &op.key, op.version);
    let (found, versioned) = find(door, call, what, "GET").await?;
    let document = s3wire::access_control_policy(&door.owner);
    let answer = Answer::xml(StatusCode::OK, document);
    Ok(with_version(answer, versioned, found.head.version))
}

/// Takes the ACL that the object has anyway; every other one is refused.
pub(crate) async fn put_acl(door: &Door, op: OnVersion, call: Call) -> Result<Answer, S3Error> {
    let (call, body) = call.split(Properties::default())?;
    s3wire::parse_acl(&body.document().await?)?;
    let what = (&op.bucket, &op.key, op.version);
    let (found, versioned) = find(door, &call, what, "PUT").await?;
    let answer = Answer::empty(StatusCode::OK);
    Ok(with_version(answer, versioned, found.head.version))
}

/// The same for a bucket.
pub(crate) async fn put_bucket_acl(op: OnBucket, call: Call) -> Result<Answer, S3Error> {
    call.bucket(&op.bucket)?;
    let document = call.body(Properties::default())?.document().await?;
    s3wire::parse_acl(&document)?;
    Ok(Answer::empty(StatusCode::OK))
}

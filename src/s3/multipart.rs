//! Multipart uploads.

use http::StatusCode;
use http::header::ETAG;
use s3wire::{
    AbortMultipartUpload, Checksum, ChecksumType, ChecksumWanted, CompleteMultipartUpload,
    Completed, CreateMultipartUpload, ErrorCode, ListParts, ListedPart, S3Error, UploadDescription,
    UploadPart,
};
use store::{
    ChecksumForm, Complete, NewUpload, Part, Properties, PutPart, Upload, WantedChecksum,
    WriteError, Written,
};
use types::{BucketId, BucketName, ObjectKey, Order, VersionId};

use crate::answer::Answer;
use crate::body::{algorithm_of, kept, kind_of};
use crate::complete::{etag_of, judge};
use crate::door::{Call, Door};
use crate::error::of_store;
use crate::object::{VERSION_ID, expect, properties, shown, versioning};

/// The largest part (S3 User Guide, "Multipart upload limits").
pub(crate) const PART_MAX: u64 = 5 << 30;
/// How often a completion is judged again because a part was written anew meanwhile.
const JUDGED_MAX: usize = 3;

/// An upload's id as clients see it.
pub(crate) fn upload_id(upload: Order) -> String {
    VersionId::Born(upload).to_string()
}

/// Reads an upload's id. What is none names no upload.
fn parse_id(text: &str) -> Result<Order, S3Error> {
    match VersionId::parse(text) {
        Ok(VersionId::Born(upload)) => Ok(upload),
        _ => Err(ErrorCode::NoSuchUpload.into()),
    }
}

/// The checksum that an upload asks of its parts, as clients see it.
pub(crate) fn wanted(upload: &Upload) -> Option<ChecksumWanted> {
    let wanted = upload.properties.wanted?;
    Some(ChecksumWanted {
        algorithm: algorithm_of(wanted.kind),
        kind: match wanted.form {
            ChecksumForm::Composite => ChecksumType::Composite,
            ChecksumForm::FullObject => ChecksumType::FullObject,
        },
    })
}

/// A part's checksum as clients see it.
pub(crate) fn part_checksum(part: &Part) -> Option<Checksum> {
    let kept = part.extent.checksum.as_ref()?;
    Checksum::from_bytes(algorithm_of(kept.kind), &kept.sum)
}

/// A part's number as the store counts.
pub(crate) fn number_of(number: u32) -> Result<u16, S3Error> {
    u16::try_from(number).map_err(|_| ErrorCode::InvalidArgument.into())
}

pub(crate) async fn create(
    door: &Door,
    op: CreateMultipartUpload,
    call: &Call,
) -> Result<Answer, S3Error> {
    let bucket = call.bucket(&op.bucket)?;
    let _pass = door.store.enter(bucket.id());
    door.alive(&op.bucket, bucket.id())?;
    let class = op.new.storage_class;
    let wanted = op.checksum.map(|wanted| WantedChecksum {
        kind: kind_of(wanted.algorithm),
        form: match wanted.kind {
            ChecksumType::Composite => ChecksumForm::Composite,
            ChecksumType::FullObject => ChecksumForm::FullObject,
        },
    });
    let new = NewUpload {
        properties: Properties {
            wanted,
            ..properties(op.new)
        },
        class,
        now: call.now,
    };
    let begun = door.store.create_upload(bucket.id(), &op.key, &new).await;
    let id = upload_id(begun.map_err(|error| of_store(&error))?);
    let document = s3wire::initiate_result(&op.bucket, &op.key, &id);
    let mut answer = Answer::xml(StatusCode::OK, document);
    if let Some(wanted) = op.checksum {
        answer = answer
            .with_named("x-amz-checksum-algorithm", wanted.algorithm.as_str())
            .with_named("x-amz-checksum-type", wanted.kind.as_str());
    }
    Ok(answer)
}

/// Fails unless a part brings the checksum that its upload asks for.
fn check_wanted(upload: &Upload, call: &Call) -> Result<(), S3Error> {
    let Some(wanted) = wanted(upload) else {
        return Ok(());
    };
    let brought = call.checksum().map(s3wire::BodyChecksum::algorithm);
    if brought == Some(wanted.algorithm) {
        return Ok(());
    }
    Err(S3Error::request(format!(
        "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
        wanted.algorithm.as_str().to_lowercase(),
        brought.map_or("null".to_owned(), |brought| brought.as_str().to_lowercase()),
    )))
}

/// The upload that a request names.
pub(crate) async fn upload_of(
    door: &Door,
    bucket: BucketId,
    key: &ObjectKey,
    id: &str,
) -> Result<(Order, Upload), S3Error> {
    let id = parse_id(id)?;
    let upload = door.store.upload(bucket, key, id).await;
    Ok((id, upload.map_err(|error| of_store(&error))?))
}

pub(crate) async fn upload_part(
    door: &Door,
    op: &UploadPart,
    call: Call,
) -> Result<Answer, S3Error> {
    let bucket = call.bucket(&op.bucket)?.id();
    let _pass = door.store.enter(bucket);
    door.alive(&op.bucket, bucket)?;
    let (id, upload) = upload_of(door, bucket, &op.key, &op.upload_id).await?;
    check_wanted(&upload, &call)?;
    let now = call.now;
    let mut body = call.body(Properties::default())?;
    if body.size() > PART_MAX {
        return Err(ErrorCode::EntityTooLarge.into());
    }
    let put = PutPart {
        number: number_of(op.part_number)?,
        size: body.size(),
        class: upload.head.class,
        now,
    };
    let part = door.store.put_part(bucket, &op.key, id, &put, &mut body);
    let part = part.await.map_err(|error| match error {
        WriteError::Store(error) => of_store(&error),
        WriteError::Body(error) => error,
    })?;
    let mut answer = Answer::empty(StatusCode::OK).with(ETAG, &format!("\"{}\"", part.etag()));
    if let Some(sum) = part_checksum(&part) {
        answer = answer.with_named(sum.algorithm().header(), &sum.to_base64());
    }
    Ok(answer)
}

pub(crate) async fn list_parts(
    door: &Door,
    op: &ListParts,
    call: &Call,
) -> Result<Answer, S3Error> {
    let bucket = call.bucket(&op.bucket)?.id();
    let (id, upload) = upload_of(door, bucket, &op.key, &op.upload_id).await?;
    let after = number_of(op.part_number_marker)?;
    let max = usize::try_from(op.parts_max).unwrap_or(0);
    let parts = door.store.parts(bucket, &op.key, id, after, max + 1).await;
    let mut parts = parts.map_err(|error| of_store(&error))?;
    let description = UploadDescription {
        storage_class: upload.head.class,
        checksum: wanted(&upload),
        // Whoever asks for none would ask for ever.
        truncated: max > 0 && parts.len() > max,
    };
    parts.truncate(max);
    let listed: Vec<ListedPart> = parts.iter().map(listed).collect();
    let document = s3wire::part_list(op, description, &listed, &door.owner);
    Ok(Answer::xml(StatusCode::OK, document))
}

fn listed(part: &Part) -> ListedPart {
    ListedPart {
        number: u32::from(part.extent.number),
        modified: part.modified,
        etag: part.etag(),
        size: part.extent.size,
        checksum: part_checksum(part),
    }
}

pub(crate) async fn complete(
    door: &Door,
    op: &CompleteMultipartUpload,
    call: Call,
) -> Result<Answer, S3Error> {
    let bucket = call.bucket(&op.bucket)?;
    let _pass = door.store.enter(bucket.id());
    door.alive(&op.bucket, bucket.id())?;
    let expect = expect(&op.conditions)?;
    let now = call.now;
    let document = call.body(Properties::default())?.document().await?;
    let named = s3wire::parse_complete(&document)?;
    let id = parse_id(&op.upload_id)?;
    let mut judged = 0;
    let written = loop {
        judged += 1;
        let found = match parts_of(door, bucket.id(), &op.key, id).await {
            Err(store::Error::NoSuchUpload) => {
                let etag = etag_of(&named).ok_or(ErrorCode::NoSuchUpload)?;
                let store = &door.store;
                break store.completed(bucket.id(), &op.key, id, etag, now).await;
            }
            found => found.map_err(|error| of_store(&error))?,
        };
        let verdict = judge(op, &named, &found.0, found.1)?;
        let complete = Complete {
            versioning: versioning(bucket.versioning),
            expect: expect.clone(),
            parts: verdict.parts,
            etag: verdict.etag,
            checksum: verdict.checksum.map(|sum| kept(&sum)),
            now,
        };
        let done = door.store.complete(bucket.id(), &op.key, id, &complete);
        match done.await {
            // A part was written anew, or somebody else completed it: judged by what is there now.
            Err(store::Error::InvalidPart(_) | store::Error::NoSuchUpload)
                if judged < JUDGED_MAX => {}
            done => break done,
        }
    };
    let written = written.map_err(|error| of_store(&error))?;
    let versioned = bucket.versioning != ledger::Versioning::Off;
    Ok(completed(&op.bucket, &op.key, &written, versioned))
}

async fn parts_of(
    door: &Door,
    bucket: BucketId,
    key: &ObjectKey,
    id: Order,
) -> Result<(Upload, Vec<Part>), store::Error> {
    let upload = door.store.upload(bucket, key, id).await?;
    let parts = door.store.parts(bucket, key, id, 0, usize::MAX).await?;
    Ok((upload, parts))
}

fn completed(bucket: &BucketName, key: &ObjectKey, written: &Written, versioned: bool) -> Answer {
    let checksum = written.checksums.iter().find_map(shown);
    let document = s3wire::complete_result(&Completed {
        location: &format!("/{bucket}/{key}"),
        bucket,
        key,
        etag: written.etag,
        checksum: checksum.as_ref(),
    });
    let answer = Answer::xml(StatusCode::OK, document);
    if versioned {
        return answer.with(VERSION_ID, &written.version.to_string());
    }
    answer
}

pub(crate) async fn abort(
    door: &Door,
    op: &AbortMultipartUpload,
    call: &Call,
) -> Result<Answer, S3Error> {
    let bucket = call.bucket(&op.bucket)?.id();
    let _pass = door.store.enter(bucket);
    door.alive(&op.bucket, bucket)?;
    let id = parse_id(&op.upload_id)?;
    let aborted = door.store.abort(bucket, &op.key, id, call.now).await;
    aborted.map_err(|error| of_store(&error))?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

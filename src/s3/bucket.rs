//! Buckets: intent, kept by the ledger.

use http::StatusCode;
use http::header::{CONTENT_LENGTH, LOCATION};
use ledger::{Command, Versioning};
use s3wire::{
    ErrorCode, GetAbsentConfiguration, ListBuckets, ListedBucket, OnBucket, S3Error, TagSet, Tagged,
};
use store::{ListRequest, Properties, VersionsRequest};
use types::{BucketId, Timestamp};

use crate::answer::Answer;
use crate::door::{Call, Door};
use crate::error::{of_ledger, of_store};

pub(crate) fn list(door: &Door, op: &ListBuckets, call: &Call) -> Result<Answer, S3Error> {
    let max = op
        .buckets_max
        .map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
    let after = op.after.as_deref().unwrap_or_default();
    let mut found = call
        .state
        .buckets
        .iter()
        .filter(|(name, _)| name.starts_with(&op.prefix) && name.as_str() > after)
        .map(|(name, bucket)| ListedBucket {
            name,
            created: Timestamp::from_millis(bucket.created_ms),
        });
    let buckets: Vec<ListedBucket<'_>> = found.by_ref().take(max).collect();
    let more = found.next().is_some();
    let next = buckets.last().filter(|_| more).map(|bucket| bucket.name);
    Ok(Answer::xml(
        StatusCode::OK,
        s3wire::bucket_list(op, &buckets, next, &door.owner),
    ))
}

pub(crate) async fn create(door: &Door, op: OnBucket, call: Call) -> Result<Answer, S3Error> {
    let now = call.now;
    let document = call.body(Properties::default())?.document().await?;
    let region = s3wire::parse_create_bucket(&document)?;
    let elsewhere = |region: &String| region != door.region() && region != "us-east-1";
    if region.as_ref().is_some_and(elsewhere) {
        return Err(ErrorCode::IllegalLocationConstraintException.into());
    }
    let name = op.bucket.as_str().to_owned();
    let location = format!("/{name}");
    let command = Command::CreateBucket {
        name,
        created_ms: now.as_millis(),
    };
    door.ledger
        .propose(command)
        .await
        .map_err(|error| of_ledger(&error))?;
    Ok(Answer::empty(StatusCode::OK).with(LOCATION, &location))
}

pub(crate) fn head(door: &Door, op: &OnBucket, call: &Call) -> Result<Answer, S3Error> {
    call.bucket(&op.bucket)?;
    Ok(Answer::empty(StatusCode::OK)
        .with_named("x-amz-bucket-region", door.region())
        .with(CONTENT_LENGTH, "0"))
}

/// Deletes a bucket: no new object begins, then it is looked through, then it is gone or back.
pub(crate) async fn delete(door: &Door, op: &OnBucket, call: &Call) -> Result<Answer, S3Error> {
    let bucket = call.bucket(&op.bucket)?;
    let (id, versioning) = (bucket.id(), bucket.versioning);
    let name = op.bucket.as_str().to_owned();
    let propose = async |command| {
        door.ledger
            .propose(command)
            .await
            .map_err(|e| of_ledger(&e))
    };
    let begin = Command::BeginDeleteBucket {
        name: name.clone(),
        id: id.as_u64(),
    };
    propose(begin).await?;
    // Requests that saw the bucket alive are still under way; what they write is found.
    let drained = door.store.drain(id).await.map_err(|error| of_store(&error));
    let found = match drained {
        Ok(()) => is_empty(door, id).await,
        Err(error) => Err(error),
    };
    let found = match found {
        Ok(true) => forget_uploads(door, id, call.now).await,
        found => found,
    };
    let empty = matches!(found, Ok(true));
    propose(Command::EndDeleteBucket {
        name,
        id: id.as_u64(),
        empty,
    })
    .await?;
    match found {
        Ok(true) => Ok(Answer::empty(StatusCode::NO_CONTENT)),
        Ok(false) if versioning == Versioning::Off => Err(ErrorCode::BucketNotEmpty.into()),
        Ok(false) => Err(S3Error::new(
            ErrorCode::BucketNotEmpty,
            "The bucket you tried to delete is not empty. You must delete all versions in the \
             bucket.",
        )),
        Err(error) => Err(error),
    }
}

/// Gives up the uploads that a bucket leaves behind. Then it is empty.
async fn forget_uploads(door: &Door, bucket: BucketId, now: Timestamp) -> Result<bool, S3Error> {
    let given_up = door.store.abort_uploads(bucket, now).await;
    given_up.map(|_| true).map_err(|error| of_store(&error))
}

/// Whether nothing is left, not even an old version or a delete marker. Uploads that were never
/// completed do not count, as in S3.
async fn is_empty(door: &Door, bucket: BucketId) -> Result<bool, S3Error> {
    let keys = ListRequest {
        bucket,
        prefix: String::new(),
        after: None,
        delimiter: None,
        entries_max: 1,
    };
    let request = VersionsRequest {
        keys,
        after_version: None,
    };
    let page = door
        .store
        .list_versions(&request)
        .await
        .map_err(|error| of_store(&error))?;
    Ok(page.entries.is_empty())
}

pub(crate) fn location(door: &Door, op: &OnBucket, call: &Call) -> Result<Answer, S3Error> {
    call.bucket(&op.bucket)?;
    Ok(Answer::xml(
        StatusCode::OK,
        s3wire::location_constraint(door.region()),
    ))
}

pub(crate) fn versioning(op: &OnBucket, call: &Call) -> Result<Answer, S3Error> {
    let versioning = match call.bucket(&op.bucket)?.versioning {
        Versioning::Off => None,
        Versioning::Enabled => Some(s3wire::Versioning::Enabled),
        Versioning::Suspended => Some(s3wire::Versioning::Suspended),
    };
    Ok(Answer::xml(
        StatusCode::OK,
        s3wire::versioning_configuration(versioning),
    ))
}

pub(crate) async fn put_versioning(
    door: &Door,
    op: OnBucket,
    call: Call,
) -> Result<Answer, S3Error> {
    call.bucket(&op.bucket)?;
    let document = call.body(Properties::default())?.document().await?;
    let versioning = match s3wire::parse_versioning(&document)? {
        s3wire::Versioning::Enabled => Versioning::Enabled,
        s3wire::Versioning::Suspended => Versioning::Suspended,
    };
    let command = Command::SetVersioning {
        name: op.bucket.as_str().to_owned(),
        versioning,
    };
    door.ledger
        .propose(command)
        .await
        .map_err(|error| of_ledger(&error))?;
    Ok(Answer::empty(StatusCode::OK))
}

pub(crate) fn tagging(op: &OnBucket, call: &Call) -> Result<Answer, S3Error> {
    let tags = TagSet::new(call.bucket(&op.bucket)?.tags, Tagged::Bucket)?;
    if tags.is_empty() {
        return Err(ErrorCode::NoSuchTagSet.into());
    }
    Ok(Answer::xml(StatusCode::OK, s3wire::tagging(&tags)))
}

pub(crate) async fn put_tagging(door: &Door, op: OnBucket, call: Call) -> Result<Answer, S3Error> {
    call.bucket(&op.bucket)?;
    let document = call.body(Properties::default())?.document().await?;
    let tags = s3wire::parse_tagging(&document, Tagged::Bucket)?;
    set_tags(door, &op, tags.pairs().to_vec()).await
}

pub(crate) async fn delete_tagging(
    door: &Door,
    op: &OnBucket,
    call: &Call,
) -> Result<Answer, S3Error> {
    call.bucket(&op.bucket)?;
    set_tags(door, op, Vec::new()).await
}

async fn set_tags(
    door: &Door,
    op: &OnBucket,
    tags: Vec<(String, String)>,
) -> Result<Answer, S3Error> {
    let command = Command::SetBucketTags {
        name: op.bucket.as_str().to_owned(),
        tags,
    };
    door.ledger
        .propose(command)
        .await
        .map_err(|error| of_ledger(&error))?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

pub(crate) fn acl(door: &Door, op: &OnBucket, call: &Call) -> Result<Answer, S3Error> {
    call.bucket(&op.bucket)?;
    Ok(Answer::xml(
        StatusCode::OK,
        s3wire::access_control_policy(&door.owner),
    ))
}

/// There is no website to take away.
pub(crate) fn delete_website(op: &OnBucket, call: &Call) -> Result<Answer, S3Error> {
    call.bucket(&op.bucket)?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

pub(crate) fn absent(op: &GetAbsentConfiguration, call: &Call) -> Result<Answer, S3Error> {
    call.bucket(&op.bucket)?;
    Ok(Answer::xml(StatusCode::OK, op.what.answer()?))
}

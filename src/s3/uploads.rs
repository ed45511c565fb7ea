//! Listing multipart uploads.

use http::StatusCode;
use s3wire::{ErrorCode, ListMultipartUploads, Page, S3Error};
use store::{ListedUpload, UploadsRequest};
use types::{BucketId, Order, VersionId};

use crate::answer::Answer;
use crate::door::{Call, Door};
use crate::error::of_store;
use crate::multipart::{upload_id, wanted};

pub(crate) async fn list(
    door: &Door,
    op: &ListMultipartUploads,
    call: &Call,
) -> Result<Answer, S3Error> {
    let request = request(call.bucket(&op.bucket)?.id(), op)?;
    let page = door.store.list_uploads(&request).await;
    let page = page.map_err(|error| of_store(&error))?;
    let (mut prefixes, mut uploads) = (Vec::new(), Vec::new());
    for entry in &page.entries {
        match entry {
            ListedUpload::Upload(key, id, upload) => uploads.push((key, upload_id(*id), upload)),
            ListedUpload::Prefix(prefix) => prefixes.push(prefix.clone()),
        }
    }
    let listed = uploads
        .iter()
        .map(|(key, id, upload)| s3wire::ListedUpload {
            key,
            upload_id: id,
            initiated: upload.head.modified,
            storage_class: upload.head.class,
            checksum: wanted(upload),
        });
    let listed: Vec<_> = listed.collect();
    let last = page.entries.last().filter(|_| page.truncated);
    let next = last.map(|last| match last {
        ListedUpload::Upload(key, ..) => {
            let id = uploads.last().map(|(_, id, _)| id.as_str());
            (key.as_str(), id)
        }
        ListedUpload::Prefix(prefix) => (prefix.as_str(), None),
    });
    let page = Page {
        entries: &listed,
        prefixes: &prefixes,
        next,
    };
    Ok(Answer::xml(
        StatusCode::OK,
        s3wire::upload_list(op, &page, &door.owner),
    ))
}

fn request(bucket: BucketId, op: &ListMultipartUploads) -> Result<UploadsRequest, S3Error> {
    let marker = op.upload_id_marker.as_deref().map(after_upload);
    let after = (!op.key_marker.is_empty()).then(|| op.key_marker.clone());
    let upload = marker.transpose()?;
    Ok(UploadsRequest {
        bucket,
        prefix: op.scope.prefix.clone(),
        after: after.map(|key| (key, upload)),
        delimiter: op.scope.delimiter.clone(),
        entries_max: usize::try_from(op.scope.keys_max).unwrap_or(1000).min(1000),
    })
}

fn after_upload(text: &str) -> Result<Order, S3Error> {
    match VersionId::parse(text) {
        Ok(VersionId::Born(upload)) => Ok(upload),
        _ => Err(S3Error::new(
            ErrorCode::InvalidArgument,
            "Invalid uploadId marker",
        )),
    }
}

//! Listing objects and versions.

use http::StatusCode;
use s3wire::{
    ListObjectVersions, ListObjects, ListObjectsV2, ListScope, ListedObject, Page, S3Error,
    VersionKind,
};
use store::{ListPage, ListRequest, Listed, ListedVersion, VersionsRequest};
use types::{BucketName, Head, Kind};

use crate::answer::Answer;
use crate::door::{Call, Door};
use crate::error::of_store;

fn request(
    call: &Call,
    bucket: &BucketName,
    scope: &ListScope,
    after: Option<&str>,
) -> Result<ListRequest, S3Error> {
    Ok(ListRequest {
        bucket: call.bucket(bucket)?.id(),
        prefix: scope.prefix.clone(),
        after: after.filter(|after| !after.is_empty()).map(str::to_owned),
        delimiter: scope.delimiter.clone(),
        entries_max: usize::try_from(scope.keys_max).unwrap_or(1000).min(1000),
    })
}

async fn page(
    door: &Door,
    call: &Call,
    bucket: &BucketName,
    scope: &ListScope,
    after: Option<&str>,
) -> Result<ListPage, S3Error> {
    let request = request(call, bucket, scope, after)?;
    door.store
        .list(&request)
        .await
        .map_err(|error| of_store(&error))
}

fn listed<'a>(key: &'a str, head: &Head) -> ListedObject<'a> {
    ListedObject {
        key,
        modified: head.modified,
        etag: head.etag,
        size: head.size,
        storage_class: head.class,
        checksum: None,
    }
}

/// Splits a page into what documents show.
fn split(page: &ListPage) -> (Vec<ListedObject<'_>>, Vec<String>, Option<&str>) {
    let mut objects = Vec::with_capacity(page.entries.len());
    let mut prefixes = Vec::new();
    for entry in &page.entries {
        match entry {
            Listed::Key(key, head) => objects.push(listed(key, head)),
            Listed::Prefix(prefix) => prefixes.push(prefix.clone()),
        }
    }
    let next = page
        .entries
        .last()
        .filter(|_| page.truncated)
        .map(Listed::name);
    (objects, prefixes, next)
}

pub(crate) async fn objects(door: &Door, op: &ListObjects, call: &Call) -> Result<Answer, S3Error> {
    let page = page(door, call, &op.bucket, &op.scope, Some(&op.marker)).await?;
    let (objects, prefixes, next) = split(&page);
    let page = Page {
        entries: &objects,
        prefixes: &prefixes,
        next,
    };
    Ok(Answer::xml(
        StatusCode::OK,
        s3wire::object_list(op, &page, &door.owner),
    ))
}

pub(crate) async fn objects_v2(
    door: &Door,
    op: &ListObjectsV2,
    call: &Call,
) -> Result<Answer, S3Error> {
    let after = op.after.as_deref().or(op.start_after.as_deref());
    let page = page(door, call, &op.bucket, &op.scope, after).await?;
    let (objects, prefixes, next) = split(&page);
    let page = Page {
        entries: &objects,
        prefixes: &prefixes,
        next,
    };
    Ok(Answer::xml(
        StatusCode::OK,
        s3wire::object_list_v2(op, &page, &door.owner),
    ))
}

pub(crate) async fn versions(
    door: &Door,
    op: &ListObjectVersions,
    call: &Call,
) -> Result<Answer, S3Error> {
    let request = VersionsRequest {
        keys: request(call, &op.bucket, &op.scope, Some(&op.key_marker))?,
        after_version: op.version_marker,
    };
    let page = door.store.list_versions(&request).await;
    let page = page.map_err(|error| of_store(&error))?;
    let (mut versions, mut prefixes, mut next) = (Vec::new(), Vec::new(), None);
    for entry in &page.entries {
        match entry {
            ListedVersion::Version { key, head, latest } => {
                next = Some((&**key, Some(head.version)));
                versions.push(s3wire::ListedVersion {
                    kind: match head.kind {
                        Kind::Marker => VersionKind::DeleteMarker,
                        Kind::Object | Kind::Tombstone => VersionKind::Version,
                    },
                    object: listed(key, head),
                    version: head.version,
                    is_latest: *latest,
                });
            }
            ListedVersion::Prefix(prefix) => {
                next = Some((prefix.as_str(), None));
                prefixes.push(prefix.clone());
            }
        }
    }
    let page = Page {
        entries: &versions,
        prefixes: &prefixes,
        next: next.filter(|_| page.truncated),
    };
    Ok(Answer::xml(
        StatusCode::OK,
        s3wire::version_list(op, &page, &door.owner),
    ))
}

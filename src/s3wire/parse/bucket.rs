//! Operations on a bucket.

use http::Method;
use types::BucketName;

use crate::absent::AbsentConfiguration;
use crate::error::S3Error;
use crate::op::{
    Encoding, GetAbsentConfiguration, ListMultipartUploads, ListObjectVersions, ListObjects,
    ListObjectsV2, ListScope, NotImplemented, OnBucket, Op,
};
use crate::parse::Head;
use crate::query::{Query, parse_version};
use crate::token::token_position;

/// Parameters that turn a request for a bucket into another one.
const SELECTORS: [&str; 34] = [
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "delete",
    "encryption",
    "events",
    "intelligent-tiering",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "replication-metrics",
    "replication-reset",
    "requestPayment",
    "session",
    "tagging",
    "uploads",
    "versioning",
    "versions",
    "website",
];

/// The most entries of a page (S3 API Reference, `ListObjectsV2`).
const PAGE_MAX: u32 = 1000;

pub(super) fn bucket_op(head: &Head<'_>, bucket: BucketName) -> Result<Op, S3Error> {
    let Some(selector) = head.selector(&SELECTORS)? else {
        return whole_bucket(head, bucket);
    };
    let on = OnBucket {
        bucket: bucket.clone(),
    };
    Ok(match (head.method, selector) {
        (&Method::HEAD, _) => return Err(head.method_not_allowed()),
        (&Method::GET, "location") => Op::GetBucketLocation(on),
        (&Method::GET, "versioning") => Op::GetBucketVersioning(on),
        (&Method::PUT, "versioning") => Op::PutBucketVersioning(on),
        (&Method::GET, "tagging") => Op::GetBucketTagging(on),
        (&Method::PUT, "tagging") => Op::PutBucketTagging(on),
        (&Method::DELETE, "tagging") => Op::DeleteBucketTagging(on),
        (&Method::GET, "acl") => Op::GetBucketAcl(on),
        (&Method::PUT, "acl") => Op::PutBucketAcl(on),
        (&Method::DELETE, "website") => Op::DeleteBucketWebsite(on),
        (&Method::GET, "versions") => Op::ListObjectVersions(versions(head.query, bucket)?),
        (&Method::GET, "uploads") => Op::ListMultipartUploads(uploads(head.query, bucket)?),
        (&Method::POST, "delete") => Op::DeleteObjects(on),
        (&Method::GET, selector) if absent(selector).is_some() => {
            let what = absent(selector).ok_or_else(|| head.method_not_allowed())?;
            Op::GetAbsentConfiguration(GetAbsentConfiguration { bucket, what })
        }
        (method, selector) => Op::NotImplemented(NotImplemented {
            name: missing(method, selector).ok_or_else(|| head.method_not_allowed())?,
            bucket: Some(bucket),
            key: None,
        }),
    })
}

fn whole_bucket(head: &Head<'_>, bucket: BucketName) -> Result<Op, S3Error> {
    let not_implemented = |bucket, name| {
        Ok(Op::NotImplemented(NotImplemented {
            name,
            bucket: Some(bucket),
            key: None,
        }))
    };
    match *head.method {
        Method::GET => list(head.query, bucket),
        Method::HEAD => Ok(Op::HeadBucket(OnBucket { bucket })),
        Method::PUT => Ok(Op::CreateBucket(OnBucket { bucket })),
        Method::DELETE => Ok(Op::DeleteBucket(OnBucket { bucket })),
        Method::POST => not_implemented(bucket, "PostObject"),
        Method::OPTIONS => not_implemented(bucket, "Preflight"),
        _ => Err(head.method_not_allowed()),
    }
}

/// Configurations that can be read as absent, without naming one of several by its id.
fn absent(selector: &str) -> Option<AbsentConfiguration> {
    Some(match selector {
        "accelerate" => AbsentConfiguration::Accelerate,
        "cors" => AbsentConfiguration::Cors,
        "encryption" => AbsentConfiguration::Encryption,
        "lifecycle" => AbsentConfiguration::Lifecycle,
        "logging" => AbsentConfiguration::Logging,
        "notification" => AbsentConfiguration::Notification,
        "object-lock" => AbsentConfiguration::ObjectLock,
        "ownershipControls" => AbsentConfiguration::OwnershipControls,
        "policy" => AbsentConfiguration::Policy,
        "policyStatus" => AbsentConfiguration::PolicyStatus,
        "publicAccessBlock" => AbsentConfiguration::PublicAccessBlock,
        "replication" => AbsentConfiguration::Replication,
        "requestPayment" => AbsentConfiguration::RequestPayment,
        "website" => AbsentConfiguration::Website,
        _ => return None,
    })
}

/// The name of an operation that S3, or MinIO, has and this server has not.
fn missing(method: &Method, selector: &str) -> Option<&'static str> {
    let [get, put, delete] = missing_names(selector);
    let name = match (method, selector) {
        (&Method::GET, _) => get,
        (&Method::PUT, _) => put,
        (&Method::DELETE, _) => delete,
        (&Method::POST, "metadataConfiguration") => "CreateBucketMetadataConfiguration",
        (&Method::POST, "metadataTable") => "CreateBucketMetadataTableConfiguration",
        (&Method::OPTIONS, _) => "Preflight",
        _ => "",
    };
    (!name.is_empty()).then_some(name)
}

/// The names for GET, PUT and DELETE; "" where there is none, or it is there.
fn missing_names(selector: &str) -> [&'static str; 3] {
    match selector {
        "abac" => ["GetBucketAbac", "PutBucketAbac", ""],
        "accelerate" => ["", "PutBucketAccelerateConfiguration", ""],
        "analytics" => [
            "GetBucketAnalyticsConfiguration",
            "PutBucketAnalyticsConfiguration",
            "DeleteBucketAnalyticsConfiguration",
        ],
        "cors" => ["", "PutBucketCors", "DeleteBucketCors"],
        "encryption" => ["", "PutBucketEncryption", "DeleteBucketEncryption"],
        "events" => ["ListenBucketNotification", "", ""],
        "intelligent-tiering" => [
            "GetBucketIntelligentTieringConfiguration",
            "PutBucketIntelligentTieringConfiguration",
            "DeleteBucketIntelligentTieringConfiguration",
        ],
        "inventory" => [
            "GetBucketInventoryConfiguration",
            "PutBucketInventoryConfiguration",
            "DeleteBucketInventoryConfiguration",
        ],
        "lifecycle" => [
            "",
            "PutBucketLifecycleConfiguration",
            "DeleteBucketLifecycle",
        ],
        "logging" => ["", "PutBucketLogging", ""],
        "metadataConfiguration" => [
            "GetBucketMetadataConfiguration",
            "",
            "DeleteBucketMetadataConfiguration",
        ],
        "metadataInventoryTable" => ["", "UpdateBucketMetadataInventoryTableConfiguration", ""],
        "metadataJournalTable" => ["", "UpdateBucketMetadataJournalTableConfiguration", ""],
        "metadataTable" => [
            "GetBucketMetadataTableConfiguration",
            "",
            "DeleteBucketMetadataTableConfiguration",
        ],
        "metrics" => [
            "GetBucketMetricsConfiguration",
            "PutBucketMetricsConfiguration",
            "DeleteBucketMetricsConfiguration",
        ],
        "notification" => ["", "PutBucketNotificationConfiguration", ""],
        "object-lock" => ["", "PutObjectLockConfiguration", ""],
        "ownershipControls" => [
            "",
            "PutBucketOwnershipControls",
            "DeleteBucketOwnershipControls",
        ],
        "policy" => ["", "PutBucketPolicy", "DeleteBucketPolicy"],
        "publicAccessBlock" => ["", "PutPublicAccessBlock", "DeletePublicAccessBlock"],
        "replication" => ["", "PutBucketReplication", "DeleteBucketReplication"],
        "replication-metrics" => ["GetBucketReplicationMetrics", "", ""],
        "replication-reset" => ["", "ResetBucketReplication", ""],
        "requestPayment" => ["", "PutBucketRequestPayment", ""],
        "session" => ["CreateSession", "", ""],
        "website" => ["", "PutBucketWebsite", ""],
        _ => ["", "", ""],
    }
}

fn list(query: &Query, bucket: BucketName) -> Result<Op, S3Error> {
    let scope = list_scope(query, "max-keys")?;
    let Some(kind) = query.value("list-type") else {
        return Ok(Op::ListObjects(ListObjects {
            bucket,
            scope,
            marker: query.text("marker"),
        }));
    };
    if kind != "2" {
        let message = "Invalid List Type specified in Request";
        return Err(S3Error::argument("list-type", kind, message));
    }
    let continuation_token = query.value("continuation-token").map(str::to_owned);
    if continuation_token.as_deref() == Some("") {
        let message = "The continuation token provided is incorrect";
        return Err(S3Error::argument("continuation-token", "", message));
    }
    Ok(Op::ListObjectsV2(ListObjectsV2 {
        bucket,
        scope,
        start_after: query.filled("start-after"),
        after: continuation_token
            .as_deref()
            .map(token_position)
            .transpose()?,
        continuation_token,
        fetch_owner: query.value("fetch-owner") == Some("true"),
    }))
}

fn list_scope(query: &Query, max: &str) -> Result<ListScope, S3Error> {
    Ok(ListScope {
        prefix: query.text("prefix"),
        delimiter: query.filled("delimiter"),
        keys_max: query.count(max, PAGE_MAX)?,
        encoding: encoding(query)?,
    })
}

pub(super) fn encoding(query: &Query) -> Result<Encoding, S3Error> {
    match query.filled("encoding-type").as_deref() {
        None => Ok(Encoding::Plain),
        Some(text) if text.eq_ignore_ascii_case("url") => Ok(Encoding::Url),
        Some(other) => {
            let message = "Invalid Encoding Method specified in Request";
            Err(S3Error::argument("encoding-type", other, message))
        }
    }
}

fn versions(query: &Query, bucket: BucketName) -> Result<ListObjectVersions, S3Error> {
    let key_marker = query.text("key-marker");
    let version_marker = query.filled("version-id-marker");
    if let (Some(version), true) = (&version_marker, key_marker.is_empty()) {
        let message = "A version-id marker cannot be specified without a key marker.";
        return Err(S3Error::argument("version-id-marker", version, message));
    }
    Ok(ListObjectVersions {
        bucket,
        scope: list_scope(query, "max-keys")?,
        key_marker,
        version_marker: version_marker.as_deref().map(parse_version).transpose()?,
    })
}

fn uploads(query: &Query, bucket: BucketName) -> Result<ListMultipartUploads, S3Error> {
    let key_marker = query.text("key-marker");
    Ok(ListMultipartUploads {
        bucket,
        scope: list_scope(query, "max-uploads")?,
        upload_id_marker: query
            .filled("upload-id-marker")
            .filter(|_| !key_marker.is_empty()),
        key_marker,
    })
}

//! Which permit an operation needs.

use auth::{Action, Resource};
use s3wire::{AbsentConfiguration, Op};
use types::VersionId;

/// The action and resource of an operation; `None` for what is not there: it answers
/// `NotImplemented` to whoever is known, and is refused to whoever is not.
pub(crate) fn needed(op: &Op) -> Option<(Action, Resource)> {
    let action = match op {
        Op::ListBuckets(_) => Action::ListAllMyBuckets,
        Op::CreateBucket(_) => Action::CreateBucket,
        Op::HeadBucket(_) | Op::ListObjects(_) | Op::ListObjectsV2(_) => Action::ListBucket,
        Op::DeleteBucket(_) => Action::DeleteBucket,
        Op::GetBucketLocation(_) => Action::GetBucketLocation,
        Op::GetBucketVersioning(_) => Action::GetBucketVersioning,
        Op::PutBucketVersioning(_) => Action::PutBucketVersioning,
        Op::GetBucketTagging(_) => Action::GetBucketTagging,
        Op::PutBucketTagging(_) | Op::DeleteBucketTagging(_) => Action::PutBucketTagging,
        Op::GetBucketAcl(_) => Action::GetBucketAcl,
        Op::PutBucketAcl(_) => Action::PutBucketAcl,
        Op::GetAbsentConfiguration(op) => absent(op.what),
        Op::DeleteBucketWebsite(_) => Action::DeleteBucketWebsite,
        Op::ListObjectVersions(_) => Action::ListBucketVersions,
        Op::ListMultipartUploads(_) => Action::ListBucketMultipartUploads,
        // Each key of the document needs a permit of its own, besides.
        Op::DeleteObjects(_) => Action::DeleteObject,
        Op::GetObject(op) | Op::HeadObject(op) => {
            of_version(op.version, Action::GetObject, Action::GetObjectVersion)
        }
        Op::DeleteObject(op) => of_version(
            op.version,
            Action::DeleteObject,
            Action::DeleteObjectVersion,
        ),
        Op::GetObjectAttributes(op) => of_version(
            op.version,
            Action::GetObjectAttributes,
            Action::GetObjectVersionAttributes,
        ),
        Op::GetObjectTagging(op) => of_version(
            op.version,
            Action::GetObjectTagging,
            Action::GetObjectVersionTagging,
        ),
        Op::PutObjectTagging(op) => of_version(
            op.version,
            Action::PutObjectTagging,
            Action::PutObjectVersionTagging,
        ),
        Op::DeleteObjectTagging(op) => of_version(
            op.version,
            Action::DeleteObjectTagging,
            Action::DeleteObjectVersionTagging,
        ),
        Op::GetObjectAcl(op) => of_version(
            op.version,
            Action::GetObjectAcl,
            Action::GetObjectVersionAcl,
        ),
        Op::PutObjectAcl(op) => of_version(
            op.version,
            Action::PutObjectAcl,
            Action::PutObjectVersionAcl,
        ),
        Op::PutObject(_)
        | Op::CopyObject(_)
        | Op::CreateMultipartUpload(_)
        | Op::UploadPart(_)
        | Op::UploadPartCopy(_)
        | Op::CompleteMultipartUpload(_) => Action::PutObject,
        Op::ListParts(_) => Action::ListMultipartUploadParts,
        Op::AbortMultipartUpload(_) => Action::AbortMultipartUpload,
        Op::NotImplemented(_) => return None,
    };
    Some((action, resource(op)))
}

fn resource(op: &Op) -> Resource {
    match (op.bucket(), op.key()) {
        (Some(bucket), Some(key)) => Resource::Object(bucket.clone(), key.clone()),
        (Some(bucket), None) => Resource::Bucket(bucket.clone()),
        (None, _) => Resource::Service,
    }
}

/// The current version and a named one are different things to policies.
fn of_version(version: Option<VersionId>, current: Action, named: Action) -> Action {
    match version {
        None => current,
        Some(_) => named,
    }
}

fn absent(what: AbsentConfiguration) -> Action {
    match what {
        AbsentConfiguration::Accelerate => Action::GetAccelerateConfiguration,
        AbsentConfiguration::Cors => Action::GetBucketCORS,
        AbsentConfiguration::Encryption => Action::GetEncryptionConfiguration,
        AbsentConfiguration::Lifecycle => Action::GetLifecycleConfiguration,
        AbsentConfiguration::Logging => Action::GetBucketLogging,
        AbsentConfiguration::Notification => Action::GetBucketNotification,
        AbsentConfiguration::ObjectLock => Action::GetBucketObjectLockConfiguration,
        AbsentConfiguration::OwnershipControls => Action::GetBucketOwnershipControls,
        AbsentConfiguration::Policy => Action::GetBucketPolicy,
        AbsentConfiguration::PolicyStatus => Action::GetBucketPolicyStatus,
        AbsentConfiguration::PublicAccessBlock => Action::GetBucketPublicAccessBlock,
        AbsentConfiguration::Replication => Action::GetReplicationConfiguration,
        AbsentConfiguration::RequestPayment => Action::GetBucketRequestPayment,
        AbsentConfiguration::Website => Action::GetBucketWebsite,
    }
}

//! What can be allowed or denied.

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// An action of S3's policy language (Service Authorization Reference, "Actions,
        /// resources, and condition keys for Amazon S3"). Closed: a route without an action
        /// cannot be written.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action {
            $($(#[$doc])* $name),*
        }

        impl Action {
            /// Every action, for tests that walk them.
            pub const ALL: &[Action] = &[$(Action::$name),*];

            /// The name in policies, with its prefix.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => concat!("s3:", stringify!($name))),* }
            }
        }
    };
}

actions! {
    /// Give up a multipart upload.
    AbortMultipartUpload
    /// Make a bucket.
    CreateBucket
    /// Delete a bucket.
    DeleteBucket
    /// Take a bucket's website configuration away.
    DeleteBucketWebsite
    /// Delete an object, or hide it behind a marker.
    DeleteObject
    /// Take the tags of an object away.
    DeleteObjectTagging
    /// Delete one version for good.
    DeleteObjectVersion
    /// Take the tags of a version away.
    DeleteObjectVersionTagging
    /// Read whether transfer acceleration is on.
    GetAccelerateConfiguration
    /// Read a bucket's ACL.
    GetBucketAcl
    /// Read a bucket's CORS rules.
    GetBucketCORS
    /// Read a bucket's region.
    GetBucketLocation
    /// Read a bucket's logging.
    GetBucketLogging
    /// Read a bucket's notifications.
    GetBucketNotification
    /// Read a bucket's Object Lock.
    GetBucketObjectLockConfiguration
    /// Read a bucket's ownership controls.
    GetBucketOwnershipControls
    /// Read a bucket's policy.
    GetBucketPolicy
    /// Read whether a bucket's policy is public.
    GetBucketPolicyStatus
    /// Read a bucket's public access block.
    GetBucketPublicAccessBlock
    /// Read who pays.
    GetBucketRequestPayment
    /// Read a bucket's tags.
    GetBucketTagging
    /// Read a bucket's versioning.
    GetBucketVersioning
    /// Read a bucket's website.
    GetBucketWebsite
    /// Read a bucket's encryption.
    GetEncryptionConfiguration
    /// Read a bucket's lifecycle.
    GetLifecycleConfiguration
    /// Read an object.
    GetObject
    /// Read an object's ACL.
    GetObjectAcl
    /// Read an object's attributes.
    GetObjectAttributes
    /// Read an object's tags.
    GetObjectTagging
    /// Read a version.
    GetObjectVersion
    /// Read a version's ACL.
    GetObjectVersionAcl
    /// Read a version's attributes.
    GetObjectVersionAttributes
    /// Read a version's tags.
    GetObjectVersionTagging
    /// Read a bucket's replication.
    GetReplicationConfiguration
    /// List all buckets.
    ListAllMyBuckets
    /// List a bucket's objects.
    ListBucket
    /// List a bucket's uploads.
    ListBucketMultipartUploads
    /// List a bucket's versions.
    ListBucketVersions
    /// List an upload's parts.
    ListMultipartUploadParts
    /// Set a bucket's ACL.
    PutBucketAcl
    /// Set a bucket's tags, or take them away.
    PutBucketTagging
    /// Set a bucket's versioning.
    PutBucketVersioning
    /// Write an object, whole or in parts.
    PutObject
    /// Set an object's ACL.
    PutObjectAcl
    /// Set an object's tags.
    PutObjectTagging
    /// Set a version's ACL.
    PutObjectVersionAcl
    /// Set a version's tags.
    PutObjectVersionTagging
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_have_the_names_of_policies() {
        assert_eq!(Action::GetObject.as_str(), "s3:GetObject");
        let mut names: Vec<&str> = Action::ALL.iter().map(|a| a.as_str()).collect();
        names.dedup();
        assert_eq!(names.len(), Action::ALL.len());
    }
}

//! Configurations that no bucket can have here, and what S3 says of a bucket without them.
//!
//! Tools that manage buckets read all of these on every run; "there is none" is true and lets
//! them work, while a PUT is refused as not implemented.

use crate::error::ErrorCode;
use crate::xml::Document;

/// A bucket configuration that cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbsentConfiguration {
    /// `?accelerate`.
    Accelerate,
    /// `?cors`.
    Cors,
    /// `?encryption`.
    Encryption,
    /// `?lifecycle`.
    Lifecycle,
    /// `?logging`.
    Logging,
    /// `?notification`.
    Notification,
    /// `?object-lock`.
    ObjectLock,
    /// `?ownershipControls`.
    OwnershipControls,
    /// `?policy`.
    Policy,
    /// `?policyStatus`.
    PolicyStatus,
    /// `?publicAccessBlock`.
    PublicAccessBlock,
    /// `?replication`.
    Replication,
    /// `?requestPayment`.
    RequestPayment,
    /// `?website`.
    Website,
}

impl AbsentConfiguration {
    /// The document or the error that S3 answers for a bucket without this configuration.
    pub fn answer(self) -> Result<String, ErrorCode> {
        match self {
            Self::Accelerate => Ok(Document::new("AccelerateConfiguration").finish()),
            Self::Logging => Ok(Document::new("BucketLoggingStatus").finish()),
            Self::Notification => Ok(Document::new("NotificationConfiguration").finish()),
            Self::RequestPayment => {
                let mut document = Document::new("RequestPaymentConfiguration");
                document.text("Payer", "BucketOwner");
                Ok(document.finish())
            }
            Self::Cors => Err(ErrorCode::NoSuchCORSConfiguration),
            Self::Encryption => Err(ErrorCode::ServerSideEncryptionConfigurationNotFoundError),
            Self::Lifecycle => Err(ErrorCode::NoSuchLifecycleConfiguration),
            Self::ObjectLock => Err(ErrorCode::ObjectLockConfigurationNotFoundError),
            Self::OwnershipControls => Err(ErrorCode::OwnershipControlsNotFoundError),
            Self::Policy | Self::PolicyStatus => Err(ErrorCode::NoSuchBucketPolicy),
            Self::PublicAccessBlock => Err(ErrorCode::NoSuchPublicAccessBlockConfiguration),
            Self::Replication => Err(ErrorCode::ReplicationConfigurationNotFoundError),
            Self::Website => Err(ErrorCode::NoSuchWebsiteConfiguration),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_is_said_to_be_absent() {
        let website = AbsentConfiguration::Website.answer();
        assert_eq!(website, Err(ErrorCode::NoSuchWebsiteConfiguration));
        let payer = AbsentConfiguration::RequestPayment.answer().unwrap();
        assert!(payer.contains("<Payer>BucketOwner</Payer>"), "{payer}");
        let logging = AbsentConfiguration::Logging.answer().unwrap();
        assert!(logging.ends_with(
            "<BucketLoggingStatus xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></BucketLoggingStatus>"
        ));
    }
}

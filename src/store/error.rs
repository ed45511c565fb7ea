//! Why the store did not do what was asked.

use types::{BucketId, NameError, Timestamp, VersionId};

/// What a request ends with when it does not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such object: a read quorum says so.
    #[error("no such key")]
    NoSuchKey,
    /// The version asked for, or the newest one, is a delete marker.
    #[error("the version is a delete marker")]
    DeleteMarker {
        /// The marker's version id.
        version: VersionId,
        /// When it was made.
        modified: Timestamp,
    },
    /// There is no such version.
    #[error("no such version")]
    NoSuchVersion,
    /// There is no such upload.
    #[error("no such upload")]
    NoSuchUpload,
    /// A part that an upload is to be completed with is missing, or another one by now.
    #[error("part {0} is not there or is another one")]
    InvalidPart(u16),
    /// What the request expected of the current version does not hold.
    #[error("a precondition failed")]
    PreconditionFailed,
    /// Too few drives answered, or a commit is still undecided. Nothing is known; ask again.
    #[error("unavailable: {0}")]
    Unavailable(&'static str),
    /// The object's bytes cannot be read back whole from the shards that are left.
    #[error("fewer good shards than needed")]
    Damaged,
    /// No space left on enough drives.
    #[error("full")]
    Full,
    /// The body ended before, or went on after, the length that was announced.
    #[error("the body has {got} bytes of {want}")]
    BodyLength {
        /// Bytes that came.
        got: u64,
        /// Bytes announced.
        want: u64,
    },
    /// A stored name breaks the rules of names: damage.
    #[error("a stored name is damaged in bucket {0:?}")]
    Name(BucketId),
}

impl From<NameError> for Error {
    fn from(_: NameError) -> Self {
        Self::Damaged
    }
}

/// How a write with a body ended badly: by the store, or by the body itself.
#[derive(Debug)]
pub enum WriteError<E> {
    /// The store's reason.
    Store(Error),
    /// The body's own reason: broken off, wrong digest, bad signature.
    Body(E),
}

impl<E> From<Error> for WriteError<E> {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

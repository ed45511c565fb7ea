//! What a request expects of the version it meets: data, so that it can travel to the holder.

use types::{Head, Kind};

use crate::error::Error;

/// Entity tags to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// `*`: any version.
    Any,
    /// One of these, without quotes.
    OneOf(Vec<String>),
}

impl Tags {
    fn holds(&self, head: &Head) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => {
                let etag = head.etag.to_string();
                tags.contains(&etag)
            }
        }
    }
}

/// What must hold of the current version for a change to proceed (RFC 9110, section 13; S3's
/// conditional writes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Anything,
    /// `If-Match`: there is a version, with one of these tags. Without one: no such key.
    Match(Tags),
    /// `If-None-Match`: there is none, or none with these tags.
    NoneMatch(Tags),
}

impl Expect {
    /// Checks against the current version; a delete marker counts as none.
    pub fn check(&self, current: Option<&Head>) -> Result<(), Error> {
        let current = current.filter(|head| head.kind == Kind::Object);
        match (self, current) {
            (Self::Anything, _) | (Self::NoneMatch(_), None) => Ok(()),
            (Self::Match(_), None) => Err(Error::NoSuchKey),
            (Self::Match(tags), Some(head)) if tags.holds(head) => Ok(()),
            (Self::NoneMatch(tags), Some(head)) if !tags.holds(head) => Ok(()),
            _ => Err(Error::PreconditionFailed),
        }
    }
}

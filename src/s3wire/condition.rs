//! Conditions of a request (RFC 9110, section 13), as S3 applies them.

use http::HeaderMap;
use types::Timestamp;

use crate::error::{ErrorCode, S3Error};
use crate::field::text_of;
use crate::time::parse_http_date;

/// A list of entity tags, or `*`. Tags are kept without quotes; weak tags compare like strong
/// ones, since S3 has only strong ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EtagMatch {
    /// `*`: whatever exists.
    Any,
    /// Any of these.
    OneOf(Vec<String>),
}

impl EtagMatch {
    /// Splits at commas; quotes and `W/` are taken off.
    pub(crate) fn parse(text: &str) -> Self {
        if text.trim() == "*" || text.trim() == "\"*\"" {
            return Self::Any;
        }
        Self::OneOf(
            text.split(',')
                .map(|tag| unquoted(tag).to_owned())
                .collect(),
        )
    }

    /// Whether `etag` (without quotes) is meant.
    pub fn matches(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => tags.iter().any(|tag| tag == etag),
        }
    }
}

/// An entity tag without its quotes and without the mark of weakness.
pub(crate) fn unquoted(tag: &str) -> &str {
    let tag = tag.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    tag.strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(tag)
}

/// Conditions of GET, HEAD, and of a copy's source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadConditions {
    /// `If-Match`.
    pub if_match: Option<EtagMatch>,
    /// `If-None-Match`.
    pub if_none_match: Option<EtagMatch>,
    /// `If-Modified-Since`, whole seconds.
    pub if_modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since`, whole seconds.
    pub if_unmodified_since: Option<Timestamp>,
}

impl ReadConditions {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, S3Error> {
        Self::named(
            headers,
            [
                "if-match",
                "if-none-match",
                "if-modified-since",
                "if-unmodified-since",
            ],
        )
    }

    pub(crate) fn of_copy_source(headers: &HeaderMap) -> Result<Self, S3Error> {
        Self::named(
            headers,
            [
                "x-amz-copy-source-if-match",
                "x-amz-copy-source-if-none-match",
                "x-amz-copy-source-if-modified-since",
                "x-amz-copy-source-if-unmodified-since",
            ],
        )
    }

    /// A date that cannot be read is ignored (RFC 9110, sections 13.1.3 and 13.1.4).
    fn named(headers: &HeaderMap, names: [&str; 4]) -> Result<Self, S3Error> {
        let [matches, none, since, unmodified] = names;
        Ok(Self {
            if_match: text_of(headers, matches)?.as_deref().map(EtagMatch::parse),
            if_none_match: text_of(headers, none)?.as_deref().map(EtagMatch::parse),
            if_modified_since: text_of(headers, since)?
                .as_deref()
                .and_then(parse_http_date),
            if_unmodified_since: text_of(headers, unmodified)?
                .as_deref()
                .and_then(parse_http_date),
        })
    }

    /// Decides for a GET or HEAD of an object with this tag (unquoted) and time, in the order of
    /// RFC 9110, section 13.2.2. Fails with `PreconditionFailed` or `NotModified`.
    pub fn check(&self, etag: &str, modified: Timestamp) -> Result<(), S3Error> {
        self.positive(etag, modified)?;
        if self.unchanged(etag, modified).is_some() {
            return Err(ErrorCode::NotModified.into());
        }
        Ok(())
    }

    /// Decides for a copy's source, where each failure is `PreconditionFailed`
    /// (S3 API Reference, `CopyObject`).
    pub fn check_copy_source(&self, etag: &str, modified: Timestamp) -> Result<(), S3Error> {
        self.positive(etag, modified)?;
        match self.unchanged(etag, modified) {
            Some(header) => Err(failed(&format!("x-amz-copy-source-{header}"))),
            None => Ok(()),
        }
    }

    fn positive(&self, etag: &str, modified: Timestamp) -> Result<(), S3Error> {
        match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) if !tags.matches(etag) => Err(failed("If-Match")),
            (None, Some(limit)) if modified.as_secs() > limit.as_secs() => {
                Err(failed("If-Unmodified-Since"))
            }
            _ => Ok(()),
        }
    }

    /// The condition that says that the client has this version already.
    fn unchanged(&self, etag: &str, modified: Timestamp) -> Option<&'static str> {
        match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => tags.matches(etag).then_some("If-None-Match"),
            (None, Some(limit)) => {
                (modified.as_secs() <= limit.as_secs()).then_some("If-Modified-Since")
            }
            (None, None) => None,
        }
    }
}

/// Conditions of a write: PUT, copy (of its destination), complete, delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteConditions {
    /// `If-Match`: the current version must have one of these tags.
    pub if_match: Option<EtagMatch>,
    /// `If-None-Match`: the current version must have none of these tags; `*`: must not exist.
    pub if_none_match: Option<EtagMatch>,
}

impl WriteConditions {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, S3Error> {
        Ok(Self {
            if_match: text_of(headers, "if-match")?
                .as_deref()
                .map(EtagMatch::parse),
            if_none_match: text_of(headers, "if-none-match")?
                .as_deref()
                .map(EtagMatch::parse),
        })
    }

    /// Whether there is no condition at all.
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Decides against the current version's tag (unquoted), or `None` if there is no current
    /// version or it is a delete marker. Fails with `NoSuchKey` or `PreconditionFailed`.
    pub fn check(&self, current: Option<&str>) -> Result<(), S3Error> {
        match (&self.if_match, current) {
            (Some(_), None) => return Err(ErrorCode::NoSuchKey.into()),
            (Some(tags), Some(etag)) if !tags.matches(etag) => return Err(failed("If-Match")),
            _ => {}
        }
        match (&self.if_none_match, current) {
            (Some(tags), Some(etag)) if tags.matches(etag) => Err(failed("If-None-Match")),
            _ => Ok(()),
        }
    }
}

fn failed(condition: &str) -> S3Error {
    S3Error::from(ErrorCode::PreconditionFailed).with("Condition", condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1000 + 500)
    }

    fn tags(text: &str) -> Option<EtagMatch> {
        Some(EtagMatch::parse(text))
    }

    #[test]
    fn reads_follow_the_order_of_the_rfc() {
        let base = ReadConditions::default();
        let code = |c: &ReadConditions| c.check("aa", at(100)).map_err(|e| e.code);
        assert_eq!(code(&base), Ok(()));
        let wrong = ReadConditions {
            if_match: tags("\"bb\""),
            ..base.clone()
        };
        assert_eq!(code(&wrong), Err(ErrorCode::PreconditionFailed));
        let both = ReadConditions {
            if_match: tags("\"bb\", W/\"aa\""),
            if_unmodified_since: Some(at(1)),
            ..base.clone()
        };
        assert_eq!(
            code(&both),
            Ok(()),
            "If-Match makes If-Unmodified-Since moot"
        );
        let seen = ReadConditions {
            if_none_match: tags("aa"),
            ..base.clone()
        };
        assert_eq!(code(&seen), Err(ErrorCode::NotModified));
        let new = ReadConditions {
            if_none_match: tags("bb"),
            if_modified_since: Some(at(200)),
            ..base.clone()
        };
        assert_eq!(
            code(&new),
            Ok(()),
            "If-None-Match makes If-Modified-Since moot"
        );
        let same = ReadConditions {
            if_modified_since: Some(Timestamp::from_millis(100_000)),
            ..base.clone()
        };
        assert_eq!(
            code(&same),
            Err(ErrorCode::NotModified),
            "milliseconds do not count"
        );
        let old = ReadConditions {
            if_unmodified_since: Some(at(99)),
            ..base
        };
        assert_eq!(code(&old), Err(ErrorCode::PreconditionFailed));
    }

    #[test]
    fn a_copy_source_never_answers_not_modified() {
        let seen = ReadConditions {
            if_none_match: tags("*"),
            ..ReadConditions::default()
        };
        let code = seen.check_copy_source("aa", at(1)).map_err(|e| e.code);
        assert_eq!(code, Err(ErrorCode::PreconditionFailed));
    }

    #[test]
    fn writes_compare_with_what_is_there() {
        let absent = WriteConditions {
            if_match: None,
            if_none_match: tags("*"),
        };
        let expected = WriteConditions {
            if_match: tags("\"aa\""),
            if_none_match: None,
        };
        let code = |c: &WriteConditions, now| c.check(now).map_err(|e| e.code);
        assert_eq!(
            code(&absent, Some("aa")),
            Err(ErrorCode::PreconditionFailed)
        );
        assert_eq!(code(&absent, None), Ok(()));
        assert_eq!(
            code(&expected, Some("bb")),
            Err(ErrorCode::PreconditionFailed)
        );
        assert_eq!(code(&expected, None), Err(ErrorCode::NoSuchKey));
        assert_eq!(code(&expected, Some("aa")), Ok(()));
        assert!(WriteConditions::default().is_empty());
    }
}

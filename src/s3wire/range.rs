//! `Range` and `If-Range` (RFC 9110, sections 13.1.5 and 14.2).

use http::HeaderMap;
use types::{RangeSpec, Timestamp};

use crate::condition::unquoted;
use crate::error::S3Error;
use crate::field::text_of;
use crate::time::parse_http_date;

/// Reads `Range`. What is malformed, of another unit, or a list of several ranges is ignored, as
/// S3 does: the answer is then the whole object.
pub(crate) fn range(headers: &HeaderMap) -> Result<Option<RangeSpec>, S3Error> {
    Ok(text_of(headers, "range")?.as_deref().and_then(parse_range))
}

fn parse_range(text: &str) -> Option<RangeSpec> {
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", last) => Some(RangeSpec::Last(offset(last)?)),
        (first, "") => Some(RangeSpec::From(offset(first)?)),
        (first, last) => {
            let (first, last) = (offset(first)?, offset(last)?);
            (first <= last).then_some(RangeSpec::FromTo(first, last))
        }
    }
}

/// Digits only; what no 64 bits can hold is past every object.
fn offset(text: &str) -> Option<u64> {
    let legal = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    legal.then(|| text.parse().unwrap_or(u64::MAX))
}

/// `If-Range`: the range holds only for this version; otherwise the whole object is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfRange {
    /// An entity tag, without quotes.
    Etag(String),
    /// A time of modification.
    Modified(Timestamp),
}

impl IfRange {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, S3Error> {
        Ok(
            text_of(headers, "if-range")?.map(|text| match parse_http_date(&text) {
                Some(at) => Self::Modified(at),
                None => Self::Etag(unquoted(&text).to_owned()),
            }),
        )
    }

    /// Whether the range holds for an object with this tag (unquoted) and time.
    pub fn holds(&self, etag: &str, modified: Timestamp) -> bool {
        match self {
            Self::Etag(tag) => tag == etag,
            Self::Modified(at) => at.as_secs() == modified.as_secs(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn what_is_no_single_range_is_ignored() {
        for text in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-4",
            "bytes=a-b",
            "lines=0-1",
            "bytes=0-1,3-4",
            "bytes=+1-2",
            "bytes=--1",
        ] {
            assert_eq!(parse_range(text), None, "{text}");
        }
    }

    #[test]
    fn single_ranges_are_read() {
        assert_eq!(parse_range("bytes=0-9"), Some(RangeSpec::FromTo(0, 9)));
        assert_eq!(parse_range("Bytes = 5-"), Some(RangeSpec::From(5)));
        assert_eq!(parse_range("bytes=-0"), Some(RangeSpec::Last(0)));
        let huge = parse_range("bytes=1-99999999999999999999");
        assert_eq!(huge, Some(RangeSpec::FromTo(1, u64::MAX)));
    }

    #[test]
    fn if_range_compares_tag_or_second() {
        let at = Timestamp::from_millis(784_111_777_123);
        assert!(IfRange::Etag("aa".to_owned()).holds("aa", at));
        assert!(!IfRange::Etag("aa".to_owned()).holds("bb", at));
        let date = parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert!(IfRange::Modified(date).holds("aa", at));
        assert!(!IfRange::Modified(date).holds("aa", Timestamp::from_millis(0)));
    }

    proptest! {
        #[test]
        fn no_range_panics(text in any::<String>()) {
            let _ = parse_range(&text);
        }
    }
}

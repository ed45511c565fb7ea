//! Tag sets of buckets and objects.

use crate::error::{ErrorCode, S3Error};
use crate::percent::{Plus, decode};

/// What carries the tags: their number is limited by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tagged {
    /// At most 50 tags.
    Bucket,
    /// At most 10 tags.
    Object,
}

impl Tagged {
    fn tags_max(self) -> usize {
        match self {
            Self::Bucket => 50,
            Self::Object => 10,
        }
    }
}

/// Tags within S3's limits: unique keys of 1 to 128 characters, values of at most 256
/// (S3 API Reference, `PutObjectTagging`). In the order of the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagSet(Vec<(String, String)>);

impl TagSet {
    const KEY_CHARS_MAX: usize = 128;
    const VALUE_CHARS_MAX: usize = 256;

    /// Checks the limits; fails with `InvalidTag` or, for too many, `BadRequest`.
    pub fn new(pairs: Vec<(String, String)>, of: Tagged) -> Result<Self, S3Error> {
        if pairs.len() > of.tags_max() {
            let message = match of {
                Tagged::Bucket => "Bucket tag count cannot be greater than 50",
                Tagged::Object => "Object tags cannot be greater than 10",
            };
            return Err(S3Error::new(ErrorCode::BadRequest, message));
        }
        for (at, (key, value)) in pairs.iter().enumerate() {
            let invalid = |message| Err(S3Error::new(ErrorCode::InvalidTag, message));
            let key_chars = key.chars().count();
            if key_chars == 0 || key_chars > Self::KEY_CHARS_MAX || !legal(key) {
                return invalid("The TagKey you have provided is invalid");
            }
            if value.chars().count() > Self::VALUE_CHARS_MAX || !legal(value) {
                return invalid("The TagValue you have provided is invalid");
            }
            if key.starts_with("aws:") {
                return invalid("System tags cannot be added/updated by requester");
            }
            if pairs.iter().take(at).any(|(other, _)| other == key) {
                return invalid("Cannot provide multiple Tags with the same key");
            }
        }
        Ok(Self(pairs))
    }

    /// Reads `x-amz-tagging`: `key=value&…`, percent-encoded.
    pub(crate) fn from_header(text: &str) -> Result<Self, S3Error> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded =
                decode(key, Plus::Space).and_then(|k| Ok((k, decode(value, Plus::Space)?)));
            pairs.push(decoded.map_err(|_| {
                let message = "The header 'x-amz-tagging' shall be encoded as UTF-8 then \
                               URLEncoded URL query parameters without tag name duplicates.";
                S3Error::argument("x-amz-tagging", text, message)
            })?);
        }
        Self::new(pairs, Tagged::Object)
    }

    /// Keys and values.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// How many: `x-amz-tagging-count`.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// S3 names letters, digits, spaces and `+ - = . _ : / @`; in practice any printable text is
/// taken, and so it is here, but nothing that could forge a line of a log.
fn legal(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(header: &str) -> Result<usize, ErrorCode> {
        TagSet::from_header(header)
            .map(|t| t.len())
            .map_err(|e| e.code)
    }

    #[test]
    fn tags_beyond_the_limits_are_refused() {
        let many: String = (0..11).map(|n| format!("k{n}=v&")).collect();
        assert_eq!(code(&many), Err(ErrorCode::BadRequest));
        assert_eq!(code("a=1&a=2"), Err(ErrorCode::InvalidTag));
        assert_eq!(code("=1"), Err(ErrorCode::InvalidTag));
        assert_eq!(code("aws:x=1"), Err(ErrorCode::InvalidTag));
        assert_eq!(code("a=%0a"), Err(ErrorCode::InvalidTag));
        assert_eq!(code("a=%zz"), Err(ErrorCode::InvalidArgument));
        assert_eq!(
            code(&format!("{}=1", "k".repeat(129))),
            Err(ErrorCode::InvalidTag)
        );
        assert_eq!(
            code(&format!("k={}", "v".repeat(257))),
            Err(ErrorCode::InvalidTag)
        );
    }

    #[test]
    fn tags_at_the_limits_are_taken() {
        assert_eq!(code(""), Ok(0));
        assert_eq!(code("a=1&b&c=%3D+x"), Ok(3));
        assert_eq!(
            code(&format!("{}={}", "ü".repeat(128), "v".repeat(256))),
            Ok(1)
        );
        let fifty = (0..50).map(|n| (format!("k{n}"), String::new())).collect();
        assert_eq!(TagSet::new(fifty, Tagged::Bucket).map(|t| t.len()), Ok(50));
    }
}

//! The query string, decoded.

use types::VersionId;

use crate::error::S3Error;
use crate::percent::{Plus, decode};

/// Decoded parameters, in the order of the request. Of a name that comes twice, the first counts.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Splits at `&`, then at the first `=`. `name` and `name=` are the same.
    pub(crate) fn parse(raw: &str) -> Result<Self, S3Error> {
        let mut pairs = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(name, Plus::Space)?, decode(value, Plus::Space)?));
        }
        Ok(Self { pairs })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value, unless it is missing or empty.
    pub(crate) fn filled(&self, name: &str) -> Option<String> {
        self.value(name)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    }

    /// The value, or "".
    pub(crate) fn text(&self, name: &str) -> String {
        self.value(name).unwrap_or_default().to_owned()
    }

    /// Names and values, for what selects by prefix.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// A count such as `max-keys`: `limit` when missing or larger than that.
    pub(crate) fn count(&self, name: &str, limit: u32) -> Result<u32, S3Error> {
        let Some(text) = self.value(name).filter(|text| !text.is_empty()) else {
            return Ok(limit);
        };
        match text.parse::<i32>() {
            Ok(count) => u32::try_from(count).map(|n| n.min(limit)).map_err(|_| {
                let message =
                    format!("Argument {name} must be an integer between 0 and 2147483647");
                S3Error::argument(name, text, message)
            }),
            Err(_) => {
                let message = format!("Provided {name} not an integer or within integer range");
                Err(S3Error::argument(name, text, message))
            }
        }
    }

    /// `versionId`, which must be one that this server could have given out.
    pub(crate) fn version(&self) -> Result<Option<VersionId>, S3Error> {
        self.value("versionId").map(parse_version).transpose()
    }
}

/// Reads a version id from the query, a copy source or a body.
pub(crate) fn parse_version(text: &str) -> Result<VersionId, S3Error> {
    if text.is_empty() {
        let message = "Version id cannot be the empty string";
        return Err(S3Error::argument("versionId", text, message));
    }
    VersionId::parse(text)
        .map_err(|_| S3Error::argument("versionId", text, "Invalid version id specified"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn bad_counts_are_refused_and_large_ones_cut() {
        for bad in ["-1", "x", "99999999999", "1.5"] {
            let query = Query::parse(&format!("max-keys={bad}")).unwrap();
            let code = query.count("max-keys", 1000).map_err(|e| e.code);
            assert_eq!(code, Err(ErrorCode::InvalidArgument), "{bad}");
        }
        for (raw, count) in [
            ("", 1000),
            ("max-keys=", 1000),
            ("max-keys=0", 0),
            ("max-keys=5000", 1000),
        ] {
            let query = Query::parse(raw).unwrap();
            assert_eq!(query.count("max-keys", 1000), Ok(count), "{raw}");
        }
    }

    #[test]
    fn version_ids_are_checked() {
        for bad in ["versionId=", "versionId=x", "versionId"] {
            let code = Query::parse(bad).unwrap().version().map_err(|e| e.code);
            assert_eq!(code, Err(ErrorCode::InvalidArgument), "{bad}");
        }
        let null = Query::parse("versionId=null").unwrap();
        assert_eq!(null.version(), Ok(Some(VersionId::Null)));
    }

    #[test]
    fn names_and_values_are_decoded_once() {
        let query = Query::parse("prefix=a%2Bb+c&&list%2Dtype=2&prefix=z").unwrap();
        assert_eq!(query.value("prefix"), Some("a+b c"));
        assert!(query.has("list-type"));
        assert_eq!(query.filled("absent"), None);
    }
}

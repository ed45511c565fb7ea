//! Where a copy comes from.

use http::HeaderMap;
use types::{BucketName, ObjectKey, VersionId};

use crate::condition::ReadConditions;
use crate::error::{ErrorCode, S3Error};
use crate::field::{filled, text_of};
use crate::percent::{Plus, decode};
use crate::query::parse_version;
use crate::target::{bucket_name, object_key};

/// `x-amz-copy-source` and its conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// The source's bucket.
    pub bucket: BucketName,
    /// The source's key.
    pub key: ObjectKey,
    /// `?versionId=`; `None` means the current version.
    pub version: Option<VersionId>,
    /// `x-amz-copy-source-if-*`.
    pub conditions: ReadConditions,
}

impl CopySource {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, S3Error> {
        let Some(raw) = text_of(headers, "x-amz-copy-source")? else {
            return Ok(None);
        };
        let (bucket, key, version) = parse_source(&raw)?;
        Ok(Some(Self {
            bucket,
            key,
            version,
            conditions: ReadConditions::of_copy_source(headers)?,
        }))
    }
}

/// `[/]bucket/key[?versionId=id]`, percent-encoded; the version is split off before decoding.
fn parse_source(raw: &str) -> Result<(BucketName, ObjectKey, Option<VersionId>), S3Error> {
    let malformed = || {
        let message = "Copy Source must mention the source bucket and key: sourcebucket/sourcekey";
        S3Error::argument("x-amz-copy-source", raw, message)
    };
    if raw.starts_with("arn:") {
        return Err(S3Error::not_implemented("A copy source named by ARN"));
    }
    let (path, version) = match raw.rsplit_once("?versionId=") {
        Some((path, version)) => (path, Some(decode(version, Plus::Plain)?)),
        None => (raw, None),
    };
    let path = decode(path, Plus::Plain).map_err(|_| malformed())?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = path.split_once('/').ok_or_else(malformed)?;
    if bucket.is_empty() || key.is_empty() {
        return Err(malformed());
    }
    let version = version.as_deref().map(parse_version).transpose()?;
    Ok((bucket_name(bucket)?, object_key(key)?, version))
}

/// `x-amz-metadata-directive` and `x-amz-tagging-directive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Directive {
    /// What the source has.
    #[default]
    Copy,
    /// What the request says.
    Replace,
}

impl Directive {
    pub(crate) fn from_headers(headers: &HeaderMap, name: &'static str) -> Result<Self, S3Error> {
        match filled(headers, name)?.as_deref() {
            None | Some("COPY") => Ok(Self::Copy),
            Some("REPLACE") => Ok(Self::Replace),
            Some(other) => Err(S3Error::argument(
                name,
                other,
                format!("Unknown value for {name}."),
            )),
        }
    }
}

/// `x-amz-copy-source-range`: first and last byte, both inclusive and both given.
pub(crate) fn copy_range(headers: &HeaderMap) -> Result<Option<(u64, u64)>, S3Error> {
    let name = "x-amz-copy-source-range";
    let Some(text) = text_of(headers, name)? else {
        return Ok(None);
    };
    let digits = |part: &str| {
        let legal = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        legal.then(|| part.parse::<u64>().ok()).flatten()
    };
    let range = text
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
        .and_then(|(first, last)| Some((digits(first)?, digits(last)?)));
    match range {
        Some((first, last)) if first <= last => Ok(Some((first, last))),
        _ => Err(S3Error::new(
            ErrorCode::InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first \
             and last are the zero-based offsets of the first and last bytes to copy",
        )
        .with("ArgumentName", name)
        .with("ArgumentValue", text)),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::{any, proptest};

    use super::*;

    fn source(raw: &str) -> Result<(String, String, Option<VersionId>), ErrorCode> {
        parse_source(raw)
            .map(|(b, k, v)| (b.to_string(), k.to_string(), v))
            .map_err(|e| e.code)
    }

    #[test]
    fn sources_that_name_no_object_are_refused() {
        let table = [
            ("", ErrorCode::InvalidArgument),
            ("bucket", ErrorCode::InvalidArgument),
            ("bucket/", ErrorCode::InvalidArgument),
            ("/bucket/", ErrorCode::InvalidArgument),
            ("//key", ErrorCode::InvalidArgument),
            ("bucket/%ff", ErrorCode::InvalidArgument),
            ("../etc/passwd", ErrorCode::InvalidBucketName),
            ("Bucket/key", ErrorCode::InvalidBucketName),
            ("minio/key", ErrorCode::AllAccessDisabled),
            ("bucket/key?versionId=", ErrorCode::InvalidArgument),
            ("bucket/key?versionId=x", ErrorCode::InvalidArgument),
            (
                "arn:aws:s3:us-east-1:1:accesspoint/a/object/k",
                ErrorCode::NotImplemented,
            ),
        ];
        for (raw, code) in table {
            assert_eq!(source(raw), Err(code), "{raw}");
        }
    }

    #[test]
    fn sources_are_decoded_once() {
        let ok = |key: &str, version| Ok(("bucket".to_owned(), key.to_owned(), version));
        assert_eq!(source("bucket/a/b"), ok("a/b", None));
        assert_eq!(source("/bucket/a%20+%252F"), ok("a +%2F", None));
        assert_eq!(source("bucket%2Fkey"), ok("key", None));
        assert_eq!(source("bucket/../x"), ok("../x", None));
        assert_eq!(
            source("bucket/k?versionId=null"),
            ok("k", Some(VersionId::Null))
        );
        assert_eq!(
            source("bucket/k%3FversionId=null"),
            ok("k?versionId=null", None)
        );
    }

    #[test]
    fn copy_ranges_have_two_ends() {
        let range = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                "x-amz-copy-source-range",
                HeaderValue::from_str(text).unwrap(),
            );
            copy_range(&headers).map_err(|e| e.code)
        };
        for bad in [
            "bytes=1-",
            "bytes=-1",
            "bytes=5-4",
            "1-2",
            "bytes=+1-2",
            "bytes=1-2,4-5",
        ] {
            assert_eq!(range(bad), Err(ErrorCode::InvalidArgument), "{bad}");
        }
        assert_eq!(range("bytes=0-0"), Ok(Some((0, 0))));
    }

    proptest! {
        #[test]
        fn no_source_panics(raw in any::<String>()) {
            let _ = parse_source(&raw);
        }
    }
}

//! Where a copy comes from.

use http::HeaderMap;
use types::{BucketName, ByteRange, ObjectKey, VersionId};

use crate::condition::ReadConditions;
use crate::error::S3Error;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyRange {
    first: u64,
    last: u64,
}

impl CopyRange {
    const HEADER: &str = "x-amz-copy-source-range";

    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, S3Error> {
        let Some(text) = text_of(headers, Self::HEADER)? else {
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
            Some((first, last)) if first <= last => Ok(Some(Self { first, last })),
            _ => Err(S3Error::argument(
                Self::HEADER,
                &text,
                "The x-amz-copy-source-range value must be of the form bytes=first-last where \
                 first and last are the zero-based offsets of the first and last bytes to copy",
            )),
        }
    }

    /// The bytes of a source of `size` bytes. It must lie within: no end is moved, as that of a
    /// `Range` would be.
    pub fn within(self, size: u64) -> Result<ByteRange, S3Error> {
        let Self { first, last } = self;
        if last >= size {
            return Err(S3Error::argument(
                Self::HEADER,
                &format!("bytes={first}-{last}"),
                format!("Range specified is not valid for source object of size: {size}"),
            ));
        }
        Ok(ByteRange {
            start: first,
            end: last + 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::{any, proptest};

    use super::*;
    use crate::error::ErrorCode;

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

    fn range(text: &str) -> Result<Option<CopyRange>, S3Error> {
        let mut headers = HeaderMap::new();
        headers.insert(CopyRange::HEADER, HeaderValue::from_str(text).unwrap());
        CopyRange::from_headers(&headers)
    }

    #[test]
    fn copy_ranges_have_two_ends() {
        for bad in [
            "",
            "0-0",
            "bytes=1-",
            "bytes=-1",
            "bytes=5-4",
            "bytes=+1-2",
            "bytes=1 - 2",
            "bytes=1-2,4-5",
            "bytes=0-18446744073709551616",
        ] {
            let code = range(bad).map_err(|error| error.code);
            assert_eq!(code, Err(ErrorCode::InvalidArgument), "{bad}");
        }
        assert_eq!(
            range("bytes=0-0"),
            Ok(Some(CopyRange { first: 0, last: 0 }))
        );
    }

    #[test]
    fn copy_ranges_lie_within_their_source() {
        let of = |text, size| range(text).unwrap().unwrap().within(size);
        let bytes = |start, end| Ok(ByteRange { start, end });
        assert_eq!(of("bytes=0-0", 1), bytes(0, 1));
        assert_eq!(of("bytes=3-9", 10), bytes(3, 10));
        for (text, size) in [
            ("bytes=0-0", 0),
            ("bytes=3-10", 10),
            ("bytes=10-10", 10),
            ("bytes=0-18446744073709551615", 10),
        ] {
            let refused = of(text, size).unwrap_err();
            assert_eq!(refused.code, ErrorCode::InvalidArgument, "{text}");
            let said = format!("Range specified is not valid for source object of size: {size}");
            assert_eq!(refused.message, said);
            let value = ("ArgumentValue", text.to_owned());
            assert_eq!(refused.details.last(), Some(&value));
        }
    }

    proptest! {
        #[test]
        fn no_source_panics(raw in any::<String>()) {
            let _ = parse_source(&raw);
        }
    }
}

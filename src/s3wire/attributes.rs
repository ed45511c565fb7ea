//! What a client says about an object besides its bytes.

use http::HeaderMap;
use types::StorageClass;

use crate::checksum::{ChecksumAlgorithm, ChecksumType};
use crate::error::{ErrorCode, S3Error};
use crate::field::{filled, text_of};
use crate::tags::TagSet;

/// The name in `x-amz-storage-class` and in XML.
pub fn storage_class_name(class: StorageClass) -> &'static str {
    match class {
        StorageClass::Standard => "STANDARD",
        StorageClass::Reduced => "REDUCED_REDUNDANCY",
    }
}

fn storage_class(headers: &HeaderMap) -> Result<StorageClass, S3Error> {
    match filled(headers, "x-amz-storage-class")?.as_deref() {
        None | Some("STANDARD") => Ok(StorageClass::Standard),
        Some("REDUCED_REDUNDANCY") => Ok(StorageClass::Reduced),
        Some(other) => {
            Err(S3Error::from(ErrorCode::InvalidStorageClass).with("StorageClassRequested", other))
        }
    }
}

/// Header fields that are stored with an object and answered with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectHeaders {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`, without `aws-chunked`.
    pub content_encoding: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Expires`, as it was sent.
    pub expires: Option<String>,
    /// `x-amz-meta-*`: lower-case names without the prefix, sorted, and values.
    pub user_metadata: Vec<(String, String)>,
}

impl ObjectHeaders {
    /// The most bytes of user metadata, names and values together
    /// (S3 User Guide, "Working with object metadata").
    pub const USER_METADATA_MAX: usize = 2048;

    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, S3Error> {
        Ok(Self {
            content_type: filled(headers, "content-type")?,
            content_encoding: filled(headers, "content-encoding")?
                .and_then(|text| without_aws_chunked(&text)),
            content_disposition: filled(headers, "content-disposition")?,
            content_language: filled(headers, "content-language")?,
            cache_control: filled(headers, "cache-control")?,
            expires: filled(headers, "expires")?,
            user_metadata: user_metadata(headers)?,
        })
    }
}

/// `aws-chunked` is a coding of the transfer and not of the object.
fn without_aws_chunked(text: &str) -> Option<String> {
    let codings: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!codings.is_empty()).then(|| codings.join(","))
}

fn user_metadata(headers: &HeaderMap) -> Result<Vec<(String, String)>, S3Error> {
    let mut metadata = Vec::new();
    let mut size = 0;
    for name in headers.keys() {
        let Some(short) = name.as_str().strip_prefix("x-amz-meta-") else {
            continue;
        };
        let value = text_of(headers, name.as_str())?.unwrap_or_default();
        size += short.len() + value.len();
        metadata.push((short.to_owned(), value));
    }
    if size > ObjectHeaders::USER_METADATA_MAX {
        return Err(S3Error::from(ErrorCode::MetadataTooLarge)
            .with("Size", size.to_string())
            .with(
                "MaxSizeAllowed",
                ObjectHeaders::USER_METADATA_MAX.to_string(),
            ));
    }
    metadata.sort();
    Ok(metadata)
}

/// Everything that PUT, copy and the start of a multipart upload say about the new object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewObject {
    /// Headers to store.
    pub headers: ObjectHeaders,
    /// `x-amz-tagging`.
    pub tags: TagSet,
    /// `x-amz-storage-class`.
    pub storage_class: StorageClass,
}

impl NewObject {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, S3Error> {
        Ok(Self {
            headers: ObjectHeaders::from_headers(headers)?,
            tags: match filled(headers, "x-amz-tagging")? {
                Some(text) => TagSet::from_header(&text)?,
                None => TagSet::default(),
            },
            storage_class: storage_class(headers)?,
        })
    }
}

/// `x-amz-checksum-algorithm` and `x-amz-checksum-type`: what copies and multipart uploads are to
/// compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChecksumWanted {
    /// The algorithm.
    pub algorithm: ChecksumAlgorithm,
    /// Over the object or over its parts; always a pair that S3 knows.
    pub kind: ChecksumType,
}

impl ChecksumWanted {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, S3Error> {
        let kind = checksum_type(headers)?;
        let Some(name) = filled(headers, "x-amz-checksum-algorithm")? else {
            if kind.is_some() {
                return Err(S3Error::request(
                    "The x-amz-checksum-type header can only be used with the \
                     x-amz-checksum-algorithm header.",
                ));
            }
            return Ok(None);
        };
        let algorithm = parse_algorithm(&name)?;
        let kind = kind.unwrap_or(ChecksumType::default_of(algorithm));
        kind.check(algorithm)?;
        Ok(Some(Self { algorithm, kind }))
    }
}

pub(crate) fn checksum_type(headers: &HeaderMap) -> Result<Option<ChecksumType>, S3Error> {
    filled(headers, "x-amz-checksum-type")?
        .map(|text| {
            ChecksumType::parse(&text)
                .ok_or_else(|| S3Error::request("Value for x-amz-checksum-type header is invalid."))
        })
        .transpose()
}

pub(crate) fn parse_algorithm(name: &str) -> Result<ChecksumAlgorithm, S3Error> {
    ChecksumAlgorithm::parse(name).ok_or_else(|| {
        S3Error::request(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid \
             types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        )
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
            })
            .collect()
    }

    #[test]
    fn metadata_beyond_the_limit_and_unknown_classes_are_refused() {
        let code = |pairs: &[(&str, &str)]| {
            NewObject::from_headers(&headers(pairs))
                .map(|_| ())
                .map_err(|e| e.code)
        };
        let value = "v".repeat(2045);
        assert_eq!(code(&[("x-amz-meta-abc", &value)]), Ok(()));
        assert_eq!(
            code(&[("x-amz-meta-abcd", &value)]),
            Err(ErrorCode::MetadataTooLarge)
        );
        let class = [("x-amz-storage-class", "GLACIER")];
        assert_eq!(code(&class), Err(ErrorCode::InvalidStorageClass));
        let mut latin = HeaderMap::new();
        latin.insert("x-amz-meta-a", HeaderValue::from_bytes(b"\xe9").unwrap());
        let code = ObjectHeaders::from_headers(&latin).map_err(|e| e.code);
        assert_eq!(code, Err(ErrorCode::InvalidArgument));
    }

    #[test]
    fn headers_are_kept_as_sent_but_for_aws_chunked() {
        let sent = headers(&[
            ("Content-Type", "text/plain"),
            ("Content-Encoding", "aws-chunked, gzip"),
            ("X-Amz-Meta-B", "ü"),
            ("x-amz-meta-a", "1"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-tagging", "k=v"),
        ]);
        let new = NewObject::from_headers(&sent).unwrap();
        assert_eq!(new.headers.content_type.as_deref(), Some("text/plain"));
        assert_eq!(new.headers.content_encoding.as_deref(), Some("gzip"));
        let metadata = [("a", "1"), ("b", "ü")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(new.headers.user_metadata, metadata);
        assert_eq!(new.storage_class, StorageClass::Reduced);
        assert_eq!(new.tags.len(), 1);
        assert_eq!(without_aws_chunked("aws-chunked"), None);
    }

    #[test]
    fn wanted_checksums_are_pairs_that_s3_knows() {
        let wanted = |pairs: &[(&str, &str)]| {
            ChecksumWanted::from_headers(&headers(pairs)).map_err(|e| e.code)
        };
        let bad = [
            &[("x-amz-checksum-algorithm", "MD5")][..],
            &[("x-amz-checksum-type", "COMPOSITE")],
            &[
                ("x-amz-checksum-algorithm", "SHA1"),
                ("x-amz-checksum-type", "FULL_OBJECT"),
            ],
            &[
                ("x-amz-checksum-algorithm", "CRC32"),
                ("x-amz-checksum-type", "HALF"),
            ],
        ];
        for pairs in bad {
            assert_eq!(wanted(pairs), Err(ErrorCode::InvalidRequest), "{pairs:?}");
        }
        let crc = ChecksumWanted {
            algorithm: ChecksumAlgorithm::Crc32,
            kind: ChecksumType::Composite,
        };
        assert_eq!(
            wanted(&[("x-amz-checksum-algorithm", "crc32")]),
            Ok(Some(crc))
        );
        assert_eq!(wanted(&[]), Ok(None));
    }
}

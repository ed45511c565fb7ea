//! What the headers promise about a request's body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

use crate::attributes::parse_algorithm;
use crate::checksum::{Checksum, ChecksumAlgorithm};
use crate::error::{ErrorCode, S3Error};
use crate::field::{filled, length, text_of};

/// Where a body's checksum is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyChecksum {
    /// In a header, so it is known before the body.
    Given(Checksum),
    /// In a trailer, which must come.
    Trailer(ChecksumAlgorithm),
}

impl BodyChecksum {
    /// Which checksum to compute while the body passes.
    pub fn algorithm(self) -> ChecksumAlgorithm {
        match self {
            Self::Given(checksum) => checksum.algorithm(),
            Self::Trailer(algorithm) => algorithm,
        }
    }

    /// Compares what was computed with what was promised. `trailers` are names and values of the
    /// body's trailers. Fails with `BadDigest`, or `MalformedTrailerError` if the trailer that was
    /// announced is missing or is no checksum.
    pub fn check(self, computed: Checksum, trailers: &[(String, String)]) -> Result<(), S3Error> {
        let expected = match self {
            Self::Given(checksum) => checksum,
            Self::Trailer(algorithm) => trailers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(algorithm.header()))
                .and_then(|(_, value)| Checksum::parse(algorithm, value.trim()))
                .ok_or(ErrorCode::MalformedTrailerError)?,
        };
        if expected == computed {
            return Ok(());
        }
        Err(S3Error::new(
            ErrorCode::BadDigest,
            format!(
                "The {} you specified did not match the calculated checksum.",
                expected.algorithm().as_str()
            ),
        ))
    }
}

/// Lengths and digests of a body, from its headers. Nothing here has been compared yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BodyHeaders {
    /// `Content-Length`: bytes on the wire.
    pub content_length: Option<u64>,
    /// `x-amz-decoded-content-length`: bytes without the framing of aws-chunked.
    pub decoded_length: Option<u64>,
    /// `Content-MD5`.
    pub md5: Option<[u8; 16]>,
    /// `x-amz-checksum-*` or a trailer announced by `x-amz-trailer`.
    pub checksum: Option<BodyChecksum>,
    /// `Expect: 100-continue`: it is sent once somebody wants it.
    pub withheld: bool,
}

impl BodyHeaders {
    /// With `object_checksum` the checksum headers speak of an object and not of the body, as
    /// they do when a multipart upload is completed.
    pub(crate) fn from_headers(headers: &HeaderMap, speaks: Speaks) -> Result<Self, S3Error> {
        Ok(Self {
            content_length: length(headers, "content-length")?,
            decoded_length: length(headers, "x-amz-decoded-content-length")?,
            md5: content_md5(headers)?,
            checksum: match speaks {
                Speaks::OfBody => body_checksum(headers)?,
                Speaks::OfObject => None,
            },
            withheld: filled(headers, "expect")?
                .is_some_and(|value| value.eq_ignore_ascii_case("100-continue")),
        })
    }
}

/// What `x-amz-checksum-*` headers are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    OfBody,
    OfObject,
}

fn content_md5(headers: &HeaderMap) -> Result<Option<[u8; 16]>, S3Error> {
    let Some(text) = text_of(headers, "content-md5")? else {
        return Ok(None);
    };
    let bytes = STANDARD.decode(&text).unwrap_or_default();
    <[u8; 16]>::try_from(bytes).map(Some).map_err(|_| {
        S3Error::new(
            ErrorCode::InvalidDigest,
            "The Content-MD5 you specified was invalid.",
        )
        .with("Content-MD5", text)
    })
}

fn body_checksum(headers: &HeaderMap) -> Result<Option<BodyChecksum>, S3Error> {
    let mut found = None;
    for algorithm in ChecksumAlgorithm::ALL {
        let Some(text) = text_of(headers, algorithm.header())? else {
            continue;
        };
        let checksum = Checksum::parse(algorithm, &text).ok_or_else(|| {
            let name = algorithm.header();
            S3Error::request(format!("Value for {name} header is invalid."))
        })?;
        if found.replace(BodyChecksum::Given(checksum)).is_some() {
            return Err(several());
        }
    }
    for name in filled(headers, "x-amz-trailer")?
        .iter()
        .flat_map(|t| t.split(','))
    {
        let algorithm = ChecksumAlgorithm::of_header(name.trim()).ok_or_else(|| {
            S3Error::request("The value specified in the x-amz-trailer header is not supported")
        })?;
        if found.replace(BodyChecksum::Trailer(algorithm)).is_some() {
            return Err(several());
        }
    }
    if let Some(name) = filled(headers, "x-amz-sdk-checksum-algorithm")? {
        let declared = parse_algorithm(&name)?;
        match found {
            None => {
                return Err(S3Error::request(
                    "x-amz-sdk-checksum-algorithm specified, but no corresponding \
                     x-amz-checksum-* or x-amz-trailer headers were found.",
                ));
            }
            Some(checksum) if checksum.algorithm() != declared => {
                return Err(S3Error::request(
                    "Value for x-amz-sdk-checksum-algorithm header is invalid.",
                ));
            }
            Some(_) => {}
        }
    }
    Ok(found)
}

fn several() -> S3Error {
    S3Error::request(
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    )
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::checksum::Checksummer;

    fn read(pairs: &[(&str, &str)]) -> Result<BodyHeaders, ErrorCode> {
        let headers: HeaderMap = pairs
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect();
        BodyHeaders::from_headers(&headers, Speaks::OfBody).map_err(|e| e.code)
    }

    #[test]
    fn promises_that_cannot_be_checked_are_refused() {
        let crc32 = ("x-amz-checksum-crc32", "AAAAAA==");
        let invalid: [&[(&str, &str)]; 7] = [
            &[("x-amz-checksum-crc32", "AAAA")],
            &[crc32, ("x-amz-checksum-crc32c", "AAAAAA==")],
            &[crc32, ("x-amz-trailer", "x-amz-checksum-crc32c")],
            &[("x-amz-trailer", "x-amz-meta-a")],
            &[("x-amz-sdk-checksum-algorithm", "CRC32")],
            &[crc32, ("x-amz-sdk-checksum-algorithm", "SHA1")],
            &[crc32, ("x-amz-sdk-checksum-algorithm", "MD5")],
        ];
        for pairs in invalid {
            assert_eq!(read(pairs), Err(ErrorCode::InvalidRequest), "{pairs:?}");
        }
        for md5 in ["", "x", "AAAA"] {
            assert_eq!(read(&[("content-md5", md5)]), Err(ErrorCode::InvalidDigest));
        }
        for len in ["", "-1", "1a", "99999999999999999999"] {
            let pairs = [("x-amz-decoded-content-length", len)];
            assert_eq!(read(&pairs), Err(ErrorCode::InvalidArgument), "{len}");
        }
    }

    #[test]
    fn a_wrong_missing_or_odd_trailer_fails() {
        let mut summer = Checksummer::new(ChecksumAlgorithm::Crc32);
        summer.update(b"body");
        let computed = summer.finish();
        let promise = read(&[("x-amz-trailer", "x-amz-checksum-crc32")])
            .unwrap()
            .checksum
            .unwrap();
        let check = |name: &str, value: &str| {
            let trailers = [(name.to_owned(), value.to_owned())];
            promise.check(computed, &trailers).map_err(|e| e.code)
        };
        let right = computed.to_base64();
        assert_eq!(
            check("x-amz-checksum-crc32", "AAAAAA=="),
            Err(ErrorCode::BadDigest)
        );
        assert_eq!(
            check("x-amz-checksum-crc32", "?"),
            Err(ErrorCode::MalformedTrailerError)
        );
        assert_eq!(
            check("x-amz-checksum-sha1", &right),
            Err(ErrorCode::MalformedTrailerError)
        );
        assert_eq!(check("X-Amz-Checksum-CRC32", &right), Ok(()));
        let given = BodyChecksum::Given(computed);
        assert_eq!(given.check(computed, &[]), Ok(()));
    }

    #[test]
    fn lengths_and_digests_are_read() {
        let body = read(&[
            ("content-length", "12"),
            ("x-amz-decoded-content-length", "5"),
            ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ("x-amz-sdk-checksum-algorithm", "crc32"),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
            ("expect", "100-Continue"),
        ]);
        let expected = BodyHeaders {
            content_length: Some(12),
            decoded_length: Some(5),
            md5: Some([0; 16]),
            checksum: Some(BodyChecksum::Trailer(ChecksumAlgorithm::Crc32)),
            withheld: true,
        };
        assert_eq!(body, Ok(expected));
    }
}

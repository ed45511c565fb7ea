//! What a request says of its body.

use crate::error::Error;
use crate::sigv4::hex;

/// `x-amz-content-sha256`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadHash {
    /// Nothing is said; only an anonymous request may be so.
    Absent,
    /// `UNSIGNED-PAYLOAD`: the signature does not cover the body.
    Unsigned,
    /// The body must have this SHA-256.
    Sha256([u8; 32]),
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`: each chunk is signed.
    StreamingSigned,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`: each chunk and the trailers are signed.
    StreamingSignedTrailer,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`: in chunks, with trailers, nothing signed.
    StreamingUnsignedTrailer,
}

const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

impl PayloadHash {
    /// Reads the header's value.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text {
            UNSIGNED => Ok(Self::Unsigned),
            SIGNED => Ok(Self::StreamingSigned),
            SIGNED_TRAILER => Ok(Self::StreamingSignedTrailer),
            UNSIGNED_TRAILER => Ok(Self::StreamingUnsignedTrailer),
            other => hex::decode32(other)
                .map(Self::Sha256)
                .ok_or(Error::InvalidContentSha256),
        }
    }

    /// The header's value, and the last line of a canonical request.
    pub(super) fn to_text(self) -> String {
        match self {
            Self::Absent | Self::Unsigned => UNSIGNED.to_owned(),
            Self::Sha256(hash) => hex::encode(&hash),
            Self::StreamingSigned => SIGNED.to_owned(),
            Self::StreamingSignedTrailer => SIGNED_TRAILER.to_owned(),
            Self::StreamingUnsignedTrailer => UNSIGNED_TRAILER.to_owned(),
        }
    }

    /// Whether chunks carry signatures, which go on from the request's.
    pub fn has_signed_chunks(self) -> bool {
        matches!(self, Self::StreamingSigned | Self::StreamingSignedTrailer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_hash_and_no_word_is_refused() {
        let ecdsa = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD";
        for bad in ["", "unsigned-payload", ecdsa, "abc", &"0".repeat(63)] {
            assert_eq!(
                PayloadHash::parse(bad),
                Err(Error::InvalidContentSha256),
                "{bad}"
            );
        }
        for good in [
            UNSIGNED,
            SIGNED,
            SIGNED_TRAILER,
            UNSIGNED_TRAILER,
            &"0".repeat(64),
        ] {
            assert_eq!(
                PayloadHash::parse(good).map(PayloadHash::to_text),
                Ok(good.to_owned())
            );
        }
    }
}

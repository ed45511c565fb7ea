//! The five checksums of S3, over a stream, over parts, and in text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, checksum_combine};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use types::Etag;

use crate::error::S3Error;

/// A checksum algorithm (S3 User Guide, "Checking object integrity").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumAlgorithm {
    /// CRC-32 of ISO HDLC, as in zip.
    Crc32,
    /// CRC-32C of Castagnoli.
    Crc32c,
    /// CRC-64 of NVM Express.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl ChecksumAlgorithm {
    /// All five.
    pub const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// The name in `x-amz-checksum-algorithm` and in XML.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header or trailer that carries a value.
    pub fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The XML element that carries a value.
    pub fn element(self) -> &'static str {
        match self {
            Self::Crc32 => "ChecksumCRC32",
            Self::Crc32c => "ChecksumCRC32C",
            Self::Crc64Nvme => "ChecksumCRC64NVME",
            Self::Sha1 => "ChecksumSHA1",
            Self::Sha256 => "ChecksumSHA256",
        }
    }

    /// Reads a name, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|a| a.as_str().eq_ignore_ascii_case(text))
    }

    /// The algorithm of a header or trailer, by its name in any case.
    pub fn of_header(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|a| a.header().eq_ignore_ascii_case(name))
    }

    /// The length of a value in bytes.
    pub fn value_len(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// The CRC behind the algorithm, if it is one.
    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

/// A checksum's value, always of its algorithm's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum {
    algorithm: ChecksumAlgorithm,
    /// Unused bytes are zero.
    bytes: [u8; 32],
}

impl Checksum {
    /// A value from its bytes, or `None` if their number is not the algorithm's.
    pub fn from_bytes(algorithm: ChecksumAlgorithm, value: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        let len = algorithm.value_len();
        if value.len() != len {
            return None;
        }
        bytes.get_mut(..len)?.copy_from_slice(value);
        Some(Self { algorithm, bytes })
    }

    /// Reads base64, as in headers, trailers and XML.
    pub fn parse(algorithm: ChecksumAlgorithm, base64: &str) -> Option<Self> {
        Self::from_bytes(algorithm, &STANDARD.decode(base64).ok()?)
    }

    /// The value of a CRC, which is kept big-endian.
    fn of_crc(algorithm: ChecksumAlgorithm, crc: u64) -> Self {
        let mut bytes = [0; 32];
        let be = crc.to_be_bytes();
        let skip = 8 - algorithm.value_len().min(8);
        for (to, from) in bytes.iter_mut().zip(be.iter().skip(skip)) {
            *to = *from;
        }
        Self { algorithm, bytes }
    }

    fn as_crc(&self) -> u64 {
        self.as_bytes()
            .iter()
            .fold(0, |crc, byte| (crc << 8) | u64::from(*byte))
    }

    /// Which checksum.
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// The value's bytes; CRCs are big-endian.
    pub fn as_bytes(&self) -> &[u8] {
        let len = self.algorithm.value_len();
        self.bytes.get(..len).unwrap_or(&self.bytes)
    }

    /// Base64, as in headers, trailers and XML.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.as_bytes())
    }
}

/// Computes one checksum over bytes that come in pieces.
#[derive(Clone)]
pub struct Checksummer {
    algorithm: ChecksumAlgorithm,
    state: State,
}

#[derive(Clone)]
enum State {
    Crc(crc_fast::Digest),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Checksummer {
    /// Starts with no bytes.
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        let state = match (algorithm.crc(), algorithm) {
            (Some(crc), _) => State::Crc(crc_fast::Digest::new(crc)),
            (None, ChecksumAlgorithm::Sha1) => State::Sha1(Sha1::new()),
            (None, _) => State::Sha256(Sha256::new()),
        };
        Self { algorithm, state }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc(digest) => digest.update(bytes),
            State::Sha1(digest) => digest.update(bytes),
            State::Sha256(digest) => digest.update(bytes),
        }
    }

    /// The checksum of all bytes added.
    pub fn finish(self) -> Checksum {
        let mut bytes = [0; 32];
        match self.state {
            State::Crc(digest) => return Checksum::of_crc(self.algorithm, digest.finalize()),
            State::Sha1(digest) => {
                for (to, from) in bytes.iter_mut().zip(digest.finalize()) {
                    *to = from;
                }
            }
            State::Sha256(digest) => bytes = digest.finalize().into(),
        }
        Checksum {
            algorithm: self.algorithm,
            bytes,
        }
    }
}

/// What a multipart object's checksum was computed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumType {
    /// Over the checksums of the parts; written `value-N`.
    Composite,
    /// Over the object's bytes.
    FullObject,
}

impl ChecksumType {
    /// The name in `x-amz-checksum-type` and in XML.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Composite => "COMPOSITE",
            Self::FullObject => "FULL_OBJECT",
        }
    }

    /// Reads a name, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Composite, Self::FullObject]
            .into_iter()
            .find(|t| t.as_str().eq_ignore_ascii_case(text))
    }

    /// What a multipart upload gets that names an algorithm and no type
    /// (S3 User Guide: CRC-64/NVME knows only full objects, the others default to composite).
    pub fn default_of(algorithm: ChecksumAlgorithm) -> Self {
        match algorithm {
            ChecksumAlgorithm::Crc64Nvme => Self::FullObject,
            _ => Self::Composite,
        }
    }

    /// Fails with `InvalidRequest` for a pair that S3 does not know: a hash of a full object
    /// cannot be made from its parts, and CRC-64/NVME has no composite form.
    pub fn check(self, algorithm: ChecksumAlgorithm) -> Result<(), S3Error> {
        let known = match self {
            Self::FullObject => algorithm.crc().is_some(),
            Self::Composite => algorithm != ChecksumAlgorithm::Crc64Nvme,
        };
        if known {
            return Ok(());
        }
        Err(S3Error::request(format!(
            "The {} checksum type cannot be used with the {} checksum algorithm.",
            self.as_str(),
            algorithm.as_str()
        )))
    }
}

/// The checksum of an object: what `x-amz-checksum-*` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectChecksum {
    /// The value.
    pub checksum: Checksum,
    /// What it was computed over.
    pub kind: ChecksumType,
    /// The number of parts, for the composite form.
    pub parts: u32,
}

impl ObjectChecksum {
    /// The checksum of an object that was put in one piece.
    pub fn whole(checksum: Checksum) -> Self {
        Self {
            checksum,
            kind: ChecksumType::FullObject,
            parts: 0,
        }
    }

    /// `value` or `value-N`.
    pub fn to_text(&self) -> String {
        match self.kind {
            ChecksumType::FullObject => self.checksum.to_base64(),
            ChecksumType::Composite => format!("{}-{}", self.checksum.to_base64(), self.parts),
        }
    }
}

/// The composite checksum of parts: the hash of their hashes. `None` without parts, or if they
/// have different algorithms.
pub fn composite(parts: &[Checksum]) -> Option<ObjectChecksum> {
    let algorithm = parts.first()?.algorithm();
    let mut sum = Checksummer::new(algorithm);
    for part in parts {
        if part.algorithm() != algorithm {
            return None;
        }
        sum.update(part.as_bytes());
    }
    Some(ObjectChecksum {
        checksum: sum.finish(),
        kind: ChecksumType::Composite,
        parts: u32::try_from(parts.len()).ok()?,
    })
}

/// The checksum of an object's bytes from those of its parts, each with the part's length in
/// bytes. `None` without parts, or if they are not CRCs of one algorithm.
pub fn combine(parts: &[(Checksum, u64)]) -> Option<ObjectChecksum> {
    let (first, _) = parts.first()?;
    let algorithm = first.algorithm();
    let crc = algorithm.crc()?;
    let mut sum = first.as_crc();
    for (part, len) in parts.iter().skip(1) {
        if part.algorithm() != algorithm {
            return None;
        }
        sum = checksum_combine(crc, sum, part.as_crc(), *len);
    }
    Some(ObjectChecksum::whole(Checksum::of_crc(algorithm, sum)))
}

/// The entity tag of a multipart object: the MD5 of the parts' MD5s, and their number, of which
/// S3 allows 10,000.
pub fn multipart_etag(part_md5s: &[[u8; 16]]) -> Etag {
    let mut sum = Md5::new();
    for md5 in part_md5s {
        sum.update(md5);
    }
    let count = u16::try_from(part_md5s.len()).unwrap_or(u16::MAX);
    Etag::Parts(sum.finalize().into(), count)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    use super::*;

    fn sum(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Checksum {
        let mut summer = Checksummer::new(algorithm);
        summer.update(bytes);
        summer.finish()
    }

    #[test]
    fn check_values_are_those_of_the_standards() {
        // The catalogue's check input and values; SHA from the well-known digests of it.
        let table = [
            (ChecksumAlgorithm::Crc32, "cbf43926"),
            (ChecksumAlgorithm::Crc32c, "e3069283"),
            (ChecksumAlgorithm::Crc64Nvme, "ae8b14860a799888"),
            (
                ChecksumAlgorithm::Sha1,
                "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
            ),
            (
                ChecksumAlgorithm::Sha256,
                "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
            ),
        ];
        for (algorithm, hex) in table {
            let value = sum(algorithm, b"123456789");
            let text: String = value
                .as_bytes()
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            assert_eq!(text, hex, "{algorithm:?}");
            assert_eq!(Checksum::parse(algorithm, &value.to_base64()), Some(value));
        }
    }

    #[test]
    fn values_of_another_length_are_refused() {
        for bad in ["", "AAAA", "AAAAAAA=", "AAAAAA", "!!!!!!=="] {
            assert_eq!(
                Checksum::parse(ChecksumAlgorithm::Crc32, bad),
                None,
                "{bad}"
            );
        }
        assert!(Checksum::parse(ChecksumAlgorithm::Crc32, "AAAAAA==").is_some());
    }

    #[test]
    fn pairs_that_s3_does_not_know_are_refused() {
        for algorithm in [ChecksumAlgorithm::Sha1, ChecksumAlgorithm::Sha256] {
            assert!(ChecksumType::FullObject.check(algorithm).is_err());
            assert!(ChecksumType::Composite.check(algorithm).is_ok());
        }
        assert!(
            ChecksumType::Composite
                .check(ChecksumAlgorithm::Crc64Nvme)
                .is_err()
        );
        for algorithm in ChecksumAlgorithm::ALL {
            assert!(ChecksumType::default_of(algorithm).check(algorithm).is_ok());
        }
    }

    #[test]
    fn a_multipart_etag_is_a_hash_of_hashes() {
        let md5: [u8; 16] = Md5::digest(b"part").into();
        // printf part | md5 twice, binary, through md5 again.
        assert_eq!(
            multipart_etag(&[md5, md5]).to_string(),
            "ca46ba190dcf239f636a4155d47c4b18-2"
        );
        let parts = [sum(ChecksumAlgorithm::Sha256, b"a"); 3];
        assert!(composite(&parts).unwrap().to_text().ends_with("-3"));
        assert_eq!(composite(&[]), None);
        assert_eq!(combine(&[(parts[0], 1)]), None);
    }

    proptest! {
        #[test]
        fn parts_combine_to_the_sum_of_the_whole(
            a in vec(any::<u8>(), 0..300), b in vec(any::<u8>(), 0..300), c in vec(any::<u8>(), 0..300),
        ) {
            let whole: Vec<u8> = [&a[..], &b, &c].concat();
            for algorithm in ChecksumAlgorithm::ALL.into_iter().filter(|a| a.crc().is_some()) {
                let parts: Vec<(Checksum, u64)> = [&a, &b, &c]
                    .into_iter()
                    .map(|p| (sum(algorithm, p), p.len() as u64))
                    .collect();
                let combined = combine(&parts).unwrap();
                assert_eq!(combined, ObjectChecksum::whole(sum(algorithm, &whole)));
            }
        }

        #[test]
        fn pieces_sum_like_the_whole(a in vec(any::<u8>(), 0..300), cut in 0usize..300) {
            let cut = cut.min(a.len());
            for algorithm in ChecksumAlgorithm::ALL {
                let mut summer = Checksummer::new(algorithm);
                summer.update(&a[..cut]);
                summer.update(&a[cut..]);
                assert_eq!(summer.finish(), sum(algorithm, &a));
            }
        }
    }
}

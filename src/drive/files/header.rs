//! The first 4,096 bytes of a shard file: whose it is, and how long.

use types::{DataId, DeploymentId, DriveId};

use crate::contract::{Error, Identity};
use crate::register::Register;

/// Bytes of the header; the frames follow. One block, so that frames stay aligned with the file.
pub(super) const HEADER_LEN: usize = 4096;

const MAGIC: [u8; 8] = *b"SARSENSH";
const FORMAT: u16 = 1;
const HASH_CONTEXT: &str = "sarsen shard file header v1";
const HASH_AT: usize = HEADER_LEN - blake3::OUT_LEN;
const REGISTER_AT: usize = 68;
const REGISTER_LEN_MAX: usize = HASH_AT - REGISTER_AT;

/// What a shard file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// The deployment and the drive that wrote it: a copied file is not this drive's.
    pub(super) deployment: DeploymentId,
    pub(super) drive: DriveId,
    /// Whose bytes.
    pub(super) data: DataId,
    /// The register whose row refers to it, or will.
    pub(super) register: Register,
    /// Bytes of frames after the header; the file ends there.
    pub(super) frames_len: u64,
}

impl Header {
    /// The header of a file that `identity` writes.
    pub(super) fn new(
        identity: &Identity,
        data: DataId,
        register: Register,
        frames_len: u64,
    ) -> Self {
        Self {
            deployment: identity.deployment,
            drive: identity.drive,
            data,
            register,
            frames_len,
        }
    }

    /// The block: magic, format (2), register length (2), deployment, drive, data id (16 each),
    /// frames' length (8), register, zeros, hash of all before it (32). Big endian. `None` if the
    /// register is too long to fit, which no legal key makes it.
    pub(super) fn encode(&self) -> Option<[u8; HEADER_LEN]> {
        let register = self.register.as_bytes();
        if register.len() > REGISTER_LEN_MAX {
            return None;
        }
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_be_bytes());
        bytes.extend_from_slice(&u16::try_from(register.len()).ok()?.to_be_bytes());
        bytes.extend_from_slice(&self.deployment.to_bytes());
        bytes.extend_from_slice(&self.drive.to_bytes());
        bytes.extend_from_slice(&self.data.to_bytes());
        bytes.extend_from_slice(&self.frames_len.to_be_bytes());
        bytes.extend_from_slice(register);
        bytes.resize(HASH_AT, 0);
        let hash = hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        bytes.try_into().ok()
    }

    /// Reads a block; anything but what [`Header::encode`] made is [`Error::Corrupt`].
    pub(super) fn decode(block: &[u8]) -> Result<Self, Error> {
        const SHORT: Error = Error::Corrupt("shard file is shorter than its header");
        const DAMAGED: Error = Error::Corrupt("shard file header is damaged");
        let (body, sum) = block.split_at_checked(HASH_AT).ok_or(SHORT)?;
        let sum: [u8; blake3::OUT_LEN] = sum.try_into().map_err(|_| SHORT)?;
        if hash(body) != sum {
            return Err(DAMAGED);
        }
        let mut fields = Fields(body);
        if fields.take()? != MAGIC {
            return Err(Error::Corrupt("not a shard file"));
        }
        if u16::from_be_bytes(fields.take()?) != FORMAT {
            return Err(Error::Corrupt(
                "shard file is of a format that this version does not know",
            ));
        }
        let register_len = usize::from(u16::from_be_bytes(fields.take()?));
        let deployment = DeploymentId::from_bytes(fields.take()?);
        let drive = DriveId::from_bytes(fields.take()?);
        let data = DataId::from_bytes(fields.take()?);
        let frames_len = u64::from_be_bytes(fields.take()?);
        let register = fields
            .0
            .get(..register_len)
            .and_then(Register::from_bytes)
            .ok_or(DAMAGED)?;
        Ok(Self {
            deployment,
            drive,
            data,
            register,
            frames_len,
        })
    }
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (field, rest) = self
            .0
            .split_first_chunk()
            .ok_or(Error::Corrupt("shard file header is damaged"))?;
        self.0 = rest;
        Ok(*field)
    }
}

fn hash(body: &[u8]) -> blake3::Hash {
    blake3::Hasher::new_derive_key(HASH_CONTEXT)
        .update(body)
        .finalize()
}

#[cfg(test)]
mod tests {
    use types::{BucketId, ObjectKey};

    use super::*;
    use crate::files::identity::tests::sample;

    fn header(key: &str) -> Header {
        let register = Register::object(BucketId::from_u64(7), &ObjectKey::parse(key).unwrap());
        Header::new(
            &sample().identity,
            DataId::from_bytes([3; 16]),
            register,
            12_345,
        )
    }

    #[test]
    fn a_header_reads_back_also_for_the_longest_key() {
        for key in ["a", &"k".repeat(1024)] {
            let header = header(key);
            assert_eq!(Header::decode(&header.encode().unwrap()), Ok(header));
        }
    }

    #[test]
    fn no_flipped_or_cut_byte_passes() {
        let whole = header("a/b").encode().unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole;
            flipped[at] ^= 1 << (at % 8);
            assert!(
                matches!(Header::decode(&flipped), Err(Error::Corrupt(_))),
                "byte {at}"
            );
            assert!(
                matches!(Header::decode(&whole[..at]), Err(Error::Corrupt(_))),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn a_sound_hash_does_not_excuse_wrong_content() {
        let reseal = |at: usize, byte: u8| {
            let mut block = header("a").encode().unwrap();
            block[at] = byte;
            let sum = hash(&block[..HASH_AT]);
            block[HASH_AT..].copy_from_slice(sum.as_bytes());
            Header::decode(&block).unwrap_err()
        };
        assert_eq!(reseal(0, b'X'), Error::Corrupt("not a shard file"));
        assert!(matches!(reseal(9, 2), Error::Corrupt(why) if why.contains("format")));
        assert_eq!(
            reseal(10, 0xff),
            Error::Corrupt("shard file header is damaged")
        );
        assert_eq!(
            reseal(REGISTER_AT + 8, 9),
            Error::Corrupt("shard file header is damaged")
        );
    }
}

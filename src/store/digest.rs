//! MD5 and CRC-64/NVME of a body: the one off the path of its bytes, the other on it.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use erasure::Md5;

use crate::error::Error;
use crate::md5::{Md5Lanes, Md5Stream};

/// MD5 of a document.
pub fn md5_of(bytes: &[u8]) -> [u8; 16] {
    let mut md5 = Md5::new();
    md5.update(bytes);
    md5.finalize()
}

/// The digests of one body as it comes in.
pub(crate) struct Digests {
    md5: Md5Stream,
    crc: Crc,
}

impl Digests {
    /// MD5 and CRC of a small body, at once.
    pub(crate) fn small(pieces: &[Bytes]) -> ([u8; 16], u64) {
        let mut md5 = Md5::new();
        let mut crc = Crc::new(CrcAlgorithm::Crc64Nvme);
        for piece in pieces {
            md5.update(piece);
            crc.update(piece);
        }
        (md5.finalize(), crc.finalize())
    }

    /// Digests of nothing yet.
    pub(crate) fn new(lanes: &Md5Lanes) -> Self {
        Self {
            md5: lanes.stream(),
            crc: Crc::new(CrcAlgorithm::Crc64Nvme),
        }
    }

    /// Takes in more bytes; waits while the hash is too far behind.
    pub(crate) async fn update(&mut self, pieces: Vec<Bytes>) -> Result<(), Error> {
        for piece in &pieces {
            self.crc.update(piece);
        }
        match self.md5.update(pieces).await {
            true => Ok(()),
            false => Err(Error::Unavailable("the body's hash is lost")),
        }
    }

    /// MD5 and CRC of everything.
    pub(crate) async fn finish(self) -> Result<([u8; 16], u64), Error> {
        let md5 = self.md5.finish().await;
        let md5 = md5.ok_or(Error::Unavailable("the body's hash is lost"))?;
        Ok((md5, self.crc.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_add_up() {
        let body: Vec<u8> = (0..300_000u32)
            .map(|at| u8::try_from(at % 253).unwrap())
            .collect();
        let whole = Digests::small(&[Bytes::copy_from_slice(&body)]);
        let lanes = Md5Lanes::new();
        let mut digests = Digests::new(&lanes);
        for block in body.chunks(100_001) {
            let pieces = block.chunks(33_333).map(Bytes::copy_from_slice).collect();
            digests.update(pieces).await.unwrap();
        }
        assert_eq!(digests.finish().await.unwrap(), whole);
        assert_eq!(Digests::small(&[]).0[..4], [0xd4, 0x1d, 0x8c, 0xd9]);
    }
}

//! MD5 and CRC-64/NVME of a body, off the path of its bytes.

use std::sync::Arc;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use erasure::Md5;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::md5::Md5Lanes;

/// MD5 of a document.
pub fn md5_of(bytes: &[u8]) -> [u8; 16] {
    let mut md5 = Md5::new();
    md5.update(bytes);
    md5.finalize()
}

/// The digests of one body as it comes in.
pub(crate) struct Digests {
    lanes: Arc<Md5Lanes>,
    running: Option<JoinHandle<Option<Sums>>>,
    sums: Option<Sums>,
}

struct Sums {
    md5: Md5,
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
    pub(crate) fn new(lanes: Arc<Md5Lanes>) -> Self {
        let sums = Sums {
            md5: Md5::new(),
            crc: Crc::new(CrcAlgorithm::Crc64Nvme),
        };
        Self {
            lanes,
            running: None,
            sums: Some(sums),
        }
    }

    /// Takes in more bytes; waits for those before them.
    pub(crate) async fn update(&mut self, pieces: Vec<Bytes>) -> Result<(), Error> {
        let mut sums = self.settle().await?;
        let lanes = Arc::clone(&self.lanes);
        self.running = Some(tokio::spawn(async move {
            for piece in &pieces {
                sums.crc.update(piece);
            }
            sums.md5 = lanes.update(sums.md5, pieces).await?;
            Some(sums)
        }));
        Ok(())
    }

    /// MD5 and CRC of everything.
    pub(crate) async fn finish(mut self) -> Result<([u8; 16], u64), Error> {
        let sums = self.settle().await?;
        Ok((sums.md5.finalize(), sums.crc.finalize()))
    }

    async fn settle(&mut self) -> Result<Sums, Error> {
        let gone = Error::Unavailable("shutting down");
        if let Some(running) = self.running.take() {
            return running.await.ok().flatten().ok_or(gone);
        }
        self.sums.take().ok_or(gone)
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
        let mut digests = Digests::new(Arc::new(Md5Lanes::new()));
        for block in body.chunks(100_001) {
            let pieces = block.chunks(33_333).map(Bytes::copy_from_slice).collect();
            digests.update(pieces).await.unwrap();
        }
        assert_eq!(digests.finish().await.unwrap(), whole);
        assert_eq!(Digests::small(&[]).0[..4], [0xd4, 0x1d, 0x8c, 0xd9]);
    }
}

//! Records at rest: AES-256-GCM under a key of the cluster secret, with random nonces (an entry
//! may be replaced at its index, so a nonce must never follow from it).
//!
//! A sealed record is `format (1) ‖ sequence (8, little endian) ‖ nonce (12) ‖ ciphertext ‖ tag
//! (16)`; the record's name and its first nine bytes are authenticated with it.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};

use crate::error::Error;
use crate::secret::ClusterSecret;

const FORMAT: u8 = 1;

/// Seals and opens records.
#[derive(Clone)]
pub(crate) struct Sealer(Aes256Gcm);

impl Sealer {
    pub(crate) fn new(secret: &ClusterSecret) -> Self {
        let key = secret.derive("sarsen 2026-11-23 ledger records v1");
        Self(Aes256Gcm::new(&(*key).into()))
    }

    /// Seals a record under its name and sequence.
    pub(crate) fn seal(&self, name: &[u8], sequence: u64, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; 12];
        getrandom::fill(&mut nonce).map_err(|_| Error::Randomness)?;
        let head = head(sequence);
        let aad = [name, &head].concat();
        let payload = Payload {
            msg: plain,
            aad: &aad,
        };
        let sealed = self
            .0
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| Error::Randomness)?;
        Ok([head.as_slice(), &nonce, &sealed].concat())
    }

    /// Opens a record: its sequence and content; `None` if it is damaged or sealed otherwise.
    pub(crate) fn open(&self, name: &[u8], record: &[u8]) -> Option<(u64, Vec<u8>)> {
        let (head, rest) = record.split_first_chunk::<9>()?;
        let (nonce, sealed) = rest.split_first_chunk::<12>()?;
        let ([FORMAT], sequence) = head.split_first_chunk::<1>()? else {
            return None;
        };
        let aad = [name, head].concat();
        let plain = self
            .0
            .decrypt(
                &Nonce::from(*nonce),
                Payload {
                    msg: sealed,
                    aad: &aad,
                },
            )
            .ok()?;
        Some((u64::from_le_bytes(sequence.try_into().ok()?), plain))
    }
}

fn head(sequence: u64) -> [u8; 9] {
    let mut head = [FORMAT; 9];
    head[1..].copy_from_slice(&sequence.to_le_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_other_name_fails() {
        let sealer = Sealer::new(&ClusterSecret::make().unwrap());
        let record = sealer.seal(b"name", 7, b"content").unwrap();
        assert_eq!(
            sealer.open(b"name", &record),
            Some((7, b"content".to_vec()))
        );
        assert_eq!(sealer.open(b"other", &record), None);
        for at in 0..record.len() {
            let mut flipped = record.clone();
            flipped[at] ^= 0x10;
            assert_eq!(sealer.open(b"name", &flipped), None, "{at}");
            assert_eq!(sealer.open(b"name", &record[..at]), None, "{at}");
        }
        let other = Sealer::new(&ClusterSecret::make().unwrap());
        assert_eq!(other.open(b"name", &record), None);
    }
}

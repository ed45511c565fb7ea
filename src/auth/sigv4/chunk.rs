//! Signatures of chunks: each goes on from the one before.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::Error;
use crate::sigv4::hex;
use crate::sigv4::signing_key::SigningKey;

/// Signs or checks the chunks of one body, in order (S3 API Reference, "Signature calculations
/// for the Authorization header: transferring payload in multiple chunks").
#[derive(Debug)]
pub struct ChunkSigner {
    key: SigningKey,
    date: String,
    scope: String,
    previous: [u8; 32],
}

impl ChunkSigner {
    pub(super) fn new(key: SigningKey, date: &str, seed: [u8; 32]) -> Self {
        Self {
            scope: key.scope().to_string(),
            key,
            date: date.to_owned(),
            previous: seed,
        }
    }

    /// The signature of the next chunk, whose data has this SHA-256. The last chunk is empty.
    pub fn sign_chunk(&mut self, sha256: &[u8; 32]) -> [u8; 32] {
        let previous = hex::encode(&self.previous);
        let empty = hex::encode(&Sha256::digest(b""));
        self.previous = self.key.sign_lines(&[
            b"AWS4-HMAC-SHA256-PAYLOAD",
            self.date.as_bytes(),
            self.scope.as_bytes(),
            previous.as_bytes(),
            empty.as_bytes(),
            hex::encode(sha256).as_bytes(),
        ]);
        self.previous
    }

    /// The signature of the trailers, whose lines `name:value\n` have this SHA-256.
    pub fn sign_trailer(&mut self, sha256: &[u8; 32]) -> [u8; 32] {
        let previous = hex::encode(&self.previous);
        self.previous = self.key.sign_lines(&[
            b"AWS4-HMAC-SHA256-TRAILER",
            self.date.as_bytes(),
            self.scope.as_bytes(),
            previous.as_bytes(),
            hex::encode(sha256).as_bytes(),
        ]);
        self.previous
    }

    /// Checks the next chunk. Its bytes must not be made visible before.
    pub fn verify_chunk(&mut self, sha256: &[u8; 32], signature: &[u8; 32]) -> Result<(), Error> {
        let expected = self.sign_chunk(sha256);
        same(&expected, signature)
    }

    /// Checks the trailers, after the last chunk.
    pub fn verify_trailer(&mut self, sha256: &[u8; 32], signature: &[u8; 32]) -> Result<(), Error> {
        let expected = self.sign_trailer(sha256);
        same(&expected, signature)
    }
}

fn same(expected: &[u8; 32], signature: &[u8; 32]) -> Result<(), Error> {
    if bool::from(expected.ct_eq(signature)) {
        Ok(())
    } else {
        Err(Error::SignatureMismatch)
    }
}

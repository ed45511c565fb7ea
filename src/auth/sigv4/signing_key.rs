//! Keys that are good for one day, region and service.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::key::SecretKey;
use crate::sigv4::{ALGORITHM, hex};

/// What a signing key is good for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Eight digits: `20130524`.
    pub date: String,
    /// The region's name.
    pub region: String,
    /// `s3`.
    pub service: String,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/aws4_request",
            self.date, self.region, self.service
        )
    }
}

/// A secret, derived for a scope (S3 API Reference, "Signature calculations", task 3). Deriving
/// costs four HMACs, so callers keep it per access key and scope. Never printed, wiped on drop.
#[derive(Clone)]
pub struct SigningKey {
    key: Zeroizing<[u8; 32]>,
    scope: Scope,
}

impl SigningKey {
    /// Derives the key.
    pub fn derive(secret: &SecretKey, scope: Scope) -> Self {
        let start = Zeroizing::new(format!("AWS4{}", secret.reveal()));
        let mut key = hmac(start.as_bytes(), scope.date.as_bytes());
        for text in [
            scope.region.as_str(),
            scope.service.as_str(),
            "aws4_request",
        ] {
            key = hmac(&*key, text.as_bytes());
        }
        Self { key, scope }
    }

    /// What the key is good for.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Signs the lines, joined by line feeds.
    pub(super) fn sign_lines(&self, lines: &[&[u8]]) -> [u8; 32] {
        let mut mac = mac(&*self.key);
        for (at, line) in lines.iter().enumerate() {
            if at > 0 {
                mac.update(b"\n");
            }
            mac.update(line);
        }
        mac.finalize().into_bytes().into()
    }

    /// Signs a canonical request made at `date` (16 characters).
    pub(super) fn sign_request(&self, date: &str, canonical: &[u8]) -> [u8; 32] {
        let hash = hex::encode(&Sha256::digest(canonical));
        let scope = self.scope.to_string();
        self.sign_lines(&[
            ALGORITHM.as_bytes(),
            date.as_bytes(),
            scope.as_bytes(),
            hash.as_bytes(),
        ])
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.scope)
    }
}

fn hmac(key: &[u8], text: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut mac = mac(key);
    mac.update(text);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

//! From a claim to a belief.

use subtle::ConstantTimeEq;
use types::Timestamp;

use crate::error::Error;
use crate::key::AccessKey;
use crate::sigv4::canonical::{self, Parts, RequestView};
use crate::sigv4::chunk::ChunkSigner;
use crate::sigv4::claim::SignedClaim;
use crate::sigv4::payload::PayloadHash;
use crate::sigv4::signing_key::SigningKey;

/// How far the clocks of client and server may be apart: fifteen minutes.
const SKEW_MS_MAX: u64 = 900_000;

/// Proof that a request was signed with a secret. Only [`SignedClaim::verify`] makes one.
#[derive(Debug)]
pub struct Verified {
    access_key: AccessKey,
    payload: PayloadHash,
    chunks: Option<ChunkSigner>,
}

impl Verified {
    /// Whose secret it was.
    pub fn access_key(&self) -> &AccessKey {
        &self.access_key
    }

    /// What the signature says of the body, which must still be compared with it.
    pub fn payload(&self) -> PayloadHash {
        self.payload
    }

    /// What checks the chunks, if they are signed. Given out once.
    pub fn take_chunk_signer(&mut self) -> Option<ChunkSigner> {
        self.chunks.take()
    }
}

impl SignedClaim {
    /// Everything that needs no secret: place, time and completeness of the signature. A caller
    /// asks this before it derives and keeps a key, so that the keys kept are for one region and
    /// a day or two. Without a region, any is right.
    pub fn check(
        &self,
        view: &RequestView<'_>,
        region: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Error> {
        if self.scope.service != "s3" {
            return Err(self.malformed("the service is wrong, this endpoint belongs to \"s3\""));
        }
        if let Some(expected) = region.filter(|region| *region != self.scope.region) {
            return Err(Error::RegionMismatch {
                expected: expected.to_owned(),
                presigned: self.expires_secs.is_some(),
            });
        }
        if !self.date.starts_with(&self.scope.date) {
            return Err(self.malformed("the credential's date is not that of X-Amz-Date"));
        }
        self.check_time(now)?;
        self.check_headers(view)?;
        if self.has_token {
            return Err(Error::InvalidToken);
        }
        Ok(())
    }

    fn check_time(&self, now: Timestamp) -> Result<(), Error> {
        let (now, at) = (now.as_millis(), self.at.as_millis());
        match self.expires_secs {
            None if now.abs_diff(at) > SKEW_MS_MAX => Err(Error::Skewed),
            None => Ok(()),
            Some(_) if at > now.saturating_add(SKEW_MS_MAX) => Err(Error::NotValidYet),
            Some(secs) if now > at.saturating_add(secs.saturating_mul(1000)) => Err(Error::Expired),
            Some(_) => Ok(()),
        }
    }

    /// `host` and every `x-amz-*` header must be signed, else somebody between client and server
    /// could add one. `x-amz-content-sha256` is the last line of what is signed in any case.
    fn check_headers(&self, view: &RequestView<'_>) -> Result<(), Error> {
        let signed = |name: &str| self.signed_headers.iter().any(|signed| signed == name);
        let mut missing: Vec<&str> = view
            .headers
            .keys()
            .map(|name| name.as_str())
            .filter(|name| name.starts_with("x-amz-") && *name != "x-amz-content-sha256")
            .filter(|name| !signed(name))
            .collect();
        if !signed("host") {
            missing.push("host");
        }
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort_unstable();
        Err(Error::HeadersNotSigned(missing.join(", ")))
    }

    /// Checks everything: what [`SignedClaim::check`] does, and the signature, with a key that was
    /// derived for this claim's scope from the secret of this claim's access key.
    ///
    /// The path is tried as S3 canonicalises it and, if that is another text, as it was sent:
    /// clients differ on what they escape, and both mean the same bytes.
    pub fn verify(
        &self,
        view: &RequestView<'_>,
        key: &SigningKey,
        region: Option<&str>,
        now: Timestamp,
    ) -> Result<Verified, Error> {
        self.check(view, region, now)?;
        if key.scope() != &self.scope {
            return Err(Error::SignatureMismatch);
        }
        let without = self.expires_secs.map(|_| "X-Amz-Signature");
        let query = canonical::query(view.query, without);
        let payload = self.payload.to_text();
        let path = canonical::path(view.path);
        let holds = |path: &str| {
            let parts = Parts {
                path,
                query: &query,
                signed_headers: &self.signed_headers,
                payload: &payload,
            };
            let canonical = canonical::request(view, &parts);
            let signature = key.sign_request(&self.date, &canonical);
            bool::from(signature.ct_eq(&self.signature))
        };
        if !holds(&path) && (path == view.path || !holds(view.path)) {
            return Err(Error::SignatureMismatch);
        }
        let chunks = self
            .payload
            .has_signed_chunks()
            .then(|| ChunkSigner::new(key.clone(), &self.date, self.signature));
        Ok(Verified {
            access_key: self.access_key.clone(),
            payload: self.payload,
            chunks,
        })
    }
}

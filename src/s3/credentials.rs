//! From a request's claim to an identity.

use auth::{
    AccessKey, Claim, Identity, RequestView, Scope, SecretKey, SignedClaim, SigningKey, Verified,
};
use ledger::State;
use parking_lot::Mutex;
use s3wire::{ErrorCode, S3Error};
use types::Timestamp;

use crate::error::of_auth;

/// Signing keys are derived once per day and region, not once per request.
const KEYS_MAX: usize = 64;

/// Derived signing keys, with the secret that each was derived from.
#[derive(Default)]
pub(crate) struct SigningKeys(Mutex<Vec<(Scope, SecretKey, SigningKey)>>);

impl SigningKeys {
    fn key(&self, secret: &SecretKey, scope: &Scope) -> SigningKey {
        let mut keys = self.0.lock();
        let known =
            |(known, of, _): &&(Scope, SecretKey, SigningKey)| known == scope && of == secret;
        if let Some((_, _, key)) = keys.iter().find(known) {
            return key.clone();
        }
        let key = SigningKey::derive(secret, scope.clone());
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
        keys.push((scope.clone(), secret.clone(), key.clone()));
        key
    }

    /// Who sent a request, and what was verified of it.
    pub(crate) fn identify(
        &self,
        view: &RequestView<'_>,
        state: &State,
        region: Option<&str>,
        now: Timestamp,
    ) -> Result<(Identity, Option<Verified>), S3Error> {
        match Claim::read(view).map_err(|error| of_auth(&error))? {
            Claim::Anonymous => Ok((Identity::Anonymous, None)),
            Claim::Signed(claim) => self.verify(&claim, view, state, region, now),
        }
    }

    fn verify(
        &self,
        claim: &SignedClaim,
        view: &RequestView<'_>,
        state: &State,
        region: Option<&str>,
        now: Timestamp,
    ) -> Result<(Identity, Option<Verified>), S3Error> {
        let unknown = || S3Error::from(ErrorCode::InvalidAccessKeyId);
        let root = state.root.as_ref().ok_or(ErrorCode::ServiceUnavailable)?;
        let access_key = AccessKey::parse(&root.access_key).ok_or(ErrorCode::ServiceUnavailable)?;
        if *claim.access_key() != access_key {
            return Err(unknown());
        }
        let secret = SecretKey::new(root.secret_key.clone());
        let key = self.key(&secret, claim.scope());
        let verified = claim
            .verify(view, &key, region, now)
            .map_err(|error| of_auth(&error))?;
        let identity = Identity::of(&verified, &access_key).ok_or_else(unknown)?;
        Ok((identity, Some(verified)))
    }
}

//! Signature version 4, as S3 uses it (S3 API Reference, "Authenticating requests").

mod canonical;
mod chunk;
mod claim;
mod date;
mod hex;
mod payload;
mod sign;
mod signing_key;
mod verify;

#[cfg(test)]
mod golden;

pub use canonical::RequestView;
pub use chunk::ChunkSigner;
pub use claim::{Claim, SignedClaim};
pub use payload::PayloadHash;
pub use sign::Signer;
pub use signing_key::{Scope, SigningKey};
pub use verify::Verified;

/// The one algorithm.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

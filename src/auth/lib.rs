//! Who asks, and may they: signatures of version 4, identities, and permits.
//!
//! A request carries a [`Claim`]; a claim that holds becomes [`Verified`]; what is verified has an
//! [`Identity`]; and [`authorize`] alone turns an identity into a [`Permit`] for one action on one
//! resource. Handlers take permits, so none of these steps can be forgotten.
//!
//! This room reads no clock and knows no HTTP server, no ledger and no S3 document: time and
//! secrets come as arguments. Secrets are compared in constant time, are never printed, and are
//! wiped when they are dropped.

mod action;
mod error;
mod key;
mod permit;
mod sigv4;

pub use action::Action;
pub use error::Error;
pub use key::{AccessKey, SecretKey};
pub use permit::{Denied, Identity, Permit, Resource, authorize};
pub use sigv4::{
    ChunkSigner, Claim, PayloadHash, RequestView, Scope, SignedClaim, Signer, SigningKey, Verified,
};

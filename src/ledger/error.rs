//! Why the ledger cannot serve, or did not change.

use crate::state::Refusal;

/// Why the ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fewer drives than a majority answered.
    #[error("the ledger needs a majority of this node's drives, and fewer of them answer")]
    TooFewDrives,
    /// Fewer shares of the cluster secret than needed are readable.
    #[error("the cluster secret is on the drives, but fewer of its shares than needed can be read")]
    TooFewShares,
    /// There are records, and none opens with this secret.
    #[error("the ledger is sealed with another cluster secret, or all its copies are damaged")]
    WrongSecret,
    /// A record that must be there is on no drive that answers, or damaged on all.
    #[error("the ledger lacks {0}, or all copies of it are damaged")]
    Lacks(&'static str),
    /// The operating system gives no randomness.
    #[error("no randomness to be had")]
    Randomness,
    /// Raft did not start.
    #[error("raft: {0}")]
    Raft(String),
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The state refuses it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is not known whether it will be made.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

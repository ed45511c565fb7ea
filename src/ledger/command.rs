//! Every change of intent, one variant each.

use serde::{Deserialize, Serialize};

use crate::state::{Credential, DriveSeat, Versioning};

/// A change of intent, as it stands in the log. Variants are only ever added: an entry written
/// by an older release must always be readable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The first entry of a deployment: what was formed.
    Form {
        /// The deployment's id, in UUID form.
        deployment: String,
        /// Every drive of every set.
        drives: Vec<DriveSeat>,
    },
    /// A process asks for all slots that no other living process holds. With one node: all.
    Grant {
        /// The node.
        node: u64,
        /// The process's start: random, new at each start.
        start: u64,
    },
    /// A drive takes (or takes again, empty) a place in a set.
    Admit {
        /// Who and where.
        seat: DriveSeat,
    },
    /// A drive's rebuild is complete: it votes.
    Activate {
        /// Who and where.
        seat: DriveSeat,
    },
    /// The root credential becomes this one.
    SetRoot {
        /// The new credential.
        credential: Credential,
        /// Where it came from: a value of the environment that was superseded is not taken again.
        from_environment: bool,
    },
    /// A new bucket.
    CreateBucket {
        /// Its name, already parsed.
        name: String,
        /// When, in milliseconds; for people.
        created_ms: u64,
    },
    /// No new object may begin in the bucket: it is about to be looked through and deleted.
    BeginDeleteBucket {
        /// Its name.
        name: String,
        /// Its incarnation.
        id: u64,
    },
    /// The bucket was found empty: it is gone. Or it was not: it is back.
    EndDeleteBucket {
        /// Its name.
        name: String,
        /// Its incarnation.
        id: u64,
        /// Whether it was empty.
        empty: bool,
    },
    /// Versioning is switched on or suspended.
    SetVersioning {
        /// The bucket's name.
        name: String,
        /// The new state.
        versioning: Versioning,
    },
    /// The bucket's tags are replaced.
    SetBucketTags {
        /// The bucket's name.
        name: String,
        /// The tags; empty removes them.
        tags: Vec<(String, String)>,
    },
}

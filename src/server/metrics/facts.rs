//! What there is to know at the moment of a scrape, and on which page.

use crate::health::HealthView;

/// The pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// The cluster: capacity, drives, health, repair.
    Cluster,
    /// This node: its process, its drives and its requests.
    Node,
    /// Buckets.
    Bucket,
    /// Resources of this node, drive by drive.
    Resource,
}

impl Section {
    /// The section that a path names, if it names one.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        match path.strip_prefix("/minio/v2/metrics/")? {
            "cluster" => Some(Self::Cluster),
            "node" => Some(Self::Node),
            "bucket" => Some(Self::Bucket),
            "resource" => Some(Self::Resource),
            _ => None,
        }
    }
}

/// What other rooms say at the moment of a scrape.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    /// This node, as `host:port`.
    pub(crate) server: String,
    /// The sets.
    pub(crate) health: HealthView,
    /// Every drive.
    pub(crate) drives: Vec<DriveFacts>,
    /// How many buckets there are.
    pub(crate) buckets: usize,
    /// What repair has done since the start.
    pub(crate) heal: HealFacts,
}

/// One drive at the moment of a scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DriveFacts {
    /// Its directory.
    pub(crate) path: String,
    /// Whether it answers.
    pub(crate) online: bool,
    /// Size of its file system.
    pub(crate) total_bytes: u64,
    /// What is free there.
    pub(crate) free_bytes: u64,
    /// Files that can still be made there.
    pub(crate) free_inodes: u64,
    /// Operations that missed their deadline.
    pub(crate) timeouts: u64,
    /// Operations that failed.
    pub(crate) errors: u64,
    /// Batches written to its log, each with one sync.
    pub(crate) batches: u64,
    /// How often a drive took this seat while the server ran.
    pub(crate) returns: u64,
}

/// What repair has done since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HealFacts {
    /// Objects looked at, by recounts, by scrubs, and because a read or write noted them.
    pub(crate) scanned: u64,
    /// Copies of rows and shards written again.
    pub(crate) healed: u64,
    /// Objects that the last walk over everything could not make whole.
    pub(crate) failed: u64,
    /// Shards that were missing or damaged when they were read.
    pub(crate) bad: u64,
    /// Scrubs that read everything to the end.
    pub(crate) scrubs: u64,
    /// Whether the last recount found all whole, and nothing is known to be amiss since.
    pub(crate) whole: bool,
    /// Objects that the recount at hand, or the last one, has seen.
    pub(crate) recounting: u64,
    /// About how many it will see.
    pub(crate) expected: u64,
}

//! The object store: stage anywhere, commit through the slot's holder, drives enforce.
//!
//! Decisions are `quorum`'s; this room asks drives, carries bytes and keeps commits going. It
//! must not know gRPC, Raft, users or the wire of S3; leases are given to it.

mod amend;
mod answers;
mod apart;
mod block;
mod buffers;
mod commit;
mod complete;
mod counters;
mod decide;
mod delete;
mod digest;
mod error;
mod expect;
mod gates;
mod get;
mod heal;
mod hints;
mod holder;
mod inline;
mod laggards;
mod list;
mod md5;
mod mend;
mod parts;
mod place;
mod properties;
mod put;
mod random;
mod rewrite;
mod seats;
mod set;
mod shards;
mod store;
mod sweep;
mod union;
mod upload;
mod uploads;
mod versions;
mod walk;
mod writers;

pub use complete::Complete;
pub use counters::Counters;
pub use delete::{Delete, Deleted};
pub use digest::md5_of;
pub use error::{Error, WriteError};
pub use expect::{Expect, Tags};
pub use get::Found;
pub use heal::{Depth, Healed};
pub use list::{ListPage, ListRequest, Listed};
pub use parts::{Part, PutPart};
pub use properties::{Checksum, ChecksumForm, ChecksumKind, Extent, Properties, WantedChecksum};
pub use put::{Body, INLINE_MAX, Put, Versioning, Written};
pub use set::SetConfig;
pub use store::Store;
pub use upload::{NewUpload, Upload};
pub use uploads::{ListedUpload, UploadsPage, UploadsRequest};
pub use versions::{ListedVersion, VersionsPage, VersionsRequest};
pub use walk::{Census, Seat, Walk};
pub use writers::BucketPass;

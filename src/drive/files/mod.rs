//! The files of a drive: its identity, and the shard files of larger objects.
//!
//! Knows names, bytes and syncs; nothing of rows, registers' meaning, or erasure codes.

mod aligned;
mod entries;
mod format;
mod frames;
mod header;
mod identity;
mod inspect;
#[cfg(test)]
mod mount_tests;
mod open_files;
mod probe;
mod root;
#[cfg(test)]
mod scratch;
mod shards;
#[cfg(test)]
mod shards_tests;
mod stages;
#[cfg(test)]
mod stages_tests;
mod staging;
mod walk;
mod workers;

pub use format::{FormatError, format};
pub use identity::Formatted;
pub use inspect::{Found, inspect};

pub(crate) use root::{Access, Root};
#[cfg(test)]
pub(crate) use scratch::Scratch;
pub(crate) use shards::{Published, ShardFiles};
pub(crate) use stages::Stages;
pub(crate) use workers::Workers;

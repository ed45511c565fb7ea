//! The ordered map under a drive's index: a table in memory and immutable sorted runs on disk.
//!
//! It maps *entry keys* (any bytes; mostly a register and 32 bytes of birth and order) to small
//! values, or to a mark that the key is gone. It knows nothing of fences, logs or settle marks:
//! the engine gives meaning to keys and values, decides when a table is flushed, and names the
//! runs that count. `FORMAT-runs.md` draws the file.
//!
//! What holds throughout: a damaged byte is an error to whoever needs it, and never an entry
//! that is missing or different.

mod block;
mod cache;
mod compact;
mod filter;
mod memtable;
mod merge;
mod meta;
mod run;
mod seal;
mod varint;
mod writer;

#[cfg(test)]
mod damage;
#[cfg(test)]
mod model;
#[cfg(test)]
mod testing;

pub(crate) use cache::BlockCache;
pub(crate) use compact::{Depth, Verdict, compact, pick, salvage};
pub(crate) use memtable::Memtable;
pub(crate) use merge::Merge;
pub(crate) use meta::RunMeta;
pub(crate) use run::{Access, Run};
pub(crate) use seal::{RegisterHash, RunId, RunSeal};
pub(crate) use writer::RunWriter;

use crate::register::Register;

/// The part of an entry key that a run's filter is built on: the register of a row's key. Keys
/// too short to hold one count whole.
pub(crate) fn filter_part(key: &[u8]) -> &[u8] {
    match key.len().checked_sub(Register::ROW_LEN) {
        Some(len) if len > 0 => key.get(..len).unwrap_or(key),
        _ => key,
    }
}

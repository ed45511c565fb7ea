//! The index as one thing: a table that grows, tables that wait to be flushed, and runs.

use std::sync::Arc;

use parking_lot::RwLock;

use super::head::{Value, decode_value};
use crate::contract::Error;
use crate::index::{Access, Memtable, Merge, RegisterHash, Run, RunSeal, filter_part};
use crate::register::Register;

/// A table behind its lock.
pub(super) type Table = Arc<RwLock<Memtable>>;

/// What the index consists of at a moment. The committer alone puts entries into `active`.
#[derive(Clone)]
pub(super) struct Tree {
    /// Where new entries go.
    pub(super) active: Table,
    /// Full tables that are not yet in a run, newest first.
    pub(super) frozen: Vec<Table>,
    /// Runs, newest first.
    pub(super) runs: Vec<Arc<Run>>,
}

/// The value of a row that cannot be parsed though its block's hash is right.
const UNKNOWN_VALUE: Error = Error::Corrupt("index entry does not parse");

impl Tree {
    /// All tables, newest first.
    fn tables(&self) -> impl Iterator<Item = &Table> {
        std::iter::once(&self.active).chain(&self.frozen)
    }

    /// A walk over everything from `start` on.
    pub(super) fn walk(&self, start: &[u8]) -> Result<Merge, Error> {
        Merge::new(self.tables().cloned(), &self.runs, start, Access::Scan)
    }

    /// A walk from `start` on that misses nothing whose filter part has this hash.
    fn walk_at(&self, start: &[u8], hash: RegisterHash, access: Access) -> Result<Merge, Error> {
        let runs = self.runs.iter().filter(|run| run.may_contain(hash));
        Merge::new(self.tables().cloned(), runs, start, access)
    }

    /// Whether the answer to anything about this part of the key space lies in memory.
    pub(super) fn is_in_memory(&self, hash: RegisterHash) -> bool {
        !self.runs.iter().any(|run| run.may_contain(hash))
    }

    /// Whether there may be an entry of the register.
    pub(super) fn may_hold(&self, register: &[u8], hash: RegisterHash) -> bool {
        self.tables().any(|table| table.read().has_prefix(register)) || !self.is_in_memory(hash)
    }

    /// The value under a key.
    pub(super) fn find(
        &self,
        seal: &RunSeal,
        key: &[u8],
        access: Access,
    ) -> Result<Option<Vec<u8>>, Error> {
        let mut walk = self.walk_at(key, seal.register_hash(filter_part(key)), access)?;
        let found = walk.next()?;
        Ok(found
            .filter(|(at, _)| *at == key)
            .map(|(_, value)| value.to_vec()))
    }

    /// All rows of a register, newest first, as long as `more` wants them.
    pub(super) fn rows(
        &self,
        register: &[u8],
        hash: RegisterHash,
        access: Access,
        mut more: impl FnMut(&[u8], Value) -> bool,
    ) -> Result<(), Error> {
        let mut walk = self.walk_at(register, hash, access)?;
        while let Some((key, value)) = walk.next()? {
            if !is_row_of(register, key) {
                break;
            }
            let value = decode_value(key, value).ok_or(UNKNOWN_VALUE)?;
            if !more(key, value) {
                break;
            }
        }
        Ok(())
    }
}

/// Whether `key` is a row's key of this register. Registers are prefixes of no other registers,
/// but the rows of one whose upload id happens to look like orders could be.
pub(super) fn is_row_of(register: &[u8], key: &[u8]) -> bool {
    key.len() == register.len() + Register::ROW_LEN && key.starts_with(register)
}

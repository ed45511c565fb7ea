//! Writing a run, front to back, once.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use super::block::{BlockBuilder, shared_len};
use super::filter::Filter;
use super::meta::RunMeta;
use super::run::Footer;
use super::seal::{HASH_LEN, RunId, RunKey, RunSeal, Section};
use super::{filter_part, varint};
use crate::contract::Error;
use crate::fault::from_io;

/// A block ends with the entry that makes it that long.
const BLOCK_LEN: usize = 16 * 1024;
/// Bytes gathered before they are written to the file.
const BUFFER_LEN: usize = 512 * 1024;
/// Bytes written before they are synced: a large merge must not leave a flood of dirty pages in
/// front of the next commit's sync.
const UNSYNCED_LEN: u64 = 16 * 1024 * 1024;

/// A run being written. Until [`RunWriter::finish`] returned, the file is junk; it is for the
/// caller to remove it.
pub(crate) struct RunWriter {
    file: File,
    buffer: Vec<u8>,
    /// Bytes of the file so far, those in the buffer included.
    len: u64,
    unsynced: u64,
    id: RunId,
    seal: RunSeal,
    key: RunKey,
    block: BlockBuilder,
    /// The last key of the block before this one.
    fence: Vec<u8>,
    /// What the index will say of this block's first key.
    start: Vec<u8>,
    first: Vec<u8>,
    last: Vec<u8>,
    index: Vec<u8>,
    blocks: u64,
    entries: u64,
    marks: u64,
    filter: Filter,
}

impl RunWriter {
    /// Creates the file, which must not exist. `entries_max` sizes the filter: the most entries
    /// that may come. A run must never get a number that was used on this drive before.
    pub(crate) fn create(
        path: &Path,
        id: RunId,
        seal: RunSeal,
        entries_max: u64,
    ) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|error| from_io(&error))?;
        Ok(Self {
            file,
            buffer: Vec::with_capacity(BUFFER_LEN + 2 * BLOCK_LEN),
            len: 0,
            unsynced: 0,
            id,
            seal,
            key: seal.run_key(id),
            block: BlockBuilder::default(),
            fence: Vec::new(),
            start: Vec::new(),
            first: Vec::new(),
            last: Vec::new(),
            index: Vec::new(),
            blocks: 0,
            entries: 0,
            marks: 0,
            filter: Filter::new(entries_max),
        })
    }

    /// Appends an entry; `None` marks the key as gone. Keys must strictly rise, else
    /// [`Error::Corrupt`]: the run must then be given up.
    pub(crate) fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        if self.entries == 0 {
            self.first = key.to_vec();
        } else if key <= self.last.as_slice() {
            return Err(Error::Corrupt("entries of a run out of order"));
        }
        let register = filter_part(key);
        if self.entries == 0 || register != filter_part(&self.last) {
            self.filter.insert(self.seal.register_hash(register));
        }
        if self.block.is_empty() {
            // The shortest bytes above the block before and not above this block.
            let shared = if self.blocks == 0 {
                0
            } else {
                shared_len(&self.fence, key)
            };
            self.start.clear();
            self.start
                .extend_from_slice(key.get(..=shared).unwrap_or(key));
        }
        self.block.add(&self.last, key, value)?;
        self.last.clear();
        self.last.extend_from_slice(key);
        self.entries += 1;
        self.marks += u64::from(value.is_none());
        if self.block.len() >= BLOCK_LEN {
            self.end_block()?;
        }
        Ok(())
    }

    /// Writes the rest and syncs the file. The run counts once the caller has also synced the
    /// directory and then made its manifest durable.
    pub(crate) fn finish(mut self) -> Result<RunMeta, Error> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        let filter_offset = self.len;
        self.filter.shrink();
        let mut bytes = Vec::new();
        self.filter.write_to(&mut bytes);
        let filter_len = self.append(Section::Filter, bytes)?;
        let mut bytes = Vec::with_capacity(self.index.len() + 64);
        for key in [&self.first, &self.last] {
            varint::put(&mut bytes, len32(key.len())?);
            bytes.extend_from_slice(key);
        }
        bytes.append(&mut self.index);
        let index_len = self.append(Section::Index, bytes)?;
        let footer = Footer {
            id: self.id,
            entries: self.entries,
            marks: self.marks,
            blocks: self.blocks,
            filter_offset,
            filter_len,
            index_len,
        };
        self.append(Section::Footer, footer.to_bytes())?;
        self.write_out()?;
        self.file.sync_all().map_err(|error| from_io(&error))?;
        Ok(RunMeta {
            id: self.id,
            entries: self.entries,
            marks: self.marks,
            bytes: self.len,
            first: self.first.into(),
            last: self.last.into(),
        })
    }

    fn end_block(&mut self) -> Result<(), Error> {
        let at = self.buffer.len();
        self.block.finish_into(&mut self.buffer);
        let bytes = self.buffer.get(at..).unwrap_or_default();
        let hash = self.key.hash(Section::Block(self.blocks), bytes);
        self.buffer.extend_from_slice(&hash);
        let len = self.buffer.len() - at;
        varint::put(&mut self.index, len32(self.start.len())?);
        self.index.extend_from_slice(&self.start);
        varint::put(&mut self.index, len32(len)?);
        self.fence.clone_from(&self.last);
        self.blocks += 1;
        self.grow(len)
    }

    /// Appends a section and its hash: how many bytes both are.
    fn append(&mut self, section: Section, bytes: Vec<u8>) -> Result<u64, Error> {
        let hash = self.key.hash(section, &bytes);
        self.buffer.extend_from_slice(&bytes);
        self.buffer.extend_from_slice(&hash);
        let len = bytes.len() + HASH_LEN;
        self.grow(len)?;
        Ok(len as u64)
    }

    fn grow(&mut self, len: usize) -> Result<(), Error> {
        self.len += len as u64;
        if self.buffer.len() >= BUFFER_LEN {
            self.write_out()
        } else {
            Ok(())
        }
    }

    fn write_out(&mut self) -> Result<(), Error> {
        self.file
            .write_all(&self.buffer)
            .map_err(|error| from_io(&error))?;
        self.unsynced += self.buffer.len() as u64;
        self.buffer.clear();
        if self.unsynced >= UNSYNCED_LEN {
            self.unsynced = 0;
            self.file.sync_data().map_err(|error| from_io(&error))?;
        }
        Ok(())
    }
}

fn len32(len: usize) -> Result<u32, Error> {
    u32::try_from(len).map_err(|_| Error::Corrupt("index entry is too long"))
}

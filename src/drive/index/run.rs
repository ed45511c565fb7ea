//! Reading a run.

use std::fs::File;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::block::BlockCursor;
use super::cache::BlockCache;
use super::filter::Filter;
use super::meta::RunMeta;
use super::seal::{HASH_LEN, RegisterHash, RunId, RunKey, RunSeal, Section};
use super::varint;
use crate::contract::Error;
use crate::fault::{UNREADABLE, from_io, from_io_read};
use crate::now::read_now;

const MAGIC: [u8; 8] = *b"sarsenr1";
/// How often a block that the disk cannot read is tried before it is given up.
const TRIES: usize = 5;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// The fixed end of a run's file; the only part at a place that is known without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) id: RunId,
    pub(super) entries: u64,
    pub(super) marks: u64,
    pub(super) blocks: u64,
    pub(super) filter_offset: u64,
    pub(super) filter_len: u64,
    pub(super) index_len: u64,
}

impl Footer {
    /// Bytes without their hash.
    const LEN: usize = 64;
    /// Bytes in the file.
    const SEALED_LEN: u64 = (Self::LEN + HASH_LEN) as u64;

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let offsets = [
            self.blocks,
            self.filter_offset,
            self.filter_len,
            self.index_len,
        ];
        for number in [self.id.0, self.entries, self.marks]
            .into_iter()
            .chain(offsets)
        {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (magic, numbers) = bytes.split_first_chunk()?;
        let (numbers, rest) = numbers.as_chunks();
        if *magic != MAGIC || !rest.is_empty() {
            return None;
        }
        let [
            id,
            entries,
            marks,
            blocks,
            filter_offset,
            filter_len,
            index_len,
        ] = numbers
        else {
            return None;
        };
        let number = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
        Some(Self {
            id: RunId(number(id)),
            entries: number(entries),
            marks: number(marks),
            blocks: number(blocks),
            filter_offset: number(filter_offset),
            filter_len: number(filter_len),
            index_len: number(index_len),
        })
    }

    /// Whether the sections fill a file of that length exactly.
    fn fits(&self, len: u64) -> bool {
        self.filter_offset
            .checked_add(self.filter_len)
            .and_then(|end| end.checked_add(self.index_len))
            .and_then(|end| end.checked_add(Self::SEALED_LEN))
            == Some(len)
    }
}

/// Where blocks begin: bytes not above a block's first key and above all keys before it.
struct BlockIndex {
    /// The bytes of all starts, one after another.
    starts: Box<[u8]>,
    /// Where each start ends in `starts`.
    ends: Box<[usize]>,
    /// Where each block begins in the file, and where the last one ends.
    offsets: Box<[u64]>,
    first: Box<[u8]>,
    last: Box<[u8]>,
}

impl BlockIndex {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (first, at) = varint::take_bytes(bytes, 0)?;
        let (last, mut at) = varint::take_bytes(bytes, at)?;
        let (mut starts, mut ends, mut offsets) = (Vec::new(), Vec::new(), vec![0u64]);
        let mut offset = 0u64;
        while at < bytes.len() {
            let (start, next) = varint::take_bytes(bytes, at)?;
            let (len, next) = varint::take(bytes, next)?;
            starts.extend_from_slice(start);
            ends.push(starts.len());
            offset = offset.checked_add(u64::from(len))?;
            offsets.push(offset);
            at = next;
        }
        Some(Self {
            starts: starts.into(),
            ends: ends.into(),
            offsets: offsets.into(),
            first: first.into(),
            last: last.into(),
        })
    }

    fn blocks(&self) -> usize {
        self.ends.len()
    }

    fn start(&self, block: usize) -> &[u8] {
        let from = block.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.starts[from..self.ends[block]]
    }

    /// The block in which a search for `key` begins: keys not below it are there or later.
    fn block_of(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.blocks());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.start(middle) <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.saturating_sub(1)
    }
}

/// A part of a damaged run.
pub(super) enum Piece<'p> {
    /// A key, and its value or `None` for a mark.
    Entry(&'p [u8], Option<&'p [u8]>),
    /// From that key on up to that one, nothing can be read.
    Gap(&'p [u8], Bound<&'p [u8]>),
}

/// An open run: its block index and filter are in memory, blocks are read when needed.
pub(crate) struct Run {
    file: File,
    key: RunKey,
    meta: RunMeta,
    index: BlockIndex,
    filter: Filter,
    cache: Arc<BlockCache>,
    /// Whether a block turned out damaged since it was opened.
    damaged: AtomicBool,
}

/// How a reader goes about blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// A few entries: blocks come from the cache, and go there.
    Point,
    /// As `Point`, but [`Error::Timeout`] where that would have to wait for the disk.
    Now,
    /// Many entries: the cache is left alone.
    Scan,
}

impl Run {
    /// Opens the run that `meta` speaks of; any other, or a damaged one, is [`Error::Corrupt`].
    /// Blocks are verified when they are read, everything else now.
    pub(crate) fn open(
        path: &Path,
        meta: &RunMeta,
        seal: RunSeal,
        cache: Arc<BlockCache>,
    ) -> Result<Self, Error> {
        let file = File::open(path).map_err(|error| from_io(&error))?;
        let len = file.metadata().map_err(|error| from_io(&error))?.len();
        let footer_at = len.checked_sub(Footer::SEALED_LEN);
        let Some(footer_at) = footer_at.filter(|_| len == meta.bytes) else {
            return Err(Error::Corrupt("run has another length"));
        };
        let key = seal.run_key(meta.id);
        let read = |section, offset, len| {
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut bytes, offset)
                .map_err(|error| from_io(&error))?;
            match key.open(section, &bytes).map(<[u8]>::len) {
                Some(len) => bytes.truncate(len),
                None => {
                    return Err(Error::Corrupt(
                        "run's index, filter or footer has a wrong hash",
                    ));
                }
            }
            Ok(bytes)
        };
        let footer = Footer::from_bytes(&read(Section::Footer, footer_at, Footer::SEALED_LEN)?)
            .filter(|footer| footer.fits(len))
            .ok_or(Error::Corrupt("run's footer does not parse"))?;
        let filter = read(Section::Filter, footer.filter_offset, footer.filter_len)?;
        let filter =
            Filter::from_bytes(&filter).ok_or(Error::Corrupt("run's filter does not parse"))?;
        let index_at = footer.filter_offset.saturating_add(footer.filter_len);
        let index = BlockIndex::from_bytes(&read(Section::Index, index_at, footer.index_len)?)
            .filter(|index| index.blocks() as u64 == footer.blocks)
            .filter(|index| index.offsets.last() == Some(&footer.filter_offset))
            .ok_or(Error::Corrupt("run's index does not parse"))?;
        let same = (footer.id, footer.entries, footer.marks) == (meta.id, meta.entries, meta.marks)
            && (&index.first, &index.last) == (&meta.first, &meta.last);
        if !same {
            return Err(Error::Corrupt("run is not the one that the manifest lists"));
        }
        Ok(Self {
            file,
            key,
            meta: meta.clone(),
            index,
            filter,
            cache,
            damaged: AtomicBool::new(false),
        })
    }

    /// Whether a block of it could not be read right.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// From now on no block of it can be read.
    #[cfg(test)]
    pub(super) fn lose(&mut self) {
        self.file = crate::fault::tests::unreadable();
    }

    /// Hands on every entry of every block that reads well, and where a block does not, which keys
    /// it may have held. What it held is lost with that: a disk that stumbles gets its chances before.
    pub(super) fn pieces(
        &self,
        mut each: impl FnMut(Piece<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut bytes = Vec::new();
        let blocks = self.index.blocks();
        for block in 0..blocks {
            let mut read = self.read_block(block, &mut bytes, Access::Scan);
            for _ in 1..TRIES {
                if read != Err(UNREADABLE) {
                    break;
                }
                thread::sleep(PAUSE);
                read = self.read_block(block, &mut bytes, Access::Scan);
            }
            match read {
                Err(Error::Corrupt(_)) => {
                    let end = match block + 1 < blocks {
                        true => Bound::Excluded(self.index.start(block + 1)),
                        false => Bound::Included(&*self.meta.last),
                    };
                    each(Piece::Gap(self.index.start(block), end))?;
                    continue;
                }
                read => read?,
            }
            let mut cursor = BlockCursor::default();
            cursor.enter(&bytes)?;
            while cursor.advance(&bytes)? {
                let value = cursor.value().and_then(|value| bytes.get(value));
                each(Piece::Entry(cursor.key(), value))?;
            }
        }
        Ok(())
    }

    /// What the manifest says of it.
    pub(crate) fn meta(&self) -> &RunMeta {
        &self.meta
    }

    /// Bytes of memory that it holds open: index and filter.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let mut filter = Vec::new();
        self.filter.write_to(&mut filter);
        filter.len() + self.index.starts.len() + 16 * self.index.blocks()
    }

    /// `false` if the run surely holds no entry of the register.
    #[inline]
    pub(crate) fn may_contain(&self, register: RegisterHash) -> bool {
        self.filter.may_contain(register)
    }

    /// A cursor on the first entry whose key is not below `key`.
    pub(crate) fn iter_from(
        self: &Arc<Self>,
        key: &[u8],
        access: Access,
    ) -> Result<RunIter, Error> {
        let mut iter = RunIter {
            run: Arc::clone(self),
            access,
            block: None,
            bytes: BlockBytes::Own(Vec::new()),
            cursor: BlockCursor::default(),
            state: Ok(At::End),
        };
        iter.seek(key)?;
        Ok(iter)
    }

    /// Reads and verifies a block into `buffer`, which then holds its bytes without the hash.
    fn read_block(&self, block: usize, buffer: &mut Vec<u8>, access: Access) -> Result<(), Error> {
        let (Some(from), Some(to)) = (
            self.index.offsets.get(block),
            self.index.offsets.get(block + 1),
        ) else {
            return Err(Error::Corrupt("run has no such block"));
        };
        buffer.resize(usize::try_from(to - from).unwrap_or(usize::MAX), 0);
        let read = match access {
            Access::Now => read_now(&self.file, buffer, *from).ok_or(Error::Timeout),
            Access::Point | Access::Scan => {
                let read = self.file.read_exact_at(buffer, *from);
                read.map_err(|error| from_io_read(&error))
            }
        };
        let read = read.and_then(|()| {
            let sound = self.key.open(Section::Block(block as u64), buffer);
            let sound = sound.map(<[u8]>::len);
            sound.ok_or(Error::Corrupt("index block has a wrong hash"))
        });
        if matches!(read, Err(Error::Corrupt(_))) {
            self.damaged.store(true, Ordering::Relaxed);
        }
        buffer.truncate(read?);
        Ok(())
    }

    fn cached_block(&self, block: usize, access: Access) -> Result<Arc<[u8]>, Error> {
        if let Some(bytes) = self.cache.find(self.meta.id, block as u64) {
            return Ok(bytes);
        }
        let mut buffer = Vec::new();
        self.read_block(block, &mut buffer, access)?;
        let bytes: Arc<[u8]> = buffer.into();
        self.cache.insert(self.meta.id, block as u64, &bytes);
        Ok(bytes)
    }
}

enum BlockBytes {
    Own(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl BlockBytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Entry,
    End,
}

/// A cursor in a run. Once it failed it fails for ever: a damaged block is never passed over.
pub(crate) struct RunIter {
    run: Arc<Run>,
    access: Access,
    /// The block that `bytes` holds.
    block: Option<usize>,
    bytes: BlockBytes,
    cursor: BlockCursor,
    state: Result<At, Error>,
}

impl RunIter {
    /// The key of the entry stood on; `None` at the end and after a failure.
    pub(super) fn key(&self) -> Option<&[u8]> {
        (self.state == Ok(At::Entry)).then(|| self.cursor.key())
    }

    /// The value of the entry stood on; `None` for a mark (and where there is no entry).
    pub(super) fn value(&self) -> Option<&[u8]> {
        self.bytes.as_slice().get(self.cursor.value()?)
    }

    /// Goes to the next entry; `false` at the end.
    #[inline]
    pub(super) fn advance(&mut self) -> Result<bool, Error> {
        if self.state == Ok(At::Entry) && self.cursor.advance(self.bytes.as_slice()) == Ok(true) {
            return Ok(true);
        }
        self.settle_on(|iter| iter.advance_slow())
    }

    /// Goes to the first entry whose key is not below `key`, backwards too; `false` if none is.
    pub(super) fn seek(&mut self, key: &[u8]) -> Result<bool, Error> {
        self.settle_on(|iter| {
            if iter.run.index.blocks() == 0 {
                return Ok(At::End);
            }
            let block = iter.run.index.block_of(key);
            if iter.block != Some(block) {
                iter.load(block)?;
            }
            if iter.cursor.seek(iter.bytes.as_slice(), key)? {
                return Ok(At::Entry);
            }
            iter.next_block()
        })
    }

    fn settle_on(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<At, Error>,
    ) -> Result<bool, Error> {
        if self.state.is_ok() {
            self.state = step(self);
        }
        self.state.clone().map(|at| at == At::Entry)
    }

    fn advance_slow(&mut self) -> Result<At, Error> {
        if self.state == Ok(At::End) {
            return Ok(At::End);
        }
        // Asked again after an error, the block gives the same error.
        if self.cursor.advance(self.bytes.as_slice())? {
            return Ok(At::Entry);
        }
        self.next_block()
    }

    /// Stands on the first entry of the block after this one.
    fn next_block(&mut self) -> Result<At, Error> {
        let next = self.block.map_or(0, |block| block + 1);
        if next >= self.run.index.blocks() {
            return Ok(At::End);
        }
        self.load(next)?;
        if self.cursor.advance(self.bytes.as_slice())? {
            Ok(At::Entry)
        } else {
            Err(Error::Corrupt("index block is empty"))
        }
    }

    fn load(&mut self, block: usize) -> Result<(), Error> {
        self.block = None;
        match self.access {
            Access::Point | Access::Now => {
                self.bytes = BlockBytes::Shared(self.run.cached_block(block, self.access)?);
            }
            Access::Scan => {
                let mut buffer = match &mut self.bytes {
                    BlockBytes::Own(buffer) => std::mem::take(buffer),
                    BlockBytes::Shared(_) => Vec::new(),
                };
                self.run.read_block(block, &mut buffer, self.access)?;
                self.bytes = BlockBytes::Own(buffer);
            }
        }
        self.block = Some(block);
        self.cursor.enter(self.bytes.as_slice())
    }
}

//! One block of a run: a few hundred entries in order, each key without what it shares with the
//! one before.

use std::ops::Range;

use super::varint;
use crate::contract::Error;

/// Every that many entries a key stands whole, so that a search need not begin at the first.
const RESTART_ENTRIES: u32 = 16;

const DAMAGED: Error = Error::Corrupt("index block does not parse");

/// Collects entries into the bytes of a block.
#[derive(Default)]
pub(super) struct BlockBuilder {
    bytes: Vec<u8>,
    restarts: Vec<u32>,
    entries: u32,
}

impl BlockBuilder {
    /// Bytes of the block if it ended here.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + 4 * self.restarts.len() + 4
    }

    /// Whether it holds no entry.
    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Appends an entry; `last` is the key of the entry before it. [`Error::Corrupt`] if a
    /// length does not fit 32 bits.
    pub(super) fn add(
        &mut self,
        last: &[u8],
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), Error> {
        let too_long = Error::Corrupt("index entry is too long");
        let len = |len: usize| u32::try_from(len).map_err(|_| too_long.clone());
        let shared = if self.entries.is_multiple_of(RESTART_ENTRIES) {
            self.restarts.push(len(self.bytes.len())?);
            0
        } else {
            shared_len(last, key)
        };
        let rest = key.get(shared..).unwrap_or_default();
        varint::put(&mut self.bytes, len(shared)?);
        varint::put(&mut self.bytes, len(rest.len())?);
        varint::put(
            &mut self.bytes,
            value.map_or(Ok(0), |value| len(value.len().saturating_add(1)))?,
        );
        self.bytes.extend_from_slice(rest);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.entries += 1;
        Ok(())
    }

    /// Moves the finished block to the end of `out` and is empty again.
    pub(super) fn finish_into(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.bytes);
        let restarts = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        for offset in self.restarts.drain(..).chain([restarts]) {
            out.extend_from_slice(&offset.to_le_bytes());
        }
        self.entries = 0;
    }
}

/// How many bytes both begin with.
pub(super) fn shared_len(left: &[u8], right: &[u8]) -> usize {
    let limit = left.len().min(right.len());
    let mut at = 0;
    while let (Some(l), Some(r)) = (chunk(left, at), chunk(right, at)) {
        if l != r {
            return at + usize::try_from((l ^ r).trailing_zeros() / 8).unwrap_or(0);
        }
        at += 8;
    }
    while at < limit && left.get(at) == right.get(at) {
        at += 1;
    }
    at
}

fn chunk(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|chunk| u64::from_le_bytes(*chunk))
}

/// A place in a block. The block's bytes are given to each call: they may live in a buffer of
/// the caller or in the cache.
#[derive(Default)]
pub(super) struct BlockCursor {
    key: Vec<u8>,
    value: Option<Range<usize>>,
    next: usize,
    entries_end: usize,
    restarts: usize,
}

/// An entry's header: shared and own bytes of the key, the value if there is one.
struct Entry {
    shared: usize,
    key: Range<usize>,
    value: Option<Range<usize>>,
}

impl BlockCursor {
    /// Stands before the first entry of `block`.
    pub(super) fn enter(&mut self, block: &[u8]) -> Result<(), Error> {
        let (rest, count) = block.split_last_chunk().ok_or(DAMAGED)?;
        let restarts = usize::try_from(u32::from_le_bytes(*count)).map_err(|_| DAMAGED)?;
        let table = restarts.checked_mul(4).ok_or(DAMAGED)?;
        self.entries_end = rest.len().checked_sub(table).ok_or(DAMAGED)?;
        self.restarts = restarts;
        self.next = 0;
        self.key.clear();
        self.value = None;
        Ok(())
    }

    /// The key of the entry stood on.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value of the entry stood on, as a range of the block; `None` for a mark.
    pub(super) fn value(&self) -> Option<Range<usize>> {
        self.value.clone()
    }

    /// Goes to the next entry; `false` at the block's end.
    #[inline]
    pub(super) fn advance(&mut self, block: &[u8]) -> Result<bool, Error> {
        if self.next >= self.entries_end {
            return Ok(false);
        }
        let entry = self.entry(block, self.next).ok_or(DAMAGED)?;
        if entry.shared > self.key.len() {
            return Err(DAMAGED);
        }
        self.key.truncate(entry.shared);
        self.key
            .extend_from_slice(block.get(entry.key.clone()).ok_or(DAMAGED)?);
        self.next = entry
            .value
            .as_ref()
            .map_or(entry.key.end, |value| value.end);
        self.value = entry.value;
        Ok(true)
    }

    /// Goes to the first entry whose key is not below `key`; `false` if the block has none.
    pub(super) fn seek(&mut self, block: &[u8], key: &[u8]) -> Result<bool, Error> {
        let (mut low, mut high) = (0, self.restarts);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.restart_key(block, middle).ok_or(DAMAGED)? <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.next = match low.checked_sub(1) {
            Some(restart) => self.restart(block, restart).ok_or(DAMAGED)?,
            None => 0,
        };
        self.key.clear();
        while self.advance(block)? {
            if self.key.as_slice() >= key {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn restart(&self, block: &[u8], number: usize) -> Option<usize> {
        let at = number.checked_mul(4)?.checked_add(self.entries_end)?;
        usize::try_from(u32::from_le_bytes(*block.get(at..)?.first_chunk()?)).ok()
    }

    fn restart_key<'b>(&self, block: &'b [u8], number: usize) -> Option<&'b [u8]> {
        let entry = self.entry(block, self.restart(block, number)?)?;
        if entry.shared == 0 {
            block.get(entry.key)
        } else {
            None
        }
    }

    #[inline]
    fn entry(&self, block: &[u8], at: usize) -> Option<Entry> {
        let (shared, at) = varint::take(block, at)?;
        let (rest, at) = varint::take(block, at)?;
        let (value, at) = varint::take(block, at)?;
        let key_end = at.checked_add(usize::try_from(rest).ok()?)?;
        let value = match value.checked_sub(1) {
            Some(len) => Some(key_end..key_end.checked_add(usize::try_from(len).ok()?)?),
            None => None,
        };
        let end = value.as_ref().map_or(key_end, |value| value.end);
        let shared = usize::try_from(shared).ok()?;
        (end <= self.entries_end).then_some(Entry {
            shared,
            key: at..key_end,
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_lengths_are_exact_at_every_offset() {
        for len in 0..40 {
            let left = vec![7u8; len];
            for differ in 0..len {
                let mut right = left.clone();
                right[differ] = 9;
                assert_eq!(shared_len(&left, &right), differ);
            }
            assert_eq!(shared_len(&left, &[7; 24]), len.min(24));
        }
    }

    #[test]
    fn every_key_is_found_and_every_gap_leads_to_the_next() {
        let mut builder = BlockBuilder::default();
        let keys: Vec<String> = (0..200)
            .map(|n| format!("bucket/key-{:04}", 2 * n))
            .collect();
        let mut last = String::new();
        for key in &keys {
            let value = if key.ends_with('4') {
                None
            } else {
                Some(key.as_bytes())
            };
            builder.add(last.as_bytes(), key.as_bytes(), value).unwrap();
            last.clone_from(key);
        }
        let mut block = Vec::new();
        let len = builder.len();
        builder.finish_into(&mut block);
        assert_eq!(len, block.len());
        assert!(builder.is_empty());
        let mut cursor = BlockCursor::default();
        cursor.enter(&block).unwrap();
        for (at, key) in keys.iter().enumerate() {
            assert!(cursor.seek(&block, key.as_bytes()).unwrap());
            assert_eq!(cursor.key(), key.as_bytes());
            let value = cursor.value().map(|range| &block[range]);
            assert_eq!(
                value,
                if key.ends_with('4') {
                    None
                } else {
                    Some(key.as_bytes())
                }
            );
            let after = format!("{key}+");
            let found = cursor.seek(&block, after.as_bytes()).unwrap();
            assert_eq!(found, at + 1 < keys.len());
            if found {
                assert_eq!(cursor.key(), keys[at + 1].as_bytes());
            }
        }
    }

    #[test]
    fn junk_is_an_error_and_no_panic() {
        let mut cursor = BlockCursor::default();
        for len in 0..64 {
            for byte in [0u8, 1, 4, 0x7f, 0x80, 0xff] {
                let block = vec![byte; len];
                if cursor.enter(&block).is_ok() {
                    let _ = cursor.seek(&block, b"k");
                    while let Ok(true) = cursor.advance(&block) {}
                }
            }
        }
    }
}

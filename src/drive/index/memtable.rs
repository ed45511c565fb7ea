//! Entries that are durable in the log and not yet in a run.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;

use parking_lot::RwLock;

/// What an entry costs in memory beside its bytes: map node, two boxes, allocator.
const ENTRY_COST: usize = 96;

/// An ordered table in memory. The engine holds it behind a lock, fills it, and once it is full
/// starts another; readers keep the old one alive as long as they need it.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    entries: BTreeMap<Box<[u8]>, Option<Box<[u8]>>>,
    bytes: usize,
}

impl Memtable {
    /// Puts an entry, in place of one with that key; `None` marks the key as gone, in the runs
    /// below too.
    pub(crate) fn insert(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.bytes += value.map_or(0, <[u8]>::len);
        match self.entries.get_mut(key) {
            Some(old) => {
                self.bytes -= old.as_ref().map_or(0, |old| old.len());
                *old = value.map(Into::into);
            }
            None => {
                self.bytes += key.len() + ENTRY_COST;
                self.entries.insert(key.into(), value.map(Into::into));
            }
        }
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many entries it holds, marks included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether some key begins with `prefix`.
    pub(crate) fn has_prefix(&self, prefix: &[u8]) -> bool {
        let mut from = self
            .entries
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
        from.next().is_some_and(|(key, _)| key.starts_with(prefix))
    }

    /// All entries in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.entries
            .iter()
            .map(|(key, value)| (&**key, value.as_deref()))
    }

    fn copy(&self, from: Bound<&[u8]>, entries_max: usize, page: &mut Page) {
        page.bytes.clear();
        page.entries.clear();
        for (key, value) in self
            .entries
            .range::<[u8], _>((from, Bound::Unbounded))
            .take(entries_max)
        {
            let key = page.append(key);
            let value = value.as_ref().map(|value| page.append(value));
            page.entries.push((key, value));
        }
    }
}

/// A copy of some entries, in one buffer.
#[derive(Default)]
struct Page {
    bytes: Vec<u8>,
    entries: Vec<(Range<usize>, Option<Range<usize>>)>,
}

impl Page {
    fn append(&mut self, bytes: &[u8]) -> Range<usize> {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        from..self.bytes.len()
    }
}

/// A cursor over a table that is behind a lock. It copies entries page by page and holds the
/// lock only while it copies, so that a scan does not stop commits.
///
/// The table may grow meanwhile: an entry put behind the copied ones is seen, one put before or
/// among them is not. A reader who joins entries with other knowledge (is this row settled?) must
/// look that up *after* it read the entries.
pub(crate) struct MemIter {
    table: Arc<RwLock<Memtable>>,
    page: Page,
    at: usize,
    entries_max: usize,
}

impl MemIter {
    /// The first page is small, since most readers want one register; the rest grow to this.
    const PAGE_ENTRIES: Range<usize> = 8..512;

    /// A cursor on the first entry whose key is not below `key`.
    pub(crate) fn new(table: Arc<RwLock<Memtable>>, key: &[u8]) -> Self {
        let entries_max = Self::PAGE_ENTRIES.start;
        let mut iter = Self {
            table,
            page: Page::default(),
            at: 0,
            entries_max,
        };
        iter.fill(Bound::Included(key));
        iter
    }

    /// The key of the entry stood on; `None` at the end.
    pub(super) fn key(&self) -> Option<&[u8]> {
        let (key, _) = self.page.entries.get(self.at)?;
        self.page.bytes.get(key.clone())
    }

    /// The value of the entry stood on; `None` for a mark (and at the end).
    pub(super) fn value(&self) -> Option<&[u8]> {
        let (_, value) = self.page.entries.get(self.at)?;
        self.page.bytes.get(value.clone()?)
    }

    /// Goes to the next entry; `false` at the end.
    pub(super) fn advance(&mut self) -> bool {
        self.at += 1;
        if self.at == self.page.entries.len() && self.at == self.entries_max {
            let last = self
                .page
                .entries
                .last()
                .map_or(0..0, |(key, _)| key.clone());
            let last = self.page.bytes.get(last).unwrap_or_default().to_vec();
            self.entries_max = (self.entries_max * 4).min(Self::PAGE_ENTRIES.end);
            self.fill(Bound::Excluded(&last));
        }
        self.at < self.page.entries.len()
    }

    /// Goes to the first entry whose key is not below `key`, never backwards.
    pub(super) fn seek(&mut self, key: &[u8]) -> bool {
        let rest = self.page.entries.get(self.at..).unwrap_or_default();
        let bytes = &self.page.bytes;
        let skip = rest.partition_point(|(at, _)| bytes.get(at.clone()).unwrap_or_default() < key);
        self.at += skip;
        if self.at == self.page.entries.len() && self.at == self.entries_max {
            self.fill(Bound::Included(key));
        }
        self.at < self.page.entries.len()
    }

    fn fill(&mut self, from: Bound<&[u8]>) {
        self.table
            .read()
            .copy(from, self.entries_max, &mut self.page);
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_what_is_held() {
        let mut table = Memtable::default();
        table.insert(b"key", Some(&[1; 50]));
        assert_eq!(table.bytes(), 3 + 50 + ENTRY_COST);
        table.insert(b"key", Some(&[1; 10]));
        table.insert(b"key", None);
        assert_eq!((table.bytes(), table.len()), (3 + ENTRY_COST, 1));
        assert!(table.has_prefix(b"ke") && table.has_prefix(b"key"));
        assert!(!table.has_prefix(b"key2") && !table.has_prefix(b"a"));
    }

    #[test]
    fn pages_join_without_a_gap() {
        let table = Arc::new(RwLock::new(Memtable::default()));
        for number in 0..2000u32 {
            table
                .write()
                .insert(&number.to_be_bytes(), Some(&number.to_le_bytes()));
        }
        let mut iter = MemIter::new(Arc::clone(&table), &5u32.to_be_bytes());
        for number in 5..2000u32 {
            assert_eq!(iter.key(), Some(&number.to_be_bytes()[..]));
            assert_eq!(iter.value(), Some(&number.to_le_bytes()[..]));
            assert_eq!(iter.advance(), number < 1999);
        }
        assert_eq!(iter.key(), None);
        let mut iter = MemIter::new(table, &[]);
        for number in (0..2000u32).step_by(7) {
            assert!(iter.seek(&number.to_be_bytes()));
            assert_eq!(iter.key(), Some(&number.to_be_bytes()[..]));
        }
        assert!(!iter.seek(&5000u32.to_be_bytes()));
    }
}

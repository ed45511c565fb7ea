//! Many ordered sources as one: the newest source speaks for a key.

use std::cmp::Ordering;
use std::sync::Arc;

use parking_lot::RwLock;

use super::memtable::{MemIter, Memtable};
use super::run::{Access, Run, RunIter};
use crate::contract::Error;

enum Source {
    Memory(MemIter),
    Run(Box<RunIter>),
}

impl Source {
    #[inline]
    fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Memory(iter) => iter.key(),
            Self::Run(iter) => iter.key(),
        }
    }

    #[inline]
    fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Memory(iter) => iter.value(),
            Self::Run(iter) => iter.value(),
        }
    }

    #[inline]
    fn advance(&mut self) -> Result<bool, Error> {
        match self {
            Self::Memory(iter) => Ok(iter.advance()),
            Self::Run(iter) => iter.advance(),
        }
    }

    fn seek(&mut self, key: &[u8]) -> Result<bool, Error> {
        match self {
            Self::Memory(iter) => Ok(iter.seek(key)),
            Self::Run(iter) => iter.seek(key),
        }
    }
}

/// A key and its value.
type Living<'m> = (&'m [u8], &'m [u8]);
/// A key and its value, or `None` for a mark.
type Entry<'m> = (&'m [u8], Option<&'m [u8]>);

/// An ordered walk over tables and runs. Any source's failure is the walk's, from then on.
pub(crate) struct Merge {
    /// Newest first.
    sources: Vec<Source>,
    /// Those that stand on an entry, by key and then by age.
    order: Vec<usize>,
    /// Whether the first of `order` was handed out already.
    handed_out: bool,
    failed: Option<Error>,
}

impl Merge {
    /// A walk from the first key that is not below `start`. Tables and runs come newest first,
    /// and every table is newer than every run.
    pub(crate) fn new<'r>(
        tables: impl IntoIterator<Item = Arc<RwLock<Memtable>>>,
        runs: impl IntoIterator<Item = &'r Arc<Run>>,
        start: &[u8],
        access: Access,
    ) -> Result<Self, Error> {
        let memory = tables
            .into_iter()
            .map(|table| Source::Memory(MemIter::new(table, start)));
        let mut sources: Vec<Source> = memory.collect();
        for run in runs {
            sources.push(Source::Run(Box::new(run.iter_from(start, access)?)));
        }
        let mut merge = Self {
            sources,
            order: Vec::new(),
            handed_out: false,
            failed: None,
        };
        merge.sort();
        Ok(merge)
    }

    /// The next key and its newest value; keys that are gone are left out.
    pub(crate) fn next(&mut self) -> Result<Option<Living<'_>>, Error> {
        while self.step()? {
            if self.front().and_then(Source::value).is_some() {
                break;
            }
        }
        let front = self.front();
        Ok(front.and_then(|source| Some((source.key()?, source.value()?))))
    }

    /// The next key and its newest value, or `None` where that is a mark.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry<'_>>, Error> {
        self.step()?;
        Ok(self
            .front()
            .and_then(|source| Some((source.key()?, source.value()))))
    }

    /// Skips ahead: what comes next is not below `key`. Never goes back.
    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        let result = self.try_seek(key);
        self.remember(result)
    }

    fn front(&self) -> Option<&Source> {
        self.order
            .first()
            .and_then(|first| self.sources.get(*first))
    }

    fn step(&mut self) -> Result<bool, Error> {
        let result = self.try_step();
        self.remember(result)?;
        Ok(self.handed_out)
    }

    fn remember(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        if let Err(error) = &result {
            self.failed = Some(error.clone());
            self.order.clear();
        }
        result
    }

    fn try_step(&mut self) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.handed_out {
            // Older sources that hold the same key are silenced by the newest.
            while self.compare(1, 0) == Some(Ordering::Equal) {
                self.advance(1)?;
            }
            self.advance(0)?;
        }
        self.handed_out = !self.order.is_empty();
        Ok(())
    }

    fn try_seek(&mut self, key: &[u8]) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self
            .front()
            .and_then(Source::key)
            .is_none_or(|front| front >= key)
        {
            return Ok(());
        }
        for source in &mut self.sources {
            if source.key().is_some_and(|at| at < key) {
                source.seek(key)?;
            }
        }
        self.handed_out = false;
        self.sort();
        Ok(())
    }

    fn sort(&mut self) {
        let sources = &self.sources;
        self.order.clear();
        self.order
            .extend((0..sources.len()).filter(|at| sources[*at].key().is_some()));
        self.order.sort_by(|left, right| {
            sources[*left]
                .key()
                .cmp(&sources[*right].key())
                .then(left.cmp(right))
        });
    }

    /// How the keys at two places of `order` compare; `None` if there are no two such places.
    #[inline]
    fn compare(&self, left: usize, right: usize) -> Option<Ordering> {
        let key = |place: usize| self.sources[*self.order.get(place)?].key();
        Some(key(left)?.cmp(key(right)?))
    }

    /// Moves the source at that place of `order` on, and it to where it then belongs. One step
    /// mostly: neighbouring keys tend to lie in the same run.
    fn advance(&mut self, place: usize) -> Result<(), Error> {
        let Some(source) = self.order.get(place).copied() else {
            return Ok(());
        };
        if !self.sources[source].advance()? {
            self.order.remove(place);
            return Ok(());
        }
        let mut place = place;
        while let Some(order) = self.compare(place, place + 1) {
            if order.then(self.order[place].cmp(&self.order[place + 1])) == Ordering::Less {
                break;
            }
            self.order.swap(place, place + 1);
            place += 1;
        }
        Ok(())
    }
}

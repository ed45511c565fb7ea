//! The pool of block buffers: what bounds the memory of all uploads together.
//!
//! A fresh megabyte costs more in page faults than in hashing, so buffers are kept; and there
//! are only so many, so that uploads wait for one another instead of for the machine's memory.
//! They lie on huge pages where the system has them: a drive's direct write pins each page.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Advice, MmapMut};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// How many buffers there may be. One holds a block with its parity, 2 MiB at two data and two
/// parity shards.
const BUFFERS_MAX: usize = 56;
/// How many of them are kept while nobody needs them: more than half were needed in a rush only.
const FREE_MAX: usize = 24;
/// Buffers begin at a multiple of this, so that drives can write from them past the page cache.
pub(crate) const ALIGNMENT: usize = 4096;
/// A huge page, as x86-64 and most of ARM have it.
const HUGE_PAGE_LEN: usize = 2 << 20;

/// A pool of byte buffers.
#[derive(Clone)]
pub(crate) struct BufferPool {
    free: Arc<Mutex<Vec<MmapMut>>>,
    permits: Arc<Semaphore>,
}

impl BufferPool {
    /// An empty pool; buffers are made when they are first needed.
    pub(crate) fn new() -> Self {
        Self {
            free: Arc::new(Mutex::new(Vec::new())),
            permits: Arc::new(Semaphore::new(BUFFERS_MAX)),
        }
    }

    /// A buffer of `len` bytes of undefined (but initialised) content, once there is one.
    pub(crate) async fn take(&self, len: usize) -> Result<Buffer, Error> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| Error::Unavailable("shutting down"))?;
        let kept = self.free.lock().pop().filter(|kept| kept.len() >= len);
        let pages = match kept {
            Some(kept) => kept,
            None => map(len).map_err(|_| Error::Unavailable("out of memory"))?,
        };
        Ok(Buffer {
            memory: Memory::Pages(pages),
            len,
            home: Some((Arc::clone(&self.free), permit)),
        })
    }
}

/// At least `len` bytes of zeros, which take memory once they are written.
fn map(len: usize) -> io::Result<MmapMut> {
    let pages = MmapMut::map_anon(len.next_multiple_of(HUGE_PAGE_LEN))?;
    // Not the last page: of two megabytes and a bit, the bit would take two more. What says no
    // to the advice has small pages, which are as good.
    let whole = len - len % HUGE_PAGE_LEN;
    if whole > 0 {
        let _ = pages.advise_range(Advice::HugePage, 0, whole);
    }
    Ok(pages)
}

type Home = (Arc<Mutex<Vec<MmapMut>>>, OwnedSemaphorePermit);

/// A buffer on loan; it goes home when the last view of it is gone.
pub(crate) struct Buffer {
    memory: Memory,
    /// What was asked for: the memory may be longer.
    len: usize,
    home: Option<Home>,
}

enum Memory {
    Heap(Vec<u8>),
    Pages(MmapMut),
}

impl Buffer {
    /// A buffer of its own, for a small object: not worth a turn in the pool.
    pub(crate) fn small(len: usize) -> Self {
        Self {
            memory: Memory::Heap(vec![0; len]),
            len,
            home: None,
        }
    }

    /// The bytes.
    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        let all = match &mut self.memory {
            Memory::Heap(bytes) => &mut bytes[..],
            Memory::Pages(pages) => &mut pages[..],
        };
        all.get_mut(..self.len).unwrap_or_default()
    }

    /// Views of the buffer that may be shared and sliced.
    pub(crate) fn freeze(mut self) -> Bytes {
        match &mut self.memory {
            Memory::Heap(bytes) => Bytes::from(std::mem::take(bytes)),
            Memory::Pages(_) => Bytes::from_owner(self),
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        let all = match &self.memory {
            Memory::Heap(bytes) => &bytes[..],
            Memory::Pages(pages) => &pages[..],
        };
        all.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::replace(&mut self.memory, Memory::Heap(Vec::new()));
        if let (Some((home, permit)), Memory::Pages(pages)) = (self.home.take(), memory) {
            let mut free = home.lock();
            // What is too much is given back outside the lock.
            let _too_much = if free.len() < FREE_MAX {
                free.push(pages);
                None
            } else {
                Some(pages)
            };
            drop(free);
            drop(permit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn buffers_are_reused_and_bounded() {
        let pool = BufferPool::new();
        let first = pool.take(100).await.unwrap().freeze();
        assert!(first.as_ptr().addr().is_multiple_of(ALIGNMENT));
        let view = first.slice(10..20);
        drop(first);
        assert!(pool.free.lock().is_empty(), "a view keeps the buffer away");
        drop(view);
        assert_eq!(pool.free.lock().len(), 1);
        let mut held = Vec::new();
        for _ in 0..BUFFERS_MAX {
            held.push(pool.take(8).await.unwrap());
        }
        assert_eq!(pool.permits.available_permits(), 0);
        assert!(pool.free.lock().is_empty());
        drop(held);
        assert_eq!(pool.free.lock().len(), FREE_MAX);
    }
}

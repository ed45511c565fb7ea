//! The pool of block buffers: what bounds the memory of all uploads together.
//!
//! A fresh megabyte costs more in page faults than in hashing, so buffers are kept; and there
//! are only so many, so that uploads wait for one another instead of for the machine's memory.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
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

/// A pool of byte buffers.
#[derive(Clone)]
pub(crate) struct BufferPool {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
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
        let mut bytes = self.free.lock().pop().unwrap_or_default();
        bytes.resize(len + ALIGNMENT, 0);
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Ok(Buffer {
            range: start..start + len,
            bytes,
            home: Some((Arc::clone(&self.free), permit)),
        })
    }
}

type Home = (Arc<Mutex<Vec<Vec<u8>>>>, OwnedSemaphorePermit);

/// A buffer on loan; it goes home when the last view of it is gone.
pub(crate) struct Buffer {
    /// Longer than what was asked for, which is `range` of it.
    bytes: Vec<u8>,
    range: Range<usize>,
    home: Option<Home>,
}

impl Buffer {
    /// A buffer of its own, for a small object: not worth a turn in the pool.
    pub(crate) fn small(len: usize) -> Self {
        Self {
            bytes: vec![0; len],
            range: 0..len,
            home: None,
        }
    }

    /// The bytes.
    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.range.clone()).unwrap_or_default()
    }

    /// Views of the buffer that may be shared and sliced.
    pub(crate) fn freeze(self) -> Bytes {
        if self.home.is_some() {
            Bytes::from_owner(self)
        } else {
            let mut buffer = self;
            Bytes::from(std::mem::take(&mut buffer.bytes))
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(self.range.clone()).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some((home, permit)) = self.home.take() {
            let mut free = home.lock();
            if free.len() < FREE_MAX {
                free.push(std::mem::take(&mut self.bytes));
            }
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

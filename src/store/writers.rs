//! Who writes into which bucket: what the deletion of a bucket waits for.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use types::BucketId;

/// Writes under way, by bucket.
#[derive(Default)]
pub(crate) struct Writers(Mutex<HashMap<BucketId, usize>>);

impl Writers {
    pub(crate) fn enter(self: &Arc<Self>, bucket: BucketId) -> BucketPass {
        *self.0.lock().entry(bucket).or_default() += 1;
        BucketPass {
            writers: Arc::clone(self),
            bucket,
        }
    }

    pub(crate) fn any(&self, bucket: BucketId) -> bool {
        self.0.lock().contains_key(&bucket)
    }
}

/// A write into a bucket that is under way.
pub struct BucketPass {
    writers: Arc<Writers>,
    bucket: BucketId,
}

impl Drop for BucketPass {
    fn drop(&mut self) {
        let mut writers = self.writers.0.lock();
        if let Some(count) = writers.get_mut(&self.bucket) {
            *count -= 1;
            if *count == 0 {
                writers.remove(&self.bucket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_writer_out_leaves_nothing() {
        let (writers, bucket) = (Arc::new(Writers::default()), BucketId::from_u64(1));
        let (first, second) = (writers.enter(bucket), writers.enter(bucket));
        drop(first);
        assert!(writers.any(bucket) && !writers.any(BucketId::from_u64(2)));
        drop(second);
        assert!(!writers.any(bucket));
    }
}

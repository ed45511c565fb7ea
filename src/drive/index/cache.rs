//! Blocks that point reads touched lately, verified, within a bound of bytes.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::seal::RunId;

const SHARDS: usize = 8;

type BlockName = (RunId, u64);

/// A cache of blocks for all runs of a drive. Evicts by the clock rule: a block that was used
/// since the hand last passed stays for another round.
pub(crate) struct BlockCache {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    bytes_max: usize,
    bytes: usize,
    places: HashMap<BlockName, usize>,
    slots: Vec<Slot>,
    hand: usize,
}

struct Slot {
    name: BlockName,
    block: Arc<[u8]>,
    used: bool,
}

impl BlockCache {
    /// A cache that holds at most about `bytes_max` bytes of blocks.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let shard = || {
            Mutex::new(Shard {
                bytes_max: bytes_max / SHARDS,
                ..Shard::default()
            })
        };
        Self {
            shards: std::array::from_fn(|_| shard()),
        }
    }

    /// The block, if it is here.
    pub(super) fn find(&self, run: RunId, block: u64) -> Option<Arc<[u8]>> {
        let mut shard = self.shard(block).lock();
        let at = *shard.places.get(&(run, block))?;
        let slot = shard.slots.get_mut(at)?;
        slot.used = true;
        Some(Arc::clone(&slot.block))
    }

    /// Keeps a verified block; others may go for it.
    pub(super) fn insert(&self, run: RunId, block: u64, bytes: &Arc<[u8]>) {
        self.shard(block).lock().insert((run, block), bytes);
    }

    fn shard(&self, block: u64) -> &Mutex<Shard> {
        &self.shards[usize::try_from(block).unwrap_or(0) % SHARDS]
    }
}

impl Shard {
    fn insert(&mut self, name: BlockName, block: &Arc<[u8]>) {
        if block.len() > self.bytes_max || self.places.contains_key(&name) {
            return;
        }
        while self.bytes + block.len() > self.bytes_max && !self.slots.is_empty() {
            self.evict_one();
        }
        self.bytes += block.len();
        self.places.insert(name, self.slots.len());
        self.slots.push(Slot {
            name,
            block: Arc::clone(block),
            used: false,
        });
    }

    fn evict_one(&mut self) {
        loop {
            self.hand = if self.hand >= self.slots.len() {
                0
            } else {
                self.hand
            };
            let slot = &mut self.slots[self.hand];
            if !std::mem::take(&mut slot.used) {
                break;
            }
            self.hand += 1;
        }
        let gone = self.slots.swap_remove(self.hand);
        self.bytes -= gone.block.len();
        self.places.remove(&gone.name);
        if let Some(moved) = self.slots.get(self.hand) {
            self.places.insert(moved.name, self.hand);
        }
        self.hand += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_used_blocks_stay() {
        let cache = BlockCache::new(SHARDS * 1000);
        let block = |byte: u8| -> Arc<[u8]> { vec![byte; 100].into() };
        for number in 0..400u64 {
            cache.insert(
                RunId(1),
                number,
                &block(u8::try_from(number % 256).unwrap()),
            );
            assert!(
                cache
                    .find(RunId(1), 3)
                    .is_some_and(|found| number < 3 || found[0] == 3)
                    || number < 3
            );
            let bytes: usize = cache.shards.iter().map(|shard| shard.lock().bytes).sum();
            assert!(bytes <= SHARDS * 1000);
        }
        assert!(cache.find(RunId(2), 3).is_none(), "another run's block");
        for number in 0..400u64 {
            if let Some(found) = cache.find(RunId(1), number) {
                assert_eq!(u64::from(found[0]), number % 256);
            }
        }
        cache.insert(RunId(1), 1000, &vec![0; 1001].into());
        assert!(cache.find(RunId(1), 1000).is_none(), "larger than a shard");
    }
}

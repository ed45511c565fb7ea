//! Object bodies: pseudo-random bytes that depend on the key, made without copying.

use bytes::Bytes;

/// Bytes of the pool: a little over 1 MiB, so that no two erasure blocks of a long
/// object hold the same bytes and a block in the wrong place is noticed.
const POOL: usize = (1 << 20) + 4093;
/// Longest slice handed out at once.
const SLICE: usize = 256 * 1024;
/// How often a sampled comparison looks at eight bytes.
const SAMPLE: usize = 256;

/// How closely a body that was read is compared with what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Check {
    /// Only the length.
    Length,
    /// Eight bytes in every 256.
    Sample,
    /// Every byte.
    Full,
}

/// The source of all bodies. A body is a window on one pool that starts where the key
/// says and wraps around at its end.
#[derive(Debug, Clone)]
pub struct Bodies {
    pool: Bytes,
}

impl Default for Bodies {
    fn default() -> Self {
        Self::new()
    }
}

impl Bodies {
    /// Makes the pool. The same in every process, so that one may write and another verify.
    pub fn new() -> Self {
        let mut state = 0x5a72_5e6e_0000_0001_u64;
        let mut pool = Vec::with_capacity(POOL + 8);
        while pool.len() < POOL {
            pool.extend_from_slice(&splitmix(&mut state).to_le_bytes());
        }
        pool.truncate(POOL);
        Self { pool: pool.into() }
    }

    /// Where the body of `key` starts in the pool.
    pub fn seed(&self, key: &str) -> u64 {
        // FNV-1a, then one round of mixing so that neighbouring keys lie far apart.
        let mut hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        splitmix(&mut hash) % POOL as u64
    }

    /// A piece of the body with this seed from `offset` on, at most `limit` bytes and
    /// never empty unless `limit` is 0.
    pub fn piece(&self, seed: u64, offset: u64, limit: u64) -> Bytes {
        let from = ((seed + offset) % POOL as u64) as usize;
        let length = (POOL - from).min(SLICE) as u64;
        self.pool.slice(from..from + length.min(limit) as usize)
    }

    /// True if `bytes`, read at `offset` of the body with this seed, are the right ones.
    pub fn matches(&self, seed: u64, offset: u64, bytes: &[u8], check: Check) -> bool {
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            let wanted = self.piece(seed, at, rest.len() as u64);
            let (head, tail) = rest.split_at(wanted.len());
            let same = match check {
                Check::Length => true,
                Check::Full => head == wanted,
                Check::Sample => sampled(head, &wanted),
            };
            if !same {
                return false;
            }
            at += wanted.len() as u64;
            rest = tail;
        }
        true
    }
}

/// Compares the first eight bytes of every [`SAMPLE`], and the last eight.
fn sampled(left: &[u8], right: &[u8]) -> bool {
    let starts = left.chunks(SAMPLE).zip(right.chunks(SAMPLE));
    starts
        .into_iter()
        .all(|(a, b)| a.iter().take(8).eq(b.iter().take(8)))
        && left.iter().rev().take(8).eq(right.iter().rev().take(8))
}

/// Vigna's splitmix64: the next value of the sequence.
pub fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::{Bodies, Check};

    fn whole(bodies: &Bodies, seed: u64, size: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while (out.len() as u64) < size {
            let at = out.len() as u64;
            out.extend_from_slice(&bodies.piece(seed, at, size - at));
        }
        out
    }

    #[test]
    fn a_flipped_bit_fails_a_full_check_and_a_shift_fails_a_sample() {
        let bodies = Bodies::new();
        let seed = bodies.seed("some/key");
        let mut body = whole(&bodies, seed, 3 << 20);
        assert!(bodies.matches(seed, 0, &body, Check::Full));
        assert!(bodies.matches(seed, 0, &body, Check::Sample));
        assert!(!bodies.matches(seed, 1, &body, Check::Sample));
        assert!(!bodies.matches(bodies.seed("other"), 0, &body, Check::Sample));
        body[2_000_123] ^= 1;
        assert!(!bodies.matches(seed, 0, &body, Check::Full));
        assert!(bodies.matches(seed, 0, &body, Check::Length));
    }

    #[test]
    fn blocks_of_one_body_differ() {
        let bodies = Bodies::new();
        let body = whole(&bodies, 7, 4 << 20);
        let blocks: Vec<_> = body.chunks(1 << 20).collect();
        assert_ne!(blocks[0], blocks[1]);
        assert_ne!(blocks[1], blocks[2]);
    }
}

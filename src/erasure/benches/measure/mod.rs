//! How fast something codes stripes: the same measurement for every codec.
//!
//! *256 KiB* and *1 MiB*: one block of that size again and again, as when it was just received; the
//! smaller one fits an L2 cache with its parity. *Cold*: a ring of 192 blocks of 1 MiB, larger than
//! any cache. Figures are GiB of object data a second on one core, the best of
//! several rounds: noise of other work only ever slows down.

use std::array;
use std::hint::black_box;
use std::time::{Duration, Instant};

const BLOCK_LEN: usize = 1 << 20;
const SMALL_LEN: usize = 256 << 10;
const RING_BLOCKS: usize = 192;
const PAGE_LEN: usize = 4096;
const ROUNDS: usize = 8;
const ROUND: Duration = Duration::from_millis(10);

/// The geometries that are measured.
pub(crate) const GEOMETRIES: [(usize, usize); 5] = [(2, 2), (4, 2), (8, 4), (12, 4), (8, 8)];

/// A codec of one geometry.
pub(crate) trait Coder {
    /// Computes the parity shards of a stripe, given all its shards.
    fn encode(&self, shards: &mut [&mut [u8]]);
    /// Computes data shards 0 and 1 from the others.
    fn rebuild(&self, shards: &mut [&mut [u8]]);
}

/// What one codec does on one geometry, in GiB/s.
pub(crate) struct Speed {
    encode: [f64; 3],
    rebuild: [f64; 3],
}

/// Measures one codec.
pub(crate) fn measure(coder: &dyn Coder, data: usize, parity: usize) -> Speed {
    let encode = |shards: &mut [&mut [u8]]| coder.encode(shards);
    let rebuild = |shards: &mut [&mut [u8]]| coder.rebuild(shards);
    let settings = [(1, SMALL_LEN), (1, BLOCK_LEN), (RING_BLOCKS, BLOCK_LEN)];
    Speed {
        encode: settings.map(|(blocks, len)| best(data, parity, blocks, len, &encode)),
        rebuild: settings.map(|(blocks, len)| best(data, parity, blocks, len, &rebuild)),
    }
}

/// One line of the table.
pub(crate) fn line(name: &str, data: usize, parity: usize, speed: &Speed) -> String {
    let figures: Vec<String> = speed
        .encode
        .iter()
        .chain(&speed.rebuild)
        .map(|speed| format!("{speed:>8.1}"))
        .collect();
    format!(
        "{name:<21} {:>5} {}",
        format!("{data}+{parity}"),
        figures.join(" ")
    )
}

/// The head of the table.
pub(crate) fn head() -> String {
    let columns = ["256 KiB", "1 MiB", "cold"]
        .map(|column| format!("{column:>8}"))
        .join(" ");
    format!(
        "{:<27} {:>26} {:>26}\n{:<27} {columns} {columns}",
        "GiB/s of data, one core", "encode", "rebuild two", ""
    )
}

fn fill(memory: &mut [u8]) {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for word in memory.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
}

fn best(
    data: usize,
    parity: usize,
    blocks: usize,
    len: usize,
    work: &dyn Fn(&mut [&mut [u8]]),
) -> f64 {
    let shard_len = len.div_ceil(data);
    let block_len = (shard_len * (data + parity)).next_multiple_of(PAGE_LEN);
    let mut memory = vec![0u8; blocks * block_len + PAGE_LEN];
    fill(&mut memory);
    // A block lies as it was received: in one piece, shard after shard, from a page's start.
    let skip = memory.as_ptr().align_offset(PAGE_LEN);
    let mut ring: Vec<Vec<&mut [u8]>> = memory[skip..]
        .chunks_exact_mut(block_len)
        .map(|block| {
            block
                .chunks_exact_mut(shard_len)
                .take(data + parity)
                .collect()
        })
        .collect();
    let rounds: [f64; ROUNDS] = array::from_fn(|_| {
        let start = Instant::now();
        let mut done = 0usize;
        loop {
            for block in &mut ring {
                work(black_box(block));
                done += 1;
            }
            let spent = start.elapsed();
            if spent >= ROUND {
                return (done * len) as f64 / spent.as_secs_f64() / f64::from(1u32 << 30);
            }
        }
    });
    rounds.into_iter().fold(0.0, f64::max)
}

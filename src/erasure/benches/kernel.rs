//! Prints how fast each kernel of this CPU codes, beside reed-solomon-erasure's portable code,
//! and what a small object's shards and frames cost.
//!
//! `scripts/bench-rs-simd` prints the same table for that crate's `simd-accel` build, which
//! cannot be linked together with the portable one.
#![expect(clippy::print_stdout, reason = "a program that prints a table")]

mod measure;

use std::env;
use std::hint::black_box;
use std::time::Instant;

use erasure::{Codec, FrameId, Kernel, Md5, ShardKey};
use md5::Digest;
use reed_solomon_erasure::galois_8::ReedSolomon;
use types::{DataId, DeploymentId, Geometry};

use crate::measure::{Coder, GEOMETRIES, head, line, measure};

struct Ours(Codec);

impl Coder for Ours {
    fn encode(&self, shards: &mut [&mut [u8]]) {
        let (data, parity) = shards.split_at_mut(self.0.geometry().data());
        let data: Vec<&[u8]> = data.iter().map(|shard| &**shard).collect();
        let mut parity: Vec<&mut [u8]> = parity.iter_mut().map(|shard| &mut **shard).collect();
        self.0.encode(&data, &mut parity).expect("a whole stripe");
    }

    fn rebuild(&self, shards: &mut [&mut [u8]]) {
        let (lost, rest) = shards.split_at_mut(2);
        let mut present: Vec<Option<&[u8]>> = vec![None, None];
        present.extend(rest.iter().map(|shard| Some(&**shard)));
        let mut lost: Vec<&mut [u8]> = lost.iter_mut().map(|shard| &mut **shard).collect();
        self.0
            .rebuild(&present, &[0, 1], &mut lost)
            .expect("a stripe that lost two shards");
    }
}

struct Crate(ReedSolomon);

impl Coder for Crate {
    fn encode(&self, shards: &mut [&mut [u8]]) {
        self.0.encode(shards).expect("a whole stripe");
    }

    fn rebuild(&self, shards: &mut [&mut [u8]]) {
        let mut flagged: Vec<(&mut [u8], bool)> = shards
            .iter_mut()
            .enumerate()
            .map(|(at, shard)| (&mut **shard, at >= 2))
            .collect();
        self.0
            .reconstruct_data(&mut flagged)
            .expect("a stripe that lost two shards");
    }
}

fn main() {
    // `cargo bench -p erasure --bench kernel -- NAME` measures only the codecs named alike.
    let named = env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let measured = |name: &str| named.as_ref().is_none_or(|named| name.contains(named));
    println!("{}", head());
    for (data, parity) in GEOMETRIES {
        let geometry = geometry(data, parity);
        for kernel in Kernel::available()
            .into_iter()
            .filter(|kernel| measured(kernel.name()))
        {
            let coder = Ours(Codec::with_kernel(geometry, kernel));
            let speed = measure(&coder, data, parity);
            println!("{}", line(kernel.name(), data, parity, &speed));
        }
        if measured("reed-solomon-erasure") {
            let oracle = Crate(ReedSolomon::new(data, parity).expect("a legal geometry"));
            let speed = measure(&oracle, data, parity);
            println!("{}", line("reed-solomon-erasure", data, parity, &speed));
        }
    }
    small();
    hashes();
}

/// What a 4 KiB object costs: parity of two shards of 2 KiB, and four frames.
fn small() {
    let codec = Codec::new(geometry(2, 2));
    let block = [7u8; 4096];
    let (first, second) = block.split_at(2048);
    let (mut p, mut q) = ([0u8; 2048], [0u8; 2048]);
    let encode = micros(|| {
        let places: &mut [&mut [u8]] = &mut [&mut p, &mut q];
        codec
            .encode(black_box(&[first, second]), places)
            .expect("equal halves");
    });
    let key = || {
        ShardKey::new(
            DeploymentId::from_bytes([1; 16]),
            DataId::from_bytes([2; 16]),
            1,
        )
    };
    let derive = micros(|| _ = black_box(key()));
    let part = key();
    let id = FrameId {
        stripe: 0,
        shard: 1,
        geometry: geometry(2, 2),
    };
    println!();
    println!("encode 4 KiB, 2+2        {encode:.3} us");
    println!("key of a part            {derive:.3} us");
    for len in [512, 1024, 2048, 16 << 10, 64 << 10, 512 << 10] {
        let shard = vec![3u8; len];
        let seal = micros(|| _ = black_box(part.seal(id, black_box(&shard))));
        let speed = len as f64 / seal / 1e-6 / f64::from(1u32 << 30);
        println!("frame of {len:>7} bytes   {seal:.3} us  {speed:.2} GiB/s");
    }
}

/// What MD5 makes of streams side by side, summed over the streams.
fn hashes() {
    println!();
    for count in [1, 2, 4, 8, 16, 32] {
        let inputs = vec![vec![5u8; 256 << 10]; count];
        let mut streams = vec![Md5::new(); count];
        let spent = micros(|| {
            let slices = inputs.iter().map(Vec::as_slice);
            let mut pairs: Vec<(&mut Md5, &[u8])> = streams.iter_mut().zip(slices).collect();
            Md5::update_together(&mut pairs);
        });
        let speed = (count * (256 << 10)) as f64 / spent / 1e-6 / f64::from(1u32 << 30);
        println!("MD5 of {count:>2} streams       {speed:.2} GiB/s in all");
    }
    let input = vec![5u8; 256 << 10];
    let spent = micros(|| _ = black_box(md5::Md5::digest(black_box(&input))));
    let speed = input.len() as f64 / spent / 1e-6 / f64::from(1u32 << 30);
    println!("MD5, the md-5 crate      {speed:.2} GiB/s");
}

fn micros(mut work: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        for _ in 0..20 {
            work();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e6 / 20.0);
    }
    best
}

fn geometry(data: usize, parity: usize) -> Geometry {
    let count = |shards| u8::try_from(shards).expect("few shards");
    Geometry::new(count(data), count(parity)).expect("a legal geometry")
}

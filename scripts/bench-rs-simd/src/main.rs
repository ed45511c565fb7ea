//! Prints how fast reed-solomon-erasure's `simd-accel` build codes: the table of
//! `cargo bench -p erasure`, for the build that cannot be linked together with its portable one.

#[path = "../../../src/erasure/benches/measure/mod.rs"]
mod measure;

use reed_solomon_erasure::galois_8::ReedSolomon;

use crate::measure::{Coder, GEOMETRIES, head, line, measure};

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
    println!("{}", head());
    for (data, parity) in GEOMETRIES {
        let coder = Crate(ReedSolomon::new(data, parity).expect("a legal geometry"));
        let speed = measure(&coder, data, parity);
        println!("{}", line("simd-accel", data, parity, &speed));
    }
}

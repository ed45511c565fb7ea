//! The rate of one MD5 stream, which bounds a single PUT whose ETag is the MD5.

use std::hint::black_box;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};

use super::body::Bodies;

/// MiB per second of one stream on this core, over at least `least`.
pub fn rate(least: Duration) -> f64 {
    let bodies = Bodies::new();
    let mut hash = Md5::new();
    let started = Instant::now();
    let mut at = 0;
    while started.elapsed() < least {
        let piece = bodies.piece(0, at, u64::MAX);
        hash.update(&piece);
        at += piece.len() as u64;
    }
    black_box(hash.finalize());
    at as f64 / (1 << 20) as f64 / started.elapsed().as_secs_f64()
}

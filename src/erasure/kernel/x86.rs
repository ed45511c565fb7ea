//! The kernel on x86-64: GFNI with AVX-512, GFNI with AVX2, and AVX2 byte shuffles.
//!
//! The only file of this room that holds `unsafe` for shards. Two things need it: calling a
//! function that is compiled for instructions which the CPU might lack, and loads and stores
//! through pointers, because bounds checks in the inner loop cost more than its arithmetic.
//! A [`Level`] exists only if its instructions were detected. Lengths are asserted by the one
//! caller of [`Level::combine`]. Tests compare every level with the definition at odd lengths and
//! alignments, with margins that show a store outside a slice.
//!
//! Stores go through the caches. Stores past them gave 1.4 times the speed on cold 2+2 stripes,
//! but every shard is hashed as soon as it is coded, and coding and hashing together became 5 to
//! 20 % slower. Prefetches beyond those of the CPU made cold stripes slower as well.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256i, __m512i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256,
    _mm256_gf2p8affine_epi64_epi8, _mm256_loadu_si256, _mm256_set1_epi8, _mm256_set1_epi64x,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi64, _mm256_storeu_si256,
    _mm256_xor_si256, _mm512_gf2p8affine_epi64_epi8, _mm512_loadu_si512, _mm512_mask_storeu_epi8,
    _mm512_maskz_loadu_epi8, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_storeu_si512,
    _mm512_ternarylogic_epi64, _mm512_xor_si512,
};

use types::Geometry;

use crate::galois::{AFFINE, NIBBLES, multiply};
use crate::matrix::Row;

const INPUTS_MAX: usize = Geometry::DRIVES_MAX;

/// Bytes of each input that one pass takes when the outputs need several passes, so that the
/// next pass finds the inputs in the L2 cache.
const WINDOW: usize = 16 << 10;

/// As many sums, unrolled, as fit the registers. With AVX-512 eight would fit too, but more passes
/// over inputs in the cache were a fifth faster.
const OUTPUTS_PER_PASS: usize = 4;

/// The truth table of `a ^ b ^ c`.
const XOR_OF_THREE: i32 = 0x96;

/// A set of instructions that this CPU was found to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level(Isa);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isa {
    Gfni512,
    Gfni256,
    Avx2,
}

/// A pass over bytes `.1 .. .2` of all slices, compiled for some instructions.
type Pass = unsafe fn(&[Row], &[&[u8]], &mut [&mut [u8]], (usize, usize));

impl Level {
    /// What this CPU can do, the fastest first.
    pub(super) fn detect() -> [Option<Self>; 3] {
        let avx2 = is_x86_feature_detected!("avx2");
        let gfni = is_x86_feature_detected!("gfni");
        let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        [
            (gfni && avx512).then_some(Self(Isa::Gfni512)),
            (gfni && avx2).then_some(Self(Isa::Gfni256)),
            avx2.then_some(Self(Isa::Avx2)),
        ]
    }

    pub(super) fn name(self) -> &'static str {
        match self.0 {
            Isa::Gfni512 => "gfni-avx512",
            Isa::Gfni256 => "gfni-avx2",
            Isa::Avx2 => "avx2",
        }
    }

    /// As [`super::Kernel::combine`], whose assertions hold; `len` is the length of every slice.
    pub(super) fn combine(
        self,
        rows: &[Row],
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
        len: usize,
    ) {
        let window = if rows.len() > OUTPUTS_PER_PASS {
            WINDOW
        } else {
            len.max(1)
        };
        let mut start = 0;
        while start < len {
            let end = len.min(start + window);
            for (rows, outputs) in rows
                .chunks(OUTPUTS_PER_PASS)
                .zip(outputs.chunks_mut(OUTPUTS_PER_PASS))
            {
                let pass = self.pass(rows.len());
                // SAFETY: this level was detected, so the CPU has the instructions of its
                // passes; and `start <= end <= len`, the length of every slice.
                unsafe { pass(rows, inputs, outputs, (start, end)) };
            }
            start = end;
        }
    }

    fn pass(self, outputs: usize) -> Pass {
        match (self.0, outputs) {
            (Isa::Gfni512, 1) => gfni512::<1, 4>,
            (Isa::Gfni512, 2) => gfni512::<2, 4>,
            (Isa::Gfni512, 3) => gfni512::<3, 4>,
            (Isa::Gfni512, _) => gfni512::<4, 4>,
            (Isa::Gfni256, 1) => gfni256::<1, 4>,
            (Isa::Gfni256, 2) => gfni256::<2, 4>,
            (Isa::Gfni256, 3) => gfni256::<3, 2>,
            (Isa::Gfni256, _) => gfni256::<4, 2>,
            (Isa::Avx2, 1) => avx2::<1, 4>,
            (Isa::Avx2, 2) => avx2::<2, 2>,
            (Isa::Avx2, 3) => avx2::<3, 2>,
            (Isa::Avx2, _) => avx2::<4, 2>,
        }
    }
}

/// `R` outputs over `window`, `U` vectors of 64 bytes at a time.
///
/// # Safety
/// The CPU has AVX-512 F and BW and GFNI; there are `R` rows and outputs; `window` lies within
/// every slice.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
unsafe fn gfni512<const R: usize, const U: usize>(
    rows: &[Row],
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
    window: (usize, usize),
) {
    let matrices = affine_matrices::<R>(rows);
    let (mut at, end) = window;
    while end - at >= 64 * U {
        // SAFETY: `64 * U` bytes are left after `at`.
        unsafe { step512::<R, U>(&matrices, inputs, outputs, at) };
        at += 64 * U;
    }
    while end - at >= 64 {
        // SAFETY: 64 bytes are left after `at`.
        unsafe { step512::<R, 1>(&matrices, inputs, outputs, at) };
        at += 64;
    }
    if at == end {
        return;
    }
    let mask = u64::MAX >> (64 - (end - at));
    let mut sums = [_mm512_setzero_si512(); R];
    for (input, matrices) in inputs.iter().zip(&matrices) {
        // SAFETY: the mask admits only the `end - at` bytes that are left.
        let bytes = unsafe { _mm512_maskz_loadu_epi8(mask, input.as_ptr().add(at).cast()) };
        for r in 0..R {
            let matrix = _mm512_set1_epi64(matrices[r].cast_signed());
            let product = _mm512_gf2p8affine_epi64_epi8::<0>(bytes, matrix);
            sums[r] = _mm512_xor_si512(sums[r], product);
        }
    }
    for (output, sum) in outputs.iter_mut().zip(sums) {
        // SAFETY: the mask admits only the `end - at` bytes that are left.
        unsafe { _mm512_mask_storeu_epi8(output.as_mut_ptr().add(at).cast(), mask, sum) };
    }
}

/// # Safety
/// As [`gfni512`], and `64 * U` bytes from `at` lie within every slice.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,gfni")]
unsafe fn step512<const R: usize, const U: usize>(
    matrices: &[[u64; R]; INPUTS_MAX],
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
    at: usize,
) {
    let mut sums = [[_mm512_setzero_si512(); U]; R];
    let pairs = inputs.chunks_exact(2);
    let single = pairs.remainder().iter().zip(&matrices[inputs.len() & !1..]);
    // Two products at a time: one instruction adds both.
    for (pair, matrices) in pairs.zip(matrices.chunks_exact(2)) {
        // SAFETY: the caller has `64 * U` bytes after `at` in every input.
        let [first, second] = unsafe { [load512::<U>(pair[0], at), load512::<U>(pair[1], at)] };
        for r in 0..R {
            let of_first = _mm512_set1_epi64(matrices[0][r].cast_signed());
            let of_second = _mm512_set1_epi64(matrices[1][r].cast_signed());
            for u in 0..U {
                sums[r][u] = _mm512_ternarylogic_epi64::<XOR_OF_THREE>(
                    sums[r][u],
                    _mm512_gf2p8affine_epi64_epi8::<0>(first[u], of_first),
                    _mm512_gf2p8affine_epi64_epi8::<0>(second[u], of_second),
                );
            }
        }
    }
    for (input, matrices) in single {
        // SAFETY: the caller has `64 * U` bytes after `at` in every input.
        let bytes = unsafe { load512::<U>(input, at) };
        for r in 0..R {
            let matrix = _mm512_set1_epi64(matrices[r].cast_signed());
            for u in 0..U {
                let product = _mm512_gf2p8affine_epi64_epi8::<0>(bytes[u], matrix);
                sums[r][u] = _mm512_xor_si512(sums[r][u], product);
            }
        }
    }
    for (output, sums) in outputs.iter_mut().zip(&sums) {
        for (u, sum) in sums.iter().enumerate() {
            // SAFETY: the caller has `64 * U` bytes after `at` in every output.
            unsafe { _mm512_storeu_si512(output.as_mut_ptr().add(at + 64 * u).cast(), *sum) };
        }
    }
}

/// # Safety
/// The CPU has AVX-512 F, and `64 * U` bytes from `at` lie within `input`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load512<const U: usize>(input: &[u8], at: usize) -> [__m512i; U] {
    let mut bytes = [_mm512_setzero_si512(); U];
    for (u, bytes) in bytes.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *bytes = unsafe { _mm512_loadu_si512(input.as_ptr().add(at + 64 * u).cast()) };
    }
    bytes
}

/// The bit matrices of the first `R` rows, those of one input side by side.
fn affine_matrices<const R: usize>(rows: &[Row]) -> [[u64; R]; INPUTS_MAX] {
    let mut matrices = [[0; R]; INPUTS_MAX];
    for (r, row) in rows.iter().enumerate().take(R) {
        for (matrices, coefficient) in matrices.iter_mut().zip(row) {
            matrices[r] = AFFINE[usize::from(*coefficient)];
        }
    }
    matrices
}

/// `R` outputs over `window`, `U` vectors of 32 bytes at a time.
///
/// # Safety
/// The CPU has AVX2 and GFNI; there are `R` rows and outputs; `window` lies within every slice.
#[target_feature(enable = "avx2,gfni")]
unsafe fn gfni256<const R: usize, const U: usize>(
    rows: &[Row],
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
    window: (usize, usize),
) {
    let matrices = affine_matrices::<R>(rows);
    let (mut at, end) = window;
    while end - at >= 32 * U {
        // SAFETY: `32 * U` bytes are left after `at`.
        unsafe { step256::<R, U>(&matrices, inputs, outputs, at) };
        at += 32 * U;
    }
    while end - at >= 32 {
        // SAFETY: 32 bytes are left after `at`.
        unsafe { step256::<R, 1>(&matrices, inputs, outputs, at) };
        at += 32;
    }
    if at < end && end >= 32 {
        // SAFETY: the 32 bytes before `end` lie within every slice. What was written of them is
        // written again, the same: outputs are never inputs.
        unsafe { step256::<R, 1>(&matrices, inputs, outputs, end - 32) };
    } else {
        bytewise(rows, inputs, outputs, at, end);
    }
}

/// # Safety
/// As [`gfni256`], and `32 * U` bytes from `at` lie within every slice.
#[inline]
#[target_feature(enable = "avx2,gfni")]
unsafe fn step256<const R: usize, const U: usize>(
    matrices: &[[u64; R]; INPUTS_MAX],
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
    at: usize,
) {
    let mut sums = [[_mm256_setzero_si256(); U]; R];
    for (input, matrices) in inputs.iter().zip(matrices) {
        let mut bytes = [_mm256_setzero_si256(); U];
        for (u, bytes) in bytes.iter_mut().enumerate() {
            // SAFETY: the caller has `32 * U` bytes after `at` in every input.
            *bytes = unsafe { _mm256_loadu_si256(input.as_ptr().add(at + 32 * u).cast()) };
        }
        for r in 0..R {
            let matrix = _mm256_set1_epi64x(matrices[r].cast_signed());
            for u in 0..U {
                let product = _mm256_gf2p8affine_epi64_epi8::<0>(bytes[u], matrix);
                sums[r][u] = _mm256_xor_si256(sums[r][u], product);
            }
        }
    }
    // SAFETY: the caller has `32 * U` bytes after `at` in every output.
    unsafe { store256(outputs, &sums, at) };
}

/// Products of one coefficient with 0..16, and with the multiples of 16.
type Shuffles = [[u8; 16]; 2];

/// `R` outputs over `window`, `U` vectors of 32 bytes at a time.
///
/// # Safety
/// The CPU has AVX2; there are `R` rows and outputs; `window` lies within every slice.
#[target_feature(enable = "avx2")]
unsafe fn avx2<const R: usize, const U: usize>(
    rows: &[Row],
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
    window: (usize, usize),
) {
    let mut shuffles = [[[[0; 16]; 2]; R]; INPUTS_MAX];
    for (r, row) in rows.iter().enumerate().take(R) {
        for (shuffles, coefficient) in shuffles.iter_mut().zip(row).take(inputs.len()) {
            shuffles[r] = NIBBLES[usize::from(*coefficient)];
        }
    }
    let (mut at, end) = window;
    while end - at >= 32 * U {
        // SAFETY: `32 * U` bytes are left after `at`.
        unsafe { step_shuffle::<R, U>(&shuffles, inputs, outputs, at) };
        at += 32 * U;
    }
    while end - at >= 32 {
        // SAFETY: 32 bytes are left after `at`.
        unsafe { step_shuffle::<R, 1>(&shuffles, inputs, outputs, at) };
        at += 32;
    }
    if at < end && end >= 32 {
        // SAFETY: the 32 bytes before `end` lie within every slice. What was written of them is
        // written again, the same: outputs are never inputs.
        unsafe { step_shuffle::<R, 1>(&shuffles, inputs, outputs, end - 32) };
    } else {
        bytewise(rows, inputs, outputs, at, end);
    }
}

/// # Safety
/// As [`avx2`], and `32 * U` bytes from `at` lie within every slice.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn step_shuffle<const R: usize, const U: usize>(
    shuffles: &[[Shuffles; R]; INPUTS_MAX],
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
    at: usize,
) {
    let nibble = _mm256_set1_epi8(0x0f);
    let mut sums = [[_mm256_setzero_si256(); U]; R];
    for (input, shuffles) in inputs.iter().zip(shuffles) {
        let mut low = [_mm256_setzero_si256(); U];
        let mut high = [_mm256_setzero_si256(); U];
        for u in 0..U {
            // SAFETY: the caller has `32 * U` bytes after `at` in every input.
            let bytes = unsafe { _mm256_loadu_si256(input.as_ptr().add(at + 32 * u).cast()) };
            low[u] = _mm256_and_si256(bytes, nibble);
            high[u] = _mm256_and_si256(_mm256_srli_epi64::<4>(bytes), nibble);
        }
        for r in 0..R {
            let [of_low, of_high] = broadcast(&shuffles[r]);
            for u in 0..U {
                let products = _mm256_xor_si256(
                    _mm256_shuffle_epi8(of_low, low[u]),
                    _mm256_shuffle_epi8(of_high, high[u]),
                );
                sums[r][u] = _mm256_xor_si256(sums[r][u], products);
            }
        }
    }
    // SAFETY: the caller has `32 * U` bytes after `at` in every output.
    unsafe { store256(outputs, &sums, at) };
}

#[inline]
#[target_feature(enable = "avx2")]
fn broadcast(shuffles: &Shuffles) -> [__m256i; 2] {
    let [low, high] = shuffles;
    // SAFETY: both arrays have the 16 bytes that are loaded.
    let (low, high) = unsafe {
        (
            _mm_loadu_si128(low.as_ptr().cast()),
            _mm_loadu_si128(high.as_ptr().cast()),
        )
    };
    [
        _mm256_broadcastsi128_si256(low),
        _mm256_broadcastsi128_si256(high),
    ]
}

/// # Safety
/// `32 * U` bytes from `at` lie within every output.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store256<const R: usize, const U: usize>(
    outputs: &mut [&mut [u8]],
    sums: &[[__m256i; U]; R],
    at: usize,
) {
    for (output, sums) in outputs.iter_mut().zip(sums) {
        for (u, sum) in sums.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm256_storeu_si256(output.as_mut_ptr().add(at + 32 * u).cast(), *sum) };
        }
    }
}

/// The same sums for the few bytes of a shard shorter than a vector.
fn bytewise(rows: &[Row], inputs: &[&[u8]], outputs: &mut [&mut [u8]], start: usize, end: usize) {
    for (row, output) in rows.iter().zip(outputs) {
        for at in start..end {
            output[at] = row.iter().zip(inputs).fold(0, |sum, (coefficient, input)| {
                sum ^ multiply(*coefficient, input[at])
            });
        }
    }
}

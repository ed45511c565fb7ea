//! MD5 on x86-64 vectors: sixteen streams side by side with AVX-512, eight with AVX2.
//!
//! The only file of this module that holds `unsafe`. A [`Level`] exists only if its instructions
//! were detected. A vector value is made only in functions that run behind such a level, so the
//! methods on vectors, which need the same instructions, are safe to call. Loads through pointers
//! read whole blocks of 64 bytes, by their type. Tests compare every level with RFC 1321.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi32, _mm256_and_si256, _mm256_andnot_si256, _mm256_loadu_si256,
    _mm256_or_si256, _mm256_permute2x128_si256, _mm256_set1_epi32, _mm256_slli_epi32,
    _mm256_srli_epi32, _mm256_storeu_si256, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64,
    _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256, _mm512_add_epi32,
    _mm512_loadu_si512, _mm512_rol_epi32, _mm512_set1_epi32, _mm512_shuffle_i32x4,
    _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::Lane;
use super::rounds::{Word, compress};

/// A set of instructions that this CPU was found to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level(Isa);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isa {
    Avx512,
    Avx2,
}

impl Level {
    /// What this CPU can do, the fastest first.
    pub(super) fn detect() -> [Option<Self>; 2] {
        let avx512 = is_x86_feature_detected!("avx512f");
        let avx2 = is_x86_feature_detected!("avx2");
        [
            avx512.then_some(Self(Isa::Avx512)),
            avx2.then_some(Self(Isa::Avx2)),
        ]
    }

    /// How many streams one call of [`Level::advance`] takes.
    pub(super) fn lanes_max(self) -> usize {
        match self.0 {
            Isa::Avx512 => 16,
            Isa::Avx2 => 8,
        }
    }

    /// Advances every lane by its first `count` blocks, which it has. Takes the first
    /// [`Level::lanes_max`] lanes and leaves others alone.
    pub(super) fn advance(self, lanes: &mut [Lane<'_>], count: usize) {
        match (self.0, lanes) {
            (_, [lane]) => lane.advance(count),
            // SAFETY: AVX-512 F was detected.
            (Isa::Avx512, lanes) => unsafe { sixteen(lanes, count) },
            // SAFETY: AVX2 was detected.
            (Isa::Avx2, lanes) => unsafe { eight(lanes, count) },
        }
    }
}

/// Truth tables, read from `x y z = 111` down to `000`.
const F: i32 = 0b1100_1010;
const G: i32 = 0b1110_0100;
const H: i32 = 0b1001_0110;
const I: i32 = 0b0011_1001;

/// One word of sixteen streams.
#[derive(Clone, Copy)]
struct Sixteen(__m512i);

// SAFETY of all methods: a `Sixteen` is made only in `sixteen`, whose caller has AVX-512 F.
impl Word for Sixteen {
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn add_constant(self, constant: u32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_add_epi32(self.0, _mm512_set1_epi32(constant.cast_signed())) })
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_rol_epi32::<LEFT>(self.0) })
    }

    #[inline(always)]
    fn f(self, y: Self, z: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_ternarylogic_epi32::<F>(self.0, y.0, z.0) })
    }

    #[inline(always)]
    fn g(self, y: Self, z: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_ternarylogic_epi32::<G>(self.0, y.0, z.0) })
    }

    #[inline(always)]
    fn h(self, y: Self, z: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_ternarylogic_epi32::<H>(self.0, y.0, z.0) })
    }

    #[inline(always)]
    fn i(self, y: Self, z: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_ternarylogic_epi32::<I>(self.0, y.0, z.0) })
    }
}

#[target_feature(enable = "avx512f")]
fn sixteen(lanes: &mut [Lane<'_>], count: usize) {
    let mut inputs: [&[[u8; 64]]; 16] = [&[]; 16];
    let mut columns = [[0u32; 16]; 4];
    for (i, input) in inputs.iter_mut().enumerate() {
        // Lanes that are not there repeat the first; what they compute is dropped.
        let Some(lane) = lanes.get(i).or(lanes.first()) else {
            return;
        };
        *input = &lane.blocks[..count];
        for (column, word) in columns.iter_mut().zip(*lane.state) {
            column[i] = word;
        }
    }
    // SAFETY: each column has the 64 bytes that are loaded.
    let mut state = columns.map(|c| Sixteen(unsafe { _mm512_loadu_si512(c.as_ptr().cast()) }));
    for block in 0..count {
        let mut rows = [state[0].0; 16];
        for (row, input) in rows.iter_mut().zip(inputs) {
            // SAFETY: a block has the 64 bytes that are loaded.
            *row = unsafe { _mm512_loadu_si512(input[block].as_ptr().cast()) };
        }
        state = compress(state, &transpose16(rows));
    }
    for (column, vector) in columns.iter_mut().zip(state) {
        // SAFETY: each column has the 64 bytes that are stored.
        unsafe { _mm512_storeu_si512(column.as_mut_ptr().cast(), vector.0) };
    }
    for (i, lane) in lanes.iter_mut().take(16).enumerate() {
        *lane.state = columns.map(|column| column[i]);
    }
}

/// Row `i` of the result holds word `i` of every given row.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose16(mut rows: [__m512i; 16]) -> [Sixteen; 16] {
    let mut pairs = rows;
    for i in [0, 2, 4, 6, 8, 10, 12, 14] {
        pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for i in [0, 4, 8, 12] {
        rows[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
        rows[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
        rows[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        rows[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    // Quarter `q` of `rows[4 * i + j]` holds word `4 * q + j` of the rows from `4 * i`.
    let mut words = [Sixteen(rows[0]); 16];
    for j in 0..4 {
        let even_front = _mm512_shuffle_i32x4::<0x88>(rows[j], rows[4 + j]);
        let odd_front = _mm512_shuffle_i32x4::<0xdd>(rows[j], rows[4 + j]);
        let even_back = _mm512_shuffle_i32x4::<0x88>(rows[8 + j], rows[12 + j]);
        let odd_back = _mm512_shuffle_i32x4::<0xdd>(rows[8 + j], rows[12 + j]);
        words[j] = Sixteen(_mm512_shuffle_i32x4::<0x88>(even_front, even_back));
        words[4 + j] = Sixteen(_mm512_shuffle_i32x4::<0x88>(odd_front, odd_back));
        words[8 + j] = Sixteen(_mm512_shuffle_i32x4::<0xdd>(even_front, even_back));
        words[12 + j] = Sixteen(_mm512_shuffle_i32x4::<0xdd>(odd_front, odd_back));
    }
    words
}

/// One word of eight streams.
#[derive(Clone, Copy)]
struct Eight(__m256i);

// SAFETY of all methods: an `Eight` is made only in `eight`, whose caller has AVX2.
impl Word for Eight {
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn add_constant(self, constant: u32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_add_epi32(self.0, _mm256_set1_epi32(constant.cast_signed())) })
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            _mm256_or_si256(
                _mm256_slli_epi32::<LEFT>(self.0),
                _mm256_srli_epi32::<RIGHT>(self.0),
            )
        })
    }

    #[inline(always)]
    fn f(self, y: Self, z: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            _mm256_or_si256(
                _mm256_and_si256(self.0, y.0),
                _mm256_andnot_si256(self.0, z.0),
            )
        })
    }

    #[inline(always)]
    fn g(self, y: Self, z: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            _mm256_or_si256(_mm256_and_si256(self.0, z.0), _mm256_andnot_si256(z.0, y.0))
        })
    }

    #[inline(always)]
    fn h(self, y: Self, z: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_xor_si256(self.0, _mm256_xor_si256(y.0, z.0)) })
    }

    #[inline(always)]
    fn i(self, y: Self, z: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            let not_z = _mm256_xor_si256(z.0, _mm256_set1_epi32(-1));
            _mm256_xor_si256(y.0, _mm256_or_si256(self.0, not_z))
        })
    }
}

#[target_feature(enable = "avx2")]
fn eight(lanes: &mut [Lane<'_>], count: usize) {
    let mut inputs: [&[[u8; 64]]; 8] = [&[]; 8];
    let mut columns = [[0u32; 8]; 4];
    for (i, input) in inputs.iter_mut().enumerate() {
        // Lanes that are not there repeat the first; what they compute is dropped.
        let Some(lane) = lanes.get(i).or(lanes.first()) else {
            return;
        };
        *input = &lane.blocks[..count];
        for (column, word) in columns.iter_mut().zip(*lane.state) {
            column[i] = word;
        }
    }
    // SAFETY: each column has the 32 bytes that are loaded.
    let mut state = columns.map(|c| Eight(unsafe { _mm256_loadu_si256(c.as_ptr().cast()) }));
    for block in 0..count {
        let mut words = [state[0]; 16];
        for (half, words) in words.chunks_exact_mut(8).enumerate() {
            let mut rows = [state[0].0; 8];
            for (row, input) in rows.iter_mut().zip(inputs) {
                // SAFETY: a block has 64 bytes, of which the first or last 32 are loaded.
                *row = unsafe { _mm256_loadu_si256(input[block].as_ptr().add(32 * half).cast()) };
            }
            words.copy_from_slice(&transpose8(rows));
        }
        state = compress(state, &words);
    }
    for (column, vector) in columns.iter_mut().zip(state) {
        // SAFETY: each column has the 32 bytes that are stored.
        unsafe { _mm256_storeu_si256(column.as_mut_ptr().cast(), vector.0) };
    }
    for (i, lane) in lanes.iter_mut().take(8).enumerate() {
        *lane.state = columns.map(|column| column[i]);
    }
}

/// Row `i` of the result holds word `i` of every given row.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose8(rows: [__m256i; 8]) -> [Eight; 8] {
    let mut pairs = rows;
    for i in [0, 2, 4, 6] {
        pairs[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    let mut fours = rows;
    for i in [0, 4] {
        fours[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    let mut words = [Eight(rows[0]); 8];
    for j in 0..4 {
        words[j] = Eight(_mm256_permute2x128_si256::<0x20>(fours[j], fours[4 + j]));
        words[4 + j] = Eight(_mm256_permute2x128_si256::<0x31>(fours[j], fours[4 + j]));
    }
    words
}

//! The compression function of MD5 (RFC 1321, section 3.4), over words that may be vectors with a
//! stream in each lane.

use std::array;
use std::hint::black_box;

/// A 32-bit word of one stream, or of several streams side by side.
pub(super) trait Word: Copy {
    /// The sum, modulo 2^32.
    fn add(self, other: Self) -> Self;
    /// The sum with the same constant in every lane, modulo 2^32.
    fn add_constant(self, constant: u32) -> Self;
    /// Rotated left by `LEFT` bits; `RIGHT` is `32 − LEFT`.
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self;
    /// `(self & y) | (!self & z)`; `self` is the word that was computed last.
    fn f(self, y: Self, z: Self) -> Self;
    /// `(self & z) | (y & !z)`.
    fn g(self, y: Self, z: Self) -> Self;
    /// `self ^ y ^ z`.
    fn h(self, y: Self, z: Self) -> Self;
    /// `y ^ (self | !z)`.
    fn i(self, y: Self, z: Self) -> Self;
}

impl Word for u32 {
    fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    fn add_constant(self, constant: u32) -> Self {
        self.wrapping_add(constant)
    }

    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        self.rotate_left(LEFT.cast_unsigned())
    }

    fn f(self, y: Self, z: Self) -> Self {
        z ^ (self & (y ^ z))
    }

    fn g(self, y: Self, z: Self) -> Self {
        // A sum of bits that never meet: its parts need not wait for each other.
        (self & z).wrapping_add(y & !z)
    }

    fn h(self, y: Self, z: Self) -> Self {
        self ^ (y ^ z)
    }

    fn i(self, y: Self, z: Self) -> Self {
        y ^ (self | !z)
    }
}

/// `⌊2^32 · |sin(i + 1)|⌋`.
#[rustfmt::skip]
const SINES: &[u32; 64] = &[
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
];

/// The state after one more block, whose sixteen words are `words`.
#[inline(always)]
pub(super) fn compress<W: Word>(state: [W; 4], words: &[W; 16]) -> [W; 4] {
    // Else the compiler would add the constants last, where each step waits for the one before:
    // that made all kernels a fifth slower.
    let sines = black_box(SINES);
    let [mut a, mut b, mut c, mut d] = state;
    // The word and constant of step `i` of a round that begins at `from` and takes every
    // `stride`th word, beginning at `first`.
    let input = |from: usize, stride: usize, first: usize, i: usize| {
        words[(first + stride * i) & 15].add_constant(sines[from + i])
    };
    for i in [0, 4, 8, 12] {
        a = step::<W, 7, 25>(a, b, b.f(c, d), input(0, 1, 0, i));
        d = step::<W, 12, 20>(d, a, a.f(b, c), input(0, 1, 0, i + 1));
        c = step::<W, 17, 15>(c, d, d.f(a, b), input(0, 1, 0, i + 2));
        b = step::<W, 22, 10>(b, c, c.f(d, a), input(0, 1, 0, i + 3));
    }
    for i in [0, 4, 8, 12] {
        a = step::<W, 5, 27>(a, b, b.g(c, d), input(16, 5, 1, i));
        d = step::<W, 9, 23>(d, a, a.g(b, c), input(16, 5, 1, i + 1));
        c = step::<W, 14, 18>(c, d, d.g(a, b), input(16, 5, 1, i + 2));
        b = step::<W, 20, 12>(b, c, c.g(d, a), input(16, 5, 1, i + 3));
    }
    for i in [0, 4, 8, 12] {
        a = step::<W, 4, 28>(a, b, b.h(c, d), input(32, 3, 5, i));
        d = step::<W, 11, 21>(d, a, a.h(b, c), input(32, 3, 5, i + 1));
        c = step::<W, 16, 16>(c, d, d.h(a, b), input(32, 3, 5, i + 2));
        b = step::<W, 23, 9>(b, c, c.h(d, a), input(32, 3, 5, i + 3));
    }
    for i in [0, 4, 8, 12] {
        a = step::<W, 6, 26>(a, b, b.i(c, d), input(48, 7, 0, i));
        d = step::<W, 10, 22>(d, a, a.i(b, c), input(48, 7, 0, i + 1));
        c = step::<W, 15, 17>(c, d, d.i(a, b), input(48, 7, 0, i + 2));
        b = step::<W, 21, 11>(b, c, c.i(d, a), input(48, 7, 0, i + 3));
    }
    let [a0, b0, c0, d0] = state;
    [a0.add(a), b0.add(b), c0.add(c), d0.add(d)]
}

/// `b + (a + input + mix <<< LEFT)`; `mix` depends on the step before and is added last.
#[inline(always)]
fn step<W: Word, const LEFT: i32, const RIGHT: i32>(a: W, b: W, mix: W, input: W) -> W {
    a.add(input).add(mix).rotate::<LEFT, RIGHT>().add(b)
}

/// The sixteen little-endian words of a block.
pub(super) fn words(block: &[u8; 64]) -> [u32; 16] {
    let (words, _) = block.as_chunks::<4>();
    array::from_fn(|i| words.get(i).copied().map_or(0, u32::from_le_bytes))
}

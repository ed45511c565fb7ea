//! MD5 (RFC 1321), which S3's ETags and `Content-MD5` ask for.
//!
//! One stream is a chain of dependent steps that no CPU can hurry; several streams side by side
//! cost hardly more than one. [`Md5::update_together`] takes them so.

mod rounds;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::cmp::Reverse;

use rounds::{compress, words};

const BLOCK_LEN: usize = 64;

/// The state before the first block (RFC 1321, section 3.3).
const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// An MD5 computation over bytes that arrive in pieces.
#[derive(Debug, Clone)]
pub struct Md5 {
    state: [u32; 4],
    /// Bytes that do not fill a block yet; `total_len % 64` of them count.
    rest: [u8; BLOCK_LEN],
    total_len: u64,
}

/// A stream's state, and whole blocks for it.
struct Lane<'a> {
    state: &'a mut [u32; 4],
    blocks: &'a [[u8; BLOCK_LEN]],
}

impl Lane<'_> {
    /// Advances by the first `count` blocks, which are there, on integer registers.
    fn advance(&mut self, count: usize) {
        for block in &self.blocks[..count] {
            *self.state = compress(*self.state, &words(block));
        }
    }
}

impl Default for Md5 {
    fn default() -> Self {
        Self::new()
    }
}

impl Md5 {
    /// A computation over no bytes yet.
    pub fn new() -> Self {
        Self {
            state: INITIAL,
            rest: [0; BLOCK_LEN],
            total_len: 0,
        }
    }

    /// Appends `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        let blocks = self.take_edges(bytes);
        if !blocks.is_empty() {
            let lane = Lane {
                state: &mut self.state,
                blocks,
            };
            Kernel::best().advance(&mut [lane], blocks.len());
        }
    }

    /// Appends to each stream its own bytes, as [`Md5::update`] would one after the other, but
    /// side by side on the CPU's vectors. Gains most when the slices have about the same length
    /// and there are as many as [`Md5::lanes`].
    pub fn update_together(streams: &mut [(&mut Self, &[u8])]) {
        append(Kernel::best(), streams);
    }

    /// How many streams this CPU advances in the time of one.
    pub fn lanes() -> usize {
        Kernel::best().lanes_max()
    }

    /// The hash of everything appended.
    pub fn finalize(mut self) -> [u8; 16] {
        // A one bit, zeros to fill all but 8 bytes of a block, and the length in bits.
        let bits = self.total_len.wrapping_mul(8);
        let mut padding = [0u8; 2 * BLOCK_LEN];
        padding[0] = 0x80;
        let zeros_end = (BLOCK_LEN + 56 - 1 - self.rest_len()) % BLOCK_LEN + 1;
        padding[zeros_end..zeros_end + 8].copy_from_slice(&bits.to_le_bytes());
        self.update(&padding[..zeros_end + 8]);
        let mut hash = [0u8; 16];
        for (bytes, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(self.state) {
            *bytes = word.to_le_bytes();
        }
        hash
    }

    fn rest_len(&self) -> usize {
        usize::try_from(self.total_len % 64).expect("below 64")
    }

    /// Takes up what fits into the block that was begun, and keeps what follows the last whole
    /// block. The blocks between are left for the caller: they come next.
    fn take_edges<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [[u8; BLOCK_LEN]] {
        let begun = self.rest_len();
        self.total_len = self.total_len.wrapping_add(bytes.len() as u64);
        if begun > 0 {
            let (head, tail) = bytes.split_at(bytes.len().min(BLOCK_LEN - begun));
            self.rest[begun..begun + head.len()].copy_from_slice(head);
            if begun + head.len() < BLOCK_LEN {
                return &[];
            }
            self.state = compress(self.state, &words(&self.rest));
            bytes = tail;
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK_LEN>();
        self.rest[..rest.len()].copy_from_slice(rest);
        blocks
    }
}

/// One way to advance lanes. All ways give the same states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kernel {
    #[cfg(target_arch = "x86_64")]
    X86(x86::Level),
    Portable,
}

impl Kernel {
    fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(level) = x86::Level::detect().into_iter().flatten().next() {
            return Self::X86(level);
        }
        Self::Portable
    }

    fn lanes_max(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::X86(level) => level.lanes_max(),
            Self::Portable => 1,
        }
    }

    /// Advances the lanes, [`Kernel::lanes_max`] at most, by `count` blocks, which all have.
    fn advance(self, lanes: &mut [Lane<'_>], count: usize) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::X86(level) => level.advance(lanes, count),
            Self::Portable => lanes.iter_mut().for_each(|lane| lane.advance(count)),
        }
    }
}

/// Appends to all streams, always to as many side by side as the kernel takes.
fn append(kernel: Kernel, streams: &mut [(&mut Md5, &[u8])]) {
    let mut lanes: Vec<Lane<'_>> = streams
        .iter_mut()
        .map(|(stream, bytes)| {
            let blocks = stream.take_edges(bytes);
            Lane {
                state: &mut stream.state,
                blocks,
            }
        })
        .collect();
    loop {
        lanes.retain(|lane| !lane.blocks.is_empty());
        // The longest first: they have the most left to do side by side.
        lanes.sort_by_key(|lane| Reverse(lane.blocks.len()));
        let most = lanes.len().min(kernel.lanes_max());
        let (group, _) = lanes.split_at_mut(most);
        let Some(count) = group.last().map(|lane| lane.blocks.len()) else {
            return;
        };
        kernel.advance(group, count);
        for lane in group {
            (_, lane.blocks) = lane.blocks.split_at(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use md5::{Digest, Md5 as Oracle};
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    fn kernels() -> Vec<Kernel> {
        #[cfg(target_arch = "x86_64")]
        let fast = x86::Level::detect().into_iter().flatten().map(Kernel::X86);
        #[cfg(not(target_arch = "x86_64"))]
        let fast = std::iter::empty();
        fast.chain([Kernel::Portable]).collect()
    }

    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[2]
        };
        (0..len).map(|_| next()).collect()
    }

    fn oracle(bytes: &[u8]) -> [u8; 16] {
        Oracle::digest(bytes).into()
    }

    fn hash(bytes: &[u8]) -> [u8; 16] {
        let mut md5 = Md5::new();
        md5.update(bytes);
        md5.finalize()
    }

    #[test]
    fn the_test_suite_of_rfc_1321_passes() {
        let table = [
            ("", 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e),
            ("a", 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661),
            ("abc", 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72),
            ("message digest", 0xf96b_697d_7cb7_938d_525a_2f31_aaf1_61d0),
            (
                "abcdefghijklmnopqrstuvwxyz",
                0xc3fc_d3d7_6192_e400_7dfb_496c_ca67_e13b_u128,
            ),
        ];
        for (text, want) in table {
            assert_eq!(hash(text.as_bytes()), want.to_be_bytes(), "{text}");
        }
    }

    #[test]
    fn every_length_near_a_block_agrees_with_the_oracle() {
        for len in 0..260 {
            let bytes = noise(len, 3);
            assert_eq!(hash(&bytes), oracle(&bytes), "{len}");
        }
    }

    #[test]
    fn every_number_of_lanes_agrees_with_the_oracle_on_every_kernel() {
        for kernel in kernels() {
            for count in 0..=35u64 {
                let inputs: Vec<Vec<u8>> = (0..count).map(|seed| noise(64 * 7, seed)).collect();
                let mut streams: Vec<Md5> = inputs.iter().map(|_| Md5::new()).collect();
                let mut pairs: Vec<(&mut Md5, &[u8])> = streams
                    .iter_mut()
                    .zip(inputs.iter().map(Vec::as_slice))
                    .collect();
                append(kernel, &mut pairs);
                for (stream, input) in streams.into_iter().zip(&inputs) {
                    assert_eq!(stream.finalize(), oracle(input), "{kernel:?} {count}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn streams_fed_together_in_uneven_pieces_agree_with_the_oracle(
            inputs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..900), 1..24),
            cut in 1usize..400,
        ) {
            for kernel in kernels() {
                let mut streams: Vec<Md5> = inputs.iter().map(|_| Md5::new()).collect();
                for start in (0..900).step_by(cut) {
                    let pieces = inputs.iter().map(|i| i.get(start..(start + cut).min(i.len())).unwrap_or(&[]));
                    let mut pairs: Vec<(&mut Md5, &[u8])> = streams.iter_mut().zip(pieces).collect();
                    append(kernel, &mut pairs);
                }
                for (stream, input) in streams.into_iter().zip(&inputs) {
                    assert_eq!(stream.finalize(), oracle(input), "{kernel:?}");
                }
            }
        }
    }
}

//! The inner loop: sums of products of whole shards, on the best instructions of this CPU.

#[cfg(target_arch = "x86_64")]
mod x86;

use crate::galois::double;
use crate::matrix::Row;

/// One way to do the arithmetic. All ways give the same bytes; they differ in speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel(Way);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    #[cfg(target_arch = "x86_64")]
    X86(x86::Level),
    Portable,
}

impl Kernel {
    /// The fastest kernel that this CPU can run.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(level) = x86::Level::detect().into_iter().flatten().next() {
            return Self(Way::X86(level));
        }
        Self(Way::Portable)
    }

    /// Every kernel that this CPU can run, the fastest first.
    pub fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let fast = x86::Level::detect().into_iter().flatten().map(Way::X86);
        #[cfg(not(target_arch = "x86_64"))]
        let fast = std::iter::empty();
        fast.chain([Way::Portable]).map(Self).collect()
    }

    /// A short name for logs and tables.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Way::X86(level) => level.name(),
            Way::Portable => "portable",
        }
    }

    /// `outputs[r] = Σ rows[r][c] · inputs[c]`, over all bytes. What the outputs held is lost.
    ///
    /// There is a row for every output, at most 16 inputs, and all slices have one length: the
    /// codec has checked that, and it is asserted here because the loops below rely on it.
    pub(crate) fn combine(self, rows: &[Row], inputs: &[&[u8]], outputs: &mut [&mut [u8]]) {
        let Some(len) = outputs.first().map(|first| first.len()) else {
            return;
        };
        assert!(rows.len() == outputs.len() && inputs.len() <= Row::default().len());
        assert!(inputs.iter().all(|input| input.len() == len));
        assert!(outputs.iter().all(|output| output.len() == len));
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Way::X86(level) => level.combine(rows, inputs, outputs, len),
            Way::Portable => portable(rows, inputs, outputs),
        }
    }
}

/// Bytes of each input that the portable loop takes at a time: 16 inputs fit a small L1 cache.
const PORTABLE_STRIDE: usize = 512;

/// Horner's rule over the bits of the coefficients: double the sum, add the inputs whose
/// coefficient has the bit. Both are loops over bytes that compilers turn into the vectors of any
/// CPU, which makes this three times as fast as looking products up byte by byte.
fn portable(rows: &[Row], inputs: &[&[u8]], outputs: &mut [&mut [u8]]) {
    for (row, output) in rows.iter().zip(outputs) {
        for (stride, sum) in output.chunks_mut(PORTABLE_STRIDE).enumerate() {
            sum.fill(0);
            let start = stride * PORTABLE_STRIDE;
            for bit in (0..8).rev() {
                for byte in &mut *sum {
                    *byte = double(*byte);
                }
                let terms = row.iter().zip(inputs);
                for (_, input) in terms.filter(|(coefficient, _)| **coefficient >> bit & 1 == 1) {
                    for (byte, addend) in sum.iter_mut().zip(&input[start..]) {
                        *byte ^= *addend;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use types::Geometry;

    use super::*;
    use crate::galois::MUL;

    /// Bytes that look random and are the same in every run.
    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..len).map(|_| next()).collect()
    }

    /// The sum by its definition, one byte at a time.
    fn naive(row: &Row, inputs: &[&[u8]], at: usize) -> u8 {
        let products = row.iter().zip(inputs);
        products.fold(0, |sum, (c, input)| {
            sum ^ MUL[usize::from(*c)][usize::from(input[at])]
        })
    }

    fn check(kernel: Kernel, inputs: usize, outputs: usize, len: usize, skew: usize) {
        let pool: Vec<Vec<u8>> = (0..inputs)
            .map(|i| noise(len + 64, (i * 31 + len) as u64))
            .collect();
        let starts: Vec<&[u8]> = pool
            .iter()
            .enumerate()
            .map(|(i, p)| &p[(skew * (i + 1)) % 64..][..len])
            .collect();
        let mut rows = vec![Row::default(); outputs];
        for (r, row) in rows.iter_mut().enumerate() {
            row.copy_from_slice(&noise(16, (r * 7 + inputs) as u64));
            row[r % inputs] = u8::try_from(r % 2).unwrap();
        }
        // A margin on both sides shows a store outside the slice.
        let mut sinks = vec![vec![0xa5u8; len + 128]; outputs];
        {
            let mut outs: Vec<&mut [u8]> = sinks
                .iter_mut()
                .enumerate()
                .map(|(i, sink)| &mut sink[(skew * (i + 3)) % 64..][..len])
                .collect();
            kernel.combine(&rows, &starts, &mut outs);
        }
        for (i, (row, sink)) in rows.iter().zip(&sinks).enumerate() {
            let start = (skew * (i + 3)) % 64;
            for (at, byte) in sink[start..][..len].iter().enumerate() {
                let want = naive(row, &starts, at);
                assert_eq!(
                    *byte,
                    want,
                    "{} {inputs}->{outputs} {len} at {at}",
                    kernel.name()
                );
            }
            assert!(
                sink[..start].iter().all(|b| *b == 0xa5),
                "{} wrote before",
                kernel.name()
            );
            assert!(
                sink[start + len..].iter().all(|b| *b == 0xa5),
                "{} wrote past",
                kernel.name()
            );
        }
    }

    #[test]
    fn every_kernel_agrees_with_the_definition_at_odd_lengths_and_alignments() {
        let lens = [
            0, 1, 2, 15, 16, 31, 32, 33, 63, 64, 65, 95, 127, 128, 129, 255, 256, 257, 1000, 4097,
        ];
        for kernel in Kernel::available() {
            for (at, len) in lens.into_iter().enumerate() {
                for (inputs, outputs) in [(1, 1), (2, 2), (4, 2), (3, 3), (5, 4), (7, 5), (16, 9)] {
                    check(kernel, inputs, outputs, len, (at * 5) % 64);
                }
            }
        }
    }

    #[test]
    fn every_kernel_agrees_for_every_shape() {
        for kernel in Kernel::available() {
            for inputs in 1..=Geometry::DRIVES_MAX {
                for outputs in 1..=Geometry::DRIVES_MAX {
                    check(kernel, inputs, outputs, 777, inputs);
                }
            }
        }
    }

    #[test]
    fn long_shards_cross_strides_correctly() {
        for kernel in Kernel::available() {
            for outputs in [1, 4, 6, 8, 12] {
                check(kernel, 8, outputs, 40_961, 7);
            }
        }
    }

    #[test]
    fn every_coefficient_is_right_in_every_kernel() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        for kernel in Kernel::available() {
            for coefficient in 0..=u8::MAX {
                let mut row = Row::default();
                row[0] = coefficient;
                let mut out = vec![0u8; 256];
                kernel.combine(&[row], &[&all], &mut [&mut out]);
                assert_eq!(out, MUL[usize::from(coefficient)], "{}", kernel.name());
            }
        }
    }

    #[test]
    #[should_panic(expected = "input.len() == len")]
    fn unequal_slices_never_reach_a_loop() {
        Kernel::best().combine(&[Row::default()], &[&[0; 9]], &mut [&mut [0; 10]]);
    }
}

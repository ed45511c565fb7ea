//! Which registers a run surely does not hold: a Bloom filter whose questions touch one cache
//! line each.

use super::seal::RegisterHash;

const LINE_WORDS: usize = 8;
const LINE_BITS: u64 = 512;
const REGISTER_BITS: u64 = 10;
const PROBES: u32 = 6;
/// A filter made for too many registers can be halved as often as this is divisible by two.
const LINES_STEP: u64 = 16;

/// A blocked Bloom filter: about one absent register in a hundred is let through.
pub(super) struct Filter {
    lines: Vec<[u64; LINE_WORDS]>,
    registers: u64,
}

impl Filter {
    /// An empty filter for at most that many registers (more only make it less sharp).
    pub(super) fn new(registers_max: u64) -> Self {
        let lines = registers_max
            .saturating_mul(REGISTER_BITS)
            .div_ceil(LINE_BITS)
            .max(1);
        let lines = if lines < LINES_STEP {
            lines.next_power_of_two()
        } else {
            lines.next_multiple_of(LINES_STEP)
        };
        let lines = usize::try_from(lines).unwrap_or(usize::MAX);
        Self {
            lines: vec![[0; LINE_WORDS]; lines],
            registers: 0,
        }
    }

    /// Adds a register that was not added yet.
    pub(super) fn insert(&mut self, hash: RegisterHash) {
        self.registers += 1;
        let at = line_of(hash, self.lines.len());
        if let Some(line) = self.lines.get_mut(at) {
            for (word, bit) in probes(hash) {
                line[word] |= bit;
            }
        }
    }

    /// `false` if the register was surely not added.
    #[inline]
    pub(super) fn may_contain(&self, hash: RegisterHash) -> bool {
        match self.lines.get(line_of(hash, self.lines.len())) {
            Some(line) => probes(hash).all(|(word, bit)| line[word] & bit != 0),
            None => true,
        }
    }

    /// Halves the filter while what was added fits half of it.
    pub(super) fn shrink(&mut self) {
        while self.lines.len().is_multiple_of(2) {
            let half = self.lines.len() / 2;
            if self.registers * REGISTER_BITS > u64::try_from(half).unwrap_or(0) * LINE_BITS {
                return;
            }
            // Neighbours merge: a register's line is its place scaled to the number of lines.
            for at in 0..half {
                let other = self.lines[2 * at + 1];
                self.lines[at] = self.lines[2 * at];
                for (word, other) in self.lines[at].iter_mut().zip(other) {
                    *word |= other;
                }
            }
            self.lines.truncate(half);
        }
    }

    /// Appends the bytes of the filter.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        for word in self.lines.iter().flatten() {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// The filter that these bytes are; `None` if they are none.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (lines, rest) = bytes.as_chunks::<{ 8 * LINE_WORDS }>();
        if lines.is_empty() || !rest.is_empty() {
            return None;
        }
        let read = |line: &[u8; 8 * LINE_WORDS]| {
            let mut words = [0; LINE_WORDS];
            for (word, bytes) in words.iter_mut().zip(line.as_chunks().0) {
                *word = u64::from_le_bytes(*bytes);
            }
            words
        };
        Some(Self {
            lines: lines.iter().map(read).collect(),
            registers: 0,
        })
    }
}

#[inline]
fn line_of(hash: RegisterHash, lines: usize) -> usize {
    let scaled = u128::from(hash.place) * u128::try_from(lines).unwrap_or(0);
    usize::try_from(scaled >> 64).unwrap_or(0)
}

#[inline]
fn probes(hash: RegisterHash) -> impl Iterator<Item = (usize, u64)> {
    (0..PROBES).map(move |probe| {
        let bit = (hash.bits >> (9 * probe)) & (LINE_BITS - 1);
        (usize::try_from(bit / 64).unwrap_or(0), 1 << (bit % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::seal::RunSeal;
    use types::{DeploymentId, DriveId};

    fn hash(number: u64) -> RegisterHash {
        let seal = RunSeal::new(
            DeploymentId::from_bytes([1; 16]),
            DriveId::from_bytes([2; 16]),
        );
        seal.register_hash(&number.to_le_bytes())
    }

    #[test]
    fn what_was_added_is_found_and_little_else() {
        for (made_for, added) in [(1, 1), (20_000, 20_000), (20_000, 9_000), (200_000, 700)] {
            let mut filter = Filter::new(made_for);
            (0..added).for_each(|number| filter.insert(hash(number)));
            filter.shrink();
            let mut bytes = Vec::new();
            filter.write_to(&mut bytes);
            let filter = Filter::from_bytes(&bytes).unwrap();
            assert!((0..added).all(|number| filter.may_contain(hash(number))));
            let wrong = (1_000_000..1_020_000)
                .filter(|n| filter.may_contain(hash(*n)))
                .count();
            assert!(wrong < 600, "{wrong} of 20000 for {made_for}, {added}");
        }
    }

    #[test]
    fn a_filter_made_too_large_shrinks() {
        let mut filter = Filter::new(100_000);
        (0..12_000).for_each(|number| filter.insert(hash(number)));
        filter.shrink();
        let bits = u64::try_from(filter.lines.len()).unwrap() * LINE_BITS;
        assert!((10 * 12_000..=20 * 12_000).contains(&bits), "{bits}");
        assert!(Filter::from_bytes(&[]).is_none());
        assert!(Filter::from_bytes(&[0; 65]).is_none());
    }
}

//! What a drive remembers of a run: enough to open exactly that one, and to plan its merging.

use super::seal::RunId;
use super::varint;

/// A finished run, as the drive's manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunMeta {
    /// Its number.
    pub(crate) id: RunId,
    /// How many entries it holds, marks included.
    pub(crate) entries: u64,
    /// How many of them are marks.
    pub(crate) marks: u64,
    /// The length of the file.
    pub(crate) bytes: u64,
    /// The first key; empty if there are no entries.
    pub(crate) first: Box<[u8]>,
    /// The last key; empty if there are no entries.
    pub(crate) last: Box<[u8]>,
}

impl RunMeta {
    /// Appends the form that [`RunMeta::take`] reads: four numbers of 8 bytes, little endian,
    /// then both keys, each behind its length.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        for number in [self.id.0, self.entries, self.marks, self.bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for key in [&self.first, &self.last] {
            varint::put(
                out,
                u32::try_from(key.len()).expect("a run's keys fit 32 bits"),
            );
            out.extend_from_slice(key);
        }
    }

    /// Reads one from the front of `bytes`: it and what follows. `None` if it does not parse.
    pub(crate) fn take(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (numbers, rest) = bytes.split_first_chunk::<32>()?;
        let mut numbers = numbers
            .as_chunks()
            .0
            .iter()
            .map(|bytes| u64::from_le_bytes(*bytes));
        let (id, entries) = (RunId(numbers.next()?), numbers.next()?);
        let (marks, bytes) = (numbers.next()?, numbers.next()?);
        let (first, at) = varint::take_bytes(rest, 0)?;
        let (last, at) = varint::take_bytes(rest, at)?;
        let meta = Self {
            id,
            entries,
            marks,
            bytes,
            first: first.into(),
            last: last.into(),
        };
        Some((meta, rest.get(at..)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metas_round_trip_and_short_ones_are_refused() {
        let meta = RunMeta {
            id: RunId(7),
            entries: 300,
            marks: 2,
            bytes: 1 << 40,
            first: (*b"a").into(),
            last: vec![b'z'; 200].into(),
        };
        let mut bytes = Vec::new();
        meta.put(&mut bytes);
        for short in 0..bytes.len() {
            assert_eq!(RunMeta::take(&bytes[..short]), None);
        }
        bytes.push(9);
        assert_eq!(RunMeta::take(&bytes), Some((meta, &[9u8][..])));
    }
}

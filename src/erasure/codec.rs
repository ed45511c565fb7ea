//! One stripe: data shards to parity shards, and any k shards to the others.

use types::Geometry;

use crate::error::Error;
use crate::kernel::Kernel;
use crate::matrix::{Matrix, Row, ZERO, encoding, invert, multiply_row};

const SHARDS_MAX: usize = Geometry::DRIVES_MAX;

/// The Reed–Solomon code of one geometry. Its parity is byte for byte that of
/// reed-solomon-erasure's and klauspost/reedsolomon's default matrix.
///
/// Making one costs some microseconds: keep it. It is cheap to clone and has no inner state.
#[derive(Debug, Clone)]
pub struct Codec {
    geometry: Geometry,
    kernel: Kernel,
    encoding: Matrix,
}

impl Codec {
    /// The code of `geometry`, on the fastest kernel of this CPU.
    pub fn new(geometry: Geometry) -> Self {
        Self::with_kernel(geometry, Kernel::best())
    }

    /// The code of `geometry` on a given kernel; the bytes are the same on all.
    pub fn with_kernel(geometry: Geometry, kernel: Kernel) -> Self {
        Self {
            geometry,
            kernel,
            encoding: encoding(geometry),
        }
    }

    /// The geometry that it codes for.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Computes all parity shards of a stripe. `data` holds the `k` data shards, `parity` the
    /// `m` places to write to, all of one length (any, also 0). With `m = 0` there is nothing to
    /// do. On an error, nothing is written.
    pub fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) -> Result<(), Error> {
        expect_count(data.len(), self.geometry.data())?;
        expect_count(parity.len(), self.geometry.parity())?;
        let lens = data.iter().map(|shard| shard.len());
        expect_equal(lens.chain(parity.iter().map(|shard| shard.len())))?;
        let (_, rows) = self.encoding.split_at(self.geometry.data());
        let (rows, _) = rows.split_at(self.geometry.parity());
        self.kernel.combine(rows, data, parity);
        Ok(())
    }

    /// Computes the shards named by `want`, data or parity, from any `k` that are there.
    ///
    /// `present` has one entry for each of the `N` shards, in order; `want` names shard indices,
    /// in any order; `out[i]` receives shard `want[i]`. All shards and places have one length.
    /// A wanted shard that is present is copied. On an error, nothing is written.
    ///
    /// It cannot know whether a present shard is right: verify frames first.
    pub fn rebuild(
        &self,
        present: &[Option<&[u8]>],
        want: &[usize],
        out: &mut [&mut [u8]],
    ) -> Result<(), Error> {
        let (needed, drives) = (self.geometry.data(), self.geometry.drives());
        expect_count(present.len(), drives)?;
        expect_count(out.len(), want.len())?;
        if let Some(shard) = want.iter().copied().find(|shard| *shard >= drives) {
            return Err(Error::NoSuchShard { shard, drives });
        }
        let there = present.iter().flatten().map(|shard| shard.len());
        expect_equal(there.clone().chain(out.iter().map(|shard| shard.len())))?;
        let got = there.count();
        if got < needed {
            return Err(Error::TooFewShards { got, need: needed });
        }

        // The first k present: data shards come first, and cost least.
        let mut chosen = ZERO;
        let mut inputs: [&[u8]; SHARDS_MAX] = [&[]; SHARDS_MAX];
        let shards = self.encoding.iter().zip(present);
        let sources = shards.filter_map(|(row, shard)| shard.map(|shard| (row, shard)));
        for ((place, input), (row, shard)) in
            chosen.iter_mut().zip(&mut inputs).zip(sources).take(needed)
        {
            *place = *row;
            *input = shard;
        }
        let decoding = invert(&chosen, needed)
            .expect("any k rows of a Vandermonde matrix, and so of this one, are independent");
        let (inputs, _) = inputs.split_at(needed);

        // At most 16 at a time, since `want` may name a shard more than once.
        for (want, out) in want.chunks(SHARDS_MAX).zip(out.chunks_mut(SHARDS_MAX)) {
            let mut rows: [Row; SHARDS_MAX] = ZERO;
            for (row, shard) in rows.iter_mut().zip(want) {
                *row = multiply_row(&self.encoding[*shard], &decoding, needed);
            }
            let (rows, _) = rows.split_at(want.len());
            self.kernel.combine(rows, inputs, out);
        }
        Ok(())
    }
}

fn expect_count(got: usize, need: usize) -> Result<(), Error> {
    if got == need {
        Ok(())
    } else {
        Err(Error::ShardCount { got, need })
    }
}

fn expect_equal(mut lens: impl Iterator<Item = usize>) -> Result<(), Error> {
    let Some(first) = lens.next() else {
        return Ok(());
    };
    match lens.find(|len| *len != first) {
        Some(other) => Err(Error::UnequalLengths { first, other }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};
    use reed_solomon_erasure::galois_8::ReedSolomon;

    use super::*;

    fn geometries() -> impl Iterator<Item = Geometry> {
        let shapes = (1..=16u8).flat_map(|k| (0..=8u8).map(move |m| (k, m)));
        shapes.filter_map(|(k, m)| Geometry::new(k, m).ok())
    }

    fn noise(len: usize, seed: usize) -> Vec<u8> {
        let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[5]
        };
        (0..len).map(|_| next()).collect()
    }

    /// All shards of a stripe: noise, and the parity that the codec computes for it.
    fn stripe(codec: &Codec, len: usize) -> Vec<Vec<u8>> {
        let geometry = codec.geometry();
        let mut shards: Vec<Vec<u8>> = (0..geometry.drives())
            .map(|i| noise(len, i + len))
            .collect();
        let (data, parity) = shards.split_at_mut(geometry.data());
        let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        let mut parity: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
        codec.encode(&data, &mut parity).unwrap();
        shards
    }

    fn rebuilt(
        codec: &Codec,
        present: &[Option<&[u8]>],
        want: &[usize],
        len: usize,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let mut out = vec![vec![0x5a; len]; want.len()];
        let mut places: Vec<&mut [u8]> = out.iter_mut().map(Vec::as_mut_slice).collect();
        codec.rebuild(present, want, &mut places)?;
        Ok(out)
    }

    #[test]
    fn wrong_counts_and_lengths_are_errors_and_write_nothing() {
        let codec = Codec::new(Geometry::new(2, 1).unwrap());
        let mut out = [7u8; 4];
        let short = codec.encode(&[&[1; 4], &[1; 3]], &mut [&mut out]);
        assert_eq!(short, Err(Error::UnequalLengths { first: 4, other: 3 }));
        let count = codec.encode(&[&[1; 4]], &mut [&mut out]);
        assert_eq!(count, Err(Error::ShardCount { got: 1, need: 2 }));
        let parity = codec.encode(&[&[1; 4], &[1; 4]], &mut []);
        assert_eq!(parity, Err(Error::ShardCount { got: 0, need: 1 }));
        let place = codec.encode(&[&[1; 3], &[1; 3]], &mut [&mut out]);
        assert_eq!(place, Err(Error::UnequalLengths { first: 3, other: 4 }));

        let one: [Option<&[u8]>; 3] = [Some(&[1; 4]), None, None];
        let few = codec.rebuild(&one, &[1], &mut [&mut out]);
        assert_eq!(few, Err(Error::TooFewShards { got: 1, need: 2 }));
        let uneven: [Option<&[u8]>; 3] = [Some(&[1; 4]), None, Some(&[1; 5])];
        let uneven = codec.rebuild(&uneven, &[1], &mut [&mut out]);
        assert_eq!(uneven, Err(Error::UnequalLengths { first: 4, other: 5 }));
        let two: [Option<&[u8]>; 3] = [Some(&[1; 4]), None, Some(&[1; 4])];
        assert_eq!(
            codec.rebuild(&two, &[3], &mut [&mut out]),
            Err(Error::NoSuchShard {
                shard: 3,
                drives: 3
            })
        );
        assert_eq!(
            codec.rebuild(&two, &[1, 0], &mut [&mut out]),
            Err(Error::ShardCount { got: 1, need: 2 })
        );
        assert_eq!(
            codec.rebuild(&two[..2], &[1], &mut [&mut out]),
            Err(Error::ShardCount { got: 2, need: 3 })
        );
        assert_eq!(out, [7; 4]);
    }

    #[test]
    fn parity_is_that_of_the_oracle_for_every_geometry_and_kernel() {
        for kernel in Kernel::available() {
            for geometry in geometries().filter(|g| g.parity() > 0) {
                let codec = Codec::with_kernel(geometry, kernel);
                let oracle = ReedSolomon::new(geometry.data(), geometry.parity()).unwrap();
                for len in [1, 171, 2048] {
                    let ours = stripe(&codec, len);
                    let mut theirs = ours.clone();
                    theirs[geometry.data()..]
                        .iter_mut()
                        .for_each(|shard| shard.fill(0));
                    oracle.encode(&mut theirs).unwrap();
                    assert_eq!(ours, theirs, "{geometry:?} {} {len}", kernel.name());
                }
            }
        }
    }

    #[test]
    fn without_parity_nothing_is_coded_and_shards_are_copied() {
        for geometry in geometries().filter(|g| g.parity() == 0) {
            let codec = Codec::new(geometry);
            let shards = stripe(&codec, 100);
            let present: Vec<Option<&[u8]>> = shards.iter().map(|s| Some(s.as_slice())).collect();
            let all: Vec<usize> = (0..geometry.drives()).collect();
            assert_eq!(rebuilt(&codec, &present, &all, 100), Ok(shards));
        }
    }

    #[test]
    fn every_loss_that_leaves_k_shards_is_rebuilt_and_no_other() {
        for geometry in geometries().filter(|g| g.drives() <= 8) {
            let codec = Codec::new(geometry);
            let shards = stripe(&codec, 67);
            for lost in 0u32..1 << geometry.drives() {
                let missing: Vec<usize> = (0..geometry.drives())
                    .filter(|i| lost >> i & 1 == 1)
                    .collect();
                let present: Vec<Option<&[u8]>> = shards
                    .iter()
                    .enumerate()
                    .map(|(i, s)| (!missing.contains(&i)).then_some(s.as_slice()))
                    .collect();
                let result = rebuilt(&codec, &present, &missing, 67);
                if missing.len() > geometry.parity() {
                    let got = geometry.drives() - missing.len();
                    assert_eq!(
                        result,
                        Err(Error::TooFewShards {
                            got,
                            need: geometry.data()
                        })
                    );
                } else {
                    let want: Vec<Vec<u8>> = missing.iter().map(|i| shards[*i].clone()).collect();
                    assert_eq!(result, Ok(want), "{geometry:?} {lost:b}");
                }
            }
        }
    }

    #[test]
    fn empty_shards_are_coded_and_rebuilt() {
        let codec = Codec::new(Geometry::new(2, 2).unwrap());
        let shards = stripe(&codec, 0);
        assert_eq!(shards, vec![Vec::<u8>::new(); 4]);
        let present: [Option<&[u8]>; 4] = [None, None, Some(&[]), Some(&[])];
        assert_eq!(rebuilt(&codec, &present, &[0, 1], 0), Ok(vec![vec![]; 2]));
    }

    #[test]
    fn a_shard_may_be_wanted_more_often_than_there_are_drives() {
        let codec = Codec::new(Geometry::new(1, 1).unwrap());
        let shards = stripe(&codec, 9);
        let present = [None, Some(shards[1].as_slice())];
        assert_eq!(
            rebuilt(&codec, &present, &[0; 40], 9),
            Ok(vec![shards[0].clone(); 40])
        );
    }

    proptest! {
        #[test]
        fn large_geometries_survive_any_loss_of_m(
            shape in 0usize..1000,
            losses in prop::collection::vec(any::<prop::sample::Index>(), 8),
            len in 1usize..700,
        ) {
            let all: Vec<Geometry> = geometries().filter(|g| g.drives() > 8 && g.parity() > 0).collect();
            let codec = Codec::new(all[shape % all.len()]);
            let geometry = codec.geometry();
            let shards = stripe(&codec, len);
            let mut missing: Vec<usize> =
                losses.iter().take(geometry.parity()).map(|i| i.index(geometry.drives())).collect();
            missing.sort_unstable();
            missing.dedup();
            let present: Vec<Option<&[u8]>> =
                shards.iter().enumerate().map(|(i, s)| (!missing.contains(&i)).then_some(s.as_slice())).collect();
            let want: Vec<Vec<u8>> = missing.iter().map(|i| shards[*i].clone()).collect();
            assert_eq!(rebuilt(&codec, &present, &missing, len), Ok(want));
        }
    }
}

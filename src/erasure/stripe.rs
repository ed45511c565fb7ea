//! Where the bytes of an object lie in its shard files.
//!
//! An object's data (or that of one part of it) is cut into *blocks* of [`BLOCK_LEN`] bytes, the
//! last one shorter. Each block becomes one *stripe*: its bytes fill the `k` data shards one after
//! the other, each `⌈block / k⌉` bytes long, the end padded with zeros. A drive's shard file is
//! the sequence of that drive's frames, stripe by stripe. No data, no stripes: an empty file.

use std::ops::Range;

use types::{ByteRange, Geometry};

use crate::frame::FRAME_HEAD_LEN;

/// The bytes of object data in each stripe but the last.
pub const BLOCK_LEN: usize = 1 << 20;

const BLOCK: u64 = 1 << 20;
const HEAD: u64 = 32;
const _: () = assert!(FRAME_HEAD_LEN == 32 && BLOCK_LEN == 1 << 20);

/// The shape of `len` bytes coded by one geometry. Lengths near 2^64, which no object has,
/// saturate instead of overflowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    geometry: Geometry,
    len: u64,
}

/// The bytes of one stripe that a range covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripeSpan {
    /// The stripe, from 0.
    pub stripe: u64,
    /// The bytes wanted, within the stripe's block; never empty.
    pub bytes: Range<usize>,
    /// The bytes of each shard of the stripe.
    pub shard_len: usize,
}

impl Layout {
    /// The layout of `len` bytes of an object, or of one part of it.
    pub fn new(geometry: Geometry, len: u64) -> Self {
        Self { geometry, len }
    }

    /// How many stripes there are.
    pub fn stripes(&self) -> u64 {
        self.len.div_ceil(BLOCK)
    }

    /// The bytes of object data in a stripe; 0 past the end.
    pub fn block_len(&self, stripe: u64) -> usize {
        let left = self
            .len
            .saturating_sub(stripe.saturating_mul(BLOCK))
            .min(BLOCK);
        usize::try_from(left).expect("a block has at most 2^20 bytes")
    }

    /// The bytes of each shard of a stripe; 0 past the end.
    pub fn shard_len(&self, stripe: u64) -> usize {
        self.geometry.shard_len(self.block_len(stripe))
    }

    /// The bytes of a stripe's frame in a shard file; 0 past the end.
    pub fn frame_len(&self, stripe: u64) -> usize {
        match self.shard_len(stripe) {
            0 => 0,
            shard => FRAME_HEAD_LEN + shard,
        }
    }

    /// Where a stripe's frame begins in a shard file; past the end, the file's length.
    pub fn frame_offset(&self, stripe: u64) -> u64 {
        if stripe >= self.stripes() {
            return self.file_len();
        }
        stripe.saturating_mul(self.full_frame_len())
    }

    /// The exact length of every shard file.
    pub fn file_len(&self) -> u64 {
        let Some(last) = self.stripes().checked_sub(1) else {
            return 0;
        };
        let frames = last.saturating_mul(self.full_frame_len());
        frames.saturating_add(u64::try_from(self.frame_len(last)).unwrap_or(u64::MAX))
    }

    /// The stripes that `range` touches, in order, with the bytes of each. What lies past the end
    /// of the data is left out.
    pub fn spans(&self, range: ByteRange) -> impl Iterator<Item = StripeSpan> + use<> {
        let layout = *self;
        let end = range.end.min(self.len);
        let stripes = if range.start < end {
            range.start / BLOCK..end.div_ceil(BLOCK)
        } else {
            0..0
        };
        stripes.map(move |stripe| {
            let base = stripe * BLOCK;
            let within = |at: u64| {
                let at = at.saturating_sub(base).min(BLOCK);
                usize::try_from(at).expect("a block has at most 2^20 bytes")
            };
            StripeSpan {
                stripe,
                bytes: within(range.start)..within(end),
                shard_len: layout.shard_len(stripe),
            }
        })
    }

    fn full_frame_len(&self) -> u64 {
        let data = u64::try_from(self.geometry.data()).unwrap_or(u64::MAX);
        HEAD + BLOCK.div_ceil(data)
    }
}

impl StripeSpan {
    /// The data shards that hold bytes of the span.
    pub fn shards(&self) -> Range<usize> {
        match self.shard_len {
            0 => 0..0,
            len => self.bytes.start / len..self.bytes.end.div_ceil(len),
        }
    }

    /// The bytes of the span within one data shard; empty where the shard holds none of it.
    pub fn of_shard(&self, shard: usize) -> Range<usize> {
        let base = shard.saturating_mul(self.shard_len);
        let within = |at: usize| at.saturating_sub(base).min(self.shard_len);
        within(self.bytes.start)..within(self.bytes.end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn layout(k: u8, m: u8, len: u64) -> Layout {
        Layout::new(Geometry::new(k, m).unwrap(), len)
    }

    /// The place of one byte by the definition: its stripe, its shard, its offset in the shard.
    fn place(layout: Layout, at: u64) -> (u64, usize, usize) {
        let stripe = at / MIB;
        let block_end = (stripe * MIB + MIB).min(layout.len);
        let shard_len = (block_end - stripe * MIB).div_ceil(layout.geometry.data() as u64);
        let within = at - stripe * MIB;
        (
            stripe,
            (within / shard_len) as usize,
            (within % shard_len) as usize,
        )
    }

    #[test]
    fn no_bytes_have_no_stripes() {
        let empty = layout(2, 2, 0);
        assert_eq!(
            (empty.stripes(), empty.file_len(), empty.frame_offset(0)),
            (0, 0, 0)
        );
        assert_eq!(
            (empty.block_len(0), empty.shard_len(0), empty.frame_len(0)),
            (0, 0, 0)
        );
        assert_eq!(empty.spans(ByteRange::whole(0)).count(), 0);
        assert_eq!(empty.spans(ByteRange::whole(10)).count(), 0);
    }

    #[test]
    fn shard_files_have_these_lengths() {
        // (k, m, object, shard file)
        let table = [
            (1, 0, 1, 33),
            (2, 2, 1, 33),
            (2, 2, MIB, 32 + MIB / 2),
            (2, 2, MIB + 1, 32 + MIB / 2 + 33),
            (3, 2, MIB, 32 + 349_526),
            (3, 2, 2 * MIB, 2 * (32 + 349_526)),
            (12, 4, 5 * MIB + 100, 5 * (32 + 87_382) + 32 + 9),
            (16, 0, 17, 34),
        ];
        for (k, m, len, file) in table {
            assert_eq!(layout(k, m, len).file_len(), file, "{k}+{m} {len}");
        }
    }

    #[test]
    fn lengths_that_no_object_has_saturate() {
        let huge = layout(1, 0, u64::MAX);
        assert_eq!(huge.file_len(), u64::MAX);
        assert_eq!(huge.frame_len(u64::MAX), 0);
        assert_eq!(huge.frame_offset(u64::MAX), u64::MAX);
        let last: Vec<StripeSpan> = huge
            .spans(ByteRange {
                start: u64::MAX - 1,
                end: u64::MAX,
            })
            .collect();
        assert_eq!(last.len(), 1);
        assert_eq!(last[0].bytes.len(), 1);
    }

    fn layouts() -> impl Strategy<Value = Layout> {
        (1u8..=16, any::<u8>(), 0u64..6 * MIB).prop_map(|(k, m, len)| {
            let most = (16 - k).min(k + 1);
            let m = if most == 0 { 0 } else { m % (most + 1) };
            let geometry = Geometry::new(k, m).unwrap_or(Geometry::new(k, 0).unwrap());
            // A third of the lengths lie next to a block's edge.
            let len = if len % 3 == 0 {
                (len / MIB * MIB + len % 5).saturating_sub(2)
            } else {
                len
            };
            Layout::new(geometry, len)
        })
    }

    proptest! {
        #[test]
        fn frames_tile_the_file(layout in layouts()) {
            let mut at = 0;
            let mut data = 0;
            for stripe in 0..layout.stripes() {
                prop_assert_eq!(layout.frame_offset(stripe), at);
                prop_assert!(layout.block_len(stripe) > 0);
                prop_assert_eq!(layout.frame_len(stripe), 32 + layout.shard_len(stripe));
                at += layout.frame_len(stripe) as u64;
                data += layout.block_len(stripe) as u64;
            }
            prop_assert_eq!((at, data), (layout.file_len(), layout.len));
            prop_assert_eq!(layout.frame_offset(layout.stripes()), layout.file_len());
            prop_assert_eq!(layout.frame_len(layout.stripes()), 0);
        }

        #[test]
        fn spans_name_exactly_the_bytes_of_the_range(
            layout in layouts(),
            start in 0u64..7 * MIB,
            len in 0u64..3000,
        ) {
            // Windows around a shard's or a block's edge matter most.
            let start = if start % 2 == 0 { (start / MIB * MIB).saturating_sub(start % 3000) } else { start };
            let range = ByteRange { start, end: start + len };
            let want: Vec<_> = (range.start..range.end.min(layout.len)).map(|at| place(layout, at)).collect();
            let mut got = Vec::new();
            for span in layout.spans(range) {
                prop_assert!(!span.bytes.is_empty() && span.bytes.end <= layout.block_len(span.stripe));
                for shard in 0..layout.geometry.data() {
                    let bytes = span.of_shard(shard);
                    prop_assert_eq!(!bytes.is_empty(), span.shards().contains(&shard));
                    got.extend(bytes.map(|at| (span.stripe, shard, at)));
                }
            }
            prop_assert_eq!(got, want);
        }

        #[test]
        fn whole_objects_are_covered_once(layout in layouts()) {
            let total: u64 = layout.spans(ByteRange::whole(u64::MAX)).map(|s| s.bytes.len() as u64).sum();
            prop_assert_eq!(total, layout.len);
            prop_assert_eq!(layout.spans(ByteRange::whole(u64::MAX)).count() as u64, layout.stripes());
        }
    }
}

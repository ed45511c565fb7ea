//! Objects whose shards ride in the rows.

use std::sync::Arc;

use bytes::Bytes;
use drive::Register;
use erasure::{FRAME_HEAD_LEN, FrameId, ShardKey};
use futures_util::StreamExt;
use quorum::Shard;
use types::{Head, Slot};

use crate::error::Error;
use crate::heal::Depth;
use crate::properties::Extent;
use crate::set::ErasureSet;
use crate::shards::too_few;

/// Of which register.
pub(crate) struct Whose {
    pub(crate) register: Arc<Register>,
    pub(crate) slot: Slot,
}

/// The good shards of an inline row, by shard, from frames by place.
pub(crate) fn open(
    set: &ErasureSet,
    extent: &Extent,
    frames: &[Option<Bytes>],
    shards: &mut [Option<Bytes>],
) -> bool {
    let key = ShardKey::new(set.deployment, extent.data, u32::from(extent.number));
    let len = usize::try_from(extent.size).unwrap_or(usize::MAX);
    let shard_len = extent.geometry.shard_len(len);
    let mut bad = false;
    for (place, frame) in frames.iter().enumerate() {
        let Some(frame) = frame else { continue };
        let index = placement::shard_on(u16::from(extent.rotation), place, set.len());
        let Ok(shard) = u8::try_from(index) else {
            continue;
        };
        let id = FrameId {
            stripe: 0,
            shard,
            geometry: extent.geometry,
        };
        let good = key
            .open_frame(id, shard_len, frame)
            .map(|_| frame.slice(FRAME_HEAD_LEN..));
        bad |= good.is_none();
        if let (Some(slot), Some(good)) = (shards.get_mut(index), good) {
            *slot = Some(good);
        }
    }
    bad
}

/// What became of the shards of an inline row.
pub(crate) struct Gathered {
    /// The good ones, by shard.
    pub(crate) shards: Vec<Option<Bytes>>,
    /// Whether any frame was bad.
    bad: bool,
    /// Whether a drive that may have a good one did not answer.
    unknown: bool,
}

impl Gathered {
    /// The shards, the `lost` ones among them made from any k of the others.
    pub(crate) fn rebuilt(
        mut self,
        set: &ErasureSet,
        extent: &Extent,
        lost: &[usize],
    ) -> Result<Vec<Option<Bytes>>, Error> {
        if self.shards.iter().flatten().count() < extent.geometry.data() {
            return Err(too_few(self.unknown));
        }
        rebuild(set, extent, &mut self.shards, lost)?;
        Ok(self.shards)
    }
}

/// All good shards of an inline row, asking all drives for frames until `enough`.
pub(crate) async fn gather(
    set: &ErasureSet,
    whose: &Whose,
    extent: &Extent,
    head: &Head,
    frames: &[Option<Bytes>],
    enough: impl Fn(&[Option<Bytes>]) -> bool,
) -> Gathered {
    let mut shards = vec![None; set.len()];
    let mut bad = open(set, extent, frames, &mut shards);
    let mut unknown = false;
    let mut copies = None;
    while !enough(&shards) {
        let copies = copies.get_or_insert_with(|| set.copies(&whose.register, whose.slot, head));
        let Some((place, copy)) = copies.next().await else {
            break;
        };
        let mut one = vec![None; set.len()];
        match (copy, one.get_mut(place)) {
            (Ok(copy), Some(slot)) => *slot = copy.inline,
            (Err(state), _) => unknown |= state == Shard::Unknown,
            (Ok(_), None) => {}
        }
        bad |= open(set, extent, &one, &mut shards);
    }
    Gathered {
        shards,
        bad,
        unknown,
    }
}

/// The bytes of an inline object, in pieces.
pub(crate) async fn read(
    set: &Arc<ErasureSet>,
    whose: &Whose,
    extent: &Extent,
    head: &Head,
    frames: &[Option<Bytes>],
) -> Result<Vec<Bytes>, Error> {
    let k = extent.geometry.data();
    let data_whole = |shards: &[Option<Bytes>]| shards.iter().take(k).all(Option::is_some);
    let enough =
        |shards: &[Option<Bytes>]| data_whole(shards) || shards.iter().flatten().count() >= k;
    let gathered = gather(set, whose, extent, head, frames, enough).await;
    if gathered.bad {
        set.counters.bad_shard();
        set.hints.note(&whose.register, whose.slot, Depth::Shards);
    }
    let shards = if data_whole(&gathered.shards) {
        gathered.shards
    } else {
        let missing = |shard: &usize| gathered.shards.get(*shard).is_some_and(Option::is_none);
        let lost: Vec<usize> = (0..k).filter(missing).collect();
        gathered.rebuilt(set, extent, &lost)?
    };
    let mut left = usize::try_from(extent.size).map_err(|_| Error::Damaged)?;
    let mut pieces = Vec::with_capacity(k);
    let mut crc = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    for shard in shards.iter().take(k).flatten() {
        let piece = shard.slice(..left.min(shard.len()));
        left -= piece.len();
        crc.update(&piece);
        pieces.push(piece);
    }
    if left > 0 || crc.finalize() != extent.crc {
        return Err(Error::Damaged);
    }
    Ok(pieces)
}

/// Fills in shards that are lost, from any k that are there.
fn rebuild(
    set: &ErasureSet,
    extent: &Extent,
    shards: &mut [Option<Bytes>],
    lost: &[usize],
) -> Result<(), Error> {
    let shard_len = extent
        .geometry
        .shard_len(usize::try_from(extent.size).unwrap_or(usize::MAX));
    crate::shards::rebuild(&set.codec(extent.geometry), shard_len, shards, lost)
}

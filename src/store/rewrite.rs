//! Writing rows and shards again where they are lacking: the same bytes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use drive::{Register, Row, RowAnswer};
use erasure::{FRAME_HEAD_LEN, FrameId, ShardKey};
use futures_util::StreamExt;
use futures_util::future::join_all;
use quorum::{Places, Shard};
use types::{Head, Placed, Slot};

use crate::commit::Parcel;
use crate::error::Error;
use crate::gates::Pass;
use crate::heal::Depth;
use crate::holder::Lease;
use crate::inline::{self, Whose};
use crate::properties::{Extent, Properties};
use crate::set::ErasureSet;
use crate::shards::too_few;

/// Commits a row again until W drives have it (rule 3b): all as it was, but for the next order of
/// this lease if it has one of an older lease. Under its old order it would stay below what a
/// holder in between ordered after it had found the row void, and that could still be finished
/// after this one was shown (way 14). `holders` are known to have it. It is a commit in flight
/// like any other (rule 4).
pub(crate) async fn recommit(
    set: &Arc<ErasureSet>,
    pass: &Pass,
    lease: Lease,
    register: &Arc<Register>,
    head: &Head,
    holders: Places,
) -> Result<(), Error> {
    let slot = lease.fence.slot;
    let whose = Whose {
        register: Arc::clone(register),
        slot,
    };
    if head.placed == Placed::Parts {
        // The row goes everywhere, parts are where they were committed.
        set.hints.note(register, slot, Depth::Rows);
    }
    let all = Places::all(set.len());
    let parcel = write_again(set, &whose, head, holders, all).await?;
    set.commit(pass.clone(), lease, parcel).await?;
    Ok(())
}

/// A row as it was first committed, from any drive that has it.
pub(crate) async fn find_row(
    set: &Arc<ErasureSet>,
    register: &Arc<Register>,
    slot: Slot,
    head: &Head,
) -> Result<Arc<Row>, Error> {
    let mut copies = set.copies(register, slot, head);
    let mut unknown = false;
    while let Some((_, copy)) = copies.next().await {
        match copy {
            Ok(RowAnswer { row: Some(row), .. }) => return Ok(row),
            Ok(_) => {}
            Err(state) => unknown |= state == Shard::Unknown,
        }
    }
    Err(too_few(unknown))
}

/// A row without bytes, to be committed on these places.
pub(crate) fn bare_parcel(
    set: &ErasureSet,
    register: &Arc<Register>,
    head: Head,
    properties: &Properties,
    ready: Places,
) -> Parcel {
    Parcel {
        register: Arc::clone(register),
        row: Arc::new(Row {
            head,
            files: [].into(),
            tail: properties.encode(),
        }),
        inline: vec![None; set.len()],
        ready,
    }
}

/// Rebuilds what `stale` places lack from `sources`: the same row, to be committed on them.
pub(crate) async fn write_again(
    set: &Arc<ErasureSet>,
    whose: &Whose,
    head: &Head,
    sources: Places,
    stale: Places,
) -> Result<Parcel, Error> {
    let row = find_row(set, &whose.register, whose.slot, head).await?;
    let mut inline = vec![None; set.len()];
    let mut ready = stale;
    match head.placed {
        Placed::Inline => inline = inline_frames(set, whose, &extent_of(&row)?, head).await?,
        Placed::File => {
            let (has, lacking) = (stale.and(sources), stale.without(sources));
            let extent = extent_of(&row)?;
            ready = has.or(rewrite_file(set, whose, &extent, sources, lacking).await?);
        }
        Placed::Nowhere | Placed::Parts => {}
    }
    Ok(Parcel {
        register: Arc::clone(&whose.register),
        row,
        inline,
        ready,
    })
}

/// What a row with bytes of its own says of them.
pub(crate) fn extent_of(row: &Row) -> Result<Extent, Error> {
    let properties = Properties::decode(&row.tail).map_err(|_| Error::Damaged)?;
    properties.extents.into_iter().next().ok_or(Error::Damaged)
}

/// Every place's frame of an inline row.
async fn inline_frames(
    set: &Arc<ErasureSet>,
    whose: &Whose,
    extent: &Extent,
    head: &Head,
) -> Result<Vec<Option<Bytes>>, Error> {
    let k = extent.geometry.data();
    let enough = |shards: &[Option<Bytes>]| shards.iter().flatten().count() >= k;
    let none = vec![None; set.len()];
    let gathered = inline::gather(set, whose, extent, head, &none, enough).await;
    let missing = |shard: &usize| gathered.shards.get(*shard).is_some_and(Option::is_none);
    let lost: Vec<usize> = (0..set.len()).filter(missing).collect();
    let shards = gathered.rebuilt(set, extent, &lost)?;
    let key = ShardKey::new(set.deployment, extent.data, u32::from(extent.number));
    let frame = |place: usize| {
        let index = placement::shard_on(u16::from(extent.rotation), place, set.len());
        let shard = shards.get(index)?.as_ref()?;
        Some(seal(&key, extent, 0, index, shard))
    };
    Ok((0..set.len()).map(frame).collect())
}

fn seal(key: &ShardKey, extent: &Extent, stripe: u64, index: usize, shard: &[u8]) -> Bytes {
    let id = FrameId {
        stripe,
        shard: u8::try_from(index).unwrap_or(u8::MAX),
        geometry: extent.geometry,
    };
    let mut frame = BytesMut::with_capacity(FRAME_HEAD_LEN + shard.len());
    frame.extend_from_slice(&key.seal(id, shard));
    frame.extend_from_slice(shard);
    frame.freeze()
}

/// Writes the shard files of an extent again on some places. Says which of them have theirs.
pub(crate) async fn rewrite_file(
    set: &Arc<ErasureSet>,
    whose: &Whose,
    extent: &Extent,
    sources: Places,
    lacking: Places,
) -> Result<Places, Error> {
    let shards = set.shards(&whose.register, whose.slot, extent);
    let shard = |place| placement::shard_on(u16::from(extent.rotation), place, set.len());
    let indices: Vec<usize> = lacking.iter().map(shard).collect();
    let sources: Vec<usize> = sources.iter().map(shard).collect();
    let open = |place: usize| {
        let drive = set.drives.get(place).cloned();
        let register = Arc::clone(&whose.register);
        async move { drive?.stage(extent.data, register).await.ok() }
    };
    let mut stages = join_all(lacking.iter().map(open)).await;
    for stripe in 0..shards.layout.stripes() {
        let rebuilt = shards.stripe(stripe, &sources, &indices).await?;
        for ((stage, index), shard) in stages.iter_mut().zip(&indices).zip(rebuilt) {
            let Some(writer) = stage else { continue };
            let frame = seal(&shards.key, extent, stripe, *index, &shard);
            if writer.append(frame).await.is_err() {
                *stage = None;
            }
        }
    }
    let finish = |stage: Option<Box<dyn drive::Stage>>| async move {
        match stage {
            Some(stage) => stage.finish().await.is_ok(),
            None => false,
        }
    };
    let finished = join_all(stages.into_iter().map(finish)).await;
    let done = lacking.iter().zip(finished).filter(|(_, done)| *done);
    Ok(done.map(|(place, _)| place).collect())
}

//! Making a row whole again: the holder's commit of the same order (commit rule 11).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use drive::{Fence, Register, Row, RowsRequest, Want};
use erasure::{FRAME_HEAD_LEN, FrameId, ShardKey};
use futures_util::StreamExt;
use futures_util::future::join_all;
use quorum::{Ballot, Decided, HealPlan, Places, Shard};
use types::{Head, Kind, Placed, Slot};

use crate::commit::{InFlight, Parcel};
use crate::decide::decide;
use crate::error::Error;
use crate::gates::Pass;
use crate::inline::{self, Whose};
use crate::properties::{Extent, Properties};
use crate::set::{Asked, ErasureSet};
use crate::shards::compute;

/// How closely heal looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every drive has the row, and a file of its name.
    Rows,
    /// Every shard is read and verified.
    Shards,
}

/// What heal found of one register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Healed {
    /// Rows looked at.
    pub rows: u64,
    /// Rows that were on all drives, good, when last counted.
    pub whole: u64,
    /// Copies written again.
    pub repaired: u64,
    /// Rows with fewer good shards than needed, all drives having answered.
    pub lost: u64,
}

/// Commits a row again, same order and data, under a new fence, until W drives have it
/// (rule 3b). `holders` are known to have it. It is a commit in flight like any other (rule 4).
pub(crate) async fn recommit(
    set: &Arc<ErasureSet>,
    pass: &Pass,
    fence: Fence,
    register: &Arc<Register>,
    head: &Head,
    holders: Places,
) -> Result<(), Error> {
    let whose = Whose {
        register: Arc::clone(register),
        slot: fence.slot,
    };
    let all = Places::all(set.len());
    let parcel = write_again(set, fence, &whose, head, holders, all).await?;
    InFlight::send(set, Some(pass.clone()), parcel)
        .acknowledged()
        .await
}

/// Looks at every decided row of a register and writes again what some drive lacks.
pub(crate) async fn heal(
    set: &Arc<ErasureSet>,
    register: &Arc<Register>,
    slot: Slot,
    depth: Depth,
) -> Result<Healed, Error> {
    let pass = set.holder.enter(register).await?;
    let history = decide(set, &pass, register, slot, Want::All).await?.history;
    let mut healed = Healed::default();
    for version in &history.versions {
        healed.rows += 1;
        let mut first = true;
        loop {
            let (plan, fence) = plan(set, register, slot, version, depth).await?;
            match plan {
                HealPlan::Whole => {
                    healed.whole += 1;
                    set.holder.complete(slot, version.head.order);
                }
                HealPlan::Repair { sources, stale } if first => {
                    first = false;
                    let whose = Whose {
                        register: Arc::clone(register),
                        slot,
                    };
                    let parcel =
                        write_again(set, fence, &whose, &version.head, sources, stale).await?;
                    InFlight::send(set, Some(pass.clone()), parcel)
                        .answered()
                        .await;
                    let count = u64::try_from(stale.len()).unwrap_or(0);
                    healed.repaired += count;
                    (0..count).for_each(|_| set.counters.repair());
                    continue;
                }
                HealPlan::Unrecoverable { .. } => {
                    healed.lost += 1;
                    set.counters.lost();
                    tracing::error!(?register, order = ?version.head.order, "too few good shards are left");
                }
                HealPlan::Repair { .. } | HealPlan::Wait { .. } => {}
            }
            break;
        }
    }
    Ok(healed)
}

/// What every drive says of a row, and what follows from it.
async fn plan(
    set: &Arc<ErasureSet>,
    register: &Arc<Register>,
    slot: Slot,
    version: &Decided,
    depth: Depth,
) -> Result<(HealPlan, Fence), Error> {
    let (fence, _) = set.holder.fence(slot, set.membership)?;
    let head = &version.head;
    let request = RowsRequest {
        raise: Some(fence),
        slot,
        register: Arc::clone(register),
        want: Want::Born(head.born),
    };
    let answers = join_all(set.drives.iter().map(|drive| drive.rows(request.clone()))).await;
    let mut asked = Asked {
        ballot: Ballot::new(set.len()),
        rows: vec![None; set.len()],
    };
    for (place, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(rows) => set.count(&request, &mut asked, place, rows),
            Err(_) => asked.ballot.failed(place),
        }
    }
    let shards = shards(set, register, slot, head, &asked, depth).await?;
    Ok((quorum::heal(&asked.ballot, version, &shards), fence))
}

/// The state of a row's shards, by place; empty for rows without any.
async fn shards(
    set: &Arc<ErasureSet>,
    register: &Arc<Register>,
    slot: Slot,
    head: &Head,
    asked: &Asked,
    depth: Depth,
) -> Result<Vec<Shard>, Error> {
    if head.kind != Kind::Object || head.placed == Placed::Nowhere {
        return Ok(Vec::new());
    }
    let row = find_row(set, register, slot, head).await?;
    let properties = Properties::decode(&row.tail).map_err(|_| Error::Damaged)?;
    let mut state = vec![Shard::Good; set.len()];
    for extent in &properties.extents {
        for (place, state) in state.iter_mut().enumerate() {
            let answered = asked.rows.get(place).is_some_and(Option::is_some);
            let found = if !answered {
                Shard::Unknown
            } else if extent.placed == Placed::Inline {
                inline_shard(set, extent, head, asked, place)
            } else {
                file_shard(set, register, slot, extent, place, depth).await
            };
            *state = match (*state, found) {
                (Shard::Bad, _) | (_, Shard::Bad) => Shard::Bad,
                (Shard::Unknown, _) | (_, Shard::Unknown) => Shard::Unknown,
                _ => Shard::Good,
            };
        }
    }
    Ok(state)
}

fn inline_shard(
    set: &ErasureSet,
    extent: &Extent,
    head: &Head,
    asked: &Asked,
    place: usize,
) -> Shard {
    let frames = crate::get::frames_of(head, asked);
    let mut one = vec![None; set.len()];
    if let (Some(slot), Some(frame)) = (one.get_mut(place), frames.get(place)) {
        slot.clone_from(frame);
    }
    let mut shards = vec![None; set.len()];
    inline::open(set, extent, &one, &mut shards);
    if shards.iter().any(Option::is_some) {
        Shard::Good
    } else {
        Shard::Bad
    }
}

async fn file_shard(
    set: &Arc<ErasureSet>,
    register: &Arc<Register>,
    slot: Slot,
    extent: &Extent,
    place: usize,
    depth: Depth,
) -> Shard {
    let shards = set.shards(register, slot, extent);
    let good = match depth {
        Depth::Shards => shards.verify(place).await,
        Depth::Rows => shards.present(place).await,
    };
    if good { Shard::Good } else { Shard::Bad }
}

async fn find_row(
    set: &Arc<ErasureSet>,
    register: &Arc<Register>,
    slot: Slot,
    head: &Head,
) -> Result<Arc<Row>, Error> {
    let mut copies = set.copies(register, slot, head);
    while let Some((_, answer)) = copies.next().await {
        if let Some(row) = answer.row {
            return Ok(row);
        }
    }
    Err(Error::Damaged)
}

/// Rebuilds what `stale` places lack from `sources`: the same row, to be committed on them.
async fn write_again(
    set: &Arc<ErasureSet>,
    fence: Fence,
    whose: &Whose,
    head: &Head,
    sources: Places,
    stale: Places,
) -> Result<Parcel, Error> {
    let row = find_row(set, &whose.register, whose.slot, head).await?;
    let properties = Properties::decode(&row.tail).map_err(|_| Error::Damaged)?;
    let mut inline = vec![None; set.len()];
    let mut ready: Vec<bool> = (0..set.len()).map(|place| stale.contains(place)).collect();
    for extent in &properties.extents {
        if extent.placed == Placed::Inline {
            inline = inline_frames(set, whose, extent, head).await?;
        } else if head.kind == Kind::Object {
            let lacking: Vec<usize> = stale.without(sources).iter().collect();
            let done = rewrite_files(set, whose, extent, &lacking).await?;
            for (place, done) in lacking.iter().zip(done) {
                if let Some(ready) = ready.get_mut(*place) {
                    *ready &= done;
                }
            }
        }
    }
    Ok(Parcel {
        fence,
        register: Arc::clone(&whose.register),
        row,
        inline,
        ready,
    })
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
    let mut shards = inline::gather(set, whose, extent, head, &vec![None; set.len()], enough).await;
    let lost: Vec<usize> = (0..set.len())
        .filter(|shard| shards.get(*shard).is_some_and(Option::is_none))
        .collect();
    inline::rebuild(set, extent, &mut shards, &lost).await?;
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
async fn rewrite_files(
    set: &Arc<ErasureSet>,
    whose: &Whose,
    extent: &Extent,
    lacking: &[usize],
) -> Result<Vec<bool>, Error> {
    let shards = set.shards(&whose.register, whose.slot, extent);
    let indices: Vec<usize> = lacking
        .iter()
        .map(|place| placement::shard_on(u16::from(extent.rotation), *place, set.len()))
        .collect();
    let open = |place: &usize| {
        let drive = set.drives.get(*place).cloned();
        let register = Arc::clone(&whose.register);
        async move { drive?.stage(extent.data, register).await.ok() }
    };
    let mut stages = join_all(lacking.iter().map(open)).await;
    for stripe in 0..shards.layout.stripes() {
        let rebuilt = shards.stripe(stripe, &indices).await?;
        for ((stage, index), shard) in stages.iter_mut().zip(&indices).zip(rebuilt) {
            let Some(writer) = stage else { continue };
            let (key, extent, index, len) =
                (shards.key.clone(), extent.clone(), *index, shard.len());
            let frame = compute(len, move || seal(&key, &extent, stripe, index, &shard)).await;
            let frame = frame.ok_or(Error::Unavailable("shutting down"))?;
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
    Ok(join_all(stages.into_iter().map(finish)).await)
}

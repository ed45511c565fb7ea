//! Taking away what is left of the parts of an upload that is over.

use std::sync::Arc;

use drive::{Discard, Register, RowsRequest, Scan, Want};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use types::{DataId, Order, Slot};

use crate::error::Error;
use crate::gates::Pass;
use crate::heal::Depth;
use crate::list::{Current, SetScan};
use crate::place::UploadSpot;
use crate::set::ErasureSet;

/// Rows of a page of a scan.
const SCAN_ROWS: usize = 1_000;
/// Parts that are swept side by side: their discards share the drives' batches.
const SWEPT_AT_ONCE: usize = 16;

/// The files of parts that the object lists, which must stay.
#[derive(Debug, Clone)]
pub(crate) enum Listed {
    /// These.
    These(Arc<[DataId]>),
    /// Only the object's rows tell. A row that never counted may still be on its way from an
    /// older holder to some drive, and be finished: so all drives must tell, under the fence.
    Ask,
}

/// What is known of a part's register after its rows were discarded.
struct Swept {
    /// Whether all drives discarded what they had.
    gone: bool,
    /// Whether all drives had the part.
    whole: bool,
}

/// Sweeps all parts of an upload that is over. What is left to do after a failure or a crash is
/// found by a recount. `_pass` keeps everybody else off the parts meanwhile.
pub(crate) async fn sweep(set: Arc<ErasureSet>, at: UploadSpot, _pass: Pass, listed: Listed) {
    if let Err(error) = try_sweep(&set, &at, listed).await {
        tracing::info!(%error, "parts of an upload are left to the recount");
        set.hints.give_up();
    }
}

async fn try_sweep(set: &Arc<ErasureSet>, at: &UploadSpot, listed: Listed) -> Result<(), Error> {
    let slot = at.upload.slot;
    let listed = match listed {
        Listed::These(files) => files,
        Listed::Ask => listed_by(set, &at.object.register, slot).await?,
    };
    let scan = Scan {
        start: at.parts(),
        prefix: at.parts(),
        delimiter: None,
        want: Want::Latest,
        rows_max: SCAN_ROWS,
    };
    let mut scan = SetScan::begin(set, scan).await?;
    let mut registers = Vec::new();
    while let Some(entry) = scan.next::<Current>().await? {
        let register = Register::from_bytes(&entry.register).ok_or(Error::Damaged)?;
        registers.push(Arc::new(register));
    }
    let swept = stream::iter(registers).map(|register| {
        let listed = Arc::clone(&listed);
        async move { sweep_part(set, &register, slot, &listed).await }
    });
    let mut swept = swept.buffer_unordered(SWEPT_AT_ONCE);
    let mut whole = true;
    while let Some(one) = swept.next().await {
        whole &= one?.whole;
    }
    if !whole {
        // The object has gaps where its parts had.
        set.hints.note(&at.object.register, slot, Depth::Rows);
    }
    Ok(())
}

/// Sweeps one part of an upload that is over. Says whether nothing is left of it on any drive.
pub(crate) async fn sweep_stray(
    set: &Arc<ErasureSet>,
    register: &Arc<Register>,
    slot: Slot,
) -> Result<bool, Error> {
    let object = register.object_of_upload().ok_or(Error::Damaged)?;
    let object = Arc::new(object);
    let listed = listed_by(set, &object, slot).await?;
    let swept = sweep_part(set, register, slot, &listed).await?;
    if !swept.whole && !listed.is_empty() {
        set.hints.note(&object, slot, Depth::Rows);
    }
    Ok(swept.gone)
}

/// Every file that some row of the object lists on some drive. All drives must tell: one that
/// told will take nothing more from an older holder.
async fn listed_by(
    set: &Arc<ErasureSet>,
    object: &Arc<Register>,
    slot: Slot,
) -> Result<Arc<[DataId]>, Error> {
    let mut files = Vec::new();
    for rows in raise_all(set, object, slot).await? {
        let rows = rows.ok_or(Error::Unavailable("not all drives answer"))?;
        // A damaged row could list any of them.
        if rows.iter().any(|answer| answer.row.is_none()) {
            return Err(Error::Damaged);
        }
        let listed = rows.iter().filter_map(|answer| answer.row.as_ref());
        files.extend(listed.flat_map(|row| row.files.iter().copied()));
    }
    files.sort_unstable();
    files.dedup();
    Ok(files.into())
}

/// The rows of a register on each drive, raised to the fence of the lease; `None` for drives that
/// do not answer.
async fn raise_all(
    set: &Arc<ErasureSet>,
    register: &Arc<Register>,
    slot: Slot,
) -> Result<Vec<Option<drive::Rows>>, Error> {
    let fence = set.holder.lease(slot)?.fence;
    let request = RowsRequest {
        raise: Some(fence),
        slot,
        register: Arc::clone(register),
        want: Want::All,
    };
    let answers = set.drives.iter().map(|drive| drive.rows(request.clone()));
    Ok(join_all(answers)
        .await
        .into_iter()
        .map(Result::ok)
        .collect())
}

async fn sweep_part(
    set: &Arc<ErasureSet>,
    register: &Arc<Register>,
    slot: Slot,
    listed: &Arc<[DataId]>,
) -> Result<Swept, Error> {
    let fence = set.holder.lease(slot)?.fence;
    let rows = raise_all(set, register, slot).await?;
    let has = |rows: &Option<drive::Rows>| rows.as_ref().is_some_and(|rows| !rows.is_empty());
    let whole = rows.iter().all(has);
    let discard = |(drive, rows): (&Arc<dyn drive::Drive>, Option<drive::Rows>)| {
        let named = |rows: drive::Rows| -> Vec<(Order, Order)> {
            let names = rows.iter().map(|row| (row.head.born, row.head.order));
            names.collect()
        };
        let reply = rows.map(named).map(|rows| {
            let discard = Discard {
                fence,
                register: Arc::clone(register),
                rows,
                keep: Arc::clone(listed),
            };
            (!discard.rows.is_empty()).then(|| drive.discard(discard))
        });
        async move {
            match reply {
                Some(Some(reply)) => reply.await.is_ok(),
                Some(None) => true,
                None => false,
            }
        }
    };
    let done = join_all(set.drives.iter().zip(rows).map(discard)).await;
    Ok(Swept {
        gone: done.into_iter().all(|done| done),
        whole,
    })
}

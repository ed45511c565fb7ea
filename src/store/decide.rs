//! What the holder finds when it touches a register: commit rules 3 and 5.

use std::sync::Arc;

use drive::{Register, RowsRequest, Want};
use quorum::{History, Touch};
use types::{Head, Slot, VersionId};

use crate::error::Error;
use crate::gates::Pass;
use crate::holder::Lease;
use crate::rewrite::recommit;
use crate::set::{Asked, ErasureSet, FENCED};

/// A register as the holder found it, under its fence.
pub(crate) struct Decided {
    /// By what right it was found so. What is ordered on it is ordered by the same.
    pub(crate) lease: Lease,
    pub(crate) history: History,
    pub(crate) asked: Asked,
}

/// More rounds than a history can need: each finishes at least one row.
const ROUNDS_MAX: usize = 16;

/// Raises and reads until every row that matters is decided. `pass` proves that no commit of
/// this process is in flight on the register.
pub(crate) async fn decide(
    set: &Arc<ErasureSet>,
    pass: &Pass,
    register: &Arc<Register>,
    slot: Slot,
    asked_for: Want,
) -> Result<Decided, Error> {
    decide_with(set, pass, register, slot, asked_for, Voices::Quorum).await
}

/// Who must be heard before something is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voices {
    /// A read quorum. A row that was never committed may be on another drive, and be finished
    /// by a later touch.
    Quorum,
    /// Every drive: what none of them has will never be anywhere.
    All,
}

/// The same, by these voices.
pub(crate) async fn decide_with(
    set: &Arc<ErasureSet>,
    pass: &Pass,
    register: &Arc<Register>,
    slot: Slot,
    asked_for: Want,
    voices: Voices,
) -> Result<Decided, Error> {
    let heard_min = match voices {
        Voices::Quorum => set.standard.read_quorum(),
        Voices::All => set.len(),
    };
    let mut want = asked_for;
    for _ in 0..ROUNDS_MAX {
        let lease = set.holder.lease(slot)?;
        let request = RowsRequest {
            raise: Some(lease.fence),
            slot,
            register: Arc::clone(register),
            want,
        };
        let places: Vec<usize> = (0..set.len()).collect();
        let touched = set
            .ask(
                &request,
                &places,
                heard_min,
                |asked| match quorum::first_touch(&asked.ballot, scope(want)) {
                    _ if asked.ballot.answered().len() < heard_min => None,
                    Touch::Wait => None,
                    // Other drives may have it too, and then there is nothing to finish.
                    Touch::Finish { .. } if !asked.ballot.pending().is_empty() => None,
                    decided => Some(decided),
                },
            )
            .await;
        if touched.as_ref().err() == Some(&FENCED) && set.holder.refused(lease).is_some() {
            continue;
        }
        let (touch, asked) = touched?;
        match touch {
            Touch::Decided(mut history) => {
                // Of a wider history that was asked for in doubt, only what was wanted counts.
                let wanted = |version: &quorum::Decided| is_of(asked_for, &version.head);
                history.versions.retain(wanted);
                return Ok(Decided {
                    lease,
                    history,
                    asked,
                });
            }
            Touch::Finish { head, holders } => {
                recommit(set, pass, lease, register, &head, holders).await?;
            }
            Touch::Widen => want = Want::All,
            Touch::Conflict(order) => {
                tracing::error!(?order, ?register, "two holders share an epoch");
                return Err(Error::Unavailable("two rows carry one order"));
            }
            Touch::Wait => {}
        }
    }
    Err(Error::Unavailable("the key's history stays undecided"))
}

fn is_of(want: Want, head: &Head) -> bool {
    match want {
        Want::Latest | Want::All => true,
        Want::Born(born) | Want::Exact(born, _) => head.born == born,
        Want::Null => head.version == VersionId::Null,
    }
}

/// What part of a history a request is about.
pub(crate) fn scope(want: Want) -> quorum::Want {
    match want {
        Want::Latest => quorum::Want::Current,
        Want::Born(born) | Want::Exact(born, _) => quorum::Want::Born(born),
        Want::Null => quorum::Want::Null,
        Want::All => quorum::Want::All,
    }
}

//! Healing a version that is made of parts. Each part was committed on its own, perhaps under
//! another code than the next, and lacks something elsewhere than the next.

use quorum::{Decided, HealPlan, Places, Shard};
use types::Placed;

use crate::commit::{InFlight, Parcel};
use crate::error::Error;
use crate::heal::Patient;
use crate::holder::Lease;
use crate::properties::Properties;
use crate::rewrite::{find_row, rewrite_file};
use crate::set::Asked;

/// What was found of a version, and done about it.
pub(crate) struct Mended {
    /// All drives have its row, and a good shard of each part.
    pub(crate) whole: bool,
    /// Some part has fewer good shards than needed, all drives having answered.
    pub(crate) lost: bool,
    /// Copies written again.
    pub(crate) repaired: u64,
    /// The drives that lack the row, or what could be had of its parts.
    pub(crate) lacking: Places,
}

impl Patient<'_> {
    /// Looks at the row and at every part. Writes files again where they are lacking, then the
    /// row, which takes them in.
    pub(crate) async fn mend_parts(
        &self,
        lease: Lease,
        asked: &Asked,
        version: &Decided,
    ) -> Result<Mended, Error> {
        let (set, whose) = (self.set, &self.whose);
        let row = find_row(set, &whose.register, whose.slot, &version.head).await?;
        let properties = Properties::decode(&row.tail).map_err(|_| Error::Damaged)?;
        let plan = quorum::heal(&asked.ballot, version, &[]);
        let mut mended = Mended {
            whole: plan == HealPlan::Whole,
            lost: false,
            repaired: 0,
            lacking: Places::NONE,
        };
        let rowless = match plan {
            HealPlan::Repair { stale, .. } => stale,
            _ => Places::NONE,
        };
        let mut ready = rowless;
        // A drive that gets the row while it lacks a part would look whole to the next recount.
        let mut short = Places::NONE;
        let files = properties.extents.iter();
        for extent in files.filter(|extent| extent.placed == Placed::File) {
            let state = self.file_shards(extent, asked).await;
            let plan = quorum::heal_part(&asked.ballot, extent.geometry, &state);
            mended.whole &= plan == HealPlan::Whole;
            match plan {
                HealPlan::Repair { sources, stale } => {
                    mended.lacking = mended.lacking.or(stale);
                    let done = rewrite_file(set, whose, extent, sources, stale).await?;
                    ready = ready.or(done);
                    short = short.or(stale.without(done));
                }
                HealPlan::Unrecoverable { .. } => mended.lost = true,
                HealPlan::Wait { unknown } => {
                    let good = state.iter().enumerate();
                    let good = good.filter(|(_, state)| **state == Shard::Good);
                    let known = unknown.or(good.map(|(place, _)| place).collect());
                    short = short.or(Places::all(set.len()).without(known));
                }
                HealPlan::Whole => {}
            }
        }
        mended.lacking = mended.lacking.or(rowless).or(short);
        let ready = ready.without(rowless.and(short));
        if ready != Places::NONE {
            let parcel = Parcel {
                register: std::sync::Arc::clone(&whose.register),
                row,
                inline: vec![None; set.len()],
                ready,
            };
            let flight = InFlight::send(set, self.pass.clone(), lease, parcel);
            mended.repaired = flight.answered().await;
        }
        if mended.whole {
            set.holder.complete(whose.slot, version.head.order);
        }
        Ok(mended)
    }
}

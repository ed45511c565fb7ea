//! Drives that leave their seats and take them again while the store serves.

use std::sync::Arc;

use drive::{Drive, Fence, Register, RowsRequest, Want};
use futures_util::future::try_join_all;
use types::{BucketId, Epoch, ObjectKey, Order, Slot};

use crate::store::Store;

/// Fences that are raised side by side.
pub(crate) const RAISED_MAX: usize = 128;

/// A request that raises a fence, and asks for nothing.
pub(crate) fn raise(fence: Fence) -> RowsRequest {
    let key = ObjectKey::parse("-").expect("a dash is a key");
    RowsRequest {
        raise: Some(fence),
        slot: fence.slot,
        register: Arc::new(Register::object(BucketId::from_u64(0), &key)),
        want: Want::Born(Order::ZERO),
    }
}

impl Store {
    /// A drive of the set takes a seat, by the entry that makes the new membership index: one that is
    /// empty, or that lost something, is rebuilt under it before it votes (commit rule 10).
    pub fn admit(&self, set: usize, membership: Epoch) {
        if let Some(set) = self.sets.get(set) {
            set.holder.admit(membership);
        }
    }

    /// Has a drive that was admitted refuse all that is older than its admission, before it is asked
    /// for anything else: a message from before may still be on its way (commit rule 10).
    pub async fn shut_out_older(
        &self,
        drive: &dyn Drive,
        membership: Epoch,
    ) -> Result<(), drive::Error> {
        let slots: Vec<Slot> = (0..Slot::COUNT).map(Slot::new).collect();
        for some in slots.chunks(RAISED_MAX) {
            let fence = |slot: &Slot| Fence {
                slot: *slot,
                epoch: membership,
            };
            let raised = some.iter().map(|slot| drive.rows(raise(fence(slot))));
            try_join_all(raised).await?;
        }
        Ok(())
    }

    /// The highest log position that the drive of a seat is known to have reached: one that comes back
    /// with less lost something.
    pub fn reached(&self, set: usize, place: usize) -> u64 {
        let Some(set) = self.sets.get(set) else {
            return 0;
        };
        set.remember_peers();
        let known = set.positions().into_iter();
        let known = known.filter(|(at, _)| usize::from(*at) == place);
        known.map(|(_, position)| position).max().unwrap_or(0)
    }

    /// A drive sits again in a seat that was empty. What it missed is to be counted.
    pub fn returned(&self, set: usize, place: usize) {
        if let Some(set) = self.sets.get(set) {
            let drive = set.drives.get(place);
            set.acknowledged(place, drive.map_or(0, |drive| drive.positions().0));
            set.remember_peers();
            // However short it was away: the hints of that time may have been given up.
            set.hints.give_up();
        }
    }
}

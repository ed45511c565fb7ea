//! The holder of a set's slots: it orders changes, one at a time per register, and remembers
//! what is settled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use drive::{Fence, Register, SettleMark};
use parking_lot::Mutex;
use quorum::Sequencer;
use types::{Epoch, Order, Slot};

use crate::error::Error;
use crate::gates::{Gates, Pass};

/// What a change ends with whose lease was replaced meanwhile. It was not ordered.
pub(crate) const GONE: Error = Error::Unavailable("the lease on the key's slot is gone");

/// By what right a change is decided and made. A decision holds as long as its lease: under a new
/// grant others may have had the slot in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    /// What drives are shown.
    pub(crate) fence: Fence,
    /// The grant.
    pub(crate) epoch: Epoch,
}

/// What became of the orders of a lease.
struct Orders {
    sequencer: Sequencer,
    epoch: Epoch,
    /// Whether its marks moved since the drives were told.
    dirty: bool,
}

/// The leases of this process on one set.
pub(crate) struct Holder {
    slots: Vec<Mutex<Option<Orders>>>,
    /// The set's membership index, packed.
    membership: AtomicU64,
    gates: Gates,
    dirty: Mutex<Vec<Slot>>,
}

impl Holder {
    pub(crate) fn new(membership: Epoch) -> Self {
        Self {
            membership: AtomicU64::new(membership.as_u64()),
            slots: (0..Slot::COUNT).map(|_| Mutex::new(None)).collect(),
            gates: Gates::new(),
            dirty: Mutex::new(Vec::new()),
        }
    }

    /// Takes up a lease. An older one of the same slot is given up with it.
    pub(crate) fn grant(&self, slot: Slot, epoch: Epoch) {
        if let Some(lease) = self.slots.get(slot.index()) {
            let mut lease = lease.lock();
            if lease.as_ref().is_none_or(|lease| lease.epoch < epoch) {
                *lease = Some(Orders {
                    sequencer: Sequencer::new(epoch),
                    epoch,
                    dirty: false,
                });
            }
        }
    }

    /// The set's membership index: the newest admission of a drive.
    pub(crate) fn membership(&self) -> Epoch {
        Epoch::from_u64(self.membership.load(Ordering::SeqCst))
    }

    /// A drive took a seat: all that follows carries a fence of at least that (commit rule 10).
    pub(crate) fn admit(&self, membership: Epoch) {
        self.membership
            .fetch_max(membership.as_u64(), Ordering::SeqCst);
    }

    /// A drive refused the lease. The same one under a higher fence, if a drive took a seat since;
    /// else somebody else holds the slot.
    pub(crate) fn refused(&self, lease: Lease) -> Option<Lease> {
        let now = self.lease(lease.fence.slot).ok();
        let grown = now.filter(|now| now.epoch == lease.epoch && now.fence != lease.fence);
        if grown.is_none() {
            self.depose(lease);
        }
        grown
    }

    fn depose(&self, lease: Lease) {
        let slot = lease.fence.slot;
        if let Some(held) = self.slots.get(slot.index()) {
            let mut held = held.lock();
            if held.as_ref().is_some_and(|held| held.epoch == lease.epoch) {
                *held = None;
                tracing::warn!(slot = slot.number(), "deposed: another holder has the slot");
            }
        }
    }

    /// The lease on a slot.
    pub(crate) fn lease(&self, slot: Slot) -> Result<Lease, Error> {
        let held = self.slots.get(slot.index()).map(|held| held.lock());
        let epoch = held.and_then(|held| held.as_ref().map(|held| held.epoch));
        let epoch = epoch.ok_or(Error::Unavailable("no lease on the key's slot"))?;
        let fence = Fence {
            slot,
            epoch: epoch.max(self.membership()),
        };
        Ok(Lease { fence, epoch })
    }

    /// The next order of a lease, if that is still the slot's.
    pub(crate) fn issue(&self, lease: Lease) -> Result<Order, Error> {
        self.with_lease(lease.fence.slot, lease.epoch, |held| held.sequencer.issue())
            .ok_or(GONE)
    }

    /// An order is on W drives, or will never be anywhere.
    pub(crate) fn settled(&self, slot: Slot, order: Order) {
        self.with_lease(slot, order.epoch, |lease| lease.sequencer.settled(order));
        self.touch(slot, order.epoch);
    }

    /// An order is on all drives, or will never be anywhere.
    pub(crate) fn complete(&self, slot: Slot, order: Order) {
        self.with_lease(slot, order.epoch, |lease| lease.sequencer.complete(order));
        self.touch(slot, order.epoch);
    }

    /// Whether this process knows that the order is on W drives.
    pub(crate) fn knows_settled(&self, slot: Slot, order: Order) -> bool {
        self.with_lease(slot, order.epoch, |lease| lease.sequencer.is_settled(order))
            .unwrap_or(false)
    }

    /// Waits for the right to change a register. All parts of an upload change under the right
    /// to change the upload.
    pub(crate) async fn enter(&self, register: &Arc<Register>) -> Result<Pass, Error> {
        match register.upload_of_part() {
            Some(upload) => self.gates.enter(&Arc::new(upload)).await,
            None => self.gates.enter(register).await,
        }
    }

    /// Whether a change of a register that begins so is under way.
    pub(crate) fn busy(&self, prefix: &[u8]) -> bool {
        self.gates.busy(prefix)
    }

    /// The marks that moved since they were last taken.
    pub(crate) fn take_marks(&self) -> Vec<SettleMark> {
        let slots = std::mem::take(&mut *self.dirty.lock());
        let mark = |slot: Slot| {
            let mut lease = self.slots.get(slot.index())?.lock();
            let lease = lease.as_mut()?;
            lease.dirty = false;
            let (settled, complete) = lease.sequencer.marks();
            Some(SettleMark {
                slot,
                epoch: lease.epoch,
                settled,
                complete,
            })
        };
        slots.into_iter().filter_map(mark).collect()
    }

    fn with_lease<T>(
        &self,
        slot: Slot,
        epoch: Epoch,
        act: impl FnOnce(&mut Orders) -> T,
    ) -> Option<T> {
        let mut lease = self.slots.get(slot.index())?.lock();
        lease.as_mut().filter(|lease| lease.epoch == epoch).map(act)
    }

    fn touch(&self, slot: Slot, epoch: Epoch) {
        let first = self
            .with_lease(slot, epoch, |lease| {
                !std::mem::replace(&mut lease.dirty, true)
            })
            .unwrap_or(false);
        if first {
            self.dirty.lock().push(slot);
        }
    }
}

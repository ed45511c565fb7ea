//! What a drive was told is on W drives.

use std::collections::BTreeMap;

use types::{Epoch, Order, Slot};

use super::batch::PEERS;
use crate::contract::{SettleMark, Settles};

/// Settle marks and floors of all slots, and the positions of peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settled {
    slots: BTreeMap<u16, SlotMarks>,
    peers: [u64; PEERS],
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct SlotMarks {
    floor: Epoch,
    epochs: BTreeMap<Epoch, (u64, u64)>,
}

impl Settled {
    /// Whether an order of that slot is on W drives.
    pub(super) fn covers(&self, slot: Slot, order: Order) -> bool {
        self.slots.get(&slot.number()).is_some_and(|marks| {
            order.epoch < marks.floor
                || marks
                    .epochs
                    .get(&order.epoch)
                    .is_some_and(|(settled, _)| order.sequence <= *settled)
        })
    }

    /// Takes in a mark; `true` if it says something new.
    pub(super) fn mark(&mut self, mark: &SettleMark) -> bool {
        let slot = self.slots.entry(mark.slot.number()).or_default();
        let (settled, complete) = slot.epochs.entry(mark.epoch).or_default();
        let news = mark.settled > *settled || mark.complete > *complete;
        *settled = mark.settled.max(*settled);
        *complete = mark.complete.max(*complete);
        news
    }

    /// Takes in a floor; `true` if it says something new. Marks below it say no more.
    pub(super) fn floor(&mut self, slot: Slot, epoch: Epoch) -> bool {
        let slot = self.slots.entry(slot.number()).or_default();
        if epoch <= slot.floor {
            return false;
        }
        slot.floor = epoch;
        slot.epochs = slot.epochs.split_off(&epoch);
        true
    }

    /// Takes in the position of a peer.
    pub(super) fn peer(&mut self, place: u8, position: u64) {
        if let Some(known) = self.peers.get_mut(usize::from(place)) {
            *known = position.max(*known);
        }
    }

    /// The highest positions of the peers, by place.
    pub(super) fn peers(&self) -> &[u64; PEERS] {
        &self.peers
    }

    /// Takes in all of a message.
    pub(super) fn take_in(&mut self, told: &Settles) {
        for mark in &told.marks {
            self.mark(mark);
        }
        for (slot, epoch) in &told.floors {
            self.floor(*slot, *epoch);
        }
        for (place, position) in &told.peers {
            self.peer(*place, *position);
        }
    }

    /// All that is known, as one message of marks and floors.
    pub(super) fn all(&self) -> Settles {
        let mut all = Settles::default();
        for (number, marks) in &self.slots {
            let slot = Slot::new(*number);
            if marks.floor > Epoch::default() {
                all.floors.push((slot, marks.floor));
            }
            all.marks.extend(
                marks
                    .epochs
                    .iter()
                    .map(|(epoch, (settled, complete))| SettleMark {
                        slot,
                        epoch: *epoch,
                        settled: *settled,
                        complete: *complete,
                    }),
            );
        }
        all
    }

    /// Forgets every mark and floor: they came from a log that turned out damaged.
    pub(super) fn distrust(&mut self) {
        self.slots.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_floors_only_rise() {
        let slot = Slot::new(3);
        let epoch = |index| Epoch::new(0, index);
        let order = |index, sequence| Order::new(epoch(index), sequence);
        let mark = |index, settled| SettleMark {
            slot,
            epoch: epoch(index),
            settled,
            complete: 0,
        };
        let mut settled = Settled::default();
        assert!(!settled.covers(slot, order(2, 1)));
        assert!(settled.mark(&mark(2, 5)));
        assert!(!settled.mark(&mark(2, 4)));
        assert!(settled.covers(slot, order(2, 5)) && !settled.covers(slot, order(2, 6)));
        assert!(!settled.covers(slot, order(1, 1)), "another epoch");
        assert!(!settled.covers(Slot::new(4), order(2, 1)), "another slot");
        assert!(settled.floor(slot, epoch(2)));
        assert!(settled.covers(slot, order(1, u64::MAX)) && !settled.covers(slot, order(2, 6)));
        assert!(!settled.floor(slot, epoch(1)));
        let mut again = Settled::default();
        let all = settled.all();
        all.marks.iter().for_each(|mark| assert!(again.mark(mark)));
        all.floors
            .iter()
            .for_each(|(slot, epoch)| assert!(again.floor(*slot, *epoch)));
        assert_eq!(again, settled);
    }
}

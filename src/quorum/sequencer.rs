//! The orders of one lease, and the two marks that say how far they are settled (rules 1 and 6).

use std::collections::BTreeMap;

use types::{Epoch, Order};

/// Issues the orders of one slot lease and follows what becomes of them. A process that starts
/// again needs a new lease, and so a new sequencer: orders must never repeat (way 10). When its
/// holder is deposed it is dropped; what it has marked stays true.
#[derive(Debug, Clone)]
pub struct Sequencer {
    epoch: Epoch,
    last: u64,
    unsettled: Ranges,
    incomplete: Ranges,
}

impl Sequencer {
    /// The orders of the lease that was granted with this epoch.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            last: 0,
            unsettled: Ranges::default(),
            incomplete: Ranges::default(),
        }
    }

    /// The next order. It holds back both marks until it is settled and complete.
    pub fn issue(&mut self) -> Order {
        self.last += 1;
        self.unsettled.push(self.last);
        self.incomplete.push(self.last);
        Order::new(self.epoch, self.last)
    }

    /// The order is on W drives. An order of another lease changes nothing.
    pub fn settled(&mut self, order: Order) {
        if order.epoch == self.epoch {
            self.unsettled.remove(order.sequence);
        }
    }

    /// The order is on all drives of its set, and so settled.
    pub fn complete(&mut self, order: Order) {
        if order.epoch == self.epoch {
            self.unsettled.remove(order.sequence);
            self.incomplete.remove(order.sequence);
        }
    }

    /// The order was given up before it was sent to any drive: as if it had never been issued.
    /// One that may have reached a drive holds back the marks until the lease ends.
    pub fn withdraw(&mut self, order: Order) {
        self.complete(order);
    }

    /// A recount found everything up to this sequence on all drives.
    pub fn complete_through(&mut self, sequence: u64) {
        self.unsettled.remove_through(sequence);
        self.incomplete.remove_through(sequence);
    }

    /// Whether this order is of this lease and on W drives.
    pub fn is_settled(&self, order: Order) -> bool {
        order.epoch == self.epoch
            && (1..=self.last).contains(&order.sequence)
            && !self.unsettled.contains(order.sequence)
    }

    /// Two sequences: up to the first everything is on W drives or was never issued, up to the
    /// second everything is on all drives or was never issued. They never fall.
    pub fn marks(&self) -> (u64, u64) {
        let mark = |ranges: &Ranges| ranges.first().map_or(self.last, |first| first - 1);
        (mark(&self.unsettled), mark(&self.incomplete))
    }
}

/// Sequences as disjoint ranges, first to last: a drive that is away for a day leaves one range,
/// not a million numbers.
#[derive(Debug, Clone, Default)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a number above all others.
    fn push(&mut self, number: u64) {
        if let Some(mut range) = self.0.last_entry()
            && *range.get() + 1 == number
        {
            *range.get_mut() = number;
        } else {
            self.0.insert(number, number);
        }
    }

    fn remove(&mut self, number: u64) {
        let Some((&first, &last)) = self.0.range(..=number).next_back() else {
            return;
        };
        if last < number {
            return;
        }
        if first == number {
            self.0.remove(&first);
        } else {
            self.0.insert(first, number - 1);
        }
        if number < last {
            self.0.insert(number + 1, last);
        }
    }

    fn remove_through(&mut self, number: u64) {
        while let Some(range) = self.0.first_entry().filter(|range| *range.key() <= number) {
            let last = range.remove();
            if last > number {
                self.0.insert(number + 1, last);
            }
        }
    }

    fn contains(&self, number: u64) -> bool {
        self.0
            .range(..=number)
            .next_back()
            .is_some_and(|(_, last)| number <= *last)
    }

    fn first(&self) -> Option<u64> {
        self.0.first_key_value().map(|(first, _)| *first)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn lease() -> Sequencer {
        Sequencer::new(Epoch::new(2, 7))
    }

    #[test]
    fn marks_wait_for_the_oldest_order() {
        let mut lease = lease();
        let orders: Vec<_> = (0..4).map(|_| lease.issue()).collect();
        assert_eq!(orders[0], Order::new(Epoch::new(2, 7), 1));
        assert!(orders.is_sorted());
        lease.settled(orders[1]);
        lease.complete(orders[2]);
        assert_eq!(lease.marks(), (0, 0), "the first is not on W drives yet");
        assert!(lease.is_settled(orders[1]) && !lease.is_settled(orders[0]));
        lease.settled(orders[0]);
        assert_eq!(lease.marks(), (3, 0));
        lease.complete(orders[0]);
        lease.withdraw(orders[3]);
        assert_eq!(lease.marks(), (4, 1));
        lease.complete_through(3);
        assert_eq!(lease.marks(), (4, 4));
        assert!(
            !lease.is_settled(Order::new(Epoch::new(2, 7), 5)),
            "never issued"
        );
    }

    #[test]
    fn orders_of_another_lease_change_nothing() {
        let mut lease = lease();
        lease.issue();
        let other = Order::new(Epoch::new(2, 6), 1);
        lease.settled(other);
        lease.complete(other);
        assert_eq!(lease.marks(), (0, 0));
        assert!(!lease.is_settled(other));
    }

    #[test]
    fn a_drive_away_for_long_costs_one_range() {
        let mut lease = lease();
        for _ in 0..100_000 {
            let order = lease.issue();
            lease.settled(order);
        }
        assert_eq!((lease.unsettled.0.len(), lease.incomplete.0.len()), (0, 1));
        assert_eq!(lease.marks(), (100_000, 0));
    }

    proptest! {
        #[test]
        fn marks_are_those_of_a_plain_set(steps in proptest::collection::vec(any::<(u8, u8)>(), 0..200)) {
            let mut lease = lease();
            let (mut unsettled, mut incomplete) = (BTreeSet::new(), BTreeSet::new());
            let mut last = 0;
            for (step, pick) in steps {
                let sequence = u64::from(pick) % (last + 1);
                let order = Order::new(Epoch::new(2, 7), sequence);
                match step % 8 {
                    0..=3 => {
                        last = lease.issue().sequence;
                        unsettled.insert(last);
                        incomplete.insert(last);
                    }
                    4 | 5 => {
                        lease.settled(order);
                        unsettled.remove(&sequence);
                    }
                    6 => {
                        lease.complete(order);
                        unsettled.remove(&sequence);
                        incomplete.remove(&sequence);
                    }
                    _ => {
                        lease.complete_through(sequence);
                        unsettled.retain(|one| *one > sequence);
                        incomplete.retain(|one| *one > sequence);
                    }
                }
                let mark = |set: &BTreeSet<u64>| set.first().map_or(last, |first| first - 1);
                prop_assert_eq!(lease.marks(), (mark(&unsettled), mark(&incomplete)));
                for sequence in 1..=last {
                    let settled = lease.is_settled(Order::new(Epoch::new(2, 7), sequence));
                    prop_assert_eq!(settled, !unsettled.contains(&sequence));
                }
            }
        }
    }
}

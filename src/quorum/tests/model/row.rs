//! Rows of the model, small enough to keep millions of states, and the heads they stand for.

use std::fmt;

use types::{
    DataId, Epoch, Etag, Geometry, Head, Kind, Order, Placed, StorageClass, Timestamp, VersionId,
};

/// One row on one drive: its order (epoch and sequence, four bits each), the order that it names
/// as its predecessor, its birth, the operation that wrote it (from 1), and whether it is settled.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Row(u32);

/// The rows of a drive, newest born first.
pub(crate) type Rows = [Row; 4];

const SETTLED: u32 = 1;

impl Row {
    pub(crate) const NONE: Row = Row(0);

    pub(crate) fn new(order: u8, prev: u8, op: usize) -> Self {
        let op = u8::try_from(op + 1).expect("programs have few operations");
        Self(u32::from_be_bytes([order, prev, order, op << 1]))
    }

    /// The same row ordered anew.
    pub(crate) fn again(self, order: u8) -> Self {
        let [_, prev, born, rest] = self.0.to_be_bytes();
        Self(u32::from_be_bytes([order, prev, born, rest]))
    }

    /// The order of its version's first row.
    pub(crate) fn born(self) -> u8 {
        self.0.to_be_bytes()[2]
    }

    pub(crate) fn is_some(self) -> bool {
        self != Self::NONE
    }

    pub(crate) fn order(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    pub(crate) fn epoch(self) -> u8 {
        self.order() >> 4
    }

    pub(crate) fn sequence(self) -> u8 {
        self.order() & 15
    }

    fn prev(self) -> u8 {
        self.0.to_be_bytes()[1]
    }

    /// All of it.
    pub(crate) fn word(self) -> u32 {
        self.0
    }

    /// The operation that wrote it, from 0.
    pub(crate) fn op(self) -> usize {
        usize::from(self.0.to_be_bytes()[3] >> 1).saturating_sub(1)
    }

    pub(crate) fn settled(self) -> bool {
        self.0 & SETTLED != 0
    }

    pub(crate) fn with_settled(self, settled: bool) -> Self {
        Self(if settled {
            self.0 | SETTLED
        } else {
            self.0 & !SETTLED
        })
    }

    /// The same row, settled or not.
    pub(crate) fn same(self, other: Row) -> bool {
        self.with_settled(false) == other.with_settled(false)
    }

    /// The head of this row: of the null version, or of one of its own.
    pub(crate) fn head(self, kind: Kind, versioned: bool, geometry: Geometry) -> Head {
        let born = order(self.born());
        Head {
            kind,
            version: if versioned {
                VersionId::Born(born)
            } else {
                VersionId::Null
            },
            born,
            order: order(self.order()),
            prev: if self.prev() == 0 {
                Order::ZERO
            } else {
                order(self.prev())
            },
            size: 1,
            modified: Timestamp::from_millis(0),
            etag: Etag::Md5([0; 16]),
            geometry,
            rotation: 0,
            class: StorageClass::Standard,
            placed: if kind == Kind::Object {
                Placed::Inline
            } else {
                Placed::Nowhere
            },
            data: DataId::from_bytes(u128::from(self.with_settled(false).0).to_be_bytes()),
        }
    }

    /// The row that a head stands for.
    pub(crate) fn of(head: &Head, settled: bool) -> Self {
        let [.., a, b, c, d] = head.data.to_bytes();
        Self(u32::from_be_bytes([a, b, c, d])).with_settled(settled)
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settled = if self.settled() { " settled" } else { "" };
        write!(
            f,
            "op{} ({},{}){settled}",
            self.op(),
            self.epoch(),
            self.sequence()
        )
    }
}

/// The order that one byte stands for.
fn order(byte: u8) -> Order {
    Order::new(epoch(byte >> 4), u64::from(byte & 15))
}

/// The epoch that a ledger index of the model stands for.
pub(crate) fn epoch(index: u8) -> Epoch {
    Epoch::new(0, u64::from(index))
}

/// The byte of an order of the model.
pub(crate) fn order_byte(order: Order) -> u8 {
    let index = u8::try_from(order.epoch.as_u64()).expect("models have few epochs");
    (index << 4) | u8::try_from(order.sequence).expect("models have few orders")
}

/// Sorts rows, newest born first and then newest first, into a drive's places.
pub(crate) fn rows(mut list: Vec<Row>) -> Rows {
    list.retain(|row| row.is_some());
    list.sort_unstable_by_key(|row| std::cmp::Reverse((row.born(), row.order())));
    let mut rows = Rows::default();
    assert!(
        list.len() <= rows.len(),
        "a program with more unsettled rows than the model holds"
    );
    rows[..list.len()].copy_from_slice(&list);
    rows
}

/// The rows that are there.
pub(crate) fn present(rows: &Rows) -> impl Iterator<Item = Row> + '_ {
    rows.iter().copied().filter(|row| row.is_some())
}

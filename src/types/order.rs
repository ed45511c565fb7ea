//! Orders: what replaces wall clocks in deciding which version is newer.

use crate::id::{IdError, Uuid};
use std::fmt;

/// One of [`Slot::COUNT`] parts of the key space; the unit of leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// How many slots there are.
    pub const COUNT: u16 = 1024;

    /// The slot with this number, modulo [`Slot::COUNT`].
    pub fn new(number: u16) -> Self {
        Self(number % Self::COUNT)
    }

    /// The slot's number, below [`Slot::COUNT`].
    pub fn number(self) -> u16 {
        self.0
    }

    /// The slot's number as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// `(ledger generation, ledger index of the lease grant)`: 16 bits and 48 bits.
/// Also used for membership indices and fences, which are such pairs too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(u64);

impl Epoch {
    /// The largest ledger index that an epoch can name.
    pub const INDEX_MAX: u64 = (1 << 48) - 1;

    /// Joins a generation and a ledger index. `index` is cut to 48 bits; a ledger that made a
    /// thousand entries a second would take nine thousand years to get there.
    pub fn new(generation: u16, index: u64) -> Self {
        Self((u64::from(generation) << 48) | (index & Self::INDEX_MAX))
    }

    /// Both parts in one number that sorts as the pair does.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The inverse of [`Epoch::as_u64`].
    pub fn from_u64(packed: u64) -> Self {
        Self(packed)
    }
}

/// `(epoch, sequence)`: the place of a change among all changes of its key. Never a wall clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Order {
    /// The lease under which the change was ordered.
    pub epoch: Epoch,
    /// Counts per slot lease, from 1.
    pub sequence: u64,
}

impl Order {
    /// Before every change.
    pub const ZERO: Order = Order {
        epoch: Epoch(0),
        sequence: 0,
    };

    /// An order from its parts.
    pub fn new(epoch: Epoch, sequence: u64) -> Self {
        Self { epoch, sequence }
    }

    /// Sixteen bytes that sort as orders do.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.epoch.0) << 64) | u128::from(self.sequence)).to_be_bytes()
    }

    /// The inverse of [`Order::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let packed = u128::from_be_bytes(bytes);
        let low = u64::try_from(packed & u128::from(u64::MAX)).unwrap_or(0);
        let high = u64::try_from(packed >> 64).unwrap_or(0);
        Self {
            epoch: Epoch(high),
            sequence: low,
        }
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:x},{})", self.epoch.0, self.sequence)
    }
}

/// A bucket's incarnation: the generation and ledger index of its creation. A bucket that was
/// deleted and made again has another one, so old records can never show through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(u64);

impl BucketId {
    /// The incarnation made by this ledger entry.
    pub fn new(created: Epoch) -> Self {
        Self(created.as_u64())
    }

    /// The number that prefixes every index key of the bucket.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The inverse of [`BucketId::as_u64`].
    pub fn from_u64(packed: u64) -> Self {
        Self(packed)
    }
}

/// A version of an object: the null version, or the order of the version's birth in UUID form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VersionId {
    /// The version of an unversioned or suspended bucket; S3 writes it `null`.
    Null,
    /// A version of a versioned bucket, named by its birth.
    Born(Order),
}

impl VersionId {
    /// Reads what a client sent in `versionId`.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text == "null" {
            return Ok(Self::Null);
        }
        let order = Order::from_bytes(Uuid::parse(text)?.to_bytes());
        if order == Order::ZERO {
            Err(IdError)
        } else {
            Ok(Self::Born(order))
        }
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Born(order) => write!(f, "{}", Uuid::from_bytes(order.to_bytes())),
        }
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_sort_by_generation_then_grant_then_sequence() {
        let rising = [
            Order::ZERO,
            Order::new(Epoch::new(0, 1), 9),
            Order::new(Epoch::new(0, 2), 1),
            Order::new(Epoch::new(0, 2), 2),
            Order::new(Epoch::new(1, 1), 1),
        ];
        for pair in rising.windows(2) {
            assert!(pair[0] < pair[1]);
            assert!(pair[0].to_bytes() < pair[1].to_bytes());
        }
        for order in rising {
            assert_eq!(Order::from_bytes(order.to_bytes()), order);
        }
    }

    #[test]
    fn version_ids_round_trip() {
        let born = VersionId::Born(Order::new(Epoch::new(3, 77), 12));
        assert_eq!(VersionId::parse(&born.to_string()), Ok(born));
        assert_eq!(VersionId::parse("null"), Ok(VersionId::Null));
        for bad in [
            "",
            "x",
            "00000000-0000-0000-0000-000000000000",
            "é0000000-0000-0000-0000-00000000000",
        ] {
            assert!(VersionId::parse(bad).is_err(), "{bad}");
        }
    }
}

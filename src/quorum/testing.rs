//! Rows and ballots for the tests of this room.

use types::{
    DataId, Epoch, Etag, Geometry, Head, Kind, Order, Placed, StorageClass, Timestamp, VersionId,
};

use crate::ballot::{Ballot, Sighting};

/// The order with this number in epoch 1.
pub(crate) fn at(sequence: u64) -> Order {
    Order::new(Epoch::new(0, 1), sequence)
}

/// An object of the null version, coded k + m.
pub(crate) fn null(data: u8, parity: u8) -> Make {
    Make {
        versioned: false,
        geometry: Geometry::new(data, parity).unwrap(),
    }
}

/// An object of a version of its own, coded k + m.
pub(crate) fn versioned(data: u8, parity: u8) -> Make {
    Make {
        versioned: true,
        ..null(data, parity)
    }
}

/// Makes heads of one kind of version.
#[derive(Clone, Copy)]
pub(crate) struct Make {
    versioned: bool,
    geometry: Geometry,
}

impl Make {
    /// The row that creates a version at this order, and looked at nothing.
    pub(crate) fn at(self, sequence: u64) -> Head {
        self.after(sequence, 0)
    }

    /// The row that creates a version at this order, after the one at `prev`.
    pub(crate) fn after(self, sequence: u64, prev: u64) -> Head {
        let order = at(sequence);
        Head {
            kind: Kind::Object,
            version: if self.versioned {
                VersionId::Born(order)
            } else {
                VersionId::Null
            },
            born: order,
            order,
            prev: if prev == 0 { Order::ZERO } else { at(prev) },
            size: 1,
            modified: Timestamp::from_millis(0),
            etag: Etag::Md5([0; 16]),
            geometry: self.geometry,
            rotation: 0,
            class: StorageClass::Standard,
            placed: Placed::Inline,
            data: DataId::from_bytes(order.to_bytes()),
        }
    }
}

/// The same version changed at a later order.
pub(crate) fn changed(head: Head, sequence: u64) -> Head {
    Head {
        order: at(sequence),
        ..head
    }
}

/// The version deleted at a later order.
pub(crate) fn deleted(head: Head, sequence: u64) -> Head {
    Head {
        kind: Kind::Tombstone,
        placed: Placed::Nowhere,
        ..changed(head, sequence)
    }
}

/// A delete marker in the place of this version.
pub(crate) fn marker(head: Head) -> Head {
    Head {
        kind: Kind::Marker,
        placed: Placed::Nowhere,
        ..head
    }
}

/// A row not known to be settled.
pub(crate) fn fresh(head: Head) -> Sighting {
    Sighting {
        head,
        settled: false,
    }
}

/// A row known to be settled.
pub(crate) fn settled(head: Head) -> Sighting {
    Sighting {
        head,
        settled: true,
    }
}

/// A ballot from what each place says; `None` has not answered.
pub(crate) fn votes(answers: &[Option<&[Sighting]>]) -> Ballot {
    let mut ballot = Ballot::new(answers.len());
    for (place, rows) in answers.iter().enumerate() {
        if let Some(rows) = rows {
            ballot.voted(place, rows.to_vec());
        }
    }
    ballot
}

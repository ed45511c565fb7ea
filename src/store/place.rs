//! Where a register lives.

use std::sync::Arc;

use drive::Register;
use placement::Location;
use types::{Geometry, Slot};

/// A register with its slot and rotation.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    pub(crate) register: Arc<Register>,
    pub(crate) slot: Slot,
    /// Which set of the pool.
    pub(crate) set: usize,
    /// The part number, 0 for objects; part of every frame's identity.
    pub(crate) part: u16,
    rotation: u16,
}

impl Spot {
    /// The spot of a register whose object is located there.
    pub(crate) fn new(register: Register, location: &Location, part: u16) -> Self {
        Self {
            register: Arc::new(register),
            slot: location.slot,
            set: location.set,
            part,
            rotation: location.rotation,
        }
    }

    /// A spot whose rotation does not matter: for questions about rows alone.
    pub(crate) fn bare(register: Register, slot: Slot) -> Self {
        Self {
            register: Arc::new(register),
            slot,
            set: 0,
            part: 0,
            rotation: 0,
        }
    }

    /// The rotation of shards over the drives of a set.
    pub(crate) fn rotation(&self, geometry: Geometry) -> u8 {
        u8::try_from(usize::from(self.rotation) % geometry.drives()).unwrap_or(0)
    }

    /// The places of a set, those with data shards first.
    pub(crate) fn places(&self, geometry: Geometry) -> Vec<usize> {
        let rotation = u16::from(self.rotation(geometry));
        (0..geometry.drives())
            .map(|shard| placement::drive_of(rotation, shard, geometry.drives()))
            .collect()
    }
}

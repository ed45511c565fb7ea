//! Where a register lives.

use std::sync::Arc;

use drive::Register;
use placement::Location;
use types::{BucketId, DeploymentId, Geometry, ObjectKey, Order, Slot};

/// Where an upload is, with its parts and the object that it is to become.
#[derive(Debug, Clone)]
pub(crate) struct UploadSpot {
    /// Its id: the order of its creation.
    pub(crate) id: Order,
    pub(crate) upload: Spot,
    pub(crate) object: Spot,
    pub(crate) key: ObjectKey,
    bucket: BucketId,
    location: Location,
}

impl UploadSpot {
    /// The spot of an upload whose object is located there.
    pub(crate) fn new(bucket: BucketId, key: &ObjectKey, location: Location, id: Order) -> Self {
        Self {
            id,
            upload: Spot::new(Register::upload(bucket, key, id), &location, 0),
            object: Spot::new(Register::object(bucket, key), &location, 0),
            bucket,
            key: key.clone(),
            location,
        }
    }

    /// The spot of the upload whose register this is.
    pub(crate) fn of(deployment: DeploymentId, register: &Register, sets: usize) -> Option<Self> {
        let bytes = register.as_bytes();
        let bucket = BucketId::from_u64(u64::from_be_bytes(*bytes.first_chunk()?));
        let key = ObjectKey::parse(std::str::from_utf8(register.key()).ok()?).ok()?;
        let location = placement::locate(deployment, bucket, &key, sets);
        let id = Order::from_bytes(*bytes.last_chunk()?);
        Some(Self::new(bucket, &key, location, id))
    }

    /// The spot of one of its parts.
    pub(crate) fn part(&self, number: u16) -> Spot {
        let register = Register::part(self.bucket, &self.key, self.id, number);
        Spot::new(register, &self.location, number)
    }

    /// The prefix of the registers of its parts.
    pub(crate) fn parts(&self) -> Vec<u8> {
        Register::parts(self.bucket, &self.key, self.id)
    }
}

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

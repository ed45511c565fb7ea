//! The bytes of a row's head, and of the value that the index keeps for a row.

use types::{
    DataId, Etag, Geometry, Head, Kind, Order, Placed, Slot, StorageClass, Timestamp, VersionId,
};

use super::bytes::Fields;

/// Bytes of a head without its birth and order, which the row's key holds.
pub(super) const HEAD_LEN: usize = 96;
/// Bytes of a row's value in the index: the head and where the rest lies.
pub(super) const VALUE_LEN: usize = HEAD_LEN + 24;
/// The first byte of a value of the small store; a row's is its kind.
pub(super) const META_TAG: u8 = 0x10;

/// Where in the log a row's entry lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    /// The segment's number.
    pub(super) segment: u64,
    /// Where in it the entry begins.
    pub(super) offset: u32,
    /// Bytes from there to the end of the row's hash.
    pub(super) row_len: u32,
    /// Bytes of the frame behind them; 0 if there is none.
    pub(super) inline_len: u32,
}

impl Location {
    /// Bytes of the segment that are there for this row.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.row_len) + u64::from(self.inline_len)
    }
}

/// What the index keeps for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value {
    /// The head.
    pub(super) head: Head,
    /// The slot of its register.
    pub(super) slot: Slot,
    /// Where the rest is.
    pub(super) at: Location,
}

/// The bytes of a head and its slot.
pub(super) fn encode_head(head: &Head, slot: Slot) -> [u8; HEAD_LEN] {
    let mut bytes = [0; HEAD_LEN];
    let (version_form, version) = match head.version {
        VersionId::Null => (0, Order::ZERO),
        VersionId::Born(order) => (1, order),
    };
    let (etag_form, etag, parts) = match head.etag {
        Etag::Md5(etag) => (0, etag, 0),
        Etag::Parts(etag, parts) => (1, etag, parts),
    };
    bytes[0] = match head.kind {
        Kind::Object => 1,
        Kind::Marker => 2,
        Kind::Tombstone => 3,
    };
    bytes[1] = match head.placed {
        Placed::Nowhere => 0,
        Placed::Inline => 1,
        Placed::File => 2,
        Placed::Parts => 3,
    };
    bytes[2] = match head.class {
        StorageClass::Standard => 0,
        StorageClass::Reduced => 1,
    };
    bytes[3] = etag_form;
    bytes[4] = version_form;
    bytes[5] = u8::try_from(head.geometry.data()).expect("at most 16");
    bytes[6] = u8::try_from(head.geometry.parity()).expect("at most 16");
    bytes[7] = head.rotation;
    bytes[8..10].copy_from_slice(&parts.to_le_bytes());
    bytes[10..12].copy_from_slice(&slot.number().to_le_bytes());
    bytes[16..32].copy_from_slice(&version.to_bytes());
    bytes[32..48].copy_from_slice(&head.prev.to_bytes());
    bytes[48..56].copy_from_slice(&head.size.to_le_bytes());
    bytes[56..64].copy_from_slice(&head.modified.as_millis().to_le_bytes());
    bytes[64..80].copy_from_slice(&etag);
    bytes[80..96].copy_from_slice(&head.data.to_bytes());
    bytes
}

/// The inverse of [`encode_head`]; `None` if the bytes are no head.
pub(super) fn decode_head(bytes: &[u8], born: Order, order: Order) -> Option<(Head, Slot)> {
    let mut fields = Fields(bytes.get(..HEAD_LEN)?);
    let kind = match fields.u8()? {
        1 => Kind::Object,
        2 => Kind::Marker,
        3 => Kind::Tombstone,
        _ => return None,
    };
    let placed = match fields.u8()? {
        0 => Placed::Nowhere,
        1 => Placed::Inline,
        2 => Placed::File,
        3 => Placed::Parts,
        _ => return None,
    };
    let class = match fields.u8()? {
        0 => StorageClass::Standard,
        1 => StorageClass::Reduced,
        _ => return None,
    };
    let (etag_form, version_form) = (fields.u8()?, fields.u8()?);
    let geometry = Geometry::new(fields.u8()?, fields.u8()?).ok()?;
    let rotation = fields.u8()?;
    let parts = fields.u16()?;
    let slot = Slot::new(fields.u16().filter(|slot| *slot < Slot::COUNT)?);
    fields.zeros(4)?;
    let version = match (version_form, fields.array()?) {
        (0, _) => VersionId::Null,
        (1, order) => VersionId::Born(Order::from_bytes(order)),
        _ => return None,
    };
    let prev = Order::from_bytes(fields.array()?);
    let size = fields.u64()?;
    let modified = Timestamp::from_millis(fields.u64()?);
    let etag = match (etag_form, fields.array()?) {
        (0, etag) => Etag::Md5(etag),
        (1, etag) => Etag::Parts(etag, parts),
        _ => return None,
    };
    let data = DataId::from_bytes(fields.array()?);
    let head = Head {
        kind,
        version,
        born,
        order,
        prev,
        size,
        modified,
        etag,
        geometry,
        rotation,
        class,
        placed,
        data,
    };
    Some((head, slot))
}

/// The bytes of a row's value.
pub(super) fn encode_value(head: &[u8; HEAD_LEN], at: Location) -> [u8; VALUE_LEN] {
    let mut bytes = [0; VALUE_LEN];
    bytes[..HEAD_LEN].copy_from_slice(head);
    bytes[96..104].copy_from_slice(&at.segment.to_le_bytes());
    bytes[104..108].copy_from_slice(&at.offset.to_le_bytes());
    bytes[108..112].copy_from_slice(&at.row_len.to_le_bytes());
    bytes[112..116].copy_from_slice(&at.inline_len.to_le_bytes());
    bytes
}

/// The row whose value and key (only its last 32 bytes matter) these are.
pub(super) fn decode_value(key: &[u8], value: &[u8]) -> Option<Value> {
    let (born, order) = orders(key)?;
    let (head, slot) = decode_head(value, born, order)?;
    Some(Value {
        head,
        slot,
        at: decode_location(value)?,
    })
}

/// Where the row of a value lies; cheaper than [`decode_value`].
pub(super) fn decode_location(value: &[u8]) -> Option<Location> {
    let mut fields = Fields(value.get(HEAD_LEN..)?);
    Some(Location {
        segment: fields.u64()?,
        offset: fields.u32()?,
        row_len: fields.u32()?,
        inline_len: fields.u32()?,
    })
}

/// Birth and order at the end of a row's key.
pub(super) fn orders(key: &[u8]) -> Option<(Order, Order)> {
    let (key, order) = key.split_last_chunk::<16>()?;
    let (_, born) = key.split_last_chunk::<16>()?;
    let invert = |bytes: &[u8; 16]| Order::from_bytes(bytes.map(|byte| !byte));
    Some((invert(born), invert(order)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use types::Epoch;

    pub(in crate::engine) fn sample(born: u64, order: u64) -> Head {
        let at = |sequence| Order::new(Epoch::new(1, 5), sequence);
        Head {
            kind: Kind::Object,
            version: VersionId::Null,
            born: at(born),
            order: at(order),
            prev: Order::ZERO,
            size: 4096,
            modified: Timestamp::from_millis(1_700_000_000_000),
            etag: Etag::Md5([7; 16]),
            geometry: Geometry::new(2, 2).unwrap(),
            rotation: 3,
            class: StorageClass::Standard,
            placed: Placed::Inline,
            data: DataId::from_bytes([9; 16]),
        }
    }

    #[test]
    fn heads_of_every_form_round_trip() {
        let mut heads = vec![sample(1, 2)];
        for kind in [Kind::Marker, Kind::Tombstone] {
            heads.push(Head {
                kind,
                placed: Placed::Nowhere,
                ..sample(3, 3)
            });
        }
        heads.push(Head {
            version: VersionId::Born(Order::new(Epoch::new(2, 2), 2)),
            etag: Etag::Parts([3; 16], 10_000),
            class: StorageClass::Reduced,
            placed: Placed::Parts,
            ..sample(4, 9)
        });
        heads.push(Head {
            placed: Placed::File,
            ..sample(5, 5)
        });
        for head in heads {
            let bytes = encode_head(&head, Slot::new(1023));
            let at = Location {
                segment: 1 << 40,
                offset: 4096,
                row_len: 300,
                inline_len: 2080,
            };
            let value = encode_value(&bytes, at);
            let mut key = b"register".to_vec();
            key.extend(head.born.to_bytes().map(|byte| !byte));
            key.extend(head.order.to_bytes().map(|byte| !byte));
            let expected = Value {
                head,
                slot: Slot::new(1023),
                at,
            };
            assert_eq!(decode_value(&key, &value), Some(expected));
            for short in 0..value.len() - 4 {
                assert_eq!(decode_value(&key, &value[..short]), None);
            }
        }
    }

    #[test]
    fn junk_is_no_head() {
        let good = encode_head(&sample(1, 1), Slot::new(1));
        for (at, byte) in [
            (0, 0),
            (0, 4),
            (1, 4),
            (2, 2),
            (3, 2),
            (4, 2),
            (5, 0),
            (6, 99),
            (11, 4),
            (12, 1),
        ] {
            let mut bad = good;
            bad[at] = byte;
            assert_eq!(
                decode_head(&bad, Order::ZERO, Order::ZERO),
                None,
                "byte {at}"
            );
        }
    }
}

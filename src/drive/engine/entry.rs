//! The entries of a batch.

use types::{DataId, Epoch, Slot};

use super::bytes::{Fields, len32};
use super::row::{Freed, RowEntry};
use crate::contract::SettleMark;

/// The kinds, as they are written.
pub(super) const ROW: u8 = 1;
const FENCE: u8 = 2;
const MARK: u8 = 3;
const FLOOR: u8 = 4;
const DROP: u8 = 5;
const META: u8 = 6;
const STANDING: u8 = 7;
const FILE: u8 = 8;

/// The longest name in the small store.
pub(super) const META_KEY_MAX: usize = 64;

/// Appends the front of an entry.
pub(super) fn begin_entry(out: &mut Vec<u8>, kind: u8) {
    out.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
}

/// Pads to eight bytes and writes the entry's length into its front.
pub(super) fn end_entry(out: &mut Vec<u8>, offset: usize) {
    let len = (out.len() - offset).next_multiple_of(8);
    out.resize(offset + len, 0);
    if let Some(place) = out.get_mut(offset + 4..offset + 8) {
        place.copy_from_slice(&len32(len).to_le_bytes());
    }
}

/// Appends a raised fence.
pub(super) fn put_fence(out: &mut Vec<u8>, slot: Slot, epoch: Epoch) {
    put_slot(out, FENCE, slot, &[epoch.as_u64()]);
}

/// Appends a settle mark.
pub(super) fn put_mark(out: &mut Vec<u8>, mark: &SettleMark) {
    put_slot(
        out,
        MARK,
        mark.slot,
        &[mark.epoch.as_u64(), mark.settled, mark.complete],
    );
}

/// Appends a floor: all epochs of the slot below are settled wholly.
pub(super) fn put_floor(out: &mut Vec<u8>, slot: Slot, epoch: Epoch) {
    put_slot(out, FLOOR, slot, &[epoch.as_u64()]);
}

fn put_slot(out: &mut Vec<u8>, kind: u8, slot: Slot, numbers: &[u64]) {
    let offset = out.len();
    begin_entry(out, kind);
    out.extend_from_slice(&slot.number().to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
    end_entry(out, offset);
}

/// Appends that the row with this index key is gone.
pub(super) fn put_drop(out: &mut Vec<u8>, key: &[u8], freed: Freed) {
    let offset = out.len();
    begin_entry(out, DROP);
    out.extend_from_slice(&freed.segment.to_le_bytes());
    out.extend_from_slice(&freed.bytes.to_le_bytes());
    out.extend_from_slice(&len32(key.len()).to_le_bytes());
    out.extend_from_slice(key);
    end_entry(out, offset);
}

/// Appends a write to the small store.
pub(super) fn put_meta(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    let offset = out.len();
    begin_entry(out, META);
    out.extend_from_slice(&len32(key.len()).to_le_bytes());
    out.extend_from_slice(
        &value
            .map_or(u32::MAX, |value| len32(value.len()))
            .to_le_bytes(),
    );
    out.extend_from_slice(key);
    out.extend_from_slice(value.unwrap_or_default());
    end_entry(out, offset);
}

/// Appends which generation of a shard file counts; `None` if the file is gone for good.
pub(super) fn put_file(out: &mut Vec<u8>, data: DataId, generation: Option<u32>) {
    let offset = out.len();
    begin_entry(out, FILE);
    out.extend_from_slice(&data.to_bytes());
    out.extend_from_slice(&generation.unwrap_or(u32::MAX).to_le_bytes());
    end_entry(out, offset);
}

/// Appends the drive's standing in its set.
pub(super) fn put_standing(out: &mut Vec<u8>, standing: Standing) {
    let offset = out.len();
    begin_entry(out, STANDING);
    out.extend_from_slice(&[standing.code(), 0, 0, 0, 0, 0, 0, 0]);
    end_entry(out, offset);
}

/// Whether a drive's answers vote (commit rule 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// They do.
    Voting,
    /// Not before its rebuild is complete.
    Joining,
}

impl Standing {
    /// How it is written.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Voting => 0,
            Self::Joining => 1,
        }
    }

    /// The inverse of [`Standing::code`].
    pub(super) fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Voting),
            1 => Some(Self::Joining),
            _ => None,
        }
    }
}

/// An entry that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry<'b> {
    /// A row.
    Row(RowEntry<'b>),
    /// A raised fence.
    Fence(Slot, Epoch),
    /// A settle mark.
    Mark(SettleMark),
    /// A settle floor.
    Floor(Slot, Epoch),
    /// A row that is gone.
    Drop {
        /// Its index key.
        key: &'b [u8],
        /// What went with it.
        freed: Freed,
    },
    /// A write to the small store.
    Meta {
        /// The name.
        key: &'b [u8],
        /// The value; `None` if it was removed.
        value: Option<&'b [u8]>,
    },
    /// The drive's standing from then on.
    Standing(Standing),
    /// Which generation of a shard file counts; `None` if the file is gone.
    File(DataId, Option<u32>),
}

/// The entry at the front of `bytes`, and what follows. `None` if it does not parse.
pub(super) fn take(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let mut fields = Fields(bytes);
    let kind = fields.u8()?;
    fields.zeros(3)?;
    let len = fields.len()?;
    let (entry, rest) = bytes.split_at_checked(len).filter(|_| len >= 8)?;
    let entry = match kind {
        ROW => Entry::Row(RowEntry::decode(entry)?),
        FENCE | MARK | FLOOR => take_slot(kind, entry)?,
        DROP => {
            let mut fields = Fields(entry.get(8..)?);
            let freed = Freed {
                segment: fields.u64()?,
                bytes: fields.u32()?,
            };
            let len = fields.len()?;
            let key = fields.bytes(len)?;
            Entry::Drop { key, freed }
        }
        META => {
            let mut fields = Fields(entry.get(8..)?);
            let (key, value) = (fields.len()?, fields.u32()?);
            let key = fields.bytes(key)?;
            let value = match value {
                u32::MAX => None,
                len => Some(fields.bytes(usize::try_from(len).ok()?)?),
            };
            Entry::Meta { key, value }
        }
        STANDING => Entry::Standing(Standing::from_code(*entry.get(8)?)?),
        FILE => {
            let mut fields = Fields(entry.get(8..)?);
            let data = DataId::from_bytes(fields.array()?);
            let generation = fields.u32()?;
            Entry::File(data, (generation != u32::MAX).then_some(generation))
        }
        _ => return None,
    };
    Some((entry, rest))
}

fn take_slot(kind: u8, entry: &[u8]) -> Option<Entry<'_>> {
    let mut fields = Fields(entry.get(8..)?);
    let slot = Slot::new(fields.u16().filter(|slot| *slot < Slot::COUNT)?);
    fields.zeros(6)?;
    let epoch = Epoch::from_u64(fields.u64()?);
    match kind {
        FENCE => Some(Entry::Fence(slot, epoch)),
        FLOOR => Some(Entry::Floor(slot, epoch)),
        _ => Some(Entry::Mark(SettleMark {
            slot,
            epoch,
            settled: fields.u64()?,
            complete: fields.u64()?,
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_every_kind_read_back() {
        let slot = Slot::new(77);
        let mark = SettleMark {
            slot,
            epoch: Epoch::new(0, 3),
            settled: 9,
            complete: 8,
        };
        let freed = Freed {
            segment: 4,
            bytes: 500,
        };
        let mut bytes = Vec::new();
        put_fence(&mut bytes, slot, Epoch::new(0, 4));
        put_mark(&mut bytes, &mark);
        put_floor(&mut bytes, slot, Epoch::new(0, 2));
        put_drop(&mut bytes, b"some key", freed);
        put_meta(&mut bytes, b"name", Some(b"value"));
        put_meta(&mut bytes, b"name", Some(b""));
        put_meta(&mut bytes, b"name", None);
        put_standing(&mut bytes, Standing::Joining);
        let data = DataId::from_bytes([6; 16]);
        put_file(&mut bytes, data, Some(3));
        put_file(&mut bytes, data, None);
        let mut rest = &bytes[..];
        let mut found = Vec::new();
        while let Some((entry, after)) = take(rest) {
            found.push(entry);
            rest = after;
        }
        assert!(rest.is_empty());
        let expected = [
            Entry::Fence(slot, Epoch::new(0, 4)),
            Entry::Mark(mark),
            Entry::Floor(slot, Epoch::new(0, 2)),
            Entry::Drop {
                key: b"some key",
                freed,
            },
            Entry::Meta {
                key: b"name",
                value: Some(b"value"),
            },
            Entry::Meta {
                key: b"name",
                value: Some(b""),
            },
            Entry::Meta {
                key: b"name",
                value: None,
            },
            Entry::Standing(Standing::Joining),
            Entry::File(data, Some(3)),
            Entry::File(data, None),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn junk_never_panics() {
        for seed in 0..2000u32 {
            let mut bytes: Vec<u8> = (0..seed % 300).map(|at| ((at * seed) >> 3) as u8).collect();
            let kind = (seed % 8) as u8;
            if let [first, _, _, _, low, high, ..] = &mut bytes[..] {
                (*first, *low, *high) = (kind, (seed % 300) as u8, 0);
            }
            take(&bytes);
            RowEntry::decode(&bytes);
        }
    }
}

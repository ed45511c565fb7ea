//! Rows as they lie in the log.

use bytes::Bytes;
use types::{DataId, DeploymentId, DriveId, Order};

use super::bytes::{Fields, len32};
use super::entry::{ROW, begin_entry, end_entry};
use super::head::{HEAD_LEN, Location};
use crate::contract::Row;
use crate::register::Register;

/// Where the part of a row's entry begins that its hash covers and that a move copies.
const ROW_FIXED: usize = 24;
/// Where a row's register begins.
const ROW_REGISTER: usize = 168;
/// Bytes of a row's hash.
const HASH_LEN: usize = 32;

/// The key under which a drive's rows are hashed. Not secret: it makes another drive's row fail.
#[derive(Clone, Copy)]
pub(super) struct RowKey([u8; 32]);

impl RowKey {
    /// The key of one drive.
    pub(super) fn new(deployment: DeploymentId, drive: DriveId) -> Self {
        let mut identity = [0; 32];
        identity[..16].copy_from_slice(&deployment.to_bytes());
        identity[16..].copy_from_slice(&drive.to_bytes());
        Self(blake3::derive_key("sarsen drive log row v1", &identity))
    }

    fn hash(&self, bytes: &[u8]) -> [u8; HASH_LEN] {
        *blake3::keyed_hash(&self.0, bytes).as_bytes()
    }
}

/// Bytes of a segment that nobody needs any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Freed {
    /// The segment's number.
    pub(super) segment: u64,
    /// How many bytes.
    pub(super) bytes: u32,
}

impl Freed {
    /// What a row at that place frees when it goes.
    pub(super) fn of(at: Location) -> Self {
        Self {
            segment: at.segment,
            bytes: u32::try_from(at.bytes()).unwrap_or(u32::MAX),
        }
    }
}

/// Where a row's entry lies within its batch, and how long its parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    /// From the beginning of the batch.
    pub(super) offset: usize,
    /// To the end of its hash.
    pub(super) row_len: u32,
    /// Of the frame behind that.
    pub(super) inline_len: u32,
}

/// Bytes that a row's entry takes at most.
pub(super) fn row_bytes(register: &Register, row: &Row, inline: Option<&Bytes>) -> usize {
    let files = row.files.len() * 16;
    let register = register.as_bytes().len();
    ROW_REGISTER + register + files + row.tail.len() + HASH_LEN + inline.map_or(0, Bytes::len) + 8
}

/// Appends a row. The frame is copied here and nowhere else.
pub(super) fn put_row(
    out: &mut Vec<u8>,
    key: &RowKey,
    register: &Register,
    row: &Row,
    head: &[u8; HEAD_LEN],
    inline: Option<&Bytes>,
    replaces: Option<Freed>,
) -> Written {
    let offset = out.len();
    let inline = inline.map_or(&[][..], |frame| frame);
    put_row_prefix(out, replaces);
    out.extend_from_slice(
        &u16::try_from(register.as_bytes().len())
            .expect("a register is short")
            .to_le_bytes(),
    );
    out.extend_from_slice(&[0; 2]);
    for len in [row.files.len(), row.tail.len(), inline.len()] {
        out.extend_from_slice(&len32(len).to_le_bytes());
    }
    out.extend_from_slice(&row.head.born.to_bytes());
    out.extend_from_slice(&row.head.order.to_bytes());
    out.extend_from_slice(head);
    out.extend_from_slice(register.as_bytes());
    for file in &*row.files {
        out.extend_from_slice(&file.to_bytes());
    }
    out.extend_from_slice(&row.tail);
    let hash = key.hash(out.get(offset + ROW_FIXED..).unwrap_or_default());
    out.extend_from_slice(&hash);
    let row_len = len32(out.len() - offset);
    out.extend_from_slice(inline);
    end_entry(out, offset);
    Written {
        offset,
        row_len,
        inline_len: len32(inline.len()),
    }
}

/// Appends a row that lies elsewhere in the log, byte by byte: damage is not made good here.
/// `entry` is as long as `at` says.
pub(super) fn put_moved(out: &mut Vec<u8>, entry: &[u8], at: Location) -> Written {
    let offset = out.len();
    put_row_prefix(out, Some(Freed::of(at)));
    out.extend_from_slice(entry.get(ROW_FIXED..).unwrap_or_default());
    end_entry(out, offset);
    Written {
        offset,
        row_len: at.row_len,
        inline_len: at.inline_len,
    }
}

fn put_row_prefix(out: &mut Vec<u8>, replaces: Option<Freed>) {
    let freed = replaces.unwrap_or(Freed {
        segment: 0,
        bytes: 0,
    });
    begin_entry(out, ROW);
    out.extend_from_slice(&freed.segment.to_le_bytes());
    out.extend_from_slice(&freed.bytes.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
}

/// A row as it lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowEntry<'b> {
    /// What it replaced.
    pub(super) replaces: Option<Freed>,
    /// When its version was born.
    pub(super) born: Order,
    /// Its order.
    pub(super) order: Order,
    /// Head and slot.
    pub(super) head: &'b [u8; HEAD_LEN],
    /// The register's bytes.
    pub(super) register: &'b [u8],
    /// The data ids of its files, 16 bytes each.
    pub(super) files: &'b [u8],
    /// The tail.
    pub(super) tail: &'b [u8],
    /// To the end of its hash.
    pub(super) row_len: u32,
    /// The frame; empty if there is none.
    pub(super) inline: &'b [u8],
}

impl<'b> RowEntry<'b> {
    /// The row's index key.
    pub(super) fn key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.register.len() + Register::ROW_LEN);
        key.extend_from_slice(self.register);
        key.extend(self.born.to_bytes().map(|byte| !byte));
        key.extend(self.order.to_bytes().map(|byte| !byte));
        key
    }

    /// The data ids of its files.
    pub(super) fn file_ids(&self) -> impl Iterator<Item = DataId> + use<'b> {
        let (ids, _) = self.files.as_chunks();
        ids.iter().map(|id| DataId::from_bytes(*id))
    }

    /// Reads an entry that ends anywhere behind its frame.
    pub(super) fn decode(entry: &'b [u8]) -> Option<Self> {
        let mut fields = Fields(entry.get(8..)?);
        let freed = Freed {
            segment: fields.u64()?,
            bytes: fields.u32()?,
        };
        fields.zeros(4)?;
        let register_len = usize::from(fields.u16()?);
        fields.zeros(2)?;
        let (files, tail, inline) = (fields.len()?, fields.len()?, fields.len()?);
        let born = Order::from_bytes(fields.array()?);
        let order = Order::from_bytes(fields.array()?);
        let head = fields.bytes(HEAD_LEN)?.first_chunk()?;
        let register = fields.bytes(register_len)?;
        let files = fields.bytes(files.checked_mul(16)?)?;
        let tail = fields.bytes(tail)?;
        fields.bytes(HASH_LEN)?;
        let row_len = u32::try_from(entry.len() - fields.0.len()).ok()?;
        let inline = fields.bytes(inline)?;
        Some(Self {
            replaces: (freed.bytes > 0).then_some(freed),
            born,
            order,
            head,
            register,
            files,
            tail,
            row_len,
            inline,
        })
    }

    /// Reads the row that a location led to, and checks its hash. `entry` holds the row's part
    /// (the frame may be left out).
    pub(super) fn verify(entry: &'b [u8], at: Location, key: &RowKey) -> Option<Self> {
        let row_len = usize::try_from(at.row_len).ok()?;
        let (hashed, hash) = entry.get(..row_len)?.split_last_chunk::<HASH_LEN>()?;
        if key.hash(hashed.get(ROW_FIXED..)?) != *hash || entry.first() != Some(&ROW) {
            return None;
        }
        let has_inline = entry.len() > row_len;
        let row = match has_inline {
            true => Self::decode(entry)?,
            false => Self::decode_without_frame(entry)?,
        };
        (row.row_len == at.row_len).then_some(row)
    }

    fn decode_without_frame(entry: &'b [u8]) -> Option<Self> {
        let mut fields = Fields(entry.get(24..)?);
        let register = usize::from(fields.u16()?);
        fields.zeros(2)?;
        let (files, tail) = (fields.len()?, fields.len()?);
        let mut fields = Fields(entry.get(ROW_REGISTER..)?);
        let register = fields.bytes(register)?;
        let files = fields.bytes(files.checked_mul(16)?)?;
        let tail = fields.bytes(tail)?;
        fields.bytes(HASH_LEN)?;
        let mut orders = Fields(entry.get(40..)?);
        Some(Self {
            replaces: None,
            born: Order::from_bytes(orders.array()?),
            order: Order::from_bytes(orders.array()?),
            head: orders.bytes(HEAD_LEN)?.first_chunk()?,
            register,
            files,
            tail,
            row_len: u32::try_from(entry.len() - fields.0.len()).ok()?,
            inline: &[],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::entry::{Entry, take};
    use super::super::head::{encode_head, tests::sample};
    use super::*;
    use types::{BucketId, ObjectKey, Slot};

    fn key() -> RowKey {
        RowKey::new(
            DeploymentId::from_bytes([1; 16]),
            DriveId::from_bytes([2; 16]),
        )
    }

    #[test]
    fn rows_read_back_and_a_flipped_byte_is_seen() {
        let register = Register::object(BucketId::from_u64(3), &ObjectKey::parse("a/b").unwrap());
        let row = Row {
            head: sample(4, 6),
            files: Arc::new([DataId::from_bytes([5; 16])]),
            tail: Bytes::from_static(b"tail of it"),
        };
        let head = encode_head(&row.head, Slot::new(5));
        let frame = Bytes::from(vec![3; 100]);
        let freed = Freed {
            segment: 8,
            bytes: 99,
        };
        let mut bytes = vec![0; 16];
        let written = put_row(
            &mut bytes,
            &key(),
            &register,
            &row,
            &head,
            Some(&frame),
            Some(freed),
        );
        assert!(bytes.len() - 16 <= row_bytes(&register, &row, Some(&frame)));
        let entry = bytes.split_off(16);
        let Some((Entry::Row(read), [])) = take(&entry) else {
            panic!("a row")
        };
        assert_eq!(read.key(), register.row_key(row.head.born, row.head.order));
        assert_eq!((read.replaces, read.inline), (Some(freed), &frame[..]));
        assert_eq!(read.file_ids().collect::<Vec<_>>(), row.files.to_vec());
        let at = Location {
            segment: 1,
            offset: u32::try_from(written.offset).unwrap(),
            row_len: written.row_len,
            inline_len: written.inline_len,
        };
        let row_part = &entry[..written.row_len as usize];
        let without = RowEntry::verify(row_part, at, &key()).unwrap();
        assert_eq!(
            (without.tail, without.register),
            (&row.tail[..], register.as_bytes())
        );
        let whole = &entry[..written.row_len as usize + 100];
        assert_eq!(
            RowEntry::verify(whole, at, &key()).unwrap().inline,
            &frame[..]
        );
        for flip in ROW_FIXED..row_part.len() {
            let mut bad = whole.to_vec();
            bad[flip] ^= 4;
            assert!(RowEntry::verify(&bad, at, &key()).is_none(), "byte {flip}");
            assert!(RowEntry::verify(&bad[..row_part.len()], at, &key()).is_none());
        }
        let mut moved = Vec::new();
        let again = put_moved(&mut moved, whole, at);
        assert_eq!(
            (again.row_len, again.inline_len),
            (at.row_len, at.inline_len)
        );
        let Some((Entry::Row(read), [])) = take(&moved) else {
            panic!("a row")
        };
        assert_eq!(read.replaces, Some(Freed::of(at)));
        assert_eq!(
            RowEntry::verify(&moved[..whole.len()], at, &key())
                .unwrap()
                .tail,
            b"tail of it"
        );
    }
}

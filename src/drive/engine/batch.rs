//! Batches: what one write and one sync make durable together.

use crc_fast::{CrcAlgorithm, Digest};
use types::DriveId;

use super::bytes::{Fields, len32};

/// Bytes of a batch's header.
pub(super) const HEADER_LEN: usize = 256;
/// Every batch begins at a multiple of this and is padded to one, so that bytes which were
/// acknowledged are never written again.
pub(super) const ALIGN: usize = 4096;
/// Places in a set; one position is kept for each.
pub(super) const PEERS: usize = types::Geometry::DRIVES_MAX;

const MAGIC: [u8; 8] = *b"sarsenb1";
const CRC_AT: usize = HEADER_LEN - 8;

/// What a batch's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Whose log it is.
    pub(super) drive: DriveId,
    /// The nonce of the segment that it lies in.
    pub(super) nonce: u64,
    /// Its number: one more than that of the batch before.
    pub(super) number: u64,
    /// Its length with all padding.
    pub(super) len: u32,
    /// How many bytes of entries follow the header.
    pub(super) body_len: u32,
    /// The checksum of the batch before.
    pub(super) chain: u64,
    /// The highest positions that the set's other drives have acknowledged.
    pub(super) peers: [u64; PEERS],
}

/// Makes a batch of a buffer that holds [`HEADER_LEN`] bytes of anything and then the entries.
/// Returns its checksum.
pub(super) fn seal(
    buffer: &mut Vec<u8>,
    drive: DriveId,
    nonce: u64,
    number: u64,
    chain: u64,
    peers: &[u64; PEERS],
) -> u64 {
    let body_len = buffer.len() - HEADER_LEN;
    buffer.resize(buffer.len().next_multiple_of(ALIGN), 0);
    let mut header = Vec::with_capacity(HEADER_LEN);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&drive.to_bytes());
    for number in [nonce, number, chain] {
        header.extend_from_slice(&number.to_le_bytes());
    }
    header.extend_from_slice(&len32(buffer.len()).to_le_bytes());
    header.extend_from_slice(&len32(body_len).to_le_bytes());
    for position in peers {
        header.extend_from_slice(&position.to_le_bytes());
    }
    header.resize(CRC_AT, 0);
    if let Some(front) = buffer.get_mut(..CRC_AT) {
        front.copy_from_slice(&header);
    }
    let crc = checksum(buffer);
    if let Some(place) = buffer.get_mut(CRC_AT..HEADER_LEN) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    crc
}

/// CRC-64/NVME of a batch but for the checksum's own eight bytes.
fn checksum(batch: &[u8]) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    digest.update(batch.get(..CRC_AT).unwrap_or_default());
    digest.update(batch.get(HEADER_LEN..).unwrap_or_default());
    digest.finalize()
}

/// A batch that was read and found whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch<'b> {
    /// Its header.
    pub(super) header: Header,
    /// Its own checksum, which the next batch names.
    pub(super) crc: u64,
    /// Its entries.
    pub(super) body: &'b [u8],
}

/// The header at the front of `bytes`, if it looks like one; its checksum is not known yet.
pub(super) fn peek(bytes: &[u8]) -> Option<(Header, u64)> {
    let mut fields = Fields(bytes.get(..HEADER_LEN)?);
    if fields.array()? != MAGIC {
        return None;
    }
    let drive = DriveId::from_bytes(fields.array()?);
    let (nonce, number, chain) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let (len, body_len) = (fields.u32()?, fields.u32()?);
    let mut peers = [0; PEERS];
    for position in &mut peers {
        *position = fields.u64()?;
    }
    fields.zeros(CRC_AT - 56 - 8 * PEERS)?;
    let crc = fields.u64()?;
    let header = Header {
        drive,
        nonce,
        number,
        len,
        body_len,
        chain,
        peers,
    };
    let least = usize::try_from(body_len).ok()?.checked_add(HEADER_LEN)?;
    (least.next_multiple_of(ALIGN) == usize::try_from(len).ok()?).then_some((header, crc))
}

/// The whole batch at the front of `bytes`; `None` if there is none, or a damaged one.
pub(super) fn open(bytes: &[u8]) -> Option<Batch<'_>> {
    let (header, crc) = peek(bytes)?;
    let whole = bytes.get(..usize::try_from(header.len).ok()?)?;
    let body = whole.get(HEADER_LEN..HEADER_LEN + usize::try_from(header.body_len).ok()?)?;
    (checksum(whole) == crc).then_some(Batch { header, crc, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_read_back_and_any_flipped_byte_is_seen() {
        let drive = DriveId::from_bytes([3; 16]);
        let mut buffer = vec![0xee; HEADER_LEN];
        buffer.extend_from_slice(&[5; 5000]);
        let peers = std::array::from_fn(|place| place as u64 * 10);
        let crc = seal(&mut buffer, drive, 77, 12, 34, &peers);
        assert_eq!(buffer.len(), 2 * ALIGN);
        let batch = open(&buffer).unwrap();
        assert_eq!((batch.crc, batch.body), (crc, &[5; 5000][..]));
        let header = batch.header;
        assert_eq!(
            (header.drive, header.nonce, header.number, header.chain),
            (drive, 77, 12, 34)
        );
        assert_eq!(header.peers, peers);
        for at in 0..buffer.len() {
            let mut bad = buffer.clone();
            bad[at] ^= 1 << (at % 8);
            assert_eq!(open(&bad), None, "byte {at}");
        }
        for cut in [0, 7, HEADER_LEN, ALIGN, 2 * ALIGN - 1] {
            assert_eq!(open(&buffer[..cut]), None);
        }
    }
}

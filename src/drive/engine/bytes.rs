//! Numbers at places in bytes that came from a disk.

/// Reads fields of fixed length from the front of bytes; `None` once they run out.
pub(super) struct Fields<'b>(pub(super) &'b [u8]);

impl<'b> Fields<'b> {
    /// The next `len` bytes.
    pub(super) fn bytes(&mut self, len: usize) -> Option<&'b [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// A byte.
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes, little endian.
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, little endian.
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Four bytes, little endian, as a length.
    pub(super) fn len(&mut self) -> Option<usize> {
        usize::try_from(self.u32()?).ok()
    }

    /// Eight bytes, little endian.
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// `Some` if the next `len` bytes are all zero.
    pub(super) fn zeros(&mut self, len: usize) -> Option<()> {
        self.bytes(len)?.iter().all(|byte| *byte == 0).then_some(())
    }
}

/// `len` as it is written; lengths are bounded long before they reach 32 bits.
pub(super) fn len32(len: usize) -> u32 {
    u32::try_from(len).expect("lengths are bounded by the segment's")
}

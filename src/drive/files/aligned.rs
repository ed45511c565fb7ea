//! Memory that `O_DIRECT` accepts.

/// Offsets, lengths and addresses of direct writes are multiples of this: the largest logical
/// block that disks in use have.
pub(super) const ALIGNMENT: usize = 4096;

/// A buffer that begins at a multiple of [`ALIGNMENT`]. Owned by one writer thread and lent to
/// one write at a time, so that memory does not grow with the files being written.
#[derive(Debug)]
pub(crate) struct AlignedBuffer {
    // Over-allocated: the aligned part begins at `start`.
    bytes: Vec<u8>,
    start: usize,
    capacity: usize,
    len: usize,
}

impl AlignedBuffer {
    /// An empty buffer for `capacity` bytes, a multiple of [`ALIGNMENT`].
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(
            capacity > 0 && capacity.is_multiple_of(ALIGNMENT),
            "whole blocks only"
        );
        let bytes = vec![0; capacity + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        assert!(start < ALIGNMENT, "bytes can always be aligned");
        Self {
            bytes,
            start,
            capacity,
            len: 0,
        }
    }

    /// Forgets the content.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Copies as much of `bytes` as fits, and returns the rest.
    pub(super) fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (fits, rest) = bytes.split_at(bytes.len().min(self.capacity - self.len));
        let at = self.start + self.len;
        self.bytes[at..at + fits.len()].copy_from_slice(fits);
        self.len += fits.len();
        rest
    }

    /// Whether nothing more fits.
    pub(super) fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// The whole blocks in it, and the bytes of the last, unfinished one.
    pub(super) fn split(&self) -> (&[u8], &[u8]) {
        let content = &self.bytes[self.start..self.start + self.len];
        content.split_at(self.len - self.len % ALIGNMENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_the_tail_is_apart() {
        for _ in 0..8 {
            let mut buffer = AlignedBuffer::new(2 * ALIGNMENT);
            assert_eq!(buffer.fill(&[1; 5000]), b"");
            let (blocks, tail) = buffer.split();
            assert!(blocks.as_ptr().addr().is_multiple_of(ALIGNMENT));
            assert_eq!((blocks.len(), tail), (ALIGNMENT, &[1; 904][..]));
            assert_eq!(buffer.fill(&[2; 5000]).len(), 5000 - 3192);
            assert!(buffer.is_full());
            assert_eq!(buffer.split().1, b"");
            buffer.clear();
            assert_eq!(buffer.split(), (&b""[..], &b""[..]));
        }
    }
}

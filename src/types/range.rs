//! Byte ranges: as asked for, and resolved against a length.

/// A range that cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("range outside the object's {len} bytes")]
pub struct RangeError {
    /// The length it was resolved against.
    pub len: u64,
}

/// A range as a client asks for it (RFC 9110, section 14.1.2; one range only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeSpec {
    /// `bytes=first-last`, both inclusive.
    FromTo(u64, u64),
    /// `bytes=first-`.
    From(u64),
    /// `bytes=-len`: the last `len` bytes.
    Last(u64),
}

impl RangeSpec {
    /// Resolves against an object of `len` bytes.
    pub fn resolve(self, len: u64) -> Result<ByteRange, RangeError> {
        let (start, end) = match self {
            Self::FromTo(first, last) if first <= last => (first, last.saturating_add(1).min(len)),
            Self::FromTo(..) => return Err(RangeError { len }),
            Self::From(first) => (first, len),
            Self::Last(0) => return Err(RangeError { len }),
            Self::Last(count) => (len.saturating_sub(count), len),
        };
        if start >= len {
            Err(RangeError { len })
        } else {
            Ok(ByteRange { start, end })
        }
    }
}

/// Bytes `start..end` of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte.
    pub start: u64,
    /// One past the last byte; never below `start`.
    pub end: u64,
}

impl ByteRange {
    /// All of `len` bytes.
    pub fn whole(len: u64) -> Self {
        Self { start: 0, end: len }
    }

    /// How many bytes.
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_resolve_as_http_says() {
        let ok = |start, end| Ok(ByteRange { start, end });
        let bad = |len| Err(RangeError { len });
        assert_eq!(RangeSpec::FromTo(0, 0).resolve(10), ok(0, 1));
        assert_eq!(RangeSpec::FromTo(5, 99).resolve(10), ok(5, 10));
        assert_eq!(RangeSpec::FromTo(5, 4).resolve(10), bad(10));
        assert_eq!(RangeSpec::FromTo(10, 12).resolve(10), bad(10));
        assert_eq!(RangeSpec::From(9).resolve(10), ok(9, 10));
        assert_eq!(RangeSpec::From(10).resolve(10), bad(10));
        assert_eq!(RangeSpec::Last(3).resolve(10), ok(7, 10));
        assert_eq!(RangeSpec::Last(30).resolve(10), ok(0, 10));
        assert_eq!(RangeSpec::Last(0).resolve(10), bad(10));
        assert_eq!(RangeSpec::Last(1).resolve(0), bad(0));
        assert_eq!(RangeSpec::FromTo(0, u64::MAX).resolve(1), ok(0, 1));
    }
}

//! Instants as records keep them. There is no `now` here.

/// Milliseconds since 1970-01-01T00:00:00Z. For people to read: it decides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the epoch of Unix.
    pub fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch of Unix.
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch of Unix.
    pub fn as_secs(self) -> u64 {
        self.0 / 1000
    }
}

//! What every copy of a version says of itself, on every drive.

use crate::{DataId, Geometry, Order, Timestamp, VersionId};

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A version with bytes (or an upload, or a part: the space of its register says which).
    Object,
    /// S3's delete marker: a version without bytes that hides the older ones.
    Marker,
    /// The version is gone; kept until every drive knows.
    Tombstone,
}

/// An entity tag, without quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Etag {
    /// MD5 of the bytes.
    Md5([u8; 16]),
    /// MD5 of the parts' MD5s, and how many parts (S3's `…-N` form).
    Parts([u8; 16], u16),
}

/// S3's storage classes that have a geometry of their own here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageClass {
    /// `STANDARD`.
    Standard,
    /// `REDUCED_REDUNDANCY`.
    Reduced,
}

/// Where the bytes of a version are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Placed {
    /// There are none: markers, tombstones, uploads, empty objects.
    Nowhere,
    /// One frame beside the row, in the drive's log.
    Inline,
    /// One shard file, named by the row's data id.
    File,
    /// The shard files of the parts that the row's `files` name, in order.
    Parts,
}

/// The head of a row: what a list shows and what quorum logic needs. The same on all drives of
/// the set; which shard a drive holds follows from `rotation` and its place in the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What the row is.
    pub kind: Kind,
    /// Which version it is of.
    pub version: VersionId,
    /// The order in which that version was created; a key's history sorts by it.
    pub born: Order,
    /// The order of this row. Equal to `born` for the row that created the version.
    pub order: Order,
    /// The newest decided order of the key when this row was ordered; what lies between was
    /// never committed. [`Order::ZERO`] if the holder did not look (an unconditional write into
    /// an unversioned bucket, which replaces everything older).
    pub prev: Order,
    /// Bytes of the object.
    pub size: u64,
    /// When the client's write was ordered, for people.
    pub modified: Timestamp,
    /// The entity tag; all zero where there is none.
    pub etag: Etag,
    /// The code of this version; for markers and tombstones that of the set's default.
    pub geometry: Geometry,
    /// `shard = (place in set + rotation) mod N`.
    pub rotation: u8,
    /// The storage class asked for.
    pub class: StorageClass,
    /// Where the bytes are.
    pub placed: Placed,
    /// The attempt that wrote the bytes; identifies every frame.
    pub data: DataId,
}

impl Head {
    /// How many drives must hold this row before it counts as committed.
    pub fn write_quorum(&self) -> usize {
        match (self.kind, self.placed) {
            (Kind::Object, Placed::Inline | Placed::File) => self.geometry.write_quorum(),
            _ => self.geometry.write_quorum_min(),
        }
    }

    /// How many copies suffice to commit the row again elsewhere: k shards, or one copy of a
    /// row without shards of its own.
    pub fn finish_quorum(&self) -> usize {
        match (self.kind, self.placed) {
            (Kind::Object, Placed::Inline | Placed::File) => self.geometry.data(),
            _ => 1,
        }
    }
}

impl std::fmt::Display for Etag {
    /// Without quotes, as S3 writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sum, parts) = match self {
            Self::Md5(sum) => (sum, None),
            Self::Parts(sum, parts) => (sum, Some(parts)),
        };
        for byte in sum {
            write!(f, "{byte:02x}")?;
        }
        parts.map_or(Ok(()), |parts| write!(f, "-{parts}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_read_as_s3_writes_them() {
        assert_eq!(Etag::Md5([0xab; 16]).to_string(), "ab".repeat(16));
        assert_eq!(
            Etag::Parts([1; 16], 12).to_string(),
            format!("{}-12", "01".repeat(16))
        );
    }
}

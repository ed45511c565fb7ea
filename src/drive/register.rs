//! Registers: the things whose changes are ordered, and how they sort.

use types::{BucketId, ObjectKey, Order};

/// The kinds of registers a bucket has; each is a range of its own in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Objects: what lists show.
    Objects,
    /// Multipart uploads that were begun and neither completed nor aborted.
    Uploads,
    /// Parts of uploads.
    Parts,
}

impl Space {
    /// The byte after the bucket id.
    pub fn code(self) -> u8 {
        match self {
            Self::Objects => 1,
            Self::Uploads => 2,
            Self::Parts => 3,
        }
    }
}

/// The name of a register, as the bytes under which its rows sort:
/// `bucket id (8, big endian) ‖ space (1) ‖ key ‖ 0x00 [‖ upload (16) ‖ part (2, big endian)]`.
/// Keys hold no NUL, so no register's name is a prefix of another's. A row's index key is the
/// register ‖ `!born` (16) ‖ `!order` (16): the newest comes first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Register(Box<[u8]>);

impl Register {
    /// Bytes before the key.
    pub const HEAD_LEN: usize = 9;
    /// Bytes of a row's index key after the register.
    pub const ROW_LEN: usize = 32;

    /// The register of an object.
    pub fn object(bucket: BucketId, key: &ObjectKey) -> Self {
        Self::build(bucket, Space::Objects, key, &[])
    }

    /// The register of one upload: its id is the order of its creation.
    pub fn upload(bucket: BucketId, key: &ObjectKey, upload: Order) -> Self {
        Self::build(bucket, Space::Uploads, key, &upload.to_bytes())
    }

    /// The register of one part of an upload.
    pub fn part(bucket: BucketId, key: &ObjectKey, upload: Order, part: u16) -> Self {
        let mut suffix = [0; 18];
        suffix[..16].copy_from_slice(&upload.to_bytes());
        suffix[16..].copy_from_slice(&part.to_be_bytes());
        Self::build(bucket, Space::Parts, key, &suffix)
    }

    /// The prefix of the registers of all parts of an upload.
    pub fn parts(bucket: BucketId, key: &ObjectKey, upload: Order) -> Vec<u8> {
        Self::build(bucket, Space::Parts, key, &upload.to_bytes())
            .0
            .into()
    }

    /// The prefix of all registers of a space whose key begins with `prefix`.
    pub fn prefix(bucket: BucketId, space: Space, prefix: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::HEAD_LEN + prefix.len() + 1);
        bytes.extend_from_slice(&bucket.as_u64().to_be_bytes());
        bytes.push(space.code());
        bytes.extend_from_slice(prefix.as_bytes());
        bytes
    }

    /// The register whose name these bytes are; `None` if they are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let name = bytes.get(Self::HEAD_LEN..)?;
        let tail = match bytes.get(Self::HEAD_LEN - 1)? {
            1 => 0,
            2 => 16,
            3 => 18,
            _ => return None,
        };
        let key_end = name.len().checked_sub(tail + 1)?;
        let key = name.get(..key_end)?;
        (name.get(key_end) == Some(&0) && !key.is_empty() && !key.contains(&0))
            .then(|| Self(bytes.into()))
    }

    fn build(bucket: BucketId, space: Space, key: &ObjectKey, suffix: &[u8]) -> Self {
        let mut bytes = Self::prefix(bucket, space, key.as_str());
        bytes.push(0);
        bytes.extend_from_slice(suffix);
        Self(bytes.into())
    }

    /// The bytes under which it sorts.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The object key inside the name.
    pub fn key(&self) -> &[u8] {
        let name = self.0.get(Self::HEAD_LEN..).unwrap_or_default();
        name.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Which kind of thing it is.
    pub fn space(&self) -> Space {
        match self.0.get(Self::HEAD_LEN - 1) {
            Some(2) => Space::Uploads,
            Some(3) => Space::Parts,
            _ => Space::Objects,
        }
    }

    /// The register of the upload that a part belongs to; `None` for other registers.
    pub fn upload_of_part(&self) -> Option<Self> {
        let name = self.0.get(..self.0.len().checked_sub(2)?)?;
        (self.space() == Space::Parts).then(|| Self(in_space(name, Space::Uploads).into()))
    }

    /// The register of the object that an upload, or a part's upload, is to become; `None` for
    /// that of an object.
    pub fn object_of_upload(&self) -> Option<Self> {
        let name = self.0.get(..=Self::HEAD_LEN + self.key().len())?;
        (self.space() != Space::Objects).then(|| Self(in_space(name, Space::Objects).into()))
    }

    /// The prefix of the registers of all parts that may become this object; `None` for
    /// registers of other things.
    pub fn parts_of_object(&self) -> Option<Vec<u8>> {
        (self.space() == Space::Objects).then(|| in_space(&self.0, Space::Parts))
    }

    /// The index key of a row of this register.
    pub fn row_key(&self, born: Order, order: Order) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() + Self::ROW_LEN);
        bytes.extend_from_slice(&self.0);
        bytes.extend(born.to_bytes().iter().map(|byte| !byte));
        bytes.extend(order.to_bytes().iter().map(|byte| !byte));
        bytes
    }
}

/// The same name in another space.
fn in_space(name: &[u8], space: Space) -> Vec<u8> {
    let mut bytes = name.to_vec();
    if let Some(code) = bytes.get_mut(Register::HEAD_LEN - 1) {
        *code = space.code();
    }
    bytes
}

impl std::fmt::Debug for Register {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Epoch;

    #[test]
    fn a_part_leads_to_its_upload_and_both_to_their_object() {
        let (bucket, key) = (BucketId::from_u64(77), ObjectKey::parse("a/b").unwrap());
        let id = Order::new(Epoch::new(0, 3), 4);
        let object = Register::object(bucket, &key);
        let upload = Register::upload(bucket, &key, id);
        let part = Register::part(bucket, &key, id, 5);
        assert_eq!(part.upload_of_part(), Some(upload.clone()));
        assert_eq!(part.object_of_upload(), Some(object.clone()));
        assert_eq!(upload.object_of_upload(), Some(object.clone()));
        assert_eq!(
            (upload.upload_of_part(), object.upload_of_part()),
            (None, None)
        );
        assert_eq!(object.object_of_upload(), None);
        for prefix in [
            Register::parts(bucket, &key, id),
            object.parts_of_object().unwrap(),
        ] {
            assert!(part.as_bytes().starts_with(&prefix));
            assert!(!upload.as_bytes().starts_with(&prefix));
        }
        assert_eq!(
            (part.parts_of_object(), upload.parts_of_object()),
            (None, None)
        );
    }

    #[test]
    fn rows_sort_by_key_and_newest_first() {
        let bucket = BucketId::from_u64(7);
        let key = |text| ObjectKey::parse(text).unwrap();
        let at = |sequence| Order::new(Epoch::new(0, 1), sequence);
        let a = Register::object(bucket, &key("a"));
        let a_slash = Register::object(bucket, &key("a/b"));
        assert!(a.row_key(at(1), at(1)) < a_slash.row_key(at(9), at(9)));
        assert!(a.row_key(at(2), at(2)) < a.row_key(at(1), at(3)));
        assert!(a.row_key(at(1), at(3)) < a.row_key(at(1), at(1)));
        assert_eq!(a_slash.key(), b"a/b");
        let part = Register::part(bucket, &key("a"), at(1), 7);
        assert_eq!(part.key(), b"a");
        for register in [a, a_slash, part, Register::upload(bucket, &key("ü"), at(4))] {
            assert_eq!(
                Register::from_bytes(register.as_bytes()),
                Some(register.clone())
            );
            assert_eq!(Register::from_bytes(&register.as_bytes()[..8]), None);
        }
    }
}

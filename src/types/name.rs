//! Bucket names and object keys.

use std::fmt;
use std::sync::Arc;

/// Why a name was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A bucket name has 3 to 63 bytes.
    #[error("a bucket name has 3 to 63 characters")]
    BucketLength,
    /// A bucket name breaks one of S3's rules for characters and shape.
    #[error(
        "a bucket name is lower-case letters, digits, dots and hyphens, starts and ends with a letter or digit, and is no IP address"
    )]
    BucketShape,
    /// A key is empty.
    #[error("a key has at least one byte")]
    KeyEmpty,
    /// A key is longer than [`ObjectKey::LEN_MAX`] bytes.
    #[error("a key has at most 1024 bytes")]
    KeyTooLong,
    /// A key holds a NUL byte, which no S3 client can name in XML.
    #[error("a key holds no NUL byte")]
    KeyNul,
}

/// A bucket's name, legal by S3's general-purpose rules
/// (S3 User Guide, "Bucket naming rules").
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketName(Arc<str>);

impl BucketName {
    /// Parses a name; the rules are S3's for new buckets.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let bytes = name.as_bytes();
        if bytes.len() < 3 || bytes.len() > 63 {
            return Err(NameError::BucketLength);
        }
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let legal =
            |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-' || *b == b'.';
        let shaped = edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(legal)
            && !name.contains("..")
            && !name.contains(".-")
            && !name.contains("-.")
            && !name.starts_with("xn--")
            && !name.ends_with("-s3alias");
        if shaped && name.parse::<std::net::Ipv4Addr>().is_err() {
            Ok(Self(name.into()))
        } else {
            Err(NameError::BucketShape)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// An object's key: 1 to 1,024 bytes of UTF-8 without NUL. `.`, `..`, `//` and slashes are plain
/// bytes; `a` and `a/b` are unrelated keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// The longest key, in bytes (S3 User Guide, "Object key naming guidelines").
    pub const LEN_MAX: usize = 1024;

    /// Parses a key.
    pub fn parse(key: &str) -> Result<Self, NameError> {
        if key.is_empty() {
            return Err(NameError::KeyEmpty);
        }
        if key.len() > Self::LEN_MAX {
            return Err(NameError::KeyTooLong);
        }
        if key.as_bytes().contains(&0) {
            return Err(NameError::KeyNul);
        }
        Ok(Self(key.into()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_the_rules_of_s3() {
        for good in ["abc", "a1b", "my.bucket-1", "123", "a-b.c"] {
            assert!(BucketName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "ab",
            "Abc",
            "a_b",
            "-abc",
            "abc-",
            "a..b",
            "a.-b",
            "192.168.0.1",
            "xn--abc",
            ".abc",
        ] {
            assert!(BucketName::parse(bad).is_err(), "{bad}");
        }
        assert!(BucketName::parse(&"a".repeat(64)).is_err());
    }

    #[test]
    fn keys_are_plain_bytes() {
        for good in ["a", "a/b", "//", ".", "..", "../x", "ünï/😀"] {
            assert!(ObjectKey::parse(good).is_ok(), "{good}");
        }
        assert_eq!(ObjectKey::parse(""), Err(NameError::KeyEmpty));
        assert_eq!(ObjectKey::parse("a\0b"), Err(NameError::KeyNul));
        assert!(ObjectKey::parse(&"k".repeat(1024)).is_ok());
        assert_eq!(
            ObjectKey::parse(&"k".repeat(1025)),
            Err(NameError::KeyTooLong)
        );
    }
}

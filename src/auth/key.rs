//! Access keys and secret keys.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The public half of a credential: 1 to 128 printable ASCII characters without `,` and `=`,
/// which delimit it in an `Authorization` header.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessKey(String);

impl AccessKey {
    /// The longest access key, in bytes.
    pub const LEN_MAX: usize = 128;

    /// `None` if the text cannot be an access key.
    pub fn parse(text: &str) -> Option<Self> {
        let legal = |b: u8| b.is_ascii_graphic() && b != b',' && b != b'=';
        let fits = !text.is_empty() && text.len() <= Self::LEN_MAX;
        (fits && text.bytes().all(legal)).then(|| Self(text.to_owned()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The secret half. Compared in constant time, wiped on drop, never printed.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<String>);

impl SecretKey {
    /// Takes over the text; the caller wipes its own copies.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself: to seal it, or to print it the one time it is made.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        bool::from(self.0.as_bytes().ct_eq(other.0.as_bytes()))
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_keys_that_would_break_a_header_are_refused() {
        for bad in ["", "a,b", "a=b", "a b", "ü", "a\n", &"a".repeat(129)] {
            assert_eq!(AccessKey::parse(bad), None, "{bad:?}");
        }
        for good in [
            "minioadmin",
            "AKIAIOSFODNN7EXAMPLE",
            "a/b+c",
            &"a".repeat(128),
        ] {
            assert!(AccessKey::parse(good).is_some(), "{good}");
        }
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = SecretKey::new("canary-secret");
        assert!(!format!("{secret:?}").contains("canary"));
        assert_eq!(secret, SecretKey::new("canary-secret"));
        assert_ne!(secret, SecretKey::new("canary-secre"));
    }
}

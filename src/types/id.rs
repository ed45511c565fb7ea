//! Random identities, in UUID form where people see them.

use std::fmt;

/// A text that is no UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form 8-4-4-4-12 hexadecimal digits")]
pub struct IdError;

/// Sixteen bytes, written as 8-4-4-4-12 hexadecimal digits (RFC 9562, section 4; no version bits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// An id from its bytes; the caller brings the randomness.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The sixteen bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Parses exactly the form that [`fmt::Display`] writes; upper case is accepted.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let groups = [8, 4, 4, 4, 12];
        let mut bytes = [0u8; 16];
        let mut parts = text.split('-');
        let mut at = 0;
        for len in groups {
            let part = parts.next().ok_or(IdError)?.as_bytes();
            if part.len() != len {
                return Err(IdError);
            }
            for pair in part.chunks_exact(2) {
                let [high, low] = pair else {
                    return Err(IdError);
                };
                let byte = bytes.get_mut(at).ok_or(IdError)?;
                *byte = (digit(*high)? << 4) | digit(*low)?;
                at += 1;
            }
        }
        if parts.next().is_some() {
            Err(IdError)
        } else {
            Ok(Self(bytes))
        }
    }
}

fn digit(byte: u8) -> Result<u8, IdError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(IdError),
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// An id from its bytes; the caller brings the randomness.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The sixteen bytes.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_bytes()
            }

            /// Parses the form that `Display` writes.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                Uuid::parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id! {
    /// One deployment: all drives and nodes that were formed together.
    DeploymentId
}
id! {
    /// One drive, from its formatting to its end.
    DriveId
}
id! {
    /// The bytes of one client attempt to write; never reused.
    DataId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_round_trip_and_junk_is_refused() {
        let id = Uuid::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(id.to_string(), "00010203-0405-0607-0809-0a0b0c0d0eff");
        assert_eq!(Uuid::parse(&id.to_string()), Ok(id));
        for bad in [
            "",
            "-",
            "0001020304050607-0809-0a0b0c0d0eff",
            "00010203-0405-0607-0809-0a0b0c0d0eff-",
            "g0010203-0405-0607-0809-0a0b0c0d0eff",
        ] {
            assert_eq!(Uuid::parse(bad), Err(IdError), "{bad}");
        }
    }
}

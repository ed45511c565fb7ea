//! `sarsen.json`: who a drive is, in a form in which no flipped byte passes.

use serde::{Deserialize, Serialize};
use types::{DeploymentId, DriveId, Geometry};

use crate::contract::Identity;

/// The file's name in the root of a drive. Its presence makes a directory a drive.
pub(super) const FILE_NAME: &str = "sarsen.json";
/// No legal file is longer.
pub(super) const LEN_MAX: usize = 4096;

/// Why a file is refused whose bytes are not as they were written.
pub(super) const DAMAGED: &str = "sarsen.json is damaged";

const FORMAT: u32 = 1;
const CHECKSUM_CONTEXT: &str = "sarsen drive identity v1";
const CHECKSUM_FIELD: &str = ",\n  \"checksum\": \"";
const END: &str = "\"\n}\n";

/// What a formatted drive says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formatted {
    /// Who it is.
    pub identity: Identity,
    /// The default code of its set when it was formatted; also says how many drives the set has.
    pub geometry: Geometry,
    /// Whether its directory was a mount of its own then. If so it must be one for ever: without
    /// its mount the path leads to another disk.
    pub mounted: bool,
}

/// The fields of the file, in the order in which they are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    deployment: String,
    drive: String,
    pool: u16,
    set: u16,
    place: u8,
    data: u8,
    parity: u8,
    mounted: bool,
}

/// The one field that every format has.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

impl Formatted {
    /// The bytes of the file: JSON whose last field is a keyed blake3 hash of all bytes before it.
    pub(super) fn render(&self) -> String {
        let document = Document {
            format: FORMAT,
            deployment: self.identity.deployment.to_string(),
            drive: self.identity.drive.to_string(),
            pool: self.identity.pool,
            set: self.identity.set,
            place: self.identity.place,
            data: self.geometry.data() as u8,
            parity: self.geometry.parity() as u8,
            mounted: self.mounted,
        };
        let json = serde_json::to_string_pretty(&document).expect("plain fields always serialise");
        let body = json.strip_suffix("\n}").unwrap_or(&json);
        format!("{body}{CHECKSUM_FIELD}{}{END}", checksum(body))
    }

    /// Reads what [`Formatted::render`] wrote and nothing else; the error says what is wrong.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| DAMAGED)?;
        let (body, sum) = text.rsplit_once(CHECKSUM_FIELD).ok_or(DAMAGED)?;
        if sum.strip_suffix(END) != Some(&checksum(body)) {
            return Err(DAMAGED);
        }
        let json = format!("{body}\n}}");
        let any: AnyFormat =
            serde_json::from_str(&json).map_err(|_| "sarsen.json names no format")?;
        if any.format != FORMAT {
            return Err("sarsen.json is of a format that this version does not know");
        }
        let document = serde_json::from_str(&json).map_err(|_| "sarsen.json has wrong fields")?;
        let formatted = Self::from_document(&document).ok_or("sarsen.json has wrong values")?;
        // One identity has one spelling, so that two tools never disagree about a file.
        if formatted.render() != text {
            return Err("sarsen.json is not in its one legal form");
        }
        Ok(formatted)
    }

    fn from_document(document: &Document) -> Option<Self> {
        let geometry = Geometry::new(document.data, document.parity).ok()?;
        let identity = Identity {
            deployment: DeploymentId::parse(&document.deployment).ok()?,
            drive: DriveId::parse(&document.drive).ok()?,
            pool: document.pool,
            set: document.set,
            place: document.place,
        };
        (usize::from(identity.place) < geometry.drives()).then_some(Self {
            identity,
            geometry,
            mounted: document.mounted,
        })
    }
}

fn checksum(body: &str) -> String {
    blake3::Hasher::new_derive_key(CHECKSUM_CONTEXT)
        .update(body.as_bytes())
        .finalize()
        .to_hex()
        .to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::files) fn sample() -> Formatted {
        Formatted {
            identity: Identity {
                deployment: DeploymentId::from_bytes([0xde; 16]),
                drive: DriveId::from_bytes([0xd1; 16]),
                pool: 0,
                set: 1,
                place: 3,
            },
            geometry: Geometry::new(2, 2).unwrap(),
            mounted: false,
        }
    }

    #[test]
    fn an_identity_reads_back() {
        for mounted in [false, true] {
            let formatted = Formatted {
                mounted,
                ..sample()
            };
            assert_eq!(
                Formatted::parse(formatted.render().as_bytes()),
                Ok(formatted)
            );
        }
    }

    #[test]
    fn the_file_is_the_same_for_ever() {
        let golden = include_str!("fixtures/sarsen-1.json");
        assert_eq!(sample().render(), golden);
        assert_eq!(Formatted::parse(golden.as_bytes()), Ok(sample()));
    }

    #[test]
    fn no_flipped_cut_or_added_byte_passes() {
        let whole = sample().render().into_bytes();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                assert!(
                    Formatted::parse(&flipped).is_err(),
                    "bit {bit} of byte {at}"
                );
            }
            assert!(Formatted::parse(&whole[..at]).is_err(), "cut at {at}");
        }
        for extra in [&b" "[..], b"\n", b"\0", b"{}"] {
            assert!(Formatted::parse(&[&whole[..], extra].concat()).is_err());
        }
    }

    #[test]
    fn a_sound_checksum_does_not_excuse_wrong_content() {
        let sealed = |body: &str| format!("{body}{CHECKSUM_FIELD}{}{END}", checksum(body));
        let body = sample().render();
        let body = body.rsplit_once(CHECKSUM_FIELD).unwrap().0;
        assert_eq!(Formatted::parse(sealed(body).as_bytes()), Ok(sample()));
        let wrong = [
            (
                "\"format\": 1",
                "\"format\": 2",
                "sarsen.json is of a format that this version does not know",
            ),
            ("\"format\"", "\"fermat\"", "sarsen.json names no format"),
            (
                "\"place\": 3",
                "\"place\": 4",
                "sarsen.json has wrong values",
            ),
            ("\"data\": 2", "\"data\": 0", "sarsen.json has wrong values"),
            (
                "dededede-",
                "DEDEDEDE-",
                "sarsen.json is not in its one legal form",
            ),
            (
                "\"set\": 1",
                "\"set\":  1",
                "sarsen.json is not in its one legal form",
            ),
            (
                "\"set\": 1",
                "\"set\": 1,\n  \"extra\": 1",
                "sarsen.json has wrong fields",
            ),
            ("\"set\": 1", "\"set\": -1", "sarsen.json has wrong fields"),
        ];
        for (from, to, why) in wrong {
            assert_eq!(
                Formatted::parse(sealed(&body.replace(from, to)).as_bytes()),
                Err(why)
            );
        }
    }
}

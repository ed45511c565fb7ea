//! What a version keeps besides its head: the tail of its row, as bytes and as a struct.
//!
//! Layout, all integers little endian: `version (1) ‖ sections`, a section being
//! `tag (1) ‖ length (4) ‖ content`. Texts are `length (4) ‖ UTF-8`. A reader skips sections it
//! does not know, so that a newer release may add some; a section cut short is damage.

use bytes::Bytes;
use types::{DataId, Geometry, Order, Placed};

/// A checksum algorithm of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChecksumKind {
    /// CRC-32, IEEE.
    Crc32,
    /// CRC-32C, Castagnoli.
    Crc32c,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// CRC-64/NVME.
    Crc64Nvme,
}

impl ChecksumKind {
    const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Sha1,
        Self::Sha256,
        Self::Crc64Nvme,
    ];

    fn code(self) -> u8 {
        match self {
            Self::Crc32 => 1,
            Self::Crc32c => 2,
            Self::Sha1 => 3,
            Self::Sha256 => 4,
            Self::Crc64Nvme => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// A checksum that a client sent or asked for, kept to be given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// The algorithm.
    pub kind: ChecksumKind,
    /// Whether it is a checksum of the parts' checksums, and of how many (`COMPOSITE`).
    pub composite: Option<u16>,
    /// The raw sum.
    pub sum: Vec<u8>,
}

/// What a multipart object's checksum is computed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumForm {
    /// The checksums of its parts.
    Composite,
    /// Its bytes.
    FullObject,
}

/// The checksum that an upload asks of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedChecksum {
    /// The algorithm.
    pub kind: ChecksumKind,
    /// What the object's is to be.
    pub form: ChecksumForm,
}

/// One run of bytes with its own frames: a whole object, or one part of a multipart object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The part number; 0 for an object that was written whole.
    pub number: u16,
    /// Bytes.
    pub size: u64,
    /// The attempt that wrote them.
    pub data: DataId,
    /// Their code.
    pub geometry: Geometry,
    /// `shard = (place in set + rotation) mod N`.
    pub rotation: u8,
    /// Inline frame or shard file.
    pub placed: Placed,
    /// CRC-64/NVME of the bytes, checked on every full read.
    pub crc: u64,
    /// MD5 of the bytes.
    pub md5: [u8; 16],
    /// The part's own checksum, if the upload asked for one.
    pub checksum: Option<Checksum>,
}

/// Everything a version keeps besides its head.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    /// Headers given back as they came: `content-type`, `cache-control`, ….
    pub headers: Vec<(String, String)>,
    /// User metadata, names without `x-amz-meta-`.
    pub user: Vec<(String, String)>,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// Checksums of the whole object.
    pub checksums: Vec<Checksum>,
    /// Where the bytes are: none for empty objects, one for those written whole.
    pub extents: Vec<Extent>,
    /// Of an upload: the checksum that its parts bring.
    pub wanted: Option<WantedChecksum>,
    /// Of an object: the upload that it was completed from. Of an upload: itself, once its
    /// completion was begun.
    pub upload: Option<Order>,
}

/// A tail that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a version's properties are damaged")]
pub struct PropertiesError;

const FORMAT: u8 = 1;
const HEADERS: u8 = 1;
const USER: u8 = 2;
const TAGS: u8 = 3;
const CHECKSUMS: u8 = 4;
const EXTENTS: u8 = 5;
const WANTED: u8 = 6;
const UPLOAD: u8 = 7;

impl Properties {
    /// The bytes of a row's tail.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(128);
        out.push(FORMAT);
        for (tag, pairs) in [
            (HEADERS, &self.headers),
            (USER, &self.user),
            (TAGS, &self.tags),
        ] {
            if !pairs.is_empty() {
                section(&mut out, tag, |out| {
                    for (name, value) in pairs {
                        put_bytes(out, name.as_bytes());
                        put_bytes(out, value.as_bytes());
                    }
                });
            }
        }
        if !self.checksums.is_empty() {
            section(&mut out, CHECKSUMS, |out| {
                self.checksums.iter().for_each(|sum| put_checksum(out, sum))
            });
        }
        if !self.extents.is_empty() {
            section(&mut out, EXTENTS, |out| {
                self.extents
                    .iter()
                    .for_each(|extent| put_extent(out, extent))
            });
        }
        if let Some(wanted) = self.wanted {
            let form = match wanted.form {
                ChecksumForm::Composite => 1,
                ChecksumForm::FullObject => 2,
            };
            section(&mut out, WANTED, |out| {
                out.extend([wanted.kind.code(), form])
            });
        }
        if let Some(upload) = self.upload {
            section(&mut out, UPLOAD, |out| out.extend(upload.to_bytes()));
        }
        out.into()
    }

    /// The shard files that the bytes are in.
    pub(crate) fn files(&self) -> impl Iterator<Item = DataId> + '_ {
        let files = self.extents.iter();
        let files = files.filter(|extent| extent.placed == Placed::File);
        files.map(|extent| extent.data)
    }

    /// Reads a row's tail.
    pub fn decode(bytes: &[u8]) -> Result<Self, PropertiesError> {
        let mut input = Input(bytes);
        if input.byte()? != FORMAT {
            return Err(PropertiesError);
        }
        let mut properties = Self::default();
        while !input.0.is_empty() {
            let tag = input.byte()?;
            let mut content = Input(input.bytes()?);
            match tag {
                HEADERS => properties.headers = content.pairs()?,
                USER => properties.user = content.pairs()?,
                TAGS => properties.tags = content.pairs()?,
                CHECKSUMS => {
                    while !content.0.is_empty() {
                        properties.checksums.push(content.checksum()?);
                    }
                }
                EXTENTS => {
                    while !content.0.is_empty() {
                        properties.extents.push(content.extent()?);
                    }
                }
                WANTED => properties.wanted = Some(content.wanted()?),
                UPLOAD => properties.upload = Some(Order::from_bytes(content.array()?)),
                _ => {}
            }
        }
        Ok(properties)
    }
}

fn section(out: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let len = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    if let Some(slot) = out.get_mut(at..at + 4) {
        slot.copy_from_slice(&len.to_le_bytes());
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_checksum(out: &mut Vec<u8>, checksum: &Checksum) {
    out.push(checksum.kind.code());
    out.extend_from_slice(&checksum.composite.unwrap_or(0).to_le_bytes());
    put_bytes(out, &checksum.sum);
}

fn put_extent(out: &mut Vec<u8>, extent: &Extent) {
    out.extend_from_slice(&extent.number.to_le_bytes());
    out.extend_from_slice(&extent.size.to_le_bytes());
    out.extend_from_slice(&extent.data.to_bytes());
    let shape = [extent.geometry.data(), extent.geometry.parity()];
    out.extend(shape.map(|count| u8::try_from(count).unwrap_or(u8::MAX)));
    out.push(extent.rotation);
    out.push(match extent.placed {
        Placed::Nowhere => 0,
        Placed::Inline => 1,
        Placed::File => 2,
        Placed::Parts => 3,
    });
    out.extend_from_slice(&extent.crc.to_le_bytes());
    out.extend_from_slice(&extent.md5);
    out.push(u8::from(extent.checksum.is_some()));
    if let Some(checksum) = &extent.checksum {
        put_checksum(out, checksum);
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], PropertiesError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(PropertiesError)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], PropertiesError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(PropertiesError)?;
        self.0 = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, PropertiesError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn bytes(&mut self) -> Result<&'a [u8], PropertiesError> {
        let len = u32::from_le_bytes(self.array()?);
        self.take(usize::try_from(len).map_err(|_| PropertiesError)?)
    }

    fn text(&mut self) -> Result<String, PropertiesError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| PropertiesError)
    }

    fn pairs(&mut self) -> Result<Vec<(String, String)>, PropertiesError> {
        let mut pairs = Vec::new();
        while !self.0.is_empty() {
            pairs.push((self.text()?, self.text()?));
        }
        Ok(pairs)
    }

    fn checksum(&mut self) -> Result<Checksum, PropertiesError> {
        let kind = ChecksumKind::from_code(self.byte()?).ok_or(PropertiesError)?;
        let composite = Some(u16::from_le_bytes(self.array()?)).filter(|parts| *parts > 0);
        Ok(Checksum {
            kind,
            composite,
            sum: self.bytes()?.to_vec(),
        })
    }

    fn wanted(&mut self) -> Result<WantedChecksum, PropertiesError> {
        let kind = ChecksumKind::from_code(self.byte()?).ok_or(PropertiesError)?;
        let form = match self.byte()? {
            1 => ChecksumForm::Composite,
            2 => ChecksumForm::FullObject,
            _ => return Err(PropertiesError),
        };
        Ok(WantedChecksum { kind, form })
    }

    fn extent(&mut self) -> Result<Extent, PropertiesError> {
        let number = u16::from_le_bytes(self.array()?);
        let size = u64::from_le_bytes(self.array()?);
        let data = DataId::from_bytes(self.array()?);
        let geometry = Geometry::new(self.byte()?, self.byte()?).map_err(|_| PropertiesError)?;
        let rotation = self.byte()?;
        let placed = match self.byte()? {
            0 => Placed::Nowhere,
            1 => Placed::Inline,
            2 => Placed::File,
            3 => Placed::Parts,
            _ => return Err(PropertiesError),
        };
        let crc = u64::from_le_bytes(self.array()?);
        let md5 = self.array()?;
        let checksum = match self.byte()? {
            0 => None,
            1 => Some(self.checksum()?),
            _ => return Err(PropertiesError),
        };
        Ok(Extent {
            number,
            size,
            data,
            geometry,
            rotation,
            placed,
            crc,
            md5,
            checksum,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Properties {
        let checksum = Checksum {
            kind: ChecksumKind::Sha256,
            composite: Some(3),
            sum: vec![7; 32],
        };
        Properties {
            headers: vec![("content-type".into(), "text/plain".into())],
            user: vec![
                ("colour".into(), "grün".into()),
                ("empty".into(), String::new()),
            ],
            tags: vec![("a".into(), "b".into())],
            checksums: vec![checksum.clone()],
            extents: vec![Extent {
                number: 3,
                size: 5 << 20,
                data: DataId::from_bytes([9; 16]),
                geometry: Geometry::new(2, 2).unwrap(),
                rotation: 3,
                placed: Placed::File,
                crc: 42,
                md5: [1; 16],
                checksum: Some(checksum),
            }],
            wanted: Some(WantedChecksum {
                kind: ChecksumKind::Crc32c,
                form: ChecksumForm::FullObject,
            }),
            upload: Some(Order::new(types::Epoch::new(0, 2), 3)),
        }
    }

    #[test]
    fn properties_round_trip() {
        for properties in [Properties::default(), sample()] {
            assert_eq!(Properties::decode(&properties.encode()), Ok(properties));
        }
    }

    #[test]
    fn a_tail_cut_short_is_damage() {
        let bytes = sample().encode();
        // A cut at a section's border looks like fewer sections: the drive's hash covers that.
        let whole = (1..bytes.len())
            .filter(|len| Properties::decode(&bytes[..*len]).is_ok())
            .count();
        assert_eq!(whole, 7);
        assert_eq!(Properties::decode(&[]), Err(PropertiesError));
        assert_eq!(Properties::decode(&[9]), Err(PropertiesError));
    }

    #[test]
    fn unknown_sections_are_skipped() {
        let mut bytes = sample().encode().to_vec();
        bytes.extend_from_slice(&[200, 2, 0, 0, 0, 1, 2]);
        assert_eq!(Properties::decode(&bytes), Ok(sample()));
    }
}

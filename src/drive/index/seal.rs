//! Who a run's bytes belong to: every hash in a run is keyed with that.

use types::{DeploymentId, DriveId};

/// Bytes of the hash behind every section of a run.
pub(super) const HASH_LEN: usize = 16;

/// A run's number on its drive: grows for ever, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunId(pub(crate) u64);

/// The keys of a drive's runs, derived from who the drive is. Not secret: they make a correct
/// section in another place, run, drive or deployment fail.
#[derive(Clone, Copy)]
pub(crate) struct RunSeal {
    root: [u8; 32],
    filter: [u8; 32],
}

impl RunSeal {
    /// The keys of one drive.
    pub(crate) fn new(deployment: DeploymentId, drive: DriveId) -> Self {
        let mut identity = [0; 32];
        identity[..16].copy_from_slice(&deployment.to_bytes());
        identity[16..].copy_from_slice(&drive.to_bytes());
        let root = blake3::derive_key("sarsen drive index run v1", &identity);
        let filter = *blake3::keyed_hash(&root, b"filter").as_bytes();
        Self { root, filter }
    }

    /// What the filters of all runs of this drive are asked with. `register` is a register's
    /// bytes, or in general [`super::filter_part`] of a key.
    pub(crate) fn register_hash(&self, register: &[u8]) -> RegisterHash {
        let hash = blake3::keyed_hash(&self.filter, register);
        let word = |at: usize| {
            let bytes = hash
                .as_bytes()
                .get(at..at + 8)
                .and_then(|b| b.first_chunk());
            u64::from_le_bytes(*bytes.expect("a hash has 32 bytes"))
        };
        RegisterHash {
            place: word(0),
            bits: word(8),
        }
    }

    /// The key of one run's sections.
    pub(super) fn run_key(&self, run: RunId) -> RunKey {
        let mut name = *b"run.........";
        name[4..].copy_from_slice(&run.0.to_le_bytes());
        RunKey(*blake3::keyed_hash(&self.root, &name).as_bytes())
    }
}

/// The hash of a register, for filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RegisterHash {
    /// Chooses the cache line.
    pub(super) place: u64,
    /// Chooses bits in it: six times nine.
    pub(super) bits: u64,
}

/// The parts of a run that carry a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// Block of that number, from 0.
    Block(u64),
    Filter,
    Index,
    Footer,
}

/// The key of one run's sections.
#[derive(Clone, Copy)]
pub(super) struct RunKey([u8; 32]);

impl RunKey {
    /// The hash that stands behind `bytes`.
    pub(super) fn hash(&self, section: Section, bytes: &[u8]) -> [u8; HASH_LEN] {
        let (code, number) = match section {
            Section::Block(number) => (1, number),
            Section::Filter => (2, 0),
            Section::Index => (3, 0),
            Section::Footer => (4, 0),
        };
        let mut place = [code; 9];
        place[1..].copy_from_slice(&number.to_le_bytes());
        // The place comes last, and has one length: whole chunks of the bytes stay aligned.
        let hash = blake3::Hasher::new_keyed(&self.0)
            .update(bytes)
            .update(&place)
            .finalize();
        *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
    }

    /// The bytes of a section as it lies in the file, without their hash; `None` if that is wrong.
    pub(super) fn open<'b>(&self, section: Section, sealed: &'b [u8]) -> Option<&'b [u8]> {
        let (bytes, hash) = sealed.split_last_chunk::<HASH_LEN>()?;
        (self.hash(section, bytes) == *hash).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_elsewhere_has_another_hash() {
        let deployment = |byte| DeploymentId::from_bytes([byte; 16]);
        let drive = |byte| DriveId::from_bytes([byte; 16]);
        let seal = RunSeal::new(deployment(1), drive(2));
        let hash = |seal: RunSeal, run, section| seal.run_key(RunId(run)).hash(section, b"x");
        let here = hash(seal, 1, Section::Block(0));
        for other in [
            hash(RunSeal::new(deployment(9), drive(2)), 1, Section::Block(0)),
            hash(RunSeal::new(deployment(1), drive(9)), 1, Section::Block(0)),
            hash(seal, 2, Section::Block(0)),
            hash(seal, 1, Section::Block(1)),
            hash(seal, 1, Section::Filter),
            hash(seal, 1, Section::Index),
            hash(seal, 1, Section::Footer),
        ] {
            assert_ne!(here, other);
        }
        assert_eq!(here, hash(seal, 1, Section::Block(0)));
    }
}

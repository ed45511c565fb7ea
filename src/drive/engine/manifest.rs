//! The manifest: everything that a start needs beside the tail of the log.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use types::{DeploymentId, DriveId, Epoch, Order, Slot};

use super::batch::PEERS;
use super::bytes::{Fields, len32};
use super::entry::Standing;
use super::log::Position;
use super::settled::Settled;
use crate::contract::SettleMark;
use crate::failpoint::Failpoints;
use crate::index::RunMeta;

const MAGIC: [u8; 8] = *b"sarsenm1";
const HASH_LEN: usize = 32;
const PREFIX: &str = "MANIFEST-";
const NEW: &str = "MANIFEST.new";

/// What the manifest knows of a segment that holds rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentState {
    /// The segment's number.
    pub(super) id: u64,
    /// Bytes of rows in it that the index refers to.
    pub(super) live: u64,
    /// Where its last batch ends.
    pub(super) used: u64,
    /// The number of its last batch.
    pub(super) last: u64,
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Counts manifests of this drive.
    pub(super) generation: u64,
    /// Whether the drive's answers vote.
    pub(super) standing: Standing,
    /// The number that the next run gets.
    pub(super) next_run: u64,
    /// Where to replay from: everything before is in the runs and in this manifest.
    pub(super) replay: Position,
    /// The stored fences, by slot.
    pub(super) fences: Vec<(Slot, Epoch)>,
    /// What is settled, and the positions of peers.
    pub(super) settled: Settled,
    /// The segments, as they were at `replay`.
    pub(super) segments: Vec<SegmentState>,
    /// The highest order in the runs, by slot.
    pub(super) highest: Vec<(Slot, Order)>,
    /// The runs, newest first.
    pub(super) runs: Vec<RunMeta>,
}

/// The key of a drive's manifests.
fn seal_key(deployment: DeploymentId, drive: DriveId) -> [u8; 32] {
    let mut identity = [0; 32];
    identity[..16].copy_from_slice(&deployment.to_bytes());
    identity[16..].copy_from_slice(&drive.to_bytes());
    blake3::derive_key("sarsen drive manifest v1", &identity)
}

impl Manifest {
    /// That of a drive which was never written to.
    pub(super) fn empty(standing: Standing) -> Self {
        Self {
            generation: 0,
            standing,
            next_run: 1,
            replay: Position {
                segment: 1,
                offset: super::segment::FIRST_BATCH,
                next: 1,
                chain: 0,
            },
            fences: Vec::new(),
            settled: Settled::default(),
            segments: Vec::new(),
            highest: Vec::new(),
            runs: Vec::new(),
        }
    }

    fn encode(&self, key: &[u8; 32]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let number = |out: &mut Vec<u8>, number: u64| out.extend_from_slice(&number.to_le_bytes());
        let count =
            |out: &mut Vec<u8>, count: usize| out.extend_from_slice(&len32(count).to_le_bytes());
        number(&mut out, self.generation);
        number(&mut out, u64::from(self.standing.code()));
        number(&mut out, self.next_run);
        let at = self.replay;
        for field in [at.segment, u64::from(at.offset), at.next, at.chain] {
            number(&mut out, field);
        }
        for position in self.settled.peers() {
            number(&mut out, *position);
        }
        count(&mut out, self.fences.len());
        for (slot, epoch) in &self.fences {
            out.extend_from_slice(&slot.number().to_le_bytes());
            number(&mut out, epoch.as_u64());
        }
        let settled = self.settled.all();
        count(&mut out, settled.floors.len());
        for (slot, epoch) in &settled.floors {
            out.extend_from_slice(&slot.number().to_le_bytes());
            number(&mut out, epoch.as_u64());
        }
        count(&mut out, settled.marks.len());
        for mark in &settled.marks {
            out.extend_from_slice(&mark.slot.number().to_le_bytes());
            for field in [mark.epoch.as_u64(), mark.settled, mark.complete] {
                number(&mut out, field);
            }
        }
        count(&mut out, self.segments.len());
        for segment in &self.segments {
            for field in [segment.id, segment.live, segment.used, segment.last] {
                number(&mut out, field);
            }
        }
        count(&mut out, self.highest.len());
        for (slot, order) in &self.highest {
            out.extend_from_slice(&slot.number().to_le_bytes());
            out.extend_from_slice(&order.to_bytes());
        }
        count(&mut out, self.runs.len());
        self.runs.iter().for_each(|run| run.put(&mut out));
        let hash = blake3::keyed_hash(key, &out);
        out.extend_from_slice(hash.as_bytes());
        out
    }

    fn decode(bytes: &[u8], key: &[u8; 32]) -> Option<Self> {
        let (body, hash) = bytes.split_last_chunk::<HASH_LEN>()?;
        if *blake3::keyed_hash(key, body).as_bytes() != *hash {
            return None;
        }
        let mut fields = Fields(body);
        if fields.array()? != MAGIC {
            return None;
        }
        let generation = fields.u64()?;
        let standing = Standing::from_code(u8::try_from(fields.u64()?).ok()?)?;
        let next_run = fields.u64()?;
        let replay = Position {
            segment: fields.u64()?,
            offset: u32::try_from(fields.u64()?).ok()?,
            next: fields.u64()?,
            chain: fields.u64()?,
        };
        let mut settled = Settled::default();
        for place in 0..PEERS {
            settled.peer(u8::try_from(place).ok()?, fields.u64()?);
        }
        let slot = |fields: &mut Fields<'_>| fields.u16().map(Slot::new);
        let fences = take_list(&mut fields, |fields| {
            Some((slot(fields)?, Epoch::from_u64(fields.u64()?)))
        })?;
        for _ in 0..fields.len()? {
            let floor = slot(&mut fields)?;
            settled.floor(floor, Epoch::from_u64(fields.u64()?));
        }
        for _ in 0..fields.len()? {
            settled.mark(&SettleMark {
                slot: slot(&mut fields)?,
                epoch: Epoch::from_u64(fields.u64()?),
                settled: fields.u64()?,
                complete: fields.u64()?,
            });
        }
        let segments = take_list(&mut fields, |fields| {
            Some(SegmentState {
                id: fields.u64()?,
                live: fields.u64()?,
                used: fields.u64()?,
                last: fields.u64()?,
            })
        })?;
        let highest = take_list(&mut fields, |fields| {
            Some((slot(fields)?, Order::from_bytes(fields.array()?)))
        })?;
        let runs = take_list(&mut fields, |fields| {
            let (run, rest) = RunMeta::take(fields.0)?;
            fields.0 = rest;
            Some(run)
        })?;
        let end = fields.0.is_empty();
        end.then_some(Self {
            generation,
            standing,
            next_run,
            replay,
            fences,
            settled,
            segments,
            highest,
            runs,
        })
    }
}

fn take_list<T>(
    fields: &mut Fields<'_>,
    mut take: impl FnMut(&mut Fields<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let count = fields.len()?;
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(take(fields)?);
    }
    Some(list)
}

/// The manifests of a drive, in its index directory.
pub(super) struct Manifests {
    directory: PathBuf,
    key: [u8; 32],
}

/// What was found at a start.
#[derive(Debug)]
pub(super) enum FoundManifest {
    /// None: the drive was never written to, or all are gone.
    Nothing,
    /// The newest that reads well. A newer one that does not is overwritten by the next.
    Sound(Box<Manifest>),
    /// There are some, the newest of this generation, and none reads well.
    Damaged(u64),
}

impl Manifests {
    /// Those in `directory`.
    pub(super) fn new(directory: &Path, deployment: DeploymentId, drive: DriveId) -> Self {
        Self {
            directory: directory.to_owned(),
            key: seal_key(deployment, drive),
        }
    }

    /// Reads the newest.
    pub(super) fn find(&self) -> io::Result<FoundManifest> {
        let generations = self.generations()?;
        for generation in &generations {
            let bytes = fs::read(self.path(*generation))?;
            let sound = Manifest::decode(&bytes, &self.key);
            if let Some(manifest) = sound.filter(|found| found.generation == *generation) {
                return Ok(FoundManifest::Sound(Box::new(manifest)));
            }
        }
        Ok(match generations.first() {
            None => FoundManifest::Nothing,
            Some(newest) => FoundManifest::Damaged(*newest),
        })
    }

    /// The generations of which there is a file, newest first.
    fn generations(&self) -> io::Result<Vec<u64>> {
        let mut generations = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let generation = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            generations.extend(generation.and_then(|text| u64::from_str_radix(text, 16).ok()));
        }
        generations.sort_unstable_by(|left, right| right.cmp(left));
        Ok(generations)
    }

    /// Makes a manifest durable as the newest, and removes all but the one before it.
    pub(super) fn write(&self, manifest: &Manifest, failpoints: &Failpoints) -> io::Result<()> {
        let new = self.directory.join(NEW);
        let mut file = File::create(&new)?;
        file.write_all(&manifest.encode(&self.key))?;
        file.sync_all()?;
        failpoints.hit("manifest.before-rename");
        fs::rename(&new, self.path(manifest.generation))?;
        File::open(&self.directory)?.sync_all()?;
        failpoints.hit("manifest.after-rename");
        let kept = manifest.generation.saturating_sub(1)..=manifest.generation;
        for old in self.generations()? {
            if !kept.contains(&old) {
                fs::remove_file(self.path(old))?;
            }
        }
        Ok(())
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.directory.join(format!("{PREFIX}{generation:016x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Scratch;
    use crate::index::RunId;

    fn sample(generation: u64) -> Manifest {
        let slot = Slot::new(9);
        let mut settled = Settled::default();
        settled.mark(&SettleMark {
            slot,
            epoch: Epoch::new(1, 5),
            settled: 7,
            complete: 6,
        });
        settled.floor(slot, Epoch::new(1, 2));
        settled.peer(3, 99);
        Manifest {
            generation,
            standing: Standing::Joining,
            next_run: 4,
            replay: Position {
                segment: 3,
                offset: 8192,
                next: 12,
                chain: 0xabc,
            },
            fences: vec![(slot, Epoch::new(1, 5)), (Slot::new(10), Epoch::new(1, 6))],
            settled,
            segments: vec![SegmentState {
                id: 2,
                live: 5,
                used: 6,
                last: 7,
            }],
            highest: vec![(slot, Order::new(Epoch::new(1, 5), 8))],
            runs: vec![RunMeta {
                id: RunId(3),
                entries: 1,
                marks: 0,
                bytes: 500,
                first: (*b"a").into(),
                last: (*b"b").into(),
            }],
        }
    }

    fn manifests(scratch: &Scratch) -> Manifests {
        let (deployment, drive) = (
            DeploymentId::from_bytes([1; 16]),
            DriveId::from_bytes([2; 16]),
        );
        Manifests::new(scratch.path(), deployment, drive)
    }

    #[test]
    fn no_flipped_or_cut_byte_passes() {
        let key = [7; 32];
        for manifest in [Manifest::empty(Standing::Voting), sample(3)] {
            let bytes = manifest.encode(&key);
            assert_eq!(Manifest::decode(&bytes, &key), Some(manifest));
            assert_eq!(Manifest::decode(&bytes, &[8; 32]), None);
            for at in 0..bytes.len() {
                let mut bad = bytes.clone();
                bad[at] ^= 1;
                assert_eq!(Manifest::decode(&bad, &key), None);
                assert_eq!(Manifest::decode(&bytes[..at], &key), None);
            }
        }
    }

    #[test]
    fn the_one_before_serves_when_the_newest_is_damaged() {
        let scratch = Scratch::new();
        let manifests = manifests(&scratch);
        assert!(matches!(manifests.find(), Ok(FoundManifest::Nothing)));
        for generation in 1..=4 {
            manifests
                .write(&sample(generation), &Failpoints::default())
                .unwrap();
        }
        let found = |expected: u64| match manifests.find().unwrap() {
            FoundManifest::Sound(manifest) => assert_eq!(*manifest, sample(expected)),
            other => panic!("{other:?}"),
        };
        found(4);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
        fs::write(manifests.path(4), b"junk").unwrap();
        found(3);
        // A copy under another name is not that generation.
        fs::copy(manifests.path(3), manifests.path(9)).unwrap();
        found(3);
        fs::write(manifests.path(3), b"").unwrap();
        assert!(matches!(manifests.find(), Ok(FoundManifest::Damaged(9))));
        for generation in [10, 11] {
            manifests
                .write(&sample(generation), &Failpoints::default())
                .unwrap();
            found(generation);
        }
        assert_eq!(manifests.generations().unwrap(), [11, 10], "no damaged one");
    }
}

//! Sealed records, mirrored over a node's drives: durable on a majority, read from the newest of
//! a majority.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use drive::{Drive, MetaWrite, Status};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use types::DriveId;

use crate::error::Error;
use crate::seal::Sealer;

const PREFIX: &[u8] = b"raft/";
/// How long a drive may take to leave a damaged part of its index behind.
const DAMAGE_WAIT: Duration = Duration::from_secs(10);
/// How often it is asked meanwhile.
const DAMAGE_STEP: Duration = Duration::from_millis(20);

/// A name and what a drive keeps under it.
pub(crate) type Stored = (Bytes, Bytes);

/// What each of the drives keeps under a prefix. One that meets damage is no absent drive: it
/// leaves the damage behind, joins, and then says what else it has.
pub(crate) async fn scan_all(
    drives: &[Arc<dyn Drive>],
    prefix: &'static [u8],
) -> Vec<Result<Vec<Stored>, drive::Error>> {
    scan_within(drives, prefix, DAMAGE_WAIT).await
}

async fn scan_within(
    drives: &[Arc<dyn Drive>],
    prefix: &'static [u8],
    wait: Duration,
) -> Vec<Result<Vec<Stored>, drive::Error>> {
    let deadline = Instant::now() + wait;
    let scan = async |drive: &Arc<dyn Drive>| loop {
        match drive.meta_scan(Bytes::from_static(prefix)).await {
            Err(drive::Error::Corrupt(_)) if Instant::now() < deadline => sleep(DAMAGE_STEP).await,
            scan => return scan,
        }
    };
    join_all(drives.iter().map(scan)).await
}

/// A change of one record.
pub(crate) struct Change {
    /// The name, after the common prefix.
    pub(crate) name: String,
    /// The content, or `None` to remove the record.
    pub(crate) content: Option<Vec<u8>>,
}

/// Whether a majority of these drives answers, and none of them has a record of a ledger.
pub async fn is_empty(drives: &[Arc<dyn Drive>]) -> Result<bool, Error> {
    let scans = scan_all(drives, PREFIX).await;
    if scans.iter().filter(|scan| scan.is_ok()).count() <= drives.len() / 2 {
        return Err(Error::TooFewDrives);
    }
    Ok(scans.iter().flatten().all(Vec::is_empty))
}

/// The mirrored records.
pub(crate) struct Mirror {
    drives: Vec<Arc<dyn Drive>>,
    sealer: Sealer,
    sequence: u64,
}

/// Records by name.
pub(crate) type Records = BTreeMap<String, Vec<u8>>;

/// What the drives hold of the records.
struct Copies {
    /// All of each drive that answers.
    scans: Vec<Result<Vec<Stored>, drive::Error>>,
    /// Of each record the newest, with its sequence.
    newest: BTreeMap<Bytes, (u64, Vec<u8>)>,
}

impl Copies {
    /// Reads them all. Fails if something newer may be where nobody answers.
    async fn read(
        drives: &[Arc<dyn Drive>],
        sealer: &Sealer,
        wait: Duration,
    ) -> Result<Self, Error> {
        let scans = scan_within(drives, PREFIX, wait).await;
        let answered = scans.iter().filter(|scan| scan.is_ok()).count();
        if answered <= drives.len() / 2 {
            return Err(Error::TooFewDrives);
        }
        let mut newest: BTreeMap<Bytes, (u64, Vec<u8>)> = BTreeMap::new();
        let (mut seen, mut opened) = (0, 0);
        for (name, record) in scans.iter().flatten().flatten() {
            seen += 1;
            let Some((sequence, content)) = sealer.open(name, record) else {
                continue;
            };
            opened += 1;
            if newest.get(name).is_none_or(|(known, _)| *known < sequence) {
                newest.insert(name.clone(), (sequence, content));
            }
        }
        if seen > 0 && opened == 0 {
            return Err(Error::WrongSecret);
        }
        // A drive that is being rebuilt may have held what it lacks now. Of those that hold what
        // they ever took, as many must answer as meet every majority.
        let joins = |drive: &Arc<dyn Drive>| drive.status() == Status::Joining;
        let replies = drives.iter().zip(&scans);
        let sound = replies.filter(|(drive, scan)| scan.is_ok() && !joins(drive));
        if seen > 0 && sound.count() < drives.len() - drives.len() / 2 {
            return Err(Error::TooFewDrives);
        }
        Ok(Self { scans, newest })
    }
}

impl Mirror {
    /// Reads every record. Copies that are stale or damaged on some drive are made good there.
    pub(crate) async fn open(
        drives: Vec<Arc<dyn Drive>>,
        sealer: Sealer,
    ) -> Result<(Self, Records), Error> {
        let copies = Copies::read(&drives, &sealer, DAMAGE_WAIT).await?;
        let newest = &copies.newest;
        let sequences = newest.values().map(|(sequence, _)| *sequence);
        let sequence = sequences.max().unwrap_or(0);
        let mirror = Self {
            drives,
            sealer,
            sequence,
        };
        // A drive that does not take them is one of the minority until it is opened anew.
        mirror.write_lacking(&copies).await?;
        let name = |name: &Bytes| {
            String::from_utf8_lossy(name.get(PREFIX.len()..).unwrap_or_default()).into_owned()
        };
        let records = newest
            .iter()
            .map(|(key, (_, content))| (name(key), content.clone()));
        Ok((mirror, records.collect()))
    }

    /// Gives every drive that answers what it lacks: one that was replaced while this is open, or was
    /// away. Says which of them hold everything now.
    pub(crate) async fn make_good(&self) -> Result<Vec<DriveId>, Error> {
        // Nothing can be written meanwhile: what a drive cannot read now is for another time.
        let copies = Copies::read(&self.drives, &self.sealer, Duration::ZERO).await?;
        self.write_lacking(&copies).await
    }

    /// Says which of the drives hold everything then.
    async fn write_lacking(&self, copies: &Copies) -> Result<Vec<DriveId>, Error> {
        let Copies { scans, newest } = copies;
        let mut whole = Vec::new();
        for (drive, scan) in self.drives.iter().zip(scans) {
            let Ok(scan) = scan else { continue };
            let copies: BTreeMap<&Bytes, &Bytes> =
                scan.iter().map(|(name, copy)| (name, copy)).collect();
            let mut writes = Vec::new();
            for (name, (sequence, content)) in newest {
                let copy = copies
                    .get(name)
                    .and_then(|copy| self.sealer.open(name, copy));
                if copy.is_none_or(|(known, _)| known < *sequence) {
                    let value = self.sealer.seal(name, *sequence, content)?;
                    writes.push(MetaWrite {
                        key: name.clone(),
                        value: Some(value.into()),
                    });
                }
            }
            let drive_id = drive.identity().drive;
            if !writes.is_empty() {
                tracing::warn!(drive = %drive_id, records = writes.len(), "made ledger copies good");
                if drive.meta_write(writes).await.is_err() {
                    continue;
                }
            }
            whole.push(drive_id);
        }
        Ok(whole)
    }

    /// Writes records, all or nothing on each drive. Durable on a majority on return.
    pub(crate) async fn write(&mut self, changes: Vec<Change>) -> Result<(), Error> {
        self.sequence += 1;
        let mut writes = Vec::with_capacity(changes.len());
        for change in changes {
            let key = Bytes::from([PREFIX, change.name.as_bytes()].concat());
            let seal = |content: Vec<u8>| self.sealer.seal(&key, self.sequence, &content);
            let value = change.content.map(seal).transpose()?.map(Bytes::from);
            writes.push(MetaWrite { key, value });
        }
        let replies = self
            .drives
            .iter()
            .map(|drive| drive.meta_write(writes.clone()));
        let done = join_all(replies)
            .await
            .iter()
            .filter(|reply| reply.is_ok())
            .count();
        if done > self.drives.len() / 2 {
            Ok(())
        } else {
            Err(Error::TooFewDrives)
        }
    }
}

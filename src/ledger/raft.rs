//! openraft's types, log and state machine over mirrored records.
//!
//! The log is small (it is compacted) and kept in memory; every change of it is durable on a
//! majority of drives before it is acknowledged. A failed write is fatal to Raft, which is right:
//! what is on the drives then is unknown until the next start reads it.

#![expect(
    clippy::result_large_err,
    reason = "openraft's storage traits fix the error type"
)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Cursor;
use std::ops::RangeBounds;
use std::sync::Arc;

use openraft::storage::{LogFlushed, LogState, RaftLogStorage, RaftStateMachine, Snapshot};
use openraft::{
    AnyError, BasicNode, Entry, EntryPayload, LogId, OptionalSend, RaftLogReader,
    RaftSnapshotBuilder, SnapshotMeta, StorageError, StorageIOError, StoredMembership, Vote,
};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use types::DriveId;

use crate::command::Command;
use crate::error::Error;
use crate::mirror::{Change, Mirror, Records};
use crate::state::{Refusal, State};

openraft::declare_raft_types!(
    /// The ledger's Raft.
    pub(crate) TypeConfig:
        D = Command,
        R = Applied,
        Node = BasicNode,
);

/// What applying an entry gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// Where it stands.
    pub(crate) index: u64,
    /// Whether the state took it.
    pub(crate) result: Result<(), Refusal>,
}

type Failure = StorageError<u64>;

const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const SNAPSHOT: &str = "snapshot";
const ENTRY: &str = "log/";

fn entry_name(index: u64) -> String {
    format!("{ENTRY}{index:016x}")
}

fn write_failed(error: impl std::error::Error + 'static) -> Failure {
    StorageIOError::write(AnyError::error(error.to_string())).into()
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(write_failed)
}

fn change<T: Serialize>(name: &str, value: &T) -> Result<Change, Failure> {
    Ok(Change {
        name: name.to_owned(),
        content: Some(encode(value)?),
    })
}

#[derive(Default)]
struct Log {
    entries: BTreeMap<u64, Entry<TypeConfig>>,
    vote: Option<Vote<u64>>,
    committed: Option<LogId<u64>>,
    purged: Option<LogId<u64>>,
}

/// Raft's log.
#[derive(Clone)]
pub(crate) struct LogStore {
    mirror: Arc<Mutex<Mirror>>,
    log: Arc<RwLock<Log>>,
}

/// The records of a log, decoded; a hole in it is damage.
fn read_log(records: &Records) -> Result<Log, Error> {
    fn one<T: for<'a> Deserialize<'a>>(
        records: &Records,
        name: &'static str,
    ) -> Result<Option<T>, Error> {
        let read =
            |content: &Vec<u8>| serde_json::from_slice(content).map_err(|_| Error::Lacks(name));
        records.get(name).map(read).transpose()
    }
    let mut log = Log {
        entries: BTreeMap::new(),
        vote: one(records, VOTE)?,
        committed: one(records, COMMITTED)?,
        purged: one(records, PURGED)?,
    };
    let first = log.purged.map_or(0, |purged| purged.index + 1);
    for (name, content) in records.range(ENTRY.to_owned()..) {
        if !name.starts_with(ENTRY) {
            break;
        }
        let entry: Entry<TypeConfig> =
            serde_json::from_slice(content).map_err(|_| Error::Lacks("a log entry"))?;
        if entry.log_id.index >= first {
            log.entries.insert(entry.log_id.index, entry);
        }
    }
    let contiguous = log
        .entries
        .keys()
        .zip(first..)
        .all(|(index, expected)| *index == expected);
    let last = log
        .entries
        .keys()
        .next_back()
        .copied()
        .or(log.purged.map(|purged| purged.index));
    let whole = log
        .committed
        .is_none_or(|committed| last.is_some_and(|last| last >= committed.index));
    if contiguous && whole {
        Ok(log)
    } else {
        Err(Error::Lacks("a log entry"))
    }
}

impl LogStore {
    fn new(mirror: Arc<Mutex<Mirror>>, records: &Records) -> Result<Self, Error> {
        Ok(Self {
            mirror,
            log: Arc::new(RwLock::new(read_log(records)?)),
        })
    }

    async fn write(&self, changes: Vec<Change>) -> Result<(), Failure> {
        self.mirror
            .lock()
            .await
            .write(changes)
            .await
            .map_err(write_failed)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<TypeConfig>>, Failure> {
        Ok(self
            .log
            .read()
            .entries
            .range(range)
            .map(|(_, entry)| entry.clone())
            .collect())
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, Failure> {
        let log = self.log.read();
        let last = log.entries.values().next_back().map(|entry| entry.log_id);
        Ok(LogState {
            last_purged_log_id: log.purged,
            last_log_id: last.or(log.purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), Failure> {
        self.write(vec![change(VOTE, vote)?]).await?;
        self.log.write().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, Failure> {
        Ok(self.log.read().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId<u64>>) -> Result<(), Failure> {
        // It rides with the next write: losing it costs a replay, nothing else.
        self.log.write().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId<u64>>, Failure> {
        Ok(self.log.read().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), Failure>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry<TypeConfig>> = entries.into_iter().collect();
        let mut changes = Vec::with_capacity(entries.len() + 1);
        for entry in &entries {
            changes.push(change(&entry_name(entry.log_id.index), entry)?);
        }
        let committed = self.log.read().committed;
        if let Some(committed) = committed {
            changes.push(change(COMMITTED, &committed)?);
        }
        self.write(changes).await?;
        let mut log = self.log.write();
        for entry in entries {
            log.entries.insert(entry.log_id.index, entry);
        }
        drop(log);
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId<u64>) -> Result<(), Failure> {
        let gone: Vec<u64> = self
            .log
            .read()
            .entries
            .range(from.index..)
            .map(|(at, _)| *at)
            .collect();
        let remove = |index: &u64| Change {
            name: entry_name(*index),
            content: None,
        };
        self.write(gone.iter().map(remove).collect()).await?;
        self.log
            .write()
            .entries
            .retain(|index, _| *index < from.index);
        Ok(())
    }

    async fn purge(&mut self, through: LogId<u64>) -> Result<(), Failure> {
        let gone: Vec<u64> = self
            .log
            .read()
            .entries
            .range(..=through.index)
            .map(|(at, _)| *at)
            .collect();
        let remove = |index: &u64| Change {
            name: entry_name(*index),
            content: None,
        };
        let mut changes: Vec<Change> = gone.iter().map(remove).collect();
        changes.push(change(PURGED, &through)?);
        self.write(changes).await?;
        let mut log = self.log.write();
        log.purged = Some(through);
        log.entries.retain(|index, _| *index > through.index);
        Ok(())
    }
}

/// What a snapshot holds.
#[derive(Clone, Serialize, Deserialize, Default)]
struct Image {
    state: State,
    last: Option<LogId<u64>>,
    membership: StoredMembership<u64, BasicNode>,
}

/// A snapshot as it is stored.
#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    meta: SnapshotMeta<u64, BasicNode>,
    image: Vec<u8>,
}

/// The state machine: every node's view.
#[derive(Clone)]
pub(crate) struct Machine {
    mirror: Arc<Mutex<Mirror>>,
    image: Arc<RwLock<Image>>,
    view: Arc<RwLock<Arc<State>>>,
    stored: Arc<RwLock<Option<Stored>>>,
}

impl Machine {
    fn new(mirror: Arc<Mutex<Mirror>>, records: &Records) -> Result<Self, Error> {
        let lacks = |_| Error::Lacks("its snapshot");
        let stored: Option<Stored> = records
            .get(SNAPSHOT)
            .map(|content| serde_json::from_slice(content))
            .transpose()
            .map_err(lacks)?;
        let image: Image = match &stored {
            Some(stored) => serde_json::from_slice(&stored.image).map_err(lacks)?,
            None => Image::default(),
        };
        let view = Arc::new(RwLock::new(Arc::new(image.state.clone())));
        Ok(Self {
            mirror,
            image: Arc::new(RwLock::new(image)),
            view,
            stored: Arc::new(RwLock::new(stored)),
        })
    }

    /// The state, as of the last entry applied here.
    pub(crate) fn view(&self) -> Arc<State> {
        Arc::clone(&self.view.read())
    }

    /// Gives every drive that answers the records that it lacks. Says which hold all of them.
    pub(crate) async fn make_copies_good(&self) -> Result<Vec<DriveId>, Error> {
        self.mirror.lock().await.make_good().await
    }

    async fn keep(&self, stored: Stored) -> Result<Snapshot<TypeConfig>, Failure> {
        self.mirror
            .lock()
            .await
            .write(vec![change(SNAPSHOT, &stored)?])
            .await
            .map_err(write_failed)?;
        let snapshot = Snapshot {
            meta: stored.meta.clone(),
            snapshot: Box::new(Cursor::new(stored.image.clone())),
        };
        *self.stored.write() = Some(stored);
        Ok(snapshot)
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, Failure> {
        let image = self.image.read().clone();
        let index = image.last.map_or(0, |last| last.index);
        let meta = SnapshotMeta {
            last_log_id: image.last,
            last_membership: image.membership.clone(),
            snapshot_id: format!("{index:016x}"),
        };
        let image = encode(&image)?;
        self.keep(Stored { meta, image }).await
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<u64>>, StoredMembership<u64, BasicNode>), Failure> {
        let image = self.image.read();
        Ok((image.last, image.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Applied>, Failure>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut image = self.image.write();
        let mut results = Vec::new();
        for entry in entries {
            let index = entry.log_id.index;
            image.last = Some(entry.log_id);
            let result = match &entry.payload {
                EntryPayload::Blank => Ok(()),
                EntryPayload::Normal(command) => image.state.apply(index, command),
                EntryPayload::Membership(membership) => {
                    image.membership =
                        StoredMembership::new(Some(entry.log_id), membership.clone());
                    Ok(())
                }
            };
            results.push(Applied { index, result });
        }
        *self.view.write() = Arc::new(image.state.clone());
        Ok(results)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, Failure> {
        Ok(Box::new(Cursor::new(Vec::new())))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, BasicNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), Failure> {
        let bytes = snapshot.into_inner();
        let mut image: Image = serde_json::from_slice(&bytes).map_err(write_failed)?;
        image.last = meta.last_log_id;
        image.membership = meta.last_membership.clone();
        self.keep(Stored {
            meta: meta.clone(),
            image: bytes,
        })
        .await?;
        *self.view.write() = Arc::new(image.state.clone());
        *self.image.write() = image;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, Failure> {
        let stored = self.stored.read().clone();
        Ok(stored.map(|stored| Snapshot {
            meta: stored.meta,
            snapshot: Box::new(Cursor::new(stored.image)),
        }))
    }
}

/// Opens log and state machine on the same records.
pub(crate) fn open(mirror: Mirror, records: &Records) -> Result<(LogStore, Machine), Error> {
    let mirror = Arc::new(Mutex::new(mirror));
    Ok((
        LogStore::new(Arc::clone(&mirror), records)?,
        Machine::new(mirror, records)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Sealer;
    use crate::secret::ClusterSecret;
    use drive::{Drive, Identity, Twin};
    use openraft::testing::{StoreBuilder, Suite};
    use types::{DeploymentId, DriveId};

    struct OnTwins;

    impl StoreBuilder<TypeConfig, LogStore, Machine, ()> for OnTwins {
        async fn build(&self) -> Result<((), LogStore, Machine), Failure> {
            let twin = |place: u8| {
                let identity = Identity {
                    deployment: DeploymentId::from_bytes([7; 16]),
                    drive: DriveId::from_bytes([place + 1; 16]),
                    pool: 0,
                    set: 0,
                    place,
                };
                Arc::new(Twin::new(identity, u64::from(place))) as Arc<dyn Drive>
            };
            let sealer = Sealer::new(&ClusterSecret::make().unwrap());
            let opened = Mirror::open((0..3).map(twin).collect(), sealer).await;
            let (mirror, records) = opened.map_err(write_failed)?;
            let (log, machine) = open(mirror, &records).map_err(write_failed)?;
            Ok(((), log, machine))
        }
    }

    #[test]
    fn the_store_passes_the_suite_of_openraft() {
        Suite::test_all(OnTwins).unwrap();
    }
}

//! What the threads of a drive share.

use std::collections::{BTreeSet, VecDeque};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, RwLock};
use types::{DataId, DriveId, Epoch, Order, Slot};

use super::batch::PEERS;
use super::head::Location;
use super::health::Health;
use super::held::Held;
use super::keys;
use super::log::Position;
use super::manifest::SegmentState;
use super::queue::Queue;
use super::row::{RowEntry, RowKey};
use super::segment::{SPARES, Segment, Segments};
use super::settled::Settled;
use super::stats::Counters;
use super::tree::Tree;
use crate::contract::{Error, Settles};
use crate::failpoint::Failpoints;
use crate::fault::from_io_read;
use crate::files::{Root, ShardFiles};
use crate::index::{Access, RunSeal};
use crate::now::read_now;

/// Everything about an open drive that more than one thread needs.
pub(super) struct Shared {
    /// Who it is.
    pub(super) drive: DriveId,
    /// Its root directory.
    pub(super) root: Root,
    /// Its shard files.
    pub(super) shards: Arc<ShardFiles>,
    /// Its log's files.
    pub(super) segments: Arc<Segments>,
    /// Its index. Replaced as a whole when a table or run comes or goes.
    pub(super) tree: RwLock<Arc<Tree>>,
    /// Keys of its runs.
    pub(super) seal: RunSeal,
    /// Key of its rows.
    pub(super) row_key: RowKey,
    /// The durable fences, by slot.
    pub(super) fences: Vec<AtomicU64>,
    /// What is settled, as far as this drive was told.
    pub(super) settled: RwLock<Settled>,
    /// What of it is not yet in a batch.
    pub(super) told: Mutex<Settles>,
    /// What waits for the committer.
    pub(super) queue: Queue,
    /// Whether it is fit.
    pub(super) health: Health,
    /// What the keeper is to do.
    pub(super) chores: Chores,
    /// Counters.
    pub(super) counters: Counters,
    /// Where tests may kill the process.
    pub(super) failpoints: Failpoints,
    /// The number of the last durable batch.
    pub(super) position: AtomicU64,
    /// The peers' positions that durable batches name.
    pub(super) peers: Mutex<[u64; PEERS]>,
    /// Files that no row lists any more, until they are removed.
    pub(super) doomed: Mutex<BTreeSet<(DataId, u32)>>,
    /// Files that are being read.
    pub(super) held: Held,
}

/// A table that no entry goes to any more, and what was true when it ended.
pub(super) struct Frozen {
    /// Where the log goes on behind its entries.
    pub(super) end: Position,
    /// The segments at that moment.
    pub(super) segments: Vec<SegmentState>,
    /// The highest order of each slot so far.
    pub(super) highest: Vec<(Slot, Order)>,
}

/// Work for the keeper's threads.
#[derive(Default)]
pub(super) struct Chores {
    state: Mutex<ChoreState>,
    changed: Condvar,
}

/// What there is to do.
#[derive(Default)]
pub(super) struct ChoreState {
    /// Tables to flush, oldest first; as many as the tree's frozen ones.
    pub(super) frozen: VecDeque<Frozen>,
    /// The last try to flush one, or to write the manifest, failed.
    pub(super) stuck: bool,
    /// The tidier is at what it was asked for.
    pub(super) at_work: bool,
    /// Files to remove.
    pub(super) doomed: Vec<(DataId, u32)>,
    /// The committer took a spare segment, or freed much.
    pub(super) segments_changed: bool,
    /// A manifest is to be written, whether or not there is something to flush.
    pub(super) manifest_due: bool,
    /// There may be runs to merge, or segments to collect.
    pub(super) tidy: bool,
    /// Something was told that no batch holds yet.
    pub(super) told: bool,
    /// Entries went to the active table since it was last looked at.
    pub(super) active: bool,
    /// The log's tail is damaged, and the next start would still begin before the damage.
    pub(super) damaged: bool,
    /// The drive counts as hung.
    pub(super) hung: bool,
    /// Something could not be read: perhaps nothing else can be either.
    pub(super) doubted: bool,
    /// The drive closes.
    pub(super) stop: bool,
}

impl Chores {
    /// Changes what there is to do and wakes whoever does it.
    pub(super) fn add(&self, change: impl FnOnce(&mut ChoreState)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }

    /// Notes that the active table holds something.
    pub(super) fn begin_activity(&self) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.active, true) {
            self.changed.notify_all();
        }
    }

    /// Looks at it.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut ChoreState) -> T) -> T {
        look(&mut self.state.lock())
    }

    /// Notes that something was told; it need not be written at once.
    pub(super) fn tell(&self) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.told, true) {
            self.changed.notify_all();
        }
    }

    /// Waits until `due` holds, or for `at_most`; with no bound if that is `None`.
    pub(super) fn wait(
        &self,
        at_most: Option<std::time::Duration>,
        due: impl Fn(&ChoreState) -> bool,
    ) {
        let mut state = self.state.lock();
        let until = at_most.map(|at_most| std::time::Instant::now() + at_most);
        while !due(&state) {
            match until {
                None => self.changed.wait(&mut state),
                Some(until) => {
                    if self.changed.wait_until(&mut state, until).timed_out() {
                        return;
                    }
                }
            }
        }
    }
}

/// A row that was read from the log.
pub(super) struct RowBytes {
    bytes: Vec<u8>,
    at: Location,
}

impl RowBytes {
    /// The row; its hash is checked.
    pub(super) fn row(&self, key: &RowKey) -> Result<RowEntry<'_>, Error> {
        RowEntry::verify(&self.bytes, self.at, key).ok_or(Error::Corrupt("row has a wrong hash"))
    }

    /// All of its bytes, given away.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The bytes behind the row's part, given away.
    pub(super) fn into_frame(self) -> bytes::Bytes {
        let row_len = usize::try_from(self.at.row_len).unwrap_or(usize::MAX);
        let bytes = bytes::Bytes::from(self.bytes);
        if row_len >= bytes.len() {
            bytes::Bytes::new()
        } else {
            bytes.slice(row_len..)
        }
    }
}

/// Which part of a row's entry is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All but the frame.
    Row,
    /// The frame too.
    Whole,
}

impl Shared {
    /// Whether the disk is full and has fewer prepared segments than there are to be. After each
    /// switch one is missing for a moment, and nothing is amiss.
    pub(super) fn is_short(&self) -> bool {
        self.segments.spares() < SPARES && self.health.is_full()
    }

    /// What the index is now.
    pub(super) fn tree(&self) -> Arc<Tree> {
        Arc::clone(&self.tree.read())
    }

    /// The durable fence of a slot.
    pub(super) fn fence(&self, slot: Slot) -> Epoch {
        let fence = self.fences.get(slot.index());
        Epoch::from_u64(fence.map_or(u64::MAX, |fence| fence.load(Ordering::Acquire)))
    }

    /// Reads a row's bytes. [`Error::Missing`] if its segment is not in use: the row was moved or
    /// dropped since its value was read, or the segment is lost.
    pub(super) fn read_log(&self, at: Location, part: Part) -> Result<RowBytes, Error> {
        let (segment, mut bytes) = self.room_for(at, part)?;
        let read = segment.file.read_exact_at(&mut bytes, u64::from(at.offset));
        read.map_err(|error| from_io_read(&error))?;
        Ok(RowBytes { bytes, at })
    }

    /// As [`Shared::read_log`], if that takes no disk; else `None`.
    pub(super) fn read_log_now(&self, at: Location, part: Part) -> Result<Option<RowBytes>, Error> {
        let (segment, mut bytes) = self.room_for(at, part)?;
        let read = read_now(&segment.file, &mut bytes, u64::from(at.offset));
        Ok(read.map(|()| RowBytes { bytes, at }))
    }

    fn room_for(&self, at: Location, part: Part) -> Result<(Arc<Segment>, Vec<u8>), Error> {
        let segment = self.segments.find(at.segment).ok_or(Error::Missing)?;
        let len = match part {
            Part::Row => u64::from(at.row_len),
            Part::Whole => at.bytes(),
        };
        if u64::from(at.offset) + len > segment.len {
            return Err(Error::Corrupt("index entry leads out of the log"));
        }
        Ok((segment, vec![0; usize::try_from(len).unwrap_or(usize::MAX)]))
    }

    /// The generation of a shard file that counts.
    pub(super) fn generation(&self, data: DataId, access: Access) -> Result<u32, Error> {
        let key = keys::file_key(data);
        let found = self.tree().find(&self.seal, &key, access)?;
        match found {
            None => Ok(0),
            Some(value) => {
                keys::parse_file(&value).ok_or(Error::Corrupt("index entry does not parse"))
            }
        }
    }
}

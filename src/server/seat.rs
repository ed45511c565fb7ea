//! A seat: a place in a set, and what sits there now.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use drive::{
    Commit, Committed, Discard, Drive, Identity, LocalDrive, MetaWrite, Register, Reply, Rows,
    RowsRequest, Scan, ScanPage, Settles, ShardReader, Stage, Status,
};
use parking_lot::RwLock;
use types::{DataId, DeploymentId, DriveId};

use crate::offline::OfflineDrive;

/// The id of a drive of which nothing is known.
pub(crate) const NOBODY: DriveId = DriveId::from_bytes([0; 16]);

/// The identity of a drive on a seat.
pub(crate) fn identity_at(
    deployment: DeploymentId,
    set: usize,
    place: usize,
    drive: DriveId,
) -> Identity {
    Identity {
        deployment,
        drive,
        pool: 0,
        set: u16::try_from(set).unwrap_or(u16::MAX),
        place: u8::try_from(place).unwrap_or(u8::MAX),
    }
}

/// A place in a set. To all rooms it is the drive that sits there at the moment, or one that is
/// offline: each request goes to one of them, and ends there.
pub(crate) struct Seat {
    path: PathBuf,
    // Held for the time of a call, none of which waits for anything.
    sitting: RwLock<Sitting>,
    returns: AtomicU64,
}

/// What sits on a seat.
enum Sitting {
    Local(Arc<LocalDrive>),
    Nobody(OfflineDrive),
}

impl Sitting {
    fn drive(&self) -> &dyn Drive {
        match self {
            Self::Local(drive) => &**drive,
            Self::Nobody(drive) => drive,
        }
    }
}

impl Seat {
    /// A seat that is empty because of `why`. `identity` is what is known of its drive.
    pub(crate) fn empty(path: PathBuf, identity: Identity, why: &str) -> Self {
        Self::new(path, Sitting::Nobody(OfflineDrive::new(identity, why)))
    }

    /// A seat with its drive.
    pub(crate) fn taken(path: PathBuf, drive: LocalDrive) -> Self {
        Self::new(path, Sitting::Local(Arc::new(drive)))
    }

    fn new(path: PathBuf, sitting: Sitting) -> Self {
        Self {
            path,
            sitting: RwLock::new(sitting),
            returns: AtomicU64::new(0),
        }
    }

    /// Where its drive is, or should be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The drive that sits there. Not to be kept: what is kept is not closed.
    pub(crate) fn local(&self) -> Option<Arc<LocalDrive>> {
        match &*self.sitting.read() {
            Sitting::Local(drive) => Some(Arc::clone(drive)),
            Sitting::Nobody(_) => None,
        }
    }

    /// Seats a drive. Requests go to it from now on.
    pub(crate) fn take(&self, drive: LocalDrive) {
        *self.sitting.write() = Sitting::Local(Arc::new(drive));
    }

    /// Seats a drive that was taken back, or one in the place of a drive that is gone.
    pub(crate) fn take_back(&self, drive: LocalDrive) {
        self.take(drive);
        self.returns.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was done since the start.
    pub(crate) fn returns(&self) -> u64 {
        self.returns.load(Ordering::Relaxed)
    }

    /// Leaves it empty because of `why`. What sat there is to be dropped where waiting does no harm.
    pub(crate) fn leave(&self, why: &str) -> Option<Arc<LocalDrive>> {
        let mut sitting = self.sitting.write();
        let nobody = OfflineDrive::new(sitting.drive().identity(), why);
        match std::mem::replace(&mut *sitting, Sitting::Nobody(nobody)) {
            Sitting::Local(drive) => Some(drive),
            Sitting::Nobody(_) => None,
        }
    }
}

impl Drive for Seat {
    fn identity(&self) -> Identity {
        self.sitting.read().drive().identity()
    }

    fn status(&self) -> Status {
        self.sitting.read().drive().status()
    }

    fn commit(&self, commit: Commit) -> Reply<Committed> {
        self.sitting.read().drive().commit(commit)
    }

    fn rows(&self, request: RowsRequest) -> Reply<Rows> {
        self.sitting.read().drive().rows(request)
    }

    fn scan(&self, scan: Scan) -> Reply<ScanPage> {
        self.sitting.read().drive().scan(scan)
    }

    fn settle(&self, settles: Settles) {
        self.sitting.read().drive().settle(settles);
    }

    fn discard(&self, discard: Discard) -> Reply<()> {
        self.sitting.read().drive().discard(discard)
    }

    fn stage(&self, data: DataId, register: Arc<Register>) -> Reply<Box<dyn Stage>> {
        self.sitting.read().drive().stage(data, register)
    }

    fn read_shards(&self, files: Arc<[DataId]>) -> Box<dyn ShardReader> {
        self.sitting.read().drive().read_shards(files)
    }

    fn meta_write(&self, writes: Vec<MetaWrite>) -> Reply<()> {
        self.sitting.read().drive().meta_write(writes)
    }

    fn meta_scan(&self, prefix: Bytes) -> Reply<Vec<(Bytes, Bytes)>> {
        self.sitting.read().drive().meta_scan(prefix)
    }

    fn positions(&self) -> (u64, Vec<(u8, u64)>) {
        self.sitting.read().drive().positions()
    }
}

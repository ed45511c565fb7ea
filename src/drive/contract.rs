//! What a drive promises, whoever implements it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use types::{DataId, DeploymentId, DriveId, Epoch, Head, Order, Slot};

use crate::register::Register;

/// Why a drive did not do what was asked. Nothing here ever means "absent".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request's fence is below the one stored; its holder is deposed.
    #[error("fenced: slot's fence is {stored:?}")]
    Fenced {
        /// The stored fence.
        stored: Epoch,
    },
    /// The same order came with another data id: two holders share an epoch. An alarm.
    #[error("order {0:?} is taken by other data")]
    OrderTaken(Order),
    /// The commit names staged bytes that this drive does not have, whole and synced.
    #[error("data {0} is not staged here")]
    NotStaged(DataId),
    /// What was read is damaged or foreign, or the disk cannot read it; other copies must serve.
    #[error("corrupt: {0}")]
    Corrupt(&'static str),
    /// A shard file or row that is asked for by its exact name is not here.
    #[error("missing")]
    Missing,
    /// No answer within the drive's deadline; the request may still happen.
    #[error("timed out")]
    Timeout,
    /// No space or inodes left for a write.
    #[error("full")]
    Full,
    /// The drive takes no writes (read-only mount).
    #[error("read-only")]
    ReadOnly,
    /// The drive is out of service: its thread stopped after a failed sync, it is gone, foreign
    /// or not admitted.
    #[error("offline: {0}")]
    Offline(Arc<str>),
    /// The operating system refused something, and that says nothing of what is stored.
    #[error("i/o: {0}")]
    Io(std::io::ErrorKind),
}

/// A future that a drive answers with.
pub type Reply<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// Who a drive is: the content of `sarsen.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The deployment it belongs to.
    pub deployment: DeploymentId,
    /// Itself.
    pub drive: DriveId,
    /// The pool, from 0.
    pub pool: u16,
    /// The set within the pool, from 0.
    pub set: u16,
    /// The place within the set, from 0.
    pub place: u8,
}

/// How a drive fares. Cheap to ask; never does I/O.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Reads, writes, votes.
    Online,
    /// Commits count, answers do not vote, until its rebuild is complete (commit rule 10).
    Joining,
    /// Serves reads only.
    ReadOnly,
    /// Serves reads, deletions and the small store; refuses new bytes.
    Full,
    /// Answers nothing.
    Offline(Arc<str>),
}

/// The right by which a holder, heal or rebuild writes or raises (commit rule 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The slot of the register.
    pub slot: Slot,
    /// max(slot's grant, set's membership index).
    pub epoch: Epoch,
}

/// A row as the holder made it: the same for all drives of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What lists and quorums need.
    pub head: Head,
    /// The data ids of the shard files that belong to the row: one for `Placed::File`, one a
    /// part for `Placed::Parts`.
    pub files: Arc<[DataId]>,
    /// Everything else of the version; opaque to the drive.
    pub tail: Bytes,
}

/// One row to be made durable and visible.
#[derive(Debug, Clone)]
pub struct Commit {
    /// By what right.
    pub fence: Fence,
    /// Of what.
    pub register: Arc<Register>,
    /// The row.
    pub row: Arc<Row>,
    /// For `Placed::Inline`: this drive's frame (32 bytes of hash, then the shard).
    pub inline: Option<Bytes>,
}

/// A commit that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The drive's log position (batch number) that holds it; grows for ever.
    pub position: u64,
}

/// Which rows of a register are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// From the newest born on, up to and including the first version that is settled and no
    /// tombstone: enough to decide what is current.
    Latest,
    /// All rows of the version born then.
    Born(Order),
    /// All rows of the null version.
    Null,
    /// All rows.
    All,
    /// The one row of that birth and order, or [`Error::Missing`].
    Exact(Order, Order),
}

/// Reads the rows of a register, after raising the fence if one is given.
#[derive(Debug, Clone)]
pub struct RowsRequest {
    /// Raise to this first, durably (rule 3); refused if a higher one is stored.
    pub raise: Option<Fence>,
    /// The slot of the register, for settle marks.
    pub slot: Slot,
    /// Of what.
    pub register: Arc<Register>,
    /// Which rows.
    pub want: Want,
}

/// One row as a drive holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowAnswer {
    /// Its head.
    pub head: Head,
    /// Whether the drive knows that it is on W drives.
    pub settled: bool,
    /// Files and tail; present for the newest row that is an object or marker (the likely
    /// answer) and for `Want::Exact`, `Want::All`. Of a whole history (`Want::All`) a row that is
    /// damaged is shown by its head alone; else one damaged row fails the request.
    pub row: Option<Arc<Row>>,
    /// The frame of an inline row; present when `row` is. Not verified: the reader does that.
    pub inline: Option<Bytes>,
}

/// The rows found, in index order: newest born first, then newest order first. Empty means that
/// this drive holds none of those wanted: an honest "absent" (only a voting drive may say so).
pub type Rows = Vec<RowAnswer>;

/// Orders of one slot and epoch up to which everything is on W drives, or was never issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettleMark {
    /// The slot.
    pub slot: Slot,
    /// The lease's epoch.
    pub epoch: Epoch,
    /// All sequences up to this one are on W drives or were never issued.
    pub settled: u64,
    /// All sequences up to this one are on all N drives or were never issued.
    pub complete: u64,
}

/// A batch of settle marks.
#[derive(Debug, Clone, Default)]
pub struct Settles {
    /// The marks, in any order; a lower one than stored is ignored.
    pub marks: Vec<SettleMark>,
    /// Per slot: every epoch below is settled wholly (found so by a recount).
    pub floors: Vec<(Slot, Epoch)>,
    /// Place in set and log position that this drive's peers have acknowledged; kept in the
    /// next batch header, so that a rolled-back drive is found out.
    pub peers: Vec<(u8, u64)>,
}

/// Rows to take away for good: collected tombstones and what they hide, voided rows, aborted
/// uploads. The caller proved that the commit rules allow it.
#[derive(Debug, Clone)]
pub struct Discard {
    /// By what right.
    pub fence: Fence,
    /// Of what.
    pub register: Arc<Register>,
    /// The rows, by birth and order.
    pub rows: Vec<(Order, Order)>,
    /// Shard files that live on under another row (a completed upload's parts).
    pub keep: Arc<[DataId]>,
}

/// An ordered scan over the registers of a bucket's space.
#[derive(Debug, Clone)]
pub struct Scan {
    /// The first index key to look at, inclusive (register bytes, or any bytes between).
    pub start: Vec<u8>,
    /// Every register returned begins with these bytes.
    pub prefix: Vec<u8>,
    /// Skip ahead after a settled, living register whose name holds these bytes at or after
    /// `prefix.len()`: the next one returned does not share the name up to and including them.
    pub delimiter: Option<Arc<[u8]>>,
    /// `Want::Latest` or `Want::All` for each register.
    pub want: Want,
    /// Stop after about this many rows, at a register's end.
    pub rows_max: usize,
}

/// One row in a scan's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanRow {
    /// The register's bytes as a range of the page's buffer.
    pub register: std::ops::Range<u32>,
    /// The head.
    pub head: Head,
    /// Whether the drive knows that it is on W drives.
    pub settled: bool,
}

/// One page of a scan.
#[derive(Debug, Clone, Default)]
pub struct ScanPage {
    /// The registers' bytes, one after another.
    pub names: Vec<u8>,
    /// The rows, in index order.
    pub rows: Vec<ScanRow>,
    /// Where to go on: everything before it was looked at. `None` at the end.
    pub next: Option<Vec<u8>>,
}

/// Reads bytes of a shard file.
#[derive(Debug, Clone, Copy)]
pub struct ShardRead {
    /// Whose file.
    pub data: DataId,
    /// From this byte of the frames (the file's own header is not counted).
    pub offset: u64,
    /// That many bytes; an end of file before them is [`Error::Corrupt`].
    pub len: usize,
}

/// Shard files that somebody reads. As long as this lives they can be read, even if the rows that
/// list them go; only a crash takes them away. What no row listed at the beginning is
/// [`Error::Missing`], though a reader of earlier days may still have it.
pub trait ShardReader: Send + Sync {
    /// Reads from one of the files. The bytes are not verified: the reader does that.
    fn read(&self, read: ShardRead) -> Reply<Bytes>;
}

/// A staged shard file: whole and synced, not yet visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staged {
    /// Whose.
    pub data: DataId,
    /// Bytes of frames written.
    pub len: u64,
}

/// A shard file being written. Dropping it discards the file.
pub trait Stage: Send {
    /// Appends frames. Waits while the drive is behind (bounded queue).
    fn append(
        &mut self,
        frames: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>>;
    /// Writes out and syncs everything. The file then survives a crash until its commit, or
    /// until it is discarded as an orphan.
    fn finish(self: Box<Self>) -> Reply<Staged>;
}

/// One write to the drive's own small store (the ledger's copy lives there).
#[derive(Debug, Clone)]
pub struct MetaWrite {
    /// The name; at most 64 bytes.
    pub key: Bytes,
    /// The value, or `None` to remove it.
    pub value: Option<Bytes>,
}

/// One drive of a set.
pub trait Drive: Send + Sync {
    /// Who it is now.
    fn identity(&self) -> Identity;
    /// How it fares.
    fn status(&self) -> Status;
    /// Makes a row durable, then visible. Done again with the same row it succeeds again.
    fn commit(&self, commit: Commit) -> Reply<Committed>;
    /// Reads rows, after raising the fence if asked. With a raise, the answer holds everything
    /// that was accepted under lower fences.
    fn rows(&self, request: RowsRequest) -> Reply<Rows>;
    /// Lists rows in order.
    fn scan(&self, scan: Scan) -> Reply<ScanPage>;
    /// Notes what is settled; older rows that a settled one replaces are dropped. Lazy: it may
    /// become durable with a later batch.
    fn settle(&self, settles: Settles);
    /// Takes rows away.
    fn discard(&self, discard: Discard) -> Reply<()>;
    /// Begins a shard file for `data`, which belongs to `register`. Staging a data id that a row here
    /// already refers to makes a new local generation of its file when it is committed again.
    fn stage(&self, data: DataId, register: Arc<Register>) -> Reply<Box<dyn Stage>>;
    /// Begins to read shard files. Never does I/O.
    fn read_shards(&self, files: Arc<[DataId]>) -> Box<dyn ShardReader>;
    /// Writes to the small store; durable on return, all or nothing. A full drive has space kept for it,
    /// since no server starts without.
    fn meta_write(&self, writes: Vec<MetaWrite>) -> Reply<()>;
    /// Reads the small store: all names that begin with `prefix`, in order.
    fn meta_scan(&self, prefix: Bytes) -> Reply<Vec<(Bytes, Bytes)>>;
    /// The log position of the last durable batch, and the highest positions of its peers that
    /// this drive's batches remember, by place in set.
    fn positions(&self) -> (u64, Vec<(u8, u64)>);
}

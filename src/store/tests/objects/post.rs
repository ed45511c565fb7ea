//! A real drive as one holder reaches it: messages that are late or lost, a drive that is cut
//! off, and drives that leave out a rule.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use drive::{
    Commit, Committed, Discard, Drive, Error, Identity, MetaWrite, Reply, Rows, RowsRequest, Scan,
    ScanPage, Settles, ShardRead, ShardReader, Stage, Status, Want,
};
use parking_lot::Mutex;
use types::{DataId, Epoch, Kind};

/// A rule left out, and in brackets the way to lose in `quorum/README.md` that it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A raise-and-read only reads (1; a fence that is forgotten is the same).
    NoRaise,
    /// Commits are taken under any fence (rule 2).
    NoFence,
    /// A commit drops what is older (3).
    DropOlder,
    /// A reader is shown what is settled and nothing newer (4).
    OnlySettled,
    /// A tombstone is collected at once, in its own epoch (8).
    ForgetTombstone,
    /// A commit is acknowledged before it is there (rule 4; what an acknowledgement counts).
    AckEarly,
    /// Both holders have the same epoch (10). Not a drive's doing: the contest's.
    SameEpoch,
}

/// What the holders of one drive share.
pub(crate) struct Far {
    pub(crate) drive: Arc<dyn Drive>,
    /// The highest fence that any request carried.
    pub(crate) highest: Mutex<Epoch>,
}

/// The way of one holder to one drive.
pub(crate) struct Post {
    far: Arc<Far>,
    mutant: Option<Mutant>,
    random: Mutex<u64>,
    /// The drive answers this holder nothing.
    pub(crate) away: AtomicBool,
    /// The holder is dead: what it sent and did not arrive yet never will.
    pub(crate) dead: Arc<AtomicBool>,
}

/// The next number of a chance that repeats itself from a seed.
pub(crate) fn chance(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 8
}

impl Post {
    pub(crate) fn new(
        far: &Arc<Far>,
        mutant: Option<Mutant>,
        seed: u64,
        dead: &Arc<AtomicBool>,
    ) -> Self {
        Self {
            far: Arc::clone(far),
            mutant,
            random: Mutex::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            away: AtomicBool::new(false),
            dead: Arc::clone(dead),
        }
    }

    fn is_away(&self) -> bool {
        self.away.load(Ordering::SeqCst)
    }

    /// How long a message takes: half of them no time, some longer than a whole operation.
    fn delay(&self) -> Duration {
        let mut random = self.random.lock();
        match chance(&mut random) % 8 {
            0..=3 => Duration::ZERO,
            4..=6 => Duration::from_micros(chance(&mut random) % 3_000),
            _ => Duration::from_millis(chance(&mut random) % 60),
        }
    }

    fn note(&self, epoch: Epoch) -> Epoch {
        let mut highest = self.far.highest.lock();
        *highest = epoch.max(*highest);
        *highest
    }
}

fn refused<T: Send + 'static>() -> Reply<T> {
    Box::pin(ready(Err(Error::Offline("cut off".into()))))
}

/// Leaves out what a drive keeps although a newer row is there.
async fn discard(drive: &dyn Drive, commit: &Commit, gone: impl Fn(types::Order) -> bool) {
    let request = RowsRequest {
        raise: None,
        slot: commit.fence.slot,
        register: Arc::clone(&commit.register),
        want: Want::All,
    };
    let rows = drive.rows(request).await.unwrap_or_default();
    let rows = rows.iter().filter(|row| gone(row.head.order));
    let discard = Discard {
        fence: commit.fence,
        register: Arc::clone(&commit.register),
        rows: rows.map(|row| (row.head.born, row.head.order)).collect(),
        keep: Arc::new([]),
    };
    // A fence that was raised meanwhile refuses it, as it would in a drive that does this.
    let _ = drive.discard(discard).await;
}

async fn deliver(
    drive: Arc<dyn Drive>,
    mutant: Option<Mutant>,
    commit: Commit,
) -> Result<Committed, Error> {
    let head = commit.row.head;
    let done = drive.commit(commit.clone()).await?;
    match mutant {
        Some(Mutant::DropOlder) => discard(&*drive, &commit, |order| order < head.order).await,
        Some(Mutant::ForgetTombstone) if head.kind == Kind::Tombstone => {
            discard(&*drive, &commit, |order| order <= head.order).await;
        }
        _ => {}
    }
    Ok(done)
}

/// A reader who was cut off.
struct Nobody;

impl ShardReader for Nobody {
    fn read(&self, _: ShardRead) -> Reply<Bytes> {
        refused()
    }
}

impl Drive for Post {
    fn identity(&self) -> &Identity {
        self.far.drive.identity()
    }

    fn status(&self) -> Status {
        match self.is_away() {
            true => Status::Offline("cut off".into()),
            false => self.far.drive.status(),
        }
    }

    fn commit(&self, mut commit: Commit) -> Reply<Committed> {
        if self.is_away() {
            return refused();
        }
        let highest = self.note(commit.fence.epoch);
        if self.mutant == Some(Mutant::NoFence) {
            commit.fence.epoch = highest;
        }
        let (drive, mutant) = (Arc::clone(&self.far.drive), self.mutant);
        let (delay, dead) = (self.delay(), Arc::clone(&self.dead));
        // It is under way whoever waits for it.
        let sent = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            match dead.load(Ordering::SeqCst) {
                true => Err(Error::Timeout),
                false => deliver(drive, mutant, commit).await,
            }
        });
        if self.mutant == Some(Mutant::AckEarly) {
            return Box::pin(ready(Ok(Committed { position: 0 })));
        }
        Box::pin(async move { sent.await.unwrap_or(Err(Error::Timeout)) })
    }

    fn rows(&self, mut request: RowsRequest) -> Reply<Rows> {
        if self.is_away() {
            return refused();
        }
        if let Some(fence) = request.raise {
            self.note(fence.epoch);
        }
        let hides = self.mutant == Some(Mutant::OnlySettled) && request.raise.is_none();
        if self.mutant == Some(Mutant::NoRaise) {
            request.raise = None;
        }
        let (drive, delay) = (Arc::clone(&self.far.drive), self.delay());
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            let mut rows = drive.rows(request).await?;
            if hides && rows.iter().any(|row| row.settled) {
                rows.retain(|row| row.settled);
            }
            Ok(rows)
        })
    }

    fn scan(&self, scan: Scan) -> Reply<ScanPage> {
        self.far.drive.scan(scan)
    }

    fn settle(&self, settles: Settles) {
        if !self.is_away() && !self.dead.load(Ordering::SeqCst) {
            self.far.drive.settle(settles);
        }
    }

    fn discard(&self, discard: Discard) -> Reply<()> {
        match self.is_away() {
            true => refused(),
            false => self.far.drive.discard(discard),
        }
    }

    fn stage(&self, data: DataId, register: Arc<drive::Register>) -> Reply<Box<dyn Stage>> {
        match self.is_away() {
            true => refused(),
            false => self.far.drive.stage(data, register),
        }
    }

    fn read_shards(&self, files: Arc<[DataId]>) -> Box<dyn ShardReader> {
        match self.is_away() {
            true => Box::new(Nobody),
            false => self.far.drive.read_shards(files),
        }
    }

    fn meta_write(&self, writes: Vec<MetaWrite>) -> Reply<()> {
        self.far.drive.meta_write(writes)
    }

    fn meta_scan(&self, prefix: Bytes) -> Reply<Vec<(Bytes, Bytes)>> {
        self.far.drive.meta_scan(prefix)
    }

    fn positions(&self) -> (u64, Vec<(u8, u64)>) {
        self.far.drive.positions()
    }
}

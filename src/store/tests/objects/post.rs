//! A real drive as one holder reaches it: messages that are late or lost, a drive that is cut
//! off, and drives that leave out a rule.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use drive::{
    Commit, Committed, Discard, Drive, Error, Identity, LocalDrive, MetaWrite, Reply, Rows,
    RowsRequest, Scan, ScanPage, Settles, ShardRead, ShardReader, Stage, Status, Want,
};
use parking_lot::Mutex;
use types::{DataId, Epoch, Kind, Order};

use crate::course::{Course, Party};

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
    /// A drive that takes an empty seat votes at once (5). Not a drive's doing: the contest's, as the
    /// next two.
    EmptyVotes,
    /// It has the fences of a peer, and not that of the entry that admits it (6).
    FencesFromPeers,
    /// It is rebuilt under the membership index that was there before (7).
    NoMembershipIndex,
    /// A tombstone is collected at once, in its own epoch (8).
    ForgetTombstone,
    /// A commit is acknowledged before it is there (rule 4; what an acknowledgement counts).
    AckEarly,
    /// Both holders have the same epoch (10). Not a drive's doing: the contest's.
    SameEpoch,
}

/// What the holders of one drive share: a seat, and the drive that has it when a message arrives.
pub(crate) struct Far {
    seat: Identity,
    drive: Mutex<Option<Arc<LocalDrive>>>,
    /// The highest fence that any request carried.
    highest: Mutex<Epoch>,
}

impl Far {
    pub(crate) fn new(drive: LocalDrive) -> Self {
        Self {
            seat: drive.identity(),
            drive: Mutex::new(Some(Arc::new(drive))),
            highest: Mutex::default(),
        }
    }

    /// The drive, to whoever stands before it.
    pub(crate) fn local(&self) -> Option<Arc<LocalDrive>> {
        self.drive.lock().clone()
    }

    /// Puts another drive there, or none. The one that was there is returned.
    pub(crate) fn replace(&self, drive: Option<Arc<LocalDrive>>) -> Option<Arc<LocalDrive>> {
        std::mem::replace(&mut *self.drive.lock(), drive)
    }

    fn there(&self) -> Result<Arc<LocalDrive>, Error> {
        self.local().ok_or_else(|| Error::Offline("gone".into()))
    }
}

/// The way of one holder to one drive.
pub(crate) struct Post {
    far: Arc<Far>,
    mutant: Option<Mutant>,
    random: Mutex<u64>,
    /// What the messages of this holder wait for, if a drive is replaced.
    course: Option<(Arc<Course>, Party)>,
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
        course: Option<(Arc<Course>, Party)>,
        dead: &Arc<AtomicBool>,
    ) -> Self {
        Self {
            far: Arc::clone(far),
            mutant,
            random: Mutex::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            course,
            away: AtomicBool::new(false),
            dead: Arc::clone(dead),
        }
    }

    fn is_away(&self) -> bool {
        self.away.load(Ordering::SeqCst)
    }

    /// The drive, if this holder reaches it.
    fn reached(&self) -> Option<Arc<LocalDrive>> {
        self.far.local().filter(|_| !self.is_away())
    }

    /// How long a message takes: half of them no time, some longer than a whole operation. Where
    /// messages wait for the course of a replacement, that says which are late.
    fn delay(&self) -> Duration {
        let mut random = self.random.lock();
        match chance(&mut random) % 8 {
            0..=3 => Duration::ZERO,
            7 if self.course.is_none() => Duration::from_millis(chance(&mut random) % 60),
            _ => Duration::from_micros(chance(&mut random) % 3_000),
        }
    }

    /// How long rows take to a reader or a holder, after the drive read them.
    fn late_answer(&self, want: Want) -> Duration {
        let mut random = self.random.lock();
        match self.course.is_some()
            && want == Want::Latest
            && chance(&mut random).is_multiple_of(16)
        {
            true => Duration::from_millis(20 + chance(&mut random) % 60),
            false => Duration::ZERO,
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
    drive: &dyn Drive,
    mutant: Option<Mutant>,
    commit: Commit,
) -> Result<Committed, Error> {
    let head = commit.row.head;
    let done = drive.commit(commit.clone()).await?;
    match mutant {
        Some(Mutant::DropOlder) => discard(drive, &commit, |order| order < head.order).await,
        Some(Mutant::ForgetTombstone) if head.kind == Kind::Tombstone => {
            discard(drive, &commit, |order| order <= head.order).await;
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
    fn identity(&self) -> Identity {
        self.far.seat.clone()
    }

    fn status(&self) -> Status {
        match self.reached() {
            Some(drive) => drive.status(),
            None => Status::Offline("cut off".into()),
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
        let (far, mutant) = (Arc::clone(&self.far), self.mutant);
        let (delay, dead) = (self.delay(), Arc::clone(&self.dead));
        let held = self.course.as_ref().map(|(course, party)| {
            let hold = course.hold(*party, &commit.register, far.seat.place);
            (Arc::clone(course), hold)
        });
        // It is under way whoever waits for it.
        let sent = tokio::spawn(async move {
            let arrives = match held {
                Some((course, hold)) => course.lets_pass(hold).await,
                None => true,
            };
            tokio::time::sleep(delay).await;
            match arrives && !dead.load(Ordering::SeqCst) {
                false => Err(Error::Timeout),
                true => deliver(&*far.there()?, mutant, commit).await,
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
        // A walk raises a thousand slots.
        let delay = match request.want == Want::Born(Order::ZERO) {
            true => Duration::ZERO,
            false => self.delay(),
        };
        let (far, late) = (Arc::clone(&self.far), self.late_answer(request.want));
        Box::pin(async move {
            if delay > Duration::ZERO {
                tokio::time::sleep(delay).await;
            }
            let mut rows = far.there()?.rows(request).await?;
            if late > Duration::ZERO {
                tokio::time::sleep(late).await;
            }
            if hides && rows.iter().any(|row| row.settled) {
                rows.retain(|row| row.settled);
            }
            Ok(rows)
        })
    }

    fn scan(&self, scan: Scan) -> Reply<ScanPage> {
        match self.reached() {
            Some(drive) => drive.scan(scan),
            None => refused(),
        }
    }

    fn settle(&self, settles: Settles) {
        let drive = self.reached();
        if let Some(drive) = drive.filter(|_| !self.dead.load(Ordering::SeqCst)) {
            drive.settle(settles);
        }
    }

    fn discard(&self, discard: Discard) -> Reply<()> {
        match self.reached() {
            Some(drive) => drive.discard(discard),
            None => refused(),
        }
    }

    fn stage(&self, data: DataId, register: Arc<drive::Register>) -> Reply<Box<dyn Stage>> {
        match self.reached() {
            Some(drive) => drive.stage(data, register),
            None => refused(),
        }
    }

    fn read_shards(&self, files: Arc<[DataId]>) -> Box<dyn ShardReader> {
        match self.reached() {
            Some(drive) => drive.read_shards(files),
            None => Box::new(Nobody),
        }
    }

    fn meta_write(&self, writes: Vec<MetaWrite>) -> Reply<()> {
        match self.reached() {
            Some(drive) => drive.meta_write(writes),
            None => refused(),
        }
    }

    fn meta_scan(&self, prefix: Bytes) -> Reply<Vec<(Bytes, Bytes)>> {
        match self.reached() {
            Some(drive) => drive.meta_scan(prefix),
            None => refused(),
        }
    }

    fn positions(&self) -> (u64, Vec<(u8, u64)>) {
        let drive = self.far.local();
        drive.map_or_else(Default::default, |drive| drive.positions())
    }
}

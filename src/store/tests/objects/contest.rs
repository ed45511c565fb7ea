//! Two holders at once over four real drives, and every way to lose as a switch that is caught.
//!
//! Each round, two processes hold the same slot under different epochs and serve clients of one
//! key, over messages that are late, lost, or kept from a drive. Then one may die, and a third
//! reads: with all drives, and with each one away. What every client was told must be
//! linearizable, which says that an acknowledged write is there, that `If-None-Match` has one
//! winner, and that nothing flips. Ways 2, 9, 11 and 12 are decisions of `quorum` or of a router,
//! which its own model leaves out; for 5, 6 and 7 a drive is replaced meanwhile: see `replaced`.
//!
//! A round's number is its seed, as far as threads and disks let it repeat itself. More rounds, or
//! others, with `SARSEN_CONTEST_ROUNDS` and `SARSEN_CONTEST_FROM`.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use drive::{Drive, LocalDrive, Options, Standing};
use parking_lot::Mutex;
use store::{Error, SetConfig, Store};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use types::{ByteRange, Epoch, Geometry};

use crate::course::{Course, Party};
use crate::linear::{Act, Event, is_linear};
use crate::post::{Far, Mutant, Post, chance};
use crate::rig::{
    self, delete, deployment, drive_at, find, get, grant, put, put_new, put_of, try_put,
};

/// Rounds without a switch.
const SOUND: u64 = 40;
/// More rounds than any switch needs until it is caught.
const CAUGHT_WITHIN: u64 = 600;
/// So often a read is tried with all drives there.
const TRIES_MAX: usize = 100;
/// How long clients wait.
const PATIENCE: Patience = Patience {
    writes: Duration::from_millis(150),
    reads: Duration::from_millis(600),
};

/// Real drives in a directory of their own.
pub(crate) struct Arena {
    home: PathBuf,
    pub(crate) drives: Vec<Arc<Far>>,
    geometry: Geometry,
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.drives.clear();
        // The system's temporary directory is nobody's loss.
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// What the ledger says when a holder comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grant {
    pub(crate) epoch: u64,
    /// The set's membership index.
    pub(crate) membership: u64,
}

impl Arena {
    pub(crate) fn new(name: &str, data: u8, parity: u8) -> Self {
        let geometry = Geometry::new(data, parity).unwrap();
        let own = format!("sarsen-contest-{}-{name}", std::process::id());
        let mut arena = Self {
            home: std::env::temp_dir().join(own),
            drives: Vec::new(),
            geometry,
        };
        let open = |place| arena.empty(place, place + 1, Standing::Voting);
        // Side by side: a drive syncs its many directories.
        arena.drives = std::thread::scope(|scope| {
            let opening = (0..data + parity).map(|place| scope.spawn(move || open(place)));
            let opening: Vec<_> = opening.collect();
            let opened = opening.into_iter().map(|drive| drive.join().unwrap());
            opened.map(|drive| Arc::new(Far::new(drive))).collect()
        });
        arena
    }

    /// A drive of that number and standing that was never written to.
    pub(crate) fn empty(&self, place: u8, number: u8, fresh: Standing) -> LocalDrive {
        let identity = drive_at(place, number);
        let path = self.home.join(format!("d{number}"));
        std::fs::create_dir_all(&path).unwrap();
        drive::format(&path, &identity, self.geometry).unwrap();
        let options = Options {
            fresh,
            ..Options::default()
        };
        LocalDrive::open(&path, &identity, &options).unwrap()
    }

    fn holder(&self, epoch: u64, mutant: Option<Mutant>, seed: u64) -> Holder {
        let grant = Grant {
            epoch,
            membership: 0,
        };
        self.enlist(grant, mutant, seed, None)
    }

    /// A process that holds all slots.
    pub(crate) fn enlist(
        &self,
        Grant { epoch, membership }: Grant,
        mutant: Option<Mutant>,
        seed: u64,
        course: Option<(Arc<Course>, Party)>,
    ) -> Holder {
        let dead = Arc::new(AtomicBool::new(false));
        let post = |(place, far): (u64, &Arc<Far>)| {
            let seed = seed * 64 + epoch * 8 + place;
            Arc::new(Post::new(far, mutant, seed, course.clone(), &dead))
        };
        let posts: Vec<_> = (0..).zip(&self.drives).map(post).collect();
        let drives = posts.iter().cloned();
        let config = SetConfig {
            deployment: deployment(),
            drives: drives.map(|post| post as Arc<dyn Drive>).collect(),
            standard: self.geometry,
            reduced: self.geometry,
            membership: Epoch::new(0, membership),
        };
        let store = Store::new(deployment(), vec![config]);
        grant(&store, epoch);
        Holder {
            store: Arc::new(store),
            posts,
            dead,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Holder {
    pub(crate) store: Arc<Store>,
    posts: Vec<Arc<Post>>,
    dead: Arc<AtomicBool>,
}

impl Holder {
    /// What it sent and did not arrive yet never will.
    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    pub(crate) fn cut(&self, place: usize, away: bool) {
        self.posts[place].away.store(away, Ordering::SeqCst);
    }
}

/// How long clients wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For a write. What its client then does not know may still happen.
    pub(crate) writes: Duration,
    pub(crate) reads: Duration,
}

/// Whether a write may be told of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    Never,
    /// A drive goes: what was found on it and is to be finished may then have too few shards. It was
    /// never committed; the next touch finds it void.
    Passing,
}

/// One key in one round: the line of time of what its clients do.
pub(crate) struct Line {
    pub(crate) key: String,
    patience: Patience,
    damage: Damage,
    clock: AtomicU64,
    values: AtomicU64,
    events: Mutex<Vec<Event>>,
}

/// The bytes of a value: one in four has files of its own, the others ride in the log.
fn bytes_of(value: u64) -> Vec<u8> {
    let repeated = if value.is_multiple_of(4) { 20_000 } else { 8 };
    value.to_le_bytes().repeat(repeated)
}

fn value_of(bytes: &[u8]) -> Result<u64, String> {
    let first = bytes.first_chunk().ok_or("an object of no bytes")?;
    let value = u64::from_le_bytes(*first);
    match bytes_of(value) == bytes {
        true => Ok(value),
        false => Err(format!("{value} is not whole")),
    }
}

impl Line {
    pub(crate) fn new(key: String, patience: Patience, damage: Damage) -> Self {
        Self {
            key,
            patience,
            damage,
            clock: AtomicU64::new(1),
            values: AtomicU64::new(1),
            events: Mutex::default(),
        }
    }

    /// What was there before.
    pub(crate) async fn begin(&self, store: &Store) {
        let begun = self.now();
        put(store, &self.key, &bytes_of(0)).await;
        let (act, ended) = (Act::Put(0), Some(self.now()));
        self.events.lock().push(Event { act, begun, ended });
    }

    /// Whether some order explains what was told.
    pub(crate) fn judge(&self) -> Result<(), String> {
        let mut events = self.events.lock().clone();
        events.sort_by_key(|event| event.begun);
        match is_linear(&events) {
            true => Ok(()),
            false => Err(format!("no order explains what was told: {events:#?}")),
        }
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Does one operation and writes down what was told.
    pub(crate) async fn act(&self, store: &Store, which: u64) -> Result<(), String> {
        let value = self.values.fetch_add(1, Ordering::SeqCst);
        let (bytes, begun) = (bytes_of(value), self.now());
        let (done, told) = match which {
            0 | 1 => {
                let put = put_of(bytes.len());
                let told = timeout(
                    self.patience.writes,
                    try_put(store, &self.key, &put, &bytes),
                )
                .await;
                (Act::Put(value), told.map(|told| told.map(drop)))
            }
            2 | 3 => {
                let told = timeout(self.patience.writes, put_new(store, &self.key, &bytes)).await;
                (Act::PutNew(value), told.map(|told| told.map(drop)))
            }
            4 => {
                let told = timeout(self.patience.writes, delete(store, &self.key)).await;
                (Act::Delete, told.map(|told| told.map(drop)))
            }
            _ => return self.read(store).await.map(drop),
        };
        let (act, ended) = match &told {
            Ok(Ok(())) => (done, Some(self.now())),
            Ok(Err(Error::PreconditionFailed)) => (Act::Refused, Some(self.now())),
            _ => (done, None),
        };
        self.events.lock().push(Event { act, begun, ended });
        match (told, self.damage) {
            (Ok(Err(Error::Damaged)), Damage::Never) => Err(format!("{done:?}: damaged")),
            _ => Ok(()),
        }
    }

    /// Reads; `false` if nobody would say.
    pub(crate) async fn read(&self, store: &Store) -> Result<bool, String> {
        let begun = self.now();
        let seen = match timeout(self.patience.reads, get_again(store, &self.key)).await {
            Ok(Ok(bytes)) => Some(value_of(&bytes)?),
            Ok(Err(Error::NoSuchKey)) => None,
            Ok(Err(Error::Damaged)) => return Err("a read finds too few shards".to_owned()),
            _ => return Ok(false),
        };
        let (act, ended) = (Act::Get(seen), Some(self.now()));
        self.events.lock().push(Event { act, begun, ended });
        Ok(true)
    }
}

/// How often a version is looked for whose bytes go between its being found and read.
const FINDS_MAX: usize = 4;

/// Reads as the door does: a version that was replaced after it was found has lost its bytes and not
/// damaged them.
async fn get_again(store: &Store, key: &str) -> Result<Vec<u8>, Error> {
    let mut before = None;
    for _ in 1..FINDS_MAX {
        let read = async {
            let found = find(store, key).await?;
            let (order, range) = (found.head.order, ByteRange::whole(found.head.size));
            Ok((order, rig::bytes_of(found, range).await))
        };
        match read.await {
            Ok((order, Err(Error::Damaged))) if before != Some(order) => before = Some(order),
            Ok((_, bytes)) => return bytes,
            // Its row went, before it could be read.
            Err(Error::Damaged) => {}
            Err(error) => return Err(error),
        }
    }
    get(store, key).await
}

/// One contest over one key. Says what went wrong.
async fn round(arena: &Arena, number: u64, mutant: Option<Mutant>) -> Result<(), String> {
    let mut random = (number + 1).wrapping_mul(0x2545_f491_4f6c_dd1d) | 1;
    let line = Arc::new(Line::new(format!("k{number}"), PATIENCE, Damage::Never));
    let epoch = number * 4 + 1;
    let second = match mutant {
        Some(Mutant::SameEpoch) => epoch,
        _ => epoch + 1,
    };
    let older = arena.holder(epoch, mutant, number);
    let newer = arena.holder(second, mutant, number + 1_000_000);
    if chance(&mut random).is_multiple_of(2) {
        line.begin(&older.store).await;
    }
    for holder in [&older, &newer] {
        if chance(&mut random).is_multiple_of(2) {
            let place = usize::try_from(chance(&mut random)).unwrap() % arena.drives.len();
            holder.cut(place, true);
        }
    }
    let mut clients = JoinSet::new();
    for holder in [&older, &newer, &older, &newer] {
        let (store, line) = (Arc::clone(&holder.store), Arc::clone(&line));
        let mut random = chance(&mut random) | 1;
        clients.spawn(async move {
            for _ in 0..3 {
                sleep(Duration::from_micros(chance(&mut random) % 8_000)).await;
                line.act(&store, chance(&mut random) % 7).await?;
            }
            Ok(())
        });
    }
    last_told(clients, &older, &newer, &mut random).await?;
    settle_the_question(arena, &line, epoch + 2, mutant).await?;
    line.judge()
}

/// Waits until the clients of two holders are done. Then these may die.
pub(crate) async fn last_told(
    mut clients: JoinSet<Result<(), String>>,
    older: &Holder,
    newer: &Holder,
    random: &mut u64,
) -> Result<(), String> {
    while let Some(done) = clients.join_next().await {
        done.map_err(|error| error.to_string())??;
    }
    if chance(random).is_multiple_of(2) {
        older.die();
    }
    if chance(random).is_multiple_of(4) {
        newer.die();
    }
    Ok(())
}

/// A third holder reads: first with one drive away or with all, then with each one away, then
/// with all, when it must be told.
async fn settle_the_question(
    arena: &Arena,
    line: &Line,
    epoch: u64,
    mutant: Option<Mutant>,
) -> Result<(), String> {
    let last = arena.holder(epoch, mutant, epoch);
    let drives = arena.drives.len();
    let first = usize::try_from(epoch).unwrap() % (drives + 1);
    for place in [first].into_iter().chain(0..drives) {
        if place < drives {
            last.cut(place, true);
        }
        for _ in 0..3 {
            line.read(&last.store).await?;
        }
        if place < drives {
            last.cut(place, false);
        }
    }
    // What could not be finished with a drive away is sent to it again in a while.
    for _ in 0..TRIES_MAX {
        if line.read(&last.store).await? {
            return Ok(());
        }
        sleep(PATIENCE.writes).await;
    }
    Err("no read with all drives is answered".to_owned())
}

/// Rounds on the same drives until something is wrong.
fn contest(
    data: u8,
    parity: u8,
    mutant: Option<Mutant>,
    mut rounds: Range<u64>,
) -> Option<(u64, String)> {
    let arena = Arena::new(&format!("{data}{parity}{mutant:?}"), data, parity);
    rounds.find_map(|number| play(number, round(&arena, number, mutant)))
}

/// Plays a round, and says what went wrong in it. What is left under way at its end is dropped with its
/// runtime.
pub(crate) fn play(
    number: u64,
    round: impl Future<Output = Result<(), String>>,
) -> Option<(u64, String)> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let wrong = runtime.block_on(round).err();
    runtime.shutdown_background();
    wrong.map(|said| (number, said))
}

#[expect(
    clippy::print_stdout,
    reason = "how fast it is caught is part of the result"
)]
pub(crate) fn report(mutant: Mutant, found: Option<(u64, String)>) {
    let (number, said) = found.unwrap_or_else(|| panic!("{mutant:?} was not caught"));
    let said = said.lines().next().unwrap_or_default();
    println!("{mutant:?}: caught in round {number}: {said}");
}

fn caught(data: u8, parity: u8, mutant: Mutant) {
    report(
        mutant,
        contest(data, parity, Some(mutant), 0..CAUGHT_WITHIN),
    );
}

/// The rounds to be played without a switch: these, or those that the environment asks for.
pub(crate) fn rounds(usual: u64) -> Range<u64> {
    let asked = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let from = asked("SARSEN_CONTEST_FROM").unwrap_or(0);
    from..from + asked("SARSEN_CONTEST_ROUNDS").unwrap_or(usual)
}

/// Two holders on real drives are one to their clients.
fn sound(data: u8, parity: u8) {
    if let Some((number, said)) = contest(data, parity, None, rounds(SOUND)) {
        panic!("round {number}: {said}");
    }
}

#[test]
fn two_holders_on_four_drives_are_one() {
    sound(2, 2);
}

#[test]
fn two_holders_on_three_drives_are_one() {
    sound(1, 2);
}

/// Every drive is needed to finish a write: see `faults`.
#[test]
fn two_holders_on_four_drives_with_one_parity_shard_are_one() {
    sound(3, 1);
}

#[test]
fn a_raise_that_is_left_out_is_caught() {
    caught(2, 2, Mutant::NoRaise);
}

#[test]
fn a_fence_that_is_left_out_is_caught() {
    caught(2, 2, Mutant::NoFence);
}

#[test]
fn an_older_version_that_is_dropped_at_the_commit_is_caught() {
    caught(3, 1, Mutant::DropOlder);
}

#[test]
fn a_reader_that_is_shown_only_what_is_settled_is_caught() {
    caught(2, 2, Mutant::OnlySettled);
}

#[test]
fn a_tombstone_that_is_forgotten_is_caught() {
    caught(1, 2, Mutant::ForgetTombstone);
}

#[test]
fn an_early_acknowledgement_is_caught() {
    caught(2, 2, Mutant::AckEarly);
}

#[test]
fn two_holders_of_one_epoch_are_caught() {
    caught(2, 2, Mutant::SameEpoch);
}

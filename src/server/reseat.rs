//! Drives that left their seats: looked for every few seconds, and taken back without a restart.
//!
//! Of a drive that comes back no more is believed than at a start: its directory is opened anew once
//! nothing of its earlier life is left, and what it says counts from its disk. It votes only if it is the drive
//! that the ledger has vote on this seat, and reached what it is known to have acknowledged. One that
//! lost something, and an empty one in its place, are admitted and rebuilt (commit rule 10).

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use drive::{Drive, Found, Identity, LocalDrive, Options, Standing, Status, inspect};
use ledger::{ClusterSecret, Command, Ledger};
use store::Store;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use types::DriveId;

use crate::form::{Formed, MOUNT_MISSING, Terms, open_one, random};
use crate::intent::seat_of;
use crate::seat::{NOBODY, Seat, identity_at};
use crate::terrain::unfit;

/// How often an empty seat is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often it is asked whether a drive that left its seat is still in somebody's hands.
const HANDS_STEP: Duration = Duration::from_millis(10);
/// How long a drive is left alone that could not be taken back, or did not last: at first, and at most.
const WAIT_MIN: Duration = Duration::from_secs(10);
const WAIT_MAX: Duration = Duration::from_secs(300);
/// A drive that served so long before it was lost again is taken back at once.
const STEADY: Duration = Duration::from_secs(600);

/// What an empty directory is at the first look.
const EMPTY: &str = "the directory is empty";
/// Why an empty directory is not formatted.
const TOO_FEW_VOTE: &str = "the directory is empty, and too few of the other drives vote to rebuild one: \
                            bring back the drive that was there";
/// Why a drive is offline that cannot be rebuilt now.
const READ_ONLY: &str = "it is to be rebuilt, and takes no writes";

/// Takes drives back.
pub(crate) struct Usher {
    /// The seats.
    pub(crate) formed: Arc<Formed>,
    /// Who may vote where.
    pub(crate) ledger: Arc<Ledger>,
    /// Whom the drives serve.
    pub(crate) store: Arc<Store>,
    /// The cluster secret, if each drive keeps a share of it.
    pub(crate) secret: Option<ClusterSecret>,
}

/// Looks after all seats, each in a task of its own: a disk that hangs holds up no other seat.
pub(crate) fn attend(usher: &Arc<Usher>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for (set, seats) in usher.formed.sets.iter().enumerate() {
        for place in 0..seats.len() {
            let usher = Arc::clone(usher);
            tasks.spawn(async move {
                let mut vigil = Vigil::default();
                let mut ticks = interval(LOOK_EVERY);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    usher.look(set, place, &mut vigil).await;
                }
            });
        }
    }
    tasks
}

/// What is kept in mind of a seat from one look to the next.
#[derive(Default)]
pub(crate) struct Vigil {
    /// The last position that a drive acknowledged which left the seat.
    reached: u64,
    /// Why it is empty, as was said last.
    said: Option<String>,
    /// Whether the directory was empty at the last look: somebody may be about to remove it.
    blank: bool,
    /// The drive that was made for the seat and did not take it yet.
    made: Option<Identity>,
    patience: Patience,
}

/// How long a drive is left alone that makes trouble.
#[derive(Default)]
struct Patience {
    wait: Option<Duration>,
    not_before: Option<Instant>,
    seated: Option<Instant>,
}

impl Patience {
    fn is_over(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|until| now >= until)
    }

    /// It could not be taken back.
    fn failed(&mut self, now: Instant) {
        let wait = self.wait.map_or(WAIT_MIN, |wait| (2 * wait).min(WAIT_MAX));
        (self.wait, self.not_before) = (Some(wait), Some(now + wait));
    }

    fn seated(&mut self, now: Instant) {
        self.seated = Some(now);
    }

    /// It left the seat.
    fn lost(&mut self, now: Instant) {
        match self.seated.take() {
            Some(seated) if now.duration_since(seated) < STEADY => self.failed(now),
            _ => *self = Self::default(),
        }
    }
}

/// What there is for an empty seat.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// Its drive.
    Drive(Identity),
    /// A directory that may be formatted.
    Blank,
    /// Nothing that may sit there.
    Nothing(String),
}

/// Says what may be done with what was found at the path of an empty seat.
fn weigh(found: &Found, expected: &[Identity], terms: Terms, others_vote: bool) -> Finding {
    let why = match found {
        Found::Formatted(drive) | Found::ReadOnly(drive) => {
            let found = &drive.identity;
            if expected.contains(found) {
                return Finding::Drive(found.clone());
            }
            match expected.first() {
                Some(known) if known.deployment != found.deployment => {
                    "it belongs to another deployment".to_owned()
                }
                Some(known) => format!("drive {} is here instead of {}", found.drive, known.drive),
                None => format!("drive {} is here, and none was known", found.drive),
            }
        }
        Found::Empty { mounted: false } if terms.mounts => MOUNT_MISSING.to_owned(),
        Found::Empty { .. } if !others_vote => TOO_FEW_VOTE.to_owned(),
        Found::Empty { .. } => return Finding::Blank,
        other => other.to_string(),
    };
    Finding::Nothing(why)
}

/// Runs on a thread of its own, which may hang as long as a disk does. `None` if it ended before its work.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    let named = thread::Builder::new().name("seat".to_owned());
    // Whoever waited may be gone: then what was made is dropped here.
    let spawned = named.spawn(move || drop(answer.send(work())));
    spawned.ok()?;
    answered.await.ok()
}

/// A drive that did not take its seat yet. If it never does it is closed where waiting does no harm.
struct Guest(Option<LocalDrive>);

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(drive) = self.0.take() {
            thread::spawn(move || drop(drive));
        }
    }
}

/// Waits until nothing is left of a drive that left its seat; says what it acknowledged last. As long as
/// the disk holds one of its threads it is not free to be opened again.
fn close(mut drive: Arc<LocalDrive>) -> u64 {
    loop {
        match Arc::try_unwrap(drive) {
            Ok(drive) => return drive.abandon(),
            Err(held) => drive = held,
        }
        thread::sleep(HANDS_STEP);
    }
}

impl Usher {
    /// Looks at a seat, and does what is due: closes a drive that is out of service, so that its mount
    /// is free, and takes back what may sit there.
    pub(crate) async fn look(&self, set: usize, place: usize, vigil: &mut Vigil) {
        let seat = self.formed.sets.get(set).and_then(|set| set.get(place));
        let Some(seat) = seat else { return };
        if let Some(drive) = seat.local() {
            let (dead, status) = (drive.is_dead(), drive.status());
            drop(drive);
            let why = match status {
                Status::Offline(why) if dead => why.to_string(),
                Status::ReadOnly => "it takes writes again".to_owned(),
                _ => return,
            };
            if !dead && !self.is_writable(seat).await {
                return;
            }
            self.close(seat, &why, vigil).await;
        }
        if let Err(why) = self.fill(set, place, seat, vigil).await {
            vigil.blank = false;
            seat.leave(&why);
            if vigil.said.as_ref() != Some(&why) {
                tracing::error!(path = %seat.path().display(), why, "a drive is offline");
                vigil.said = Some(why);
            }
        }
    }

    /// Whether the file system of a drive that is read-only takes writes again.
    async fn is_writable(&self, seat: &Seat) -> bool {
        let (path, identity) = (seat.path().to_owned(), seat.identity());
        let found = aside(move || inspect(&path)).await;
        matches!(found, Some(Found::Formatted(drive)) if drive.identity == identity)
    }

    async fn close(&self, seat: &Seat, why: &str, vigil: &mut Vigil) {
        let Some(drive) = seat.leave(why) else { return };
        vigil.patience.lost(Instant::now());
        vigil.said = None;
        tracing::warn!(path = %seat.path().display(), why, "a drive is closed, and looked for from now on");
        let reached = aside(move || close(drive)).await;
        vigil.reached = vigil.reached.max(reached.unwrap_or(0));
    }

    /// Takes back what may sit on an empty seat; says why nothing may. Leaves it empty without a word
    /// where that is to be seen at a later look.
    async fn fill(
        &self,
        set: usize,
        place: usize,
        seat: &Seat,
        vigil: &mut Vigil,
    ) -> Result<(), String> {
        let path = seat.path().to_owned();
        let seen = aside(move || (inspect(&path), unfit(&path))).await;
        let (found, unfit) = seen.ok_or("it cannot be looked at")?;
        let terms = self.formed.terms;
        if let Some(why) = unfit.filter(|_| !terms.dev) {
            return Err(why.to_owned());
        }
        let expected = self.expected(set, place, vigil);
        let identity = match weigh(&found, &expected, terms, self.others_vote(set, place)) {
            Finding::Nothing(why) => return Err(why),
            _ if !vigil.patience.is_over(Instant::now()) => return Ok(()),
            Finding::Blank if !vigil.blank => {
                vigil.blank = true;
                seat.leave(EMPTY);
                return Ok(());
            }
            Finding::Blank => self.format(set, place, seat, vigil).await?,
            Finding::Drive(identity) => identity,
        };
        vigil.blank = false;
        let taken = self.take(set, place, seat, identity, vigil.reached).await;
        match taken {
            Ok(()) => {
                vigil.patience.seated(Instant::now());
                (vigil.made, vigil.said) = (None, None);
            }
            Err(_) => vigil.patience.failed(Instant::now()),
        }
        taken
    }

    /// The drives that may sit on a seat: the one that the ledger knows there, and one that was made.
    fn expected(&self, set: usize, place: usize, vigil: &Vigil) -> Vec<Identity> {
        let at = identity_at(self.formed.deployment, set, place, NOBODY);
        let kept = self.ledger.view();
        let kept = kept.seats.get(&(at.pool, at.set, at.place));
        let kept = kept.and_then(|kept| DriveId::parse(&kept.drive).ok());
        let known = kept.map(|drive| Identity { drive, ..at });
        known.into_iter().chain(vigil.made.clone()).collect()
    }

    /// Whether so many others of the set vote that an empty drive can be rebuilt. If not, the one that is
    /// missing may be the only one that knows something: its seat is kept for it.
    fn others_vote(&self, set: usize, place: usize) -> bool {
        let geometry = self.formed.classes.standard;
        let needed = geometry.read_quorum().max(geometry.data());
        let votes = |seat: &Seat| !matches!(seat.status(), Status::Offline(_) | Status::Joining);
        let seats = self.formed.sets.get(set).into_iter().flatten().enumerate();
        let others = seats.filter(|(at, seat)| *at != place && votes(seat));
        others.count() >= needed
    }

    async fn format(
        &self,
        set: usize,
        place: usize,
        seat: &Seat,
        vigil: &mut Vigil,
    ) -> Result<Identity, String> {
        let drive = random().map_err(|error| error.to_string())?;
        let drive = DriveId::from_bytes(drive);
        let identity = identity_at(self.formed.deployment, set, place, drive);
        let (path, geometry) = (seat.path().to_owned(), self.formed.classes.standard);
        vigil.made = Some(identity.clone());
        let made = identity.clone();
        let formatted = aside(move || drive::format(&path, &made, geometry)).await;
        match formatted.ok_or("it cannot be formatted")? {
            Ok(_) => Ok(identity),
            Err(error) => {
                vigil.patience.failed(Instant::now());
                Err(error.to_string())
            }
        }
    }

    /// Opens the drive and seats it.
    async fn take(
        &self,
        set: usize,
        place: usize,
        seat: &Seat,
        identity: Identity,
        reached: u64,
    ) -> Result<(), String> {
        let options = Options {
            position: reached.max(self.store.reached(set, place)),
            fresh: Standing::Joining,
            ..self.formed.options.clone()
        };
        let path = seat.path().to_owned();
        let opened = aside(move || open_one(&path, &identity, &options)).await;
        let mut guest = Guest(Some(opened.ok_or("it cannot be opened")??));
        if let Some(drive) = &guest.0 {
            self.welcome(set, place, drive).await?;
        }
        let Some(drive) = guest.0.take() else {
            return Ok(());
        };
        let (path, id, standing) = (seat.path(), drive.identity().drive, drive.standing());
        seat.take_back(drive);
        self.store.returned(set, place);
        match standing {
            Standing::Voting => {
                tracing::warn!(path = %path.display(), drive = %id, "a drive is taken back");
            }
            Standing::Joining => {
                tracing::warn!(path = %path.display(), drive = %id, "a drive takes a seat: it is rebuilt before it votes");
            }
        }
        if let Err(error) = self.ledger.make_copies_good().await {
            // One that joins does not vote before it has them.
            tracing::warn!(%error, "drives may lack records of the ledger");
        }
        Ok(())
    }

    /// Sees to it that a drive is fit to take its seat: that it takes writes, and that it votes by right or
    /// was admitted.
    async fn welcome(&self, set: usize, place: usize, drive: &LocalDrive) -> Result<(), String> {
        let failed = |error: drive::Error| error.to_string();
        let identity = drive.identity();
        let seat = seat_of(&identity);
        let view = self.ledger.view();
        let kept = view.seats.get(&(seat.pool, seat.set, seat.place));
        let votes = drive.standing() == Standing::Voting
            && kept.is_some_and(|kept| kept.votes && kept.drive == seat.drive);
        if drive.status() == Status::ReadOnly {
            return votes.then_some(()).ok_or_else(|| READ_ONLY.to_owned());
        }
        // One that cannot write would be gone again at once.
        drive.prove().await.map_err(failed)?;
        if votes {
            return Ok(());
        }
        if drive.standing() == Standing::Voting {
            let joined = drive.set_standing(Standing::Joining).await;
            joined.map_err(failed)?;
        }
        if let Some(secret) = &self.secret {
            let before: usize = self.formed.sets.iter().take(set).map(Vec::len).sum();
            let drives = self.formed.seats().count();
            let given = secret.give(drive, before + place, drives).await;
            given.map_err(|error| error.to_string())?;
        }
        let admitted = self.ledger.propose(Command::Admit { seat }).await;
        admitted.map_err(|error| error.to_string())?;
        let membership = self.ledger.view().membership(identity.pool, identity.set);
        self.store.admit(set, membership);
        let shut_out = self.store.shut_out_older(drive, membership).await;
        shut_out.map_err(failed)
    }
}

#[cfg(test)]
mod tests;

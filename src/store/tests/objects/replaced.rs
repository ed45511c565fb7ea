//! Two holders at once, and a drive that is replaced by an empty one while they compete: ways 5, 6
//! and 7 as switches that are caught. Otherwise as in `contest`.
//!
//! A message reaches the drive that has the seat when it arrives. The successor is admitted by an
//! entry of a ledger, has the fences of that entry, joins, is rebuilt by the walk of whoever holds
//! the slots by then, and votes once the walk finds it sound. A holder that was replaced itself learns
//! nothing of it: who reads the ledger that far has read that it holds nothing.

use std::sync::Arc;
use std::time::Duration;

use drive::{Drive, Fence, LocalDrive, RowsRequest, Standing, Status, Want};
use futures_util::future::{join_all, try_join_all};
use parking_lot::Mutex;
use store::{Depth, Seat};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use types::Epoch;

use crate::contest::{
    Arena, Damage, Grant, Holder, Line, Patience, last_told, play, report, rounds,
};
use crate::course::{Course, Party, Step, TakeOver};
use crate::post::{Mutant, chance};
use crate::rig::{register, slot_of};

/// Rounds without a switch.
const SOUND: u64 = 8;
/// More rounds than any switch needs until it is caught.
const CAUGHT_WITHIN: u64 = 100;
/// Rounds that are played side by side.
const LANES: usize = 4;
/// Keys of a round.
const KEYS: u64 = 24;
/// The code: four drives.
const CODE: (u8, u8) = (2, 2);
/// How long clients wait: longer than any commit.
const PATIENCE: Patience = Patience {
    writes: Duration::from_millis(700),
    reads: Duration::from_millis(150),
};
/// When the newer holder takes over, if the drive is still there.
const TAKE_OVER: Duration = Duration::from_millis(10);
/// When the drive goes, at the earliest: whoever wrote and read by then did it with that drive.
const GOES: Duration = Duration::from_millis(25);
/// So long the holders of the contest try to rebuild the drive.
const REBUILD_WAIT: Duration = Duration::from_millis(600);
/// So often the last holder does. Others are gone by then.
const REBUILDS_MAX: usize = 10;
/// So often a read is tried with all drives there.
const TRIES_MAX: usize = 100;
/// And after this long again.
const TRY_AFTER: Duration = Duration::from_millis(100);

struct Ledger {
    index: u64,
    membership: u64,
}

struct Contest {
    arena: Arena,
    course: Arc<Course>,
    lines: Vec<Arc<Line>>,
    ledger: Mutex<Ledger>,
    successor: Arc<LocalDrive>,
    mutant: Option<Mutant>,
    number: u64,
}

/// A time up to that many milliseconds.
fn up_to(random: &mut u64, millis: u64) -> Duration {
    Duration::from_micros(chance(random) % (millis * 1_000))
}

impl Contest {
    fn new(number: u64, mutant: Option<Mutant>, random: &mut u64) -> Self {
        let (data, parity) = CODE;
        let arena = Arena::new(&format!("replaced-{mutant:?}-{number}"), data, parity);
        let course = Course::new(random, data + parity, KEYS);
        let standing = match mutant {
            Some(Mutant::EmptyVotes) => Standing::Voting,
            _ => Standing::Joining,
        };
        let line = |key: u64| Arc::new(Line::new(key.to_string(), PATIENCE, Damage::Passing));
        Self {
            successor: Arc::new(arena.empty(course.goes, 77, standing)),
            arena,
            course: Arc::new(course),
            lines: (0..KEYS).map(line).collect(),
            ledger: Mutex::new(Ledger {
                index: 0,
                membership: 0,
            }),
            mutant,
            number,
        }
    }

    /// The ledger grants all slots.
    fn enlist(&self, party: Party) -> Holder {
        let grant = {
            let mut ledger = self.ledger.lock();
            ledger.index += 1;
            Grant {
                epoch: ledger.index,
                membership: ledger.membership,
            }
        };
        let course = Some((Arc::clone(&self.course), party));
        self.arena.enlist(grant, self.mutant, self.number, course)
    }

    /// Sends clients to a holder.
    fn compete(
        &self,
        holder: &Holder,
        random: &mut u64,
        clients: &mut JoinSet<Result<(), String>>,
    ) {
        for (line, plan) in self.lines.iter().zip(&self.course.plans) {
            let acts_max = if plan.brief { 1 } else { 2 };
            for _ in 0..=chance(random) % acts_max {
                let (store, line) = (Arc::clone(&holder.store), Arc::clone(line));
                let mut random = chance(random) | 1;
                let mut contended = plan.contended;
                clients.spawn(async move {
                    for _ in 0..=chance(&mut random) % acts_max {
                        sleep(up_to(&mut random, 8)).await;
                        let which = match std::mem::take(&mut contended) {
                            true => 2,
                            false => chance(&mut random) % 7,
                        };
                        line.act(&store, which).await?;
                    }
                    Ok(())
                });
            }
        }
    }

    /// The drive goes, and its successor comes. `holder` has the newest grant.
    async fn replace(&self, holder: &Holder, random: &mut u64) {
        sleep(GOES + up_to(random, 10)).await;
        let far = &self.arena.drives[usize::from(self.course.goes)];
        let _gone = far.replace(None);
        let index = self.admit();
        for line in &self.lines {
            let fence = match self.mutant {
                Some(Mutant::FencesFromPeers) => self.fence_of_a_peer(line, random).await,
                _ => Epoch::new(0, index),
            };
            let raised = raise(&self.successor, line, fence).await;
            raised.unwrap();
        }
        far.replace(Some(Arc::clone(&self.successor)));
        self.course.come_to(Step::Seated);
        sleep(up_to(random, 5)).await;
        if self.mutant != Some(Mutant::NoMembershipIndex) {
            holder.store.admit(0, Epoch::new(0, index));
        }
        sleep(up_to(random, 20)).await;
        if !chance(random).is_multiple_of(4) {
            let rebuilt = async { while !self.rebuild(holder).await {} };
            // What cannot be decided yet is left to the last holder.
            let _ = timeout(REBUILD_WAIT, rebuilt).await;
        }
        self.course.come_to(Step::Over);
    }

    /// The entry that gives the seat to the successor.
    fn admit(&self) -> u64 {
        let mut ledger = self.ledger.lock();
        if self.mutant != Some(Mutant::NoMembershipIndex) {
            ledger.index += 1;
            ledger.membership = ledger.index;
        }
        ledger.index
    }

    async fn fence_of_a_peer(&self, line: &Line, random: &mut u64) -> Epoch {
        let drives = self.arena.drives.iter();
        let peers: Vec<_> = drives.filter_map(|far| far.local()).collect();
        let peer = usize::try_from(chance(random)).unwrap() % peers.len();
        match raise(&peers[peer], line, Epoch::default()).await {
            Err(drive::Error::Fenced { stored }) => stored,
            other => other.map(|()| Epoch::default()).unwrap(),
        }
    }

    /// One walk. Says whether the successor votes by it.
    async fn rebuild(&self, holder: &Holder) -> bool {
        let seat = Seat {
            set: 0,
            place: usize::from(self.course.goes),
            membership: Epoch::new(0, self.ledger.lock().membership),
        };
        let mut walk = holder.store.walk(Depth::Rows, None);
        while walk.step().await {}
        let sound = walk.sound().contains(&seat);
        if sound {
            self.successor.set_standing(Standing::Voting).await.unwrap();
        }
        sound
    }

    /// Reads with each drive away.
    async fn read_around(&self, holder: &Holder, first: u64) -> Result<(), String> {
        let drives = self.arena.drives.len();
        let first = usize::try_from(first).unwrap() % drives;
        for place in (first..drives).chain(0..first) {
            holder.cut(place, true);
            let reads = self.lines.iter().map(|line| line.read(&holder.store));
            try_join_all(reads).await?;
            holder.cut(place, false);
        }
        Ok(())
    }

    /// A third holder reads, and rebuilds the drive if nobody did: then it must come to vote.
    async fn settle_the_question(&self, random: &mut u64) -> Result<(), String> {
        let last = self.enlist(Party::Last);
        self.read_around(&last, chance(random)).await?;
        let told = async |line: &Arc<Line>| {
            for _ in 0..TRIES_MAX {
                if line.read(&last.store).await? {
                    return Ok(());
                }
                sleep(TRY_AFTER).await;
            }
            Err(format!("no read of {} is answered", line.key))
        };
        try_join_all(self.lines.iter().map(told)).await?;
        if self.successor.status() == Status::Joining {
            let mut tries = 0;
            while !self.rebuild(&last).await {
                tries += 1;
                if tries == REBUILDS_MAX {
                    return Err("the drive never comes to vote".to_owned());
                }
            }
            self.read_around(&last, chance(random)).await?;
        }
        Ok(())
    }
}

/// Raises a fence on a drive, past all posts.
async fn raise(drive: &LocalDrive, line: &Line, epoch: Epoch) -> Result<(), drive::Error> {
    let slot = slot_of(&line.key);
    let request = RowsRequest {
        raise: Some(Fence { slot, epoch }),
        slot,
        register: register(&line.key),
        want: Want::Latest,
    };
    drive.rows(request).await.map(drop)
}

/// One contest over some keys. Says what went wrong.
async fn round(number: u64, mutant: Option<Mutant>) -> Result<(), String> {
    let mut random = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let contest = Contest::new(number, mutant, &mut random);
    let mut clients = JoinSet::new();
    let older = contest.enlist(Party::Older);
    let stored = contest.lines.iter().zip(&contest.course.plans);
    let stored = stored.filter(|(_, plan)| plan.stored);
    join_all(stored.map(|(line, _)| line.begin(&older.store))).await;
    let cut = |holder: &Holder, random: &mut u64| {
        if chance(random).is_multiple_of(4) {
            let place = usize::try_from(chance(random)).unwrap() % contest.arena.drives.len();
            holder.cut(place, true);
        }
    };
    cut(&older, &mut random);
    contest.course.come_to(Step::Open);
    contest.compete(&older, &mut random, &mut clients);
    if contest.course.take_over == TakeOver::After {
        contest.replace(&older, &mut random).await;
    } else {
        sleep(TAKE_OVER).await;
    }
    let newer = contest.enlist(Party::Newer);
    cut(&newer, &mut random);
    contest.compete(&newer, &mut random, &mut clients);
    if contest.course.take_over == TakeOver::Before {
        contest.replace(&newer, &mut random).await;
    }
    last_told(clients, &older, &newer, &mut random).await?;
    contest.settle_the_question(&mut random).await?;
    contest.lines.iter().try_for_each(|line| line.judge())
}

/// Rounds on drives of their own until something is wrong.
fn contest(mutant: Option<Mutant>, rounds: std::ops::Range<u64>) -> Option<(u64, String)> {
    let rounds: Vec<u64> = rounds.collect();
    let play = |number: u64| play(number, round(number, mutant));
    rounds.chunks(LANES).find_map(|some| {
        std::thread::scope(|scope| {
            let lanes = some.iter().map(|number| scope.spawn(move || play(*number)));
            let lanes: Vec<_> = lanes.collect();
            let mut played = lanes.into_iter().map(|lane| lane.join().unwrap());
            let found = played.find_map(|wrong| wrong);
            played.for_each(drop);
            found
        })
    })
}

fn caught(mutant: Mutant) {
    report(mutant, contest(Some(mutant), 0..CAUGHT_WITHIN));
}

#[test]
fn a_drive_is_replaced_while_two_holders_compete() {
    if let Some((number, said)) = contest(None, rounds(SOUND)) {
        panic!("round {number}: {said}");
    }
}

#[test]
fn an_empty_drive_that_votes_is_caught() {
    caught(Mutant::EmptyVotes);
}

#[test]
fn an_empty_drive_with_the_fences_of_a_peer_is_caught() {
    caught(Mutant::FencesFromPeers);
}

#[test]
fn a_rebuild_without_a_new_membership_index_is_caught() {
    caught(Mutant::NoMembershipIndex);
}

//! The course of a contest in which a drive is replaced: how far that is, and which commits wait
//! for it. Chance alone would seldom bring a message between a drive and its successor; so each
//! holder has a plan for each key.

use std::time::Duration;

use drive::Register;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::post::chance;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Nobody competes yet.
    Calm,
    /// The drive is there, or just gone.
    Open,
    /// Its successor has its seat.
    Seated,
    /// The successor votes, or its rebuild is left to the last holder.
    Over,
}

/// Who sends a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Party {
    Older,
    Newer,
    Last,
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    Nothing,
    Seated,
    /// A while longer, so that it comes after what waited for that.
    SeatedLong,
    Over,
    /// It never comes, which its sender is told when the successor is there.
    Lost,
}

/// When the newer holder takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakeOver {
    /// While the drive is still there.
    Before,
    /// When its successor votes.
    After,
}

/// No commit waits longer: the rebuild may itself wait for one.
const HOLD_MAX: Duration = Duration::from_millis(500);
/// The while longer.
const LONG: Duration = Duration::from_millis(6);

/// What one key's clients and messages do.
pub(crate) struct Plan {
    /// Whether there is something at the beginning.
    pub(crate) stored: bool,
    /// Whether the first thing that every client does is to write if there is nothing.
    pub(crate) contended: bool,
    /// Whether a holder has one client, which does one thing: what is lost is not written over.
    pub(crate) brief: bool,
    /// By place.
    older: Vec<Hold>,
    newer: Vec<Hold>,
}

/// The plan of one round.
pub(crate) struct Course {
    step: watch::Sender<Step>,
    /// The place of the drive that goes.
    pub(crate) goes: u8,
    pub(crate) take_over: TakeOver,
    /// By key: the first key's name is `0`.
    pub(crate) plans: Vec<Plan>,
}

impl Course {
    pub(crate) fn new(random: &mut u64, places: u8, keys: u64) -> Self {
        // The places that a holder asks first are the ones whose loss tells most.
        let among = match chance(random) % 4 {
            0 => places,
            _ => 2,
        };
        let goes = u8::try_from(chance(random) % u64::from(among)).unwrap();
        let take_over = match chance(random) % 2 {
            0 => TakeOver::Before,
            _ => TakeOver::After,
        };
        let mut plan = || plan(random, take_over, goes, places);
        Self {
            step: watch::Sender::new(Step::Calm),
            goes,
            take_over,
            plans: (0..keys).map(|_| plan()).collect(),
        }
    }

    pub(crate) fn come_to(&self, step: Step) {
        self.step.send_replace(step);
    }

    /// What a commit that is sent now has to wait for.
    pub(crate) fn hold(&self, party: Party, register: &Register, place: u8) -> Hold {
        if [Step::Calm, Step::Over].contains(&*self.step.borrow()) {
            return Hold::Nothing;
        }
        let key = std::str::from_utf8(register.key()).unwrap();
        let plan = &self.plans[key.parse::<usize>().unwrap()];
        match party {
            Party::Older => plan.older[usize::from(place)],
            Party::Newer => plan.newer[usize::from(place)],
            Party::Last => Hold::Nothing,
        }
    }

    /// Waits; `false` if the commit is lost.
    pub(crate) async fn lets_pass(&self, hold: Hold) -> bool {
        let until = match hold {
            Hold::Nothing => return true,
            Hold::Seated | Hold::SeatedLong | Hold::Lost => Step::Seated,
            Hold::Over => Step::Over,
        };
        let mut step = self.step.subscribe();
        let come = timeout(HOLD_MAX, step.wait_for(|step| *step >= until));
        // Held too long, it is let go.
        let _ = come.await.is_ok();
        if hold == Hold::SeatedLong {
            sleep(LONG).await;
        }
        hold != Hold::Lost
    }
}

fn plan(random: &mut u64, take_over: TakeOver, goes: u8, places: u8) -> Plan {
    let stored = chance(random).is_multiple_of(4);
    let contended = !stored && chance(random).is_multiple_of(2);
    let brief = chance(random).is_multiple_of(2);
    let any = [Hold::Nothing, Hold::Seated, Hold::SeatedLong];
    let mut draw = |usual: [Hold; 2]| -> Vec<Hold> {
        let kind = chance(random) % 4;
        // Not what goes to the drive that goes: one of those after it.
        let lost = match chance(random) % 4 {
            0 => goes,
            after => (goes + u8::try_from(after).unwrap()) % places,
        };
        let mut hold = |place: u8| match kind {
            _ if place == lost && place != goes => Hold::Lost,
            0 | 1 if place == goes => usual[0],
            0 | 1 => usual[1],
            2 => Hold::Nothing,
            _ => any[usize::try_from(chance(random) % 3).unwrap()],
        };
        (0..places).map(&mut hold).collect()
    };
    let (older, newer) = match take_over {
        // What the older holder sends comes between the drive and its successor, and what the newer
        // one decided before that comes after it.
        TakeOver::Before => (
            draw([Hold::Seated, Hold::Seated]),
            draw([Hold::SeatedLong, Hold::SeatedLong]),
        ),
        // Only the drive that goes has what the older holder sends, until its successor votes. What
        // was there before would keep the rebuild waiting for that.
        TakeOver::After if !stored => (
            draw([Hold::Nothing, Hold::Over]),
            draw([Hold::Nothing, Hold::Nothing]),
        ),
        TakeOver::After => (
            draw([Hold::Nothing, Hold::Seated]),
            draw([Hold::Nothing, Hold::Nothing]),
        ),
    };
    Plan {
        stored,
        contended,
        brief,
        older,
        newer,
    }
}

//! Places where a test may kill the process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

/// The environment variable that names the file which arms one.
const VARIABLE: &str = "DRIVE_FAILPOINT";
/// A drive that passes nothing for so long has come to its end.
const IDLE: Duration = Duration::from_secs(1);

/// Places in the code at which a crash test may stop the process dead. Always compiled in, inert
/// unless the environment variable `DRIVE_FAILPOINT` names a file and that file is there. It says
/// `place:pass:drives`, and from then on each drive counts how often it passes the place. The
/// `pass`th time, the first `drives` drives of the set go on, and every other one waits there
/// until those have come to the end of what they are at, or have nothing more to do; then the
/// process aborts. So a crash test can name every state between "no drive has it" and "all have
/// it".
///
/// The places, in the order of one write: `stage.before-sync`, `stage.after-sync`;
/// `publish.before-sync`, `publish.after-sync` (the names of the staged files); `commit.before-write`,
/// `commit.before-sync`, `commit.after-sync` (durable, not yet visible), `commit.visible` (not yet
/// acknowledged), `commit.acknowledged`; of upkeep: `flush.before-run`, `flush.after-run`,
/// `manifest.before-rename`, `manifest.after-rename`, `drop.before-unlink`,
/// `collect.before-recycle`, `collect.after-recycle`.
#[derive(Debug, Clone, Default)]
pub struct Failpoints {
    trap: Option<Arc<Trap>>,
    drive: u8,
}

/// A fail point that a file arms.
#[derive(Debug)]
struct Trap {
    file: PathBuf,
    /// What the file said when it was first seen; `None` if that is no plan.
    plan: OnceLock<Option<Plan>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    place: String,
    pass: u64,
    drives: u8,
}

/// What each drive did, by its place in the set.
#[derive(Debug, Default)]
struct State {
    passes: BTreeMap<u8, u64>,
    ended: BTreeSet<u8>,
}

impl Failpoints {
    /// As the environment says. One value is to be shared by all drives of a process.
    pub fn from_env() -> Self {
        let trap = |file: std::ffi::OsString| {
            Arc::new(Trap {
                file: file.into(),
                plan: OnceLock::new(),
                state: Mutex::default(),
                changed: Condvar::new(),
            })
        };
        Self {
            trap: std::env::var_os(VARIABLE).map(trap),
            drive: 0,
        }
    }

    /// Counts passes, and stops nobody.
    #[cfg(test)]
    pub(crate) fn counting(file: PathBuf, place: &str) -> Self {
        std::fs::write(&file, format!("{place}:{}:0", u64::MAX)).unwrap();
        let trap = Trap {
            file,
            plan: OnceLock::new(),
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        Self {
            trap: Some(Arc::new(trap)),
            drive: 0,
        }
    }

    /// How often the drive passed the place.
    #[cfg(test)]
    pub(crate) fn passes(&self) -> u64 {
        let trap = self.trap.as_ref().unwrap();
        trap.state.lock().passes.get(&0).copied().unwrap_or(0)
    }

    /// The same, as the drive at this place of the set passes them.
    pub(crate) fn of(&self, drive: u8) -> Self {
        Self {
            trap: self.trap.clone(),
            drive,
        }
    }

    /// Passes a place.
    #[inline]
    pub(crate) fn hit(&self, place: &str) {
        if let Some(trap) = &self.trap {
            trap.pass(self.drive, place);
        }
    }
}

impl Trap {
    #[cold]
    fn pass(&self, drive: u8, place: &str) {
        if !self.file.exists() {
            return;
        }
        let read = || Plan::parse(&std::fs::read_to_string(&self.file).unwrap_or_default());
        let Some(plan) = self.plan.get_or_init(read) else {
            return;
        };
        let mut state = self.state.lock();
        if plan.stops(&mut state, drive, place) {
            self.wait(plan, &mut state);
            std::process::abort();
        }
        self.changed.notify_all();
    }

    /// Waits until the drives that go on have come to their end. One that has nothing more to do
    /// shows it by silence: fewer drives than all may be asked for something.
    fn wait(&self, plan: &Plan, state: &mut MutexGuard<'_, State>) {
        while !plan.is_due(state) {
            if self.changed.wait_for(state, IDLE).timed_out() {
                let (place, end) = (&plan.place, plan.end());
                let ended = &state.ended;
                tracing::warn!(?ended, place, end, "fail point: no drive has more to do");
                return;
            }
        }
    }
}

impl Plan {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        Some(Self {
            place: parts.next()?.to_owned(),
            pass: parts.next()?.parse().ok()?,
            drives: parts.next()?.parse().ok()?,
        })
    }

    /// Notes that a drive passes a place, and says whether it must stay there.
    fn stops(&self, state: &mut State, drive: u8, place: &str) -> bool {
        let passes = state.passes.entry(drive).or_default();
        *passes += u64::from(place == self.place);
        if drive >= self.drives {
            return place == self.place && *passes == self.pass;
        }
        if place == self.end() && *passes >= self.pass {
            state.ended.insert(drive);
        }
        false
    }

    fn is_due(&self, state: &State) -> bool {
        state.ended.len() >= usize::from(self.drives)
    }

    /// Where what begins at the place comes to its end.
    fn end(&self) -> &str {
        match self.place.split('.').next() {
            Some("stage") => "stage.after-sync",
            Some("publish" | "commit") => "commit.acknowledged",
            _ => &self.place,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_drives_go_on_to_their_end_and_the_others_wait_for_them() {
        let plan = Plan::parse("commit.before-sync:2:1").unwrap();
        let mut state = State::default();
        for drive in [0, 1] {
            assert!(!plan.stops(&mut state, drive, "commit.before-sync"));
            assert!(!plan.stops(&mut state, drive, "commit.acknowledged"));
        }
        assert!(!plan.is_due(&state), "that was the first pass");
        assert!(plan.stops(&mut state, 1, "commit.before-sync"));
        assert!(!plan.stops(&mut state, 0, "commit.before-sync"));
        assert!(!plan.is_due(&state));
        assert!(!plan.stops(&mut state, 0, "commit.acknowledged"));
        assert!(plan.is_due(&state));
    }

    #[test]
    fn with_no_drive_to_go_on_the_first_one_ends_it() {
        let plan = Plan::parse("stage.after-sync:1:0").unwrap();
        let mut state = State::default();
        assert!(!plan.stops(&mut state, 2, "stage.before-sync"));
        assert!(plan.stops(&mut state, 2, "stage.after-sync"));
        assert!(plan.is_due(&state));
    }

    #[test]
    fn what_is_no_plan_is_inert() {
        for text in ["", "commit.visible", "commit.visible:1", "a:b:c", "a:1:2:3"] {
            assert!(Plan::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_file_arms_it_when_it_appears() {
        let scratch = crate::files::Scratch::new();
        let trap = Trap {
            file: scratch.path().join("armed"),
            plan: OnceLock::new(),
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        trap.pass(0, "commit.visible");
        assert!(trap.plan.get().is_none(), "nothing was there yet");
        std::fs::write(&trap.file, "commit.visible:2:0").unwrap();
        trap.pass(0, "commit.visible");
        assert_eq!(trap.state.lock().passes.get(&0), Some(&1));
        assert_eq!(trap.plan.get(), Some(&Plan::parse("commit.visible:2:0")));
    }

    #[test]
    fn drives_that_have_nothing_more_to_do_are_not_waited_for() {
        let trap = Trap {
            file: PathBuf::new(),
            plan: OnceLock::new(),
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        let plan = Plan::parse("commit.before-sync:1:2").unwrap();
        let mut state = trap.state.lock();
        assert!(!plan.stops(&mut state, 1, "commit.acknowledged"));
        assert!(plan.stops(&mut state, 2, "commit.before-sync"));
        let begun = std::time::Instant::now();
        trap.wait(&plan, &mut state);
        assert!(begun.elapsed() >= IDLE && !plan.is_due(&state));
    }
}

//! Places where a test may kill the process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// The environment variable that arms one: `place:pass:drives:file`.
const VARIABLE: &str = "DRIVE_FAILPOINT";

/// Places in the code at which a crash test may stop the process dead. Always compiled in, inert
/// unless the environment variable `DRIVE_FAILPOINT` is `place:pass:drives:file` and that file
/// exists. From then on each drive counts how often it passes the place. The `pass`th time, the
/// first `drives` drives of the set go on, and every other one waits there until those have come
/// to the end of what they are at; then the process aborts. So a crash test can name every state
/// between "no drive has it" and "all have it".
///
/// The places, in the order of one write: `stage.before-sync`, `stage.after-sync`;
/// `publish.before-sync`, `publish.after-sync` (the names of the staged files); `commit.before-write`,
/// `commit.before-sync`, `commit.after-sync` (durable, not yet visible), `commit.visible` (not yet
/// acknowledged), `commit.acknowledged`; of upkeep: `flush.before-run`, `flush.after-run`,
/// `manifest.before-rename`, `manifest.after-rename`, `drop.before-unlink`,
/// `collect.before-recycle`, `collect.after-recycle`.
#[derive(Debug, Clone, Default)]
pub struct Failpoints {
    plan: Option<Arc<Plan>>,
    drive: u8,
}

#[derive(Debug)]
struct Plan {
    place: String,
    pass: u64,
    drives: u8,
    file: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
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
        let text = std::env::var(VARIABLE).unwrap_or_default();
        Self {
            plan: Plan::parse(&text).map(Arc::new),
            drive: 0,
        }
    }

    /// The same, as the drive at this place of the set passes them.
    pub(crate) fn of(&self, drive: u8) -> Self {
        Self {
            plan: self.plan.clone(),
            drive,
        }
    }

    /// Passes a place.
    #[inline]
    pub(crate) fn hit(&self, place: &str) {
        if let Some(plan) = &self.plan {
            plan.pass(self.drive, place);
        }
    }
}

impl Plan {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ':');
        Some(Self {
            place: parts.next()?.to_owned(),
            pass: parts.next()?.parse().ok()?,
            drives: parts.next()?.parse().ok()?,
            file: parts.next()?.into(),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    #[cold]
    fn pass(&self, drive: u8, place: &str) {
        if !self.file.exists() {
            return;
        }
        let mut state = self.state.lock();
        if self.stops(&mut state, drive, place) {
            while !self.is_due(&state) {
                self.changed.wait(&mut state);
            }
            std::process::abort();
        }
        self.changed.notify_all();
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
        let plan = Plan::parse("commit.before-sync:2:1:/a:b").unwrap();
        assert_eq!(plan.file, PathBuf::from("/a:b"));
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
        let plan = Plan::parse("stage.after-sync:1:0:/a").unwrap();
        let mut state = State::default();
        assert!(!plan.stops(&mut state, 2, "stage.before-sync"));
        assert!(plan.stops(&mut state, 2, "stage.after-sync"));
        assert!(plan.is_due(&state));
    }

    #[test]
    fn what_is_no_plan_is_inert() {
        for text in ["", "commit.visible", "commit.visible:1:2", "a:b:c:/d"] {
            assert!(Plan::parse(text).is_none(), "{text}");
        }
    }
}

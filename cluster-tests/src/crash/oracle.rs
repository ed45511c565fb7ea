//! What every key may hold, from what was asked and what was answered.

use std::collections::BTreeMap;

use md5::{Digest, Md5};

use super::uploads::Uploads;
use crate::load::body::{Bodies, Check, splitmix};

/// How many bodies that a key can no longer hold are remembered, to name them in a report.
const REMEMBERED: usize = 64;

/// A body that was sent: its bytes follow from the run's seed and `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Number of the operation that made it, unique in a run. A copy keeps it.
    pub id: u64,
    /// Bytes.
    pub size: u64,
    /// Bytes of each part but the last; 0 if it was not sent in parts.
    pub part: u64,
}

impl Sent {
    /// What a PUT with this number sends.
    pub fn whole(id: u64, size: u64) -> Self {
        Self { id, size, part: 0 }
    }
}

/// An operation that may have decided what its key holds.
#[derive(Debug)]
struct Step {
    /// Its number, and when it began.
    id: u64,
    /// When it was acknowledged, or known to be cut off by a crash; `None`: not yet.
    ended: Option<u64>,
    /// Cut off by a crash and not seen since: it may still take effect, once.
    open: bool,
    /// What the key holds after it; `None`: nothing.
    leaves: Option<Sent>,
}

/// One key: the steps that may have been the last, and older bodies.
#[derive(Debug)]
struct Key {
    steps: Vec<Step>,
    past: Vec<Sent>,
    touched: bool,
}

impl Key {
    fn forget(&mut self, keep: impl Fn(&Step) -> bool) {
        let (kept, gone): (Vec<_>, Vec<_>) = self.steps.drain(..).partition(keep);
        self.steps = kept;
        self.past.extend(gone.iter().filter_map(|step| step.leaves));
        let surplus = self.past.len().saturating_sub(REMEMBERED);
        self.past.drain(..surplus);
    }
}

/// All keys of a run, with a logical clock that orders beginnings and acknowledgements.
#[derive(Debug)]
pub struct Oracle {
    seed: u64,
    bodies: Bodies,
    clock: u64,
    keys: BTreeMap<String, Key>,
    pub(super) uploads: Uploads,
}

impl Oracle {
    /// Knows no keys.
    pub fn new(seed: u64, bodies: Bodies) -> Self {
        Self {
            seed,
            bodies,
            clock: 0,
            keys: BTreeMap::new(),
            uploads: Uploads::default(),
        }
    }

    /// A number for a body that is sent in parts.
    pub fn new_body(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// The MD5 of a piece of a body that was sent.
    pub fn md5(&self, id: u64, from: u64, size: u64) -> [u8; 16] {
        let (seed, mut md5, mut at) = (self.body_seed(id), Md5::new(), 0);
        while at < size {
            let piece = self.bodies.piece(seed, from + at, size - at);
            md5.update(&piece);
            at += piece.len() as u64;
        }
        md5.finalize().into()
    }

    /// The seed in [`Bodies`] of the body that operation `id` sends.
    pub fn body_seed(&self, id: u64) -> u64 {
        let mut state = self.seed ^ id.rotate_left(32);
        splitmix(&mut state) >> 32
    }

    /// Notes that an operation is about to be sent: a PUT of `size` bytes, or a DELETE.
    /// Returns its number.
    pub fn begin(&mut self, key: &str, size: Option<u64>) -> u64 {
        let id = self.clock + 1;
        self.begin_as(key, size.map(|size| Sent::whole(id, size)))
    }

    /// The same for an operation that leaves a body which was sent before, or nothing.
    pub fn begin_as(&mut self, key: &str, leaves: Option<Sent>) -> u64 {
        self.clock += 1;
        let id = self.clock;
        let empty = || Key {
            steps: vec![Step {
                id: 0,
                ended: Some(0),
                open: false,
                leaves: None,
            }],
            past: Vec::new(),
            touched: true,
        };
        let state = self.keys.entry(key.to_owned()).or_insert_with(empty);
        state.touched = true;
        state.steps.push(Step {
            id,
            ended: None,
            open: false,
            leaves,
        });
        id
    }

    /// Notes that the operation was acknowledged: every step that ended before it began is
    /// superseded.
    pub fn acknowledge(&mut self, key: &str, id: u64) {
        self.clock += 1;
        let now = self.clock;
        let Some(state) = self.keys.get_mut(key) else {
            return;
        };
        for step in state.steps.iter_mut().filter(|step| step.id == id) {
            step.ended = Some(now);
        }
        state.forget(|step| step.ended.is_none_or(|ended| ended >= id));
    }

    /// Notes that the operation was not done and never will be.
    pub fn refuse(&mut self, key: &str, id: u64) {
        if let Some(state) = self.keys.get_mut(key) {
            state.touched = true;
            state.forget(|step| step.id != id);
        }
    }

    /// Whether nothing was begun on the key after this operation, which may have been done.
    pub fn is_newest(&self, key: &str, id: u64) -> bool {
        let steps = self.keys.get(key).map_or(&[][..], |state| &state.steps);
        steps.iter().map(|step| step.id).max() == Some(id)
    }

    /// What the key holds, if that is something and there is no doubt.
    pub fn certain(&self, key: &str) -> Option<Sent> {
        match self.possible(key).as_slice() {
            [only] => *only,
            _ => None,
        }
    }

    /// Everything that the key may hold now.
    pub fn possible(&self, key: &str) -> Vec<Option<Sent>> {
        match self.keys.get(key) {
            Some(state) => state.steps.iter().map(|step| step.leaves).collect(),
            None => vec![None],
        }
    }

    /// Decides whether what was read may be what the key holds, and which body it is.
    ///
    /// # Errors
    /// What was read, what was possible instead, and where it came from if that is known.
    pub fn judge(&self, key: &str, read: Option<&[u8]>) -> Result<Option<Sent>, String> {
        let possible = self.possible(key);
        let fits = |left: &Option<Sent>| match (left, read) {
            (None, None) => true,
            (Some(sent), Some(bytes)) => self.is_body(*sent, bytes),
            _ => false,
        };
        if let Some(found) = possible.iter().copied().find(fits) {
            return Ok(found);
        }
        let Some(bytes) = read else {
            return Err(format!("{key}: not there; possible: {possible:?}"));
        };
        let past = self.keys.get(key).map_or(&[][..], |state| &state.past);
        let origin = match past.iter().find(|sent| self.is_body(**sent, bytes)) {
            Some(sent) => format!("superseded operation {}", sent.id),
            None => "no operation on this key".to_owned(),
        };
        let length = bytes.len();
        Err(format!(
            "{key}: {length} bytes of {origin}; possible: {possible:?}"
        ))
    }

    fn is_body(&self, sent: Sent, bytes: &[u8]) -> bool {
        sent.size == bytes.len() as u64
            && self
                .bodies
                .matches(self.body_seed(sent.id), 0, bytes, Check::Full)
    }

    /// Notes what a restarted server was seen to hold. Of what was acknowledged nothing else may
    /// come back. What the crash cut off may yet take effect, since a reader need not meet the
    /// drives that have it; so old may become new, but once seen it stays, and whatever is
    /// acknowledged from now on ends it.
    pub fn settle(&mut self, key: &str, seen: Option<Sent>) {
        self.clock += 1;
        let now = self.clock;
        let Some(state) = self.keys.get_mut(key) else {
            return;
        };
        state.touched = false;
        // The newest step that leaves what was seen.
        let found = state.steps.iter().rposition(|step| step.leaves == seen);
        let found = found.and_then(|at| state.steps.get(at)).map(|step| step.id);
        for step in &mut state.steps {
            step.open = (step.open || step.ended.is_none()) && Some(step.id) != found;
            step.ended = Some(now);
        }
        state.forget(|step| step.open || Some(step.id) == found);
    }

    /// After a violation, so that it is reported once: until the next acknowledged operation
    /// the key may hold whatever was ever sent to it, or nothing.
    pub fn forgive(&mut self, key: &str) {
        self.clock += 1;
        let now = self.clock;
        if let Some(state) = self.keys.get_mut(key) {
            let sent = state.past.drain(..).map(Some).chain([None]);
            state.steps.extend(sent.map(|leaves| Step {
                id: leaves.map_or(0, |sent| sent.id),
                ended: Some(now),
                open: true,
                leaves,
            }));
        }
    }

    /// The keys that were operated on since they were last settled.
    pub fn touched(&self) -> Vec<String> {
        let keys = self.keys.iter().filter(|(_, state)| state.touched);
        keys.map(|(key, _)| key.clone()).collect()
    }

    /// All keys ever written, in order.
    pub fn keys(&self) -> Vec<String> {
        self.keys.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Oracle, Sent};
    use crate::load::body::Bodies;

    fn body(oracle: &Oracle, sent: Sent) -> Vec<u8> {
        let mut out = Vec::new();
        while (out.len() as u64) < sent.size {
            let at = out.len() as u64;
            let piece = oracle
                .bodies
                .piece(oracle.body_seed(sent.id), at, sent.size - at);
            out.extend_from_slice(&piece);
        }
        out
    }

    #[test]
    fn a_lost_acknowledged_write_is_seen() {
        let mut oracle = Oracle::new(1, Bodies::new());
        let old = oracle.begin("k", Some(1000));
        oracle.acknowledge("k", old);
        let new = oracle.begin("k", Some(1000));
        oracle.acknowledge("k", new);
        let stale = body(&oracle, Sent::whole(old, 1000));
        assert!(oracle.judge("k", None).is_err());
        let said = oracle.judge("k", Some(&stale)).unwrap_err();
        assert!(said.contains("superseded operation"), "{said}");
        let sent = Sent::whole(new, 1000);
        let mut right = body(&oracle, sent);
        assert_eq!(oracle.judge("k", Some(&right)), Ok(Some(sent)));
        right[999] ^= 1;
        assert!(oracle.judge("k", Some(&right)).is_err());
    }

    #[test]
    fn a_deleted_object_may_not_come_back() {
        let mut oracle = Oracle::new(1, Bodies::new());
        let id = oracle.begin("k", Some(10));
        oracle.acknowledge("k", id);
        let gone = oracle.begin("k", None);
        oracle.acknowledge("k", gone);
        let bytes = body(&oracle, Sent::whole(id, 10));
        assert!(oracle.judge("k", Some(&bytes)).is_err());
        assert_eq!(oracle.judge("k", None), Ok(None));
    }

    #[test]
    fn an_unanswered_write_is_old_or_new_until_it_was_seen() {
        let mut oracle = Oracle::new(1, Bodies::new());
        let id = oracle.begin("k", Some(10));
        let bytes = body(&oracle, Sent::whole(id, 10));
        assert!(oracle.judge("k", None).is_ok());
        assert!(oracle.judge("k", Some(&bytes)).is_ok());
        oracle.settle("k", None);
        assert!(oracle.touched().is_empty());
        // Not every reader met it; now one does, and it stays.
        assert!(oracle.judge("k", Some(&bytes)).is_ok());
        oracle.settle("k", Some(Sent::whole(id, 10)));
        assert!(oracle.judge("k", None).is_err());
        assert!(oracle.judge("k", Some(&bytes)).is_ok());
    }

    #[test]
    fn a_write_that_a_crash_cut_off_ends_with_the_next_acknowledged_one() {
        let mut oracle = Oracle::new(1, Bodies::new());
        let late = oracle.begin("k", Some(10));
        oracle.settle("k", None);
        let next = oracle.begin("k", Some(20));
        oracle.acknowledge("k", next);
        assert_eq!(oracle.possible("k"), [Some(Sent::whole(next, 20))]);
        let bytes = body(&oracle, Sent::whole(late, 10));
        let said = oracle.judge("k", Some(&bytes)).unwrap_err();
        assert!(said.contains("superseded operation"), "{said}");
    }

    #[test]
    fn what_was_acknowledged_does_not_come_back_after_another_was_seen() {
        let mut oracle = Oracle::new(1, Bodies::new());
        let (one, two) = (oracle.begin("k", Some(10)), oracle.begin("k", Some(20)));
        oracle.acknowledge("k", one);
        oracle.acknowledge("k", two);
        oracle.settle("k", Some(Sent::whole(one, 10)));
        assert_eq!(oracle.possible("k"), [Some(Sent::whole(one, 10))]);
    }

    #[test]
    fn a_forgiven_key_may_hold_what_it_held_until_it_is_written_again() {
        let mut oracle = Oracle::new(1, Bodies::new());
        let old = oracle.begin("k", Some(10));
        oracle.acknowledge("k", old);
        let new = oracle.begin("k", Some(20));
        oracle.acknowledge("k", new);
        oracle.forgive("k");
        let bytes = body(&oracle, Sent::whole(old, 10));
        assert!(oracle.judge("k", Some(&bytes)).is_ok());
        let last = oracle.begin("k", Some(30));
        oracle.acknowledge("k", last);
        assert!(oracle.judge("k", Some(&bytes)).is_err());
    }

    #[test]
    fn a_copy_holds_the_bytes_of_its_source_and_a_refused_step_leaves_nothing() {
        let mut oracle = Oracle::new(1, Bodies::new());
        let put = oracle.begin("a", Some(10));
        assert_eq!(oracle.certain("a"), None, "not acknowledged");
        oracle.acknowledge("a", put);
        let source = oracle.certain("a").unwrap();
        let copy = oracle.begin_as("b", Some(source));
        oracle.acknowledge("b", copy);
        let bytes = body(&oracle, source);
        assert_eq!(oracle.judge("b", Some(&bytes)), Ok(Some(source)));
        assert!(oracle.judge("b", None).is_err());
        let other = oracle.begin("b", Some(10));
        let late = body(&oracle, Sent::whole(other, 10));
        assert!(oracle.judge("b", Some(&late)).is_ok());
        oracle.refuse("b", other);
        assert!(oracle.judge("b", Some(&late)).is_err());
    }

    #[test]
    fn of_two_concurrent_writes_either_may_win_and_a_later_one_beats_both() {
        let mut oracle = Oracle::new(1, Bodies::new());
        let one = oracle.begin("k", Some(10));
        let two = oracle.begin("k", Some(20));
        oracle.acknowledge("k", two);
        oracle.acknowledge("k", one);
        assert_eq!(oracle.possible("k").len(), 2);
        let three = oracle.begin("k", None);
        oracle.acknowledge("k", three);
        assert_eq!(oracle.possible("k"), [None]);
    }
}

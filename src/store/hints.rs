//! What heal should look at first: registers of which some drive is known to lack something.
//!
//! The list may overflow or be lost with the process; the recount finds everything again, and
//! the complete marks tell it where to look after a crash.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use drive::Register;
use parking_lot::Mutex;
use tokio::sync::Notify;
use types::Slot;

use crate::heal::Depth;

/// More than that is better found by a recount.
const HINTS_MAX: usize = 10_000;

#[derive(Default)]
struct Inner {
    queue: VecDeque<(Arc<Register>, Slot)>,
    /// What is in the queue, and how closely to look.
    known: HashMap<Arc<Register>, Depth>,
    /// How many are seen to now.
    taken: usize,
    overflowed: bool,
}

/// A register that is seen to: it counts among the hints as long as this lives.
pub(crate) struct Hint<'h> {
    hints: &'h Hints,
    pub(crate) register: Arc<Register>,
    pub(crate) slot: Slot,
}

impl Drop for Hint<'_> {
    fn drop(&mut self) {
        self.hints.inner.lock().taken -= 1;
    }
}

/// A bounded, deduplicated queue.
#[derive(Default)]
pub(crate) struct Hints {
    inner: Mutex<Inner>,
    news: Notify,
}

impl Hints {
    /// Notes a register, unless it is noted already.
    pub(crate) fn note(&self, register: &Arc<Register>, slot: Slot, depth: Depth) {
        let mut inner = self.inner.lock();
        let room = inner.queue.len() < HINTS_MAX;
        if let Some(known) = inner.known.get_mut(register) {
            *known = depth.max(*known);
        } else if room {
            inner.known.insert(Arc::clone(register), depth);
            inner.queue.push_back((Arc::clone(register), slot));
        } else {
            inner.overflowed = true;
        }
        drop(inner);
        self.news.notify_one();
    }

    /// The next register, and how closely to look at it.
    pub(crate) fn take(&self) -> Option<(Hint<'_>, Depth)> {
        let mut inner = self.inner.lock();
        let (register, slot) = inner.queue.pop_front()?;
        let depth = inner.known.remove(&register).unwrap_or(Depth::Shards);
        inner.taken += 1;
        let hint = Hint {
            hints: self,
            register,
            slot,
        };
        Some((hint, depth))
    }

    /// A hint was given up: only a recount finds what it was about.
    pub(crate) fn give_up(&self) {
        self.inner.lock().overflowed = true;
    }

    /// Whether hints were lost since this was last asked: a recount is due.
    pub(crate) fn take_overflow(&self) -> bool {
        std::mem::take(&mut self.inner.lock().overflowed)
    }

    /// How many wait, or are seen to.
    pub(crate) fn len(&self) -> usize {
        let inner = self.inner.lock();
        inner.queue.len() + inner.taken
    }

    /// Whether something is noted that was neither healed nor recounted.
    pub(crate) fn is_news(&self) -> bool {
        let inner = self.inner.lock();
        inner.overflowed || inner.taken > 0 || !inner.queue.is_empty()
    }

    /// Whether any waits.
    pub(crate) fn any_waits(&self) -> bool {
        !self.inner.lock().queue.is_empty()
    }

    /// Waits until something is noted.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{BucketId, ObjectKey};

    #[test]
    fn hints_are_kept_once_and_an_overflow_is_told() {
        let hints = Hints::default();
        let register = |number: usize| {
            let key = ObjectKey::parse(&number.to_string()).unwrap();
            Arc::new(Register::object(BucketId::from_u64(1), &key))
        };
        hints.note(&register(0), Slot::new(0), Depth::Rows);
        hints.note(&register(0), Slot::new(0), Depth::Shards);
        assert_eq!(hints.len(), 1);
        assert!(!hints.take_overflow());
        for number in 1..=HINTS_MAX {
            hints.note(&register(number), Slot::new(0), Depth::Rows);
        }
        assert_eq!(hints.len(), HINTS_MAX);
        assert!(hints.take_overflow() && !hints.take_overflow());
        let (first, depth) = hints.take().unwrap();
        assert_eq!(
            (&first.register, depth),
            (&register(0), Depth::Shards),
            "the deeper one"
        );
        assert_eq!(hints.len(), HINTS_MAX, "one is seen to");
        drop(first);
        hints.note(&register(0), Slot::new(0), Depth::Rows);
        assert_eq!(hints.len(), HINTS_MAX);
    }
}

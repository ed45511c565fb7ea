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
    overflowed: bool,
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
    pub(crate) fn take(&self) -> Option<(Arc<Register>, Slot, Depth)> {
        let mut inner = self.inner.lock();
        let (register, slot) = inner.queue.pop_front()?;
        let depth = inner.known.remove(&register).unwrap_or(Depth::Shards);
        Some((register, slot, depth))
    }

    /// A hint was given up: only a recount finds what it was about.
    pub(crate) fn give_up(&self) {
        self.inner.lock().overflowed = true;
    }

    /// Whether hints were lost since this was last asked: a recount is due.
    pub(crate) fn take_overflow(&self) -> bool {
        std::mem::take(&mut self.inner.lock().overflowed)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().queue.len()
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
        let (first, _, depth) = hints.take().unwrap();
        assert_eq!(
            (first, depth),
            (register(0), Depth::Shards),
            "the deeper one"
        );
        hints.note(&register(0), Slot::new(0), Depth::Rows);
        assert_eq!(hints.len(), HINTS_MAX);
    }
}

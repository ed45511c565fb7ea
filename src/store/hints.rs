//! What heal should look at first: registers of which some drive is known to lack something.
//!
//! The list may overflow or be lost with the process; the recount finds everything again, and
//! the complete marks tell it where to look after a crash.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use drive::Register;
use parking_lot::Mutex;
use tokio::sync::Notify;
use types::Slot;

/// More than that is better found by a recount.
const HINTS_MAX: usize = 10_000;

#[derive(Default)]
struct Inner {
    queue: VecDeque<(Arc<Register>, Slot)>,
    known: HashSet<Arc<Register>>,
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
    pub(crate) fn note(&self, register: &Arc<Register>, slot: Slot) {
        let mut inner = self.inner.lock();
        if inner.queue.len() >= HINTS_MAX {
            inner.overflowed = true;
        } else if inner.known.insert(Arc::clone(register)) {
            inner.queue.push_back((Arc::clone(register), slot));
        }
        drop(inner);
        self.news.notify_one();
    }

    /// The next register.
    pub(crate) fn take(&self) -> Option<(Arc<Register>, Slot)> {
        let mut inner = self.inner.lock();
        let next = inner.queue.pop_front()?;
        inner.known.remove(&next.0);
        Some(next)
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
        hints.note(&register(0), Slot::new(0));
        hints.note(&register(0), Slot::new(0));
        assert_eq!(hints.len(), 1);
        assert!(!hints.take_overflow());
        for number in 1..=HINTS_MAX {
            hints.note(&register(number), Slot::new(0));
        }
        assert_eq!(hints.len(), HINTS_MAX);
        assert!(hints.take_overflow() && !hints.take_overflow());
        assert_eq!(hints.take().unwrap().0, register(0));
        hints.note(&register(0), Slot::new(0));
        assert_eq!(hints.len(), HINTS_MAX);
    }
}

//! Answers of several drives to one request, whose task is woken once for all that it waits for.
//!
//! To wake a task costs about as much as to write a page. One that waits for three drives of four
//! has nothing to do when the first answers.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use drive::{Error, Reply};
use futures_util::task::AtomicWaker;
use tokio::task::coop::unconstrained;

/// What drives were asked and have not answered yet, by place.
pub(crate) struct Answers<T> {
    awaited: Vec<(usize, Reply<T>)>,
    bell: Arc<Bell>,
}

/// An answer and the place of its drive.
pub(crate) type Answer<T> = (usize, Result<T, Error>);

/// Rings for the task once enough of its replies have stirred.
#[derive(Default)]
struct Bell {
    stirred: AtomicUsize,
    enough: AtomicUsize,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In one order with the stores of `poll`: one of both sees the other's.
        let stirred = self.stirred.fetch_add(1, Ordering::SeqCst) + 1;
        if stirred >= self.enough.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl<T> Answers<T> {
    pub(crate) fn new() -> Self {
        Self {
            awaited: Vec::new(),
            bell: Arc::default(),
        }
    }

    pub(crate) fn push(&mut self, place: usize, reply: Reply<T>) {
        self.awaited.push((place, reply));
    }

    /// Whether nothing is awaited.
    pub(crate) fn is_empty(&self) -> bool {
        self.awaited.is_empty()
    }

    /// What has been answered by the time that `enough` of the replies have stirred, or all of
    /// them: at least one answer, none if none is awaited. Who needs more calls again.
    ///
    /// A reply that must be polled several times stirs as often. It may wait for others meanwhile,
    /// but never for good: without `enough` that stir there are not as many answers either.
    pub(crate) async fn next(&mut self, enough: usize) -> Vec<Answer<T>> {
        let waker = Waker::from(Arc::clone(&self.bell));
        std::future::poll_fn(|context| self.poll(enough, &waker, context)).await
    }

    fn poll(
        &mut self,
        enough: usize,
        waker: &Waker,
        context: &Context<'_>,
    ) -> Poll<Vec<Answer<T>>> {
        self.bell.task.register(context.waker());
        loop {
            self.bell.enough.store(usize::MAX, Ordering::SeqCst);
            self.bell.stirred.store(0, Ordering::SeqCst);
            let mut polled = Context::from_waker(waker);
            let mut answers = Vec::new();
            self.awaited.retain_mut(|(place, reply)| {
                // A task that did much in one turn is told of no answer, and woken for all those it
                // was not told of together: that would be one stir.
                let mut reply = unconstrained(reply.as_mut());
                match Pin::new(&mut reply).poll(&mut polled) {
                    Poll::Ready(answer) => {
                        answers.push((*place, answer));
                        false
                    }
                    Poll::Pending => true,
                }
            });
            if !answers.is_empty() || self.awaited.is_empty() {
                return Poll::Ready(answers);
            }
            let enough = enough.clamp(1, self.awaited.len());
            self.bell.enough.store(enough, Ordering::SeqCst);
            if self.bell.stirred.load(Ordering::SeqCst) < enough {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use tokio::sync::oneshot;

    use super::*;

    /// Whether a task was woken since it was polled.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    impl Woken {
        fn poll(self: &Arc<Self>, answers: &mut Answers<u8>, enough: usize) -> Option<Vec<usize>> {
            self.0.store(false, Ordering::SeqCst);
            let task = Waker::from(Arc::clone(self));
            let next = std::pin::pin!(answers.next(enough));
            match next.poll(&mut Context::from_waker(&task)) {
                Poll::Ready(found) => Some(found.iter().map(|(place, _)| *place).collect()),
                Poll::Pending => None,
            }
        }

        fn is_woken(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }

    fn asked(count: usize) -> (Answers<u8>, Vec<Option<oneshot::Sender<u8>>>) {
        let mut answers = Answers::new();
        let mut drives = Vec::new();
        for place in 0..count {
            let (answer, answered) = oneshot::channel();
            let reply = async move { answered.await.map_err(|_| Error::Timeout) };
            answers.push(place, Box::pin(reply));
            drives.push(Some(answer));
        }
        (answers, drives)
    }

    #[test]
    fn a_task_is_woken_once_for_as_many_as_it_needs() {
        let (mut answers, mut drives) = asked(4);
        let task = Arc::new(Woken::default());
        assert_eq!(task.poll(&mut answers, 3), None);
        for place in [2, 0] {
            drives[place].take().unwrap().send(1).unwrap();
            assert!(!task.is_woken(), "{place} is not enough");
        }
        // A failure is an answer, too.
        drives[3] = None;
        assert!(task.is_woken());
        assert_eq!(task.poll(&mut answers, 3), Some(vec![0, 2, 3]));
        assert_eq!(task.poll(&mut answers, usize::MAX), None);
        drives[1].take().unwrap().send(1).unwrap();
        assert!(task.is_woken());
        assert_eq!(task.poll(&mut answers, 1), Some(vec![1]));
        assert!(answers.is_empty());
        assert_eq!(task.poll(&mut answers, 1), Some(vec![]));
    }

    #[test]
    fn what_came_before_the_task_looked_is_not_waited_for() {
        let (mut answers, mut drives) = asked(3);
        drives[1].take().unwrap().send(1).unwrap();
        let task = Arc::new(Woken::default());
        assert_eq!(task.poll(&mut answers, 2), Some(vec![1]));
    }

    /// Fails if a task that has used up its turn waits for answers that have come.
    #[tokio::test]
    async fn a_task_that_did_much_hears_all_the_same() {
        let (mut answers, drives) = asked(4);
        for drive in drives.into_iter().flatten() {
            drive.send(1).unwrap();
        }
        let found = std::future::poll_fn(|context| {
            while tokio::task::coop::has_budget_remaining() {
                let (sent, mut done) = oneshot::channel();
                sent.send(()).unwrap();
                assert!(Pin::new(&mut done).poll(context).is_ready());
            }
            std::pin::pin!(answers.next(3)).poll(context)
        });
        let found = tokio::time::timeout(std::time::Duration::from_secs(5), found).await;
        assert_eq!(found.map(|found| found.len()), Ok(4));
    }

    /// Fails if a stir between the poll of a reply and the bell's setting is lost.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_answer_is_missed_however_they_come() {
        for round in 0..2_000 {
            let (mut answers, drives) = asked(4);
            let drives = tokio::spawn(async move {
                for drive in drives {
                    if round % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    let _ = drive.map(|drive| drive.send(1));
                }
            });
            let mut found = 0;
            while found < 3 {
                found += answers.next(3 - found).await.len();
            }
            drives.await.unwrap();
        }
    }
}

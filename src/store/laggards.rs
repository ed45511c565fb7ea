//! Drives that keep requests waiting for which the others suffice, and how long these wait.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quorum::Places;
use tokio::time::{Instant, timeout};

/// So long a drive that was slow is done without where that can be. Then it is tried again.
const AVOIDED: Duration = Duration::from_secs(5);
/// An upload waits so long, all in all, for drives that it can do without, or as long as it took
/// without that: each shard that is not written now must be made again by heal.
const PATIENCE: Duration = Duration::from_millis(500);
/// And so long for those of which it is known that they are slow.
const PATIENCE_SLOW: Duration = Duration::from_millis(10);
/// A drive that was not slow for so long after it was avoided is told of anew. One that is slow whenever it is
/// tried stays told, unless it is hardly ever tried.
const FORGOTTEN: Duration = Duration::from_secs(60);

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The drives of a set that were slow lately.
pub(crate) struct Laggards {
    began: Instant,
    /// By place: until when it counts as slow, in milliseconds.
    until: Vec<AtomicU64>,
}

impl Laggards {
    /// None of so many.
    pub(crate) fn new(drives: usize) -> Self {
        Self {
            began: Instant::now(),
            until: (0..drives).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn now(&self) -> u64 {
        millis(self.began.elapsed())
    }

    /// Others that were asked later were done before these.
    pub(crate) fn note(&self, places: Places) {
        for place in places.iter() {
            if self.note_one(place) {
                tracing::warn!(place, "a drive is slow: the others go before it");
            }
        }
    }

    /// Notes that it is slow. Says whether nobody knew.
    fn note_one(&self, place: usize) -> bool {
        let Some(until) = self.until.get(place) else {
            return false;
        };
        let now = self.now();
        let before = until.swap(now.saturating_add(millis(AVOIDED)), Ordering::Relaxed);
        before == 0 || now >= before.saturating_add(millis(FORGOTTEN))
    }

    /// Whether it was slow lately.
    pub(crate) fn is_slow(&self, place: usize) -> bool {
        let until = self.until.get(place);
        let until = until.map_or(0, |until| until.load(Ordering::Relaxed));
        until > 0 && until > self.now()
    }

    /// Puts those that are slow behind the others.
    pub(crate) fn put_last(&self, places: &mut [usize]) {
        places.sort_by_key(|place| self.is_slow(*place));
    }
}

/// What an upload waits for.
pub(crate) struct Patience {
    began: Instant,
    /// For drives that it could do without.
    waited: Duration,
}

impl Patience {
    /// That of an upload which begins now.
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            waited: Duration::ZERO,
        }
    }

    /// Has all drives work, by place and side by side, and waits until `needed` have done it; for the others
    /// within bounds. Says which have.
    pub(crate) async fn wait(
        &mut self,
        laggards: &Laggards,
        works: impl Iterator<Item = impl Future<Output = bool>>,
        needed: usize,
    ) -> Places {
        let works = works.enumerate();
        let works = works.map(|(place, work)| async move { (place, work.await) });
        let mut running: FuturesUnordered<_> = works.collect();
        let (mut left, mut done) = (Places::all(running.len()), Places::NONE);
        while !left.is_empty() {
            let next = if done.len() < needed {
                running.next().await
            } else {
                let from = Instant::now();
                let slow = left.iter().all(|place| laggards.is_slow(place));
                let next = timeout(self.left(slow), running.next()).await;
                self.waited += from.elapsed();
                next.unwrap_or(None)
            };
            let Some((place, good)) = next else { break };
            left.remove(place);
            if good {
                done.insert(place);
            }
        }
        laggards.note(left);
        done
    }

    fn left(&self, slow: bool) -> Duration {
        if slow {
            return PATIENCE_SLOW;
        }
        let worked = self.began.elapsed().saturating_sub(self.waited);
        PATIENCE.max(worked).saturating_sub(self.waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    async fn write(patience: &mut Patience, laggards: &Laggards, ms: [u32; 4]) -> (Places, u128) {
        let from = Instant::now();
        let work = |ms: u32| async move {
            tokio::time::sleep(ms * MS).await;
            true
        };
        let done = patience.wait(laggards, ms.into_iter().map(work), 3).await;
        (done, from.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_waits_for_a_slow_drive_once_and_then_tries_it_now_and_then() {
        let laggards = Laggards::new(4);
        let three = Places::from_iter([0, 1, 3]);
        let mut patience = Patience::new();
        let done = write(&mut patience, &laggards, [5, 5, 400, 10]).await;
        assert_eq!(done, (Places::all(4), 400), "a stumble is nothing");
        let done = write(&mut patience, &laggards, [5, 5, 60_000, 10]).await;
        assert_eq!(done, (three, 120), "no more than is left of its patience");
        let mut patience = Patience::new();
        let done = write(&mut patience, &laggards, [5, 5, 60_000, 10]).await;
        assert_eq!(done, (three, 20), "that it is slow is known by now");
        tokio::time::sleep(AVOIDED).await;
        let mut patience = Patience::new();
        let done = write(&mut patience, &laggards, [5, 5, 60_000, 10]).await;
        assert_eq!(done, (three, 510), "it is tried again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_drive_that_is_slow_again_is_told_of_again() {
        let laggards = Laggards::new(2);
        assert!(laggards.note_one(1), "the first time");
        for _ in 0..20 {
            tokio::time::sleep(AVOIDED + 500 * MS).await;
            assert!(!laggards.note_one(1), "whenever it is tried");
        }
        tokio::time::sleep(AVOIDED + FORGOTTEN).await;
        assert!(
            laggards.note_one(1),
            "it was as fast as the others for a while"
        );
        assert!(laggards.note_one(0), "another one");
        assert!(!laggards.note_one(2), "there is none");
    }

    #[tokio::test(start_paused = true)]
    async fn a_drive_that_is_needed_is_waited_for() {
        let laggards = Laggards::new(4);
        laggards.note(Places::from_iter([2]));
        let works = [1, 5, 9_000, 2].map(|ms| async move {
            tokio::time::sleep(ms * MS).await;
            ms != 5
        });
        let done = Patience::new().wait(&laggards, works.into_iter(), 3).await;
        assert_eq!(done, Places::from_iter([0, 2, 3]));
        let mut places = [2, 0, 1, 3];
        laggards.put_last(&mut places);
        assert_eq!(places, [2, 0, 1, 3], "long ago");
        laggards.note(Places::from_iter([0]));
        laggards.put_last(&mut places);
        assert_eq!(places, [2, 1, 3, 0]);
    }
}

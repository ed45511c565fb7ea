//! Counting everything again: at the start, when a drive comes back, when hints were lost, and
//! until nothing is lacking.

use std::sync::Arc;
use std::time::Duration;

use store::{Census, Depth, Seat, Store};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::pace::{Pace, pause};
use crate::stats::UpkeepStats;

/// The first wait before what could not be healed is counted again.
const RETRY_MIN: Duration = Duration::from_secs(2);

/// Why and when to count again.
#[derive(Debug)]
struct Need {
    due: bool,
    not_before: Instant,
    retry: Duration,
    away: usize,
    /// What the last recount said.
    healed: bool,
}

impl Need {
    fn new(now: Instant, away: usize) -> Self {
        Self {
            due: true,
            not_before: now,
            retry: RETRY_MIN,
            away,
            healed: false,
        }
    }

    /// Notes how things are. Says whether to count now.
    fn look(&mut self, now: Instant, away: usize, lost_hints: bool) -> bool {
        if away != self.away {
            self.healed = false;
            self.due = true;
        }
        if away < self.away {
            (self.not_before, self.retry) = (now, RETRY_MIN);
        }
        self.away = away;
        self.due |= lost_hints;
        self.due && now >= self.not_before
    }

    /// Notes what a recount found.
    fn counted(&mut self, now: Instant, census: &Census, retry_max: Duration) {
        self.healed = census.is_healed();
        self.due = !self.healed;
        let only_to_confirm = census.complete && census.unhealed == 0;
        if self.healed || only_to_confirm {
            (self.not_before, self.retry) = (now, RETRY_MIN);
        } else {
            self.not_before = now + self.retry;
            self.retry = (self.retry * 2).min(retry_max);
        }
    }

    fn says_healed(&self, hints: usize) -> bool {
        self.healed && !self.due && self.away == 0 && hints == 0
    }
}

/// Recounts whenever there is a reason to, and tells after each which drives have everything.
pub(crate) async fn run(
    store: Arc<Store>,
    pace: Pace,
    stats: Arc<UpkeepStats>,
    sound: watch::Sender<Vec<Seat>>,
) {
    let mut need = Need::new(Instant::now(), store.away());
    loop {
        let lost_hints = store.take_recount_due();
        if need.look(Instant::now(), store.away(), lost_hints) {
            let (census, drives) = recount(&store, pace, &stats).await;
            sound.send_replace(drives);
            need.counted(Instant::now(), &census, pace.retry_max);
            if need.healed {
                tracing::info!(
                    registers = census.registers,
                    "healed: a recount found all whole"
                );
            } else {
                tracing::info!(?census, "recounted");
            }
        }
        stats.say_healed(need.says_healed(store.hints()));
        sleep(pace.look_every).await;
    }
}

async fn recount(store: &Store, pace: Pace, stats: &UpkeepStats) -> (Census, Vec<Seat>) {
    let mut walk = store.walk(Depth::Rows, None);
    let mut before = Census::default();
    loop {
        let began = Instant::now();
        let more = walk.step().await;
        let census = walk.census();
        stats.recount_step(&before, &census);
        before = census;
        if !more {
            stats.recount_ended(&census);
            return (census, walk.sound().to_vec());
        }
        pause(began, pace.recount_duty).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Census = Census {
        registers: 9,
        examined: 0,
        repaired: 0,
        collected: 0,
        discarded: 0,
        lost: 0,
        unhealed: 0,
        complete: true,
    };
    const MAX: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn after_a_repair_it_counts_again_before_it_says_healed() {
        let now = Instant::now();
        let mut need = Need::new(now, 0);
        assert!(need.look(now, 0, false), "at the start");
        let repaired = Census {
            repaired: 3,
            ..WHOLE
        };
        need.counted(now, &repaired, MAX);
        assert!(!need.says_healed(0) && need.look(now, 0, false));
        need.counted(now, &WHOLE, MAX);
        assert!(need.says_healed(0) && !need.look(now, 0, false));
        assert!(!need.says_healed(1), "a hint waits");
        assert!(need.look(now, 0, true), "hints were lost");
        assert!(!need.says_healed(0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_healed_is_tried_ever_more_rarely_until_a_drive_returns() {
        let now = Instant::now();
        let mut need = Need::new(now, 1);
        let short = Census {
            complete: false,
            ..WHOLE
        };
        let mut waits = Vec::new();
        let mut at = now;
        for _ in 0..8 {
            assert!(need.look(at, 1, false));
            need.counted(at, &short, MAX);
            assert!(!need.look(at, 1, false) && !need.says_healed(0));
            waits.push((need.not_before - at).as_secs());
            at = need.not_before;
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
        need.counted(at, &short, MAX);
        assert!(need.look(at, 0, false), "the drive is back");
        need.counted(at, &WHOLE, MAX);
        assert!(need.says_healed(0));
        need.look(at, 1, false);
        assert!(!need.says_healed(0), "one went away");
    }
}

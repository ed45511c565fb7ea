//! Reading every shard again, slowly, for ever.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use store::{Census, Depth, Store};
use tokio::time::{Instant, sleep};

use crate::pace::{Pace, pause};
use crate::stats::UpkeepStats;

/// Under which name the drives keep how far the scrub is.
const NAME: &str = "upkeep/scrub";
/// How often that is written.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// Between two scrubs at least.
const REST_MIN: Duration = Duration::from_secs(1);

/// How far the scrub is: `seconds since 1970 of the last end (8, little endian) ‖ position`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Progress {
    ended: u64,
    /// Where to go on; empty between scrubs.
    position: Vec<u8>,
}

impl Progress {
    fn encode(&self) -> Vec<u8> {
        [self.ended.to_le_bytes().as_slice(), &self.position].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (ended, position) = bytes.split_first_chunk()?;
        Some(Self {
            ended: u64::from_le_bytes(*ended),
            position: position.to_vec(),
        })
    }
}

/// Scrubs, waits, and scrubs again. Goes on after a restart where it was.
pub(crate) async fn run(store: Arc<Store>, pace: Pace, stats: Arc<UpkeepStats>) {
    let kept = store.kept(NAME).await;
    let kept = kept.and_then(|kept| Progress::decode(&kept));
    // A new deployment has nothing to scrub for a while.
    let mut progress = kept.unwrap_or_else(|| Progress {
        ended: now(),
        position: Vec::new(),
    });
    store.keep(NAME, progress.encode()).await;
    loop {
        if progress.position.is_empty() {
            sleep(rest(progress.ended, now(), pace.scrub_every).max(REST_MIN)).await;
        }
        scrub(&store, pace, &stats, &mut progress).await;
        store.keep(NAME, progress.encode()).await;
    }
}

async fn scrub(store: &Store, pace: Pace, stats: &UpkeepStats, progress: &mut Progress) {
    let mut walk = store.walk(Depth::Shards, Some(&progress.position));
    let mut before = Census::default();
    let mut kept = Instant::now();
    loop {
        let began = Instant::now();
        let more = walk.step().await;
        let census = walk.census();
        stats.scrub_step(&before, &census);
        before = census;
        if !more {
            break;
        }
        if kept.elapsed() >= KEEP_EVERY {
            kept = Instant::now();
            progress.position = walk.position();
            store.keep(NAME, progress.encode()).await;
        }
        pause(began, pace.scrub_duty).await;
    }
    stats.scrub_ended(&before);
    tracing::info!(census = ?before, "scrubbed");
    *progress = Progress {
        ended: now(),
        position: Vec::new(),
    };
}

/// How long to wait. A clock that was set back does not put the scrub off for longer than that.
fn rest(ended: u64, now: u64, every: Duration) -> Duration {
    every.saturating_sub(Duration::from_secs(now.saturating_sub(ended)))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_back_and_anything_shorter_is_none() {
        for position in [vec![], vec![0, 1, 2, 255]] {
            let progress = Progress {
                ended: 1_800_000_000,
                position,
            };
            assert_eq!(Progress::decode(&progress.encode()), Some(progress));
        }
        assert_eq!(Progress::decode(&[1, 2, 3]), None);
    }

    #[test]
    fn a_restart_does_not_put_a_scrub_off() {
        let week = Duration::from_secs(604_800);
        assert_eq!(rest(1_000, 1_000, week), week);
        assert_eq!(rest(1_000, 605_000, week), Duration::from_secs(800));
        assert_eq!(rest(1_000, 700_000, week), Duration::ZERO);
        assert_eq!(rest(1_000, 5, week), week, "the clock was set back");
    }
}

//! How fast upkeep works.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How much of the time goes into upkeep, and when its rounds begin. Work slows down with the
/// drives: when clients keep them busy, each step takes longer, and so does the pause after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Parts in a hundred of the time that heal and recount work, 1 to 100.
    pub recount_duty: u32,
    /// Parts in a hundred of the time that the scrub works, 1 to 100.
    pub scrub_duty: u32,
    /// From the end of a scrub to the begin of the next.
    pub scrub_every: Duration,
    /// An upload that began longer ago is given up.
    pub uploads_age_max: Duration,
    /// How often it looks for such uploads.
    pub expire_every: Duration,
    /// How often it looks whether a drive came back or a recount is due.
    pub look_every: Duration,
    /// The longest wait before what could not be healed is counted again.
    pub retry_max: Duration,
}

impl Default for Pace {
    /// Half of the time for what is known or feared to be lacking, a twentieth for the scrub,
    /// which begins again a week after its end. A day for uploads.
    fn default() -> Self {
        Self {
            recount_duty: 50,
            scrub_duty: 5,
            scrub_every: Duration::from_secs(7 * 24 * 3600),
            uploads_age_max: Duration::from_secs(24 * 3600),
            expire_every: Duration::from_secs(6 * 3600),
            look_every: Duration::from_secs(1),
            retry_max: Duration::from_secs(600),
        }
    }
}

/// Pauses after some work, so that the work takes `duty` parts in a hundred of the time.
pub(crate) async fn pause(began: Instant, duty: u32) {
    let duty = duty.clamp(1, 100);
    let pause = began.elapsed() * (100 - duty) / duty;
    if pause.is_zero() {
        tokio::task::yield_now().await;
    } else {
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_as_long_as_the_duty_leaves() {
        for (duty, pause_ms) in [(50, 100), (10, 900), (100, 0), (0, 9_900), (200, 0)] {
            let began = Instant::now();
            sleep(Duration::from_millis(100)).await;
            let worked = Instant::now();
            pause(began, duty).await;
            assert_eq!(worked.elapsed(), Duration::from_millis(pause_ms), "{duty}");
        }
    }
}

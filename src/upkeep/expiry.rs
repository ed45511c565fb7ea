//! Giving up uploads that nobody ends.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use store::Store;
use tokio::time::sleep;
use types::Timestamp;

use crate::pace::Pace;

/// Looks now and then for uploads that are too old.
pub(crate) async fn run(store: Arc<Store>, pace: Pace) {
    loop {
        let now = now();
        match store
            .expire_uploads(begun_before(now, pace.uploads_age_max), now)
            .await
        {
            Ok(0) => {}
            Ok(ended) => tracing::info!(ended, "uploads that nobody ended were given up"),
            Err(error) => tracing::warn!(%error, "old uploads could not be given up"),
        }
        sleep(pace.expire_every).await;
    }
}

/// Uploads that began before then are too old.
fn begun_before(now: Timestamp, age_max: Duration) -> Timestamp {
    let age = u64::try_from(age_max.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(age))
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_default().as_millis();
    Timestamp::from_millis(u64::try_from(since).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_has_its_time() {
        let day = Duration::from_secs(24 * 3600);
        let at = Timestamp::from_millis;
        assert_eq!(begun_before(at(86_400_007), day), at(7));
        assert_eq!(begun_before(at(5), day), at(0), "a clock that starts anew");
    }
}

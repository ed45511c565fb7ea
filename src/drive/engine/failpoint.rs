//! Places where a test may kill the process.

use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable that arms one: `name:count`.
const VARIABLE: &str = "SARSEN_FAILPOINT";

/// Places in the code at which a crash test may stop the process dead. Always compiled in, inert
/// unless the environment variable `SARSEN_FAILPOINT` is `name:count`: the process then aborts
/// when that place is passed for the `count`th time, by any drive that shares this value.
///
/// The names, in the order of one commit: `stage.before-sync`, `stage.after-sync`,
/// `commit.before-write`, `commit.before-sync`, `commit.after-sync` (durable, not yet visible),
/// `commit.visible` (not yet acknowledged), `commit.acknowledged`; of upkeep:
/// `flush.before-run`, `flush.after-run`, `manifest.before-rename`, `manifest.after-rename`,
/// `drop.before-unlink`, `collect.before-recycle`, `collect.after-recycle`.
#[derive(Debug, Default)]
pub struct Failpoints {
    armed: Option<(String, AtomicU64)>,
}

impl Failpoints {
    /// As the environment says. One value is to be shared by all drives of a process, so that
    /// "the third drive's sync" can be named.
    pub fn from_env() -> Self {
        std::env::var(VARIABLE).map_or_else(|_| Self::default(), |text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let (name, count) = text.split_once(':').unwrap_or((text, "1"));
        let armed = count
            .parse()
            .ok()
            .map(|count| (name.to_owned(), AtomicU64::new(count)));
        Self { armed }
    }

    /// Passes a place.
    #[inline]
    pub(crate) fn hit(&self, name: &str) {
        if self.armed.is_some() && self.is_due(name) {
            std::process::abort();
        }
    }

    #[cold]
    fn is_due(&self, name: &str) -> bool {
        let Some((armed, count)) = &self.armed else {
            return false;
        };
        armed == name && count.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_due_once_at_its_count() {
        let points = Failpoints::parse("commit.after-sync:3");
        let due: Vec<bool> = (0..5).map(|_| points.is_due("commit.after-sync")).collect();
        assert_eq!(due, [false, false, true, false, false]);
        assert!(!points.is_due("other"));
        assert!(!Failpoints::parse("").is_due("commit.after-sync"));
        assert!(!Failpoints::parse("a:x").is_due("a"));
    }
}

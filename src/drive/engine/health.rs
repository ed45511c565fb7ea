//! Whether a drive is fit for service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use parking_lot::RwLock;
use tracing::Span;

use super::entry::Standing;
use crate::contract::{Error, Status};

/// Why a drive is out of service that neither votes nor can be made to.
const OF_NO_USE: &str = "it is to be rebuilt, and takes no writes";

/// What a drive's threads and callers found out about it.
pub(super) struct Health {
    /// Says in logs which drive it is.
    drive: Span,
    /// Why the drive is out of service until it is opened anew.
    dead: RwLock<Option<Arc<str>>>,
    read_only: AtomicBool,
    full: AtomicBool,
    standing: AtomicU8,
    hung: AtomicBool,
    timeouts: AtomicU32,
    timeouts_max: u32,
}

impl Health {
    /// Of a drive that was just opened, in the span of its name. After `timeouts_max` requests in a row that were not
    /// answered in time it counts as hung.
    pub(super) fn new(standing: Standing, read_only: bool, timeouts_max: u32) -> Self {
        let health = Self {
            drive: Span::current(),
            dead: RwLock::new(None),
            read_only: AtomicBool::new(read_only),
            full: AtomicBool::new(false),
            standing: AtomicU8::new(standing.code()),
            hung: AtomicBool::new(false),
            timeouts: AtomicU32::new(0),
            timeouts_max,
        };
        if read_only && standing == Standing::Joining {
            health.kill(OF_NO_USE);
        }
        health
    }

    /// Takes the drive out of service for good: what a failed sync left behind is unknown.
    pub(super) fn kill(&self, why: &str) {
        let mut dead = self.dead.write();
        if dead.is_none() {
            tracing::error!(parent: &self.drive, why, "drive taken out of service");
            *dead = Some(Arc::from(why));
        }
    }

    /// Whether it is out of service until it is opened anew.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.read().is_some()
    }

    /// Fails if the drive answers nothing.
    pub(super) fn check(&self) -> Result<(), Error> {
        if let Some(why) = &*self.dead.read() {
            return Err(Error::Offline(Arc::clone(why)));
        }
        if self.hung.load(Ordering::Relaxed) {
            return Err(Error::Offline(Arc::from("hung")));
        }
        Ok(())
    }

    /// Fails if the drive takes no writes.
    pub(super) fn check_write(&self) -> Result<(), Error> {
        self.check()?;
        if self.is_read_only() {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }

    /// Fails if the drive takes no new bytes.
    pub(super) fn check_growth(&self) -> Result<(), Error> {
        self.check_write()?;
        if self.is_full() {
            Err(Error::Full)
        } else {
            Ok(())
        }
    }

    /// Whether the mount takes no writes.
    pub(super) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Notes that the mount takes no writes any more. Only a new start finds out otherwise.
    pub(super) fn set_read_only(&self) {
        if self.standing() == Standing::Joining {
            self.kill(OF_NO_USE);
        } else if !self.read_only.swap(true, Ordering::Relaxed) {
            tracing::error!(parent: &self.drive, "drive is read-only now");
        }
    }

    /// Whether there is no space for new bytes.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Notes whether there is space.
    pub(super) fn set_full(&self, full: bool) {
        if self.full.swap(full, Ordering::Relaxed) != full {
            tracing::warn!(parent: &self.drive, full, "space on the drive changed");
        }
    }

    /// Whether answers vote.
    pub(super) fn standing(&self) -> Standing {
        Standing::from_code(self.standing.load(Ordering::Relaxed)).unwrap_or(Standing::Joining)
    }

    /// Notes whether answers vote.
    pub(super) fn set_standing(&self, standing: Standing) {
        self.standing.store(standing.code(), Ordering::Relaxed);
    }

    /// Notes that a request was answered.
    pub(super) fn note_answer(&self) {
        if self.timeouts.load(Ordering::Relaxed) > 0 {
            self.timeouts.store(0, Ordering::Relaxed);
        }
    }

    /// Notes that a request was not answered in time; `true` if the drive counts as hung from
    /// now on.
    pub(super) fn note_timeout(&self) -> bool {
        let timeouts = self.timeouts.fetch_add(1, Ordering::Relaxed) + 1;
        let hung = timeouts >= self.timeouts_max && !self.hung.swap(true, Ordering::Relaxed);
        if hung {
            tracing::error!(parent: &self.drive, timeouts, "drive hangs");
        }
        hung
    }

    /// Whether the drive counts as hung.
    pub(super) fn is_hung(&self) -> bool {
        self.hung.load(Ordering::Relaxed)
    }

    /// A probe wrote, synced and read: the drive serves again.
    pub(super) fn revive(&self) {
        self.timeouts.store(0, Ordering::Relaxed);
        if self.hung.swap(false, Ordering::Relaxed) {
            tracing::warn!(parent: &self.drive, "drive answers again");
        }
    }

    /// All of it in the contract's words: whether it votes before whether it is full.
    pub(super) fn status(&self) -> Status {
        match self.check() {
            Err(Error::Offline(why)) => Status::Offline(why),
            _ if self.standing() == Standing::Joining => Status::Joining,
            _ if self.is_read_only() => Status::ReadOnly,
            _ if self.is_full() => Status::Full,
            _ => Status::Online,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_in_a_row_make_a_drive_hung_until_it_is_revived() {
        let health = Health::new(Standing::Voting, false, 3);
        assert!(!health.note_timeout() && !health.note_timeout());
        health.note_answer();
        assert!(!health.note_timeout() && !health.note_timeout());
        assert_eq!(health.status(), Status::Online);
        assert!(health.note_timeout());
        assert!(!health.note_timeout(), "told once");
        assert_eq!(health.status(), Status::Offline("hung".into()));
        health.revive();
        assert_eq!(health.check(), Ok(()));
    }

    #[test]
    fn a_dead_drive_stays_dead_for_its_first_reason() {
        let health = Health::new(Standing::Joining, false, 3);
        assert_eq!(health.status(), Status::Joining);
        health.set_full(true);
        assert_eq!(
            (health.status(), health.check_growth()),
            (Status::Joining, Err(Error::Full)),
            "full or not, it does not vote"
        );
        health.kill("a sync failed");
        health.kill("other");
        health.revive();
        assert_eq!(health.status(), Status::Offline("a sync failed".into()));
        let health = Health::new(Standing::Voting, true, 3);
        assert_eq!(
            (health.status(), health.check_write()),
            (Status::ReadOnly, Err(Error::ReadOnly))
        );
        let health = Health::new(Standing::Joining, true, 3);
        assert!(health.is_dead(), "it can neither be rebuilt nor vote");
    }
}

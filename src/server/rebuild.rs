//! Drives that join: how far their rebuild is, and when they begin to vote (commit rule 10).

use std::sync::Arc;
use std::time::Duration;

use drive::{Drive, LocalDrive, Standing};
use futures_util::future::join_all;
use ledger::{Command, Ledger};
use store::{Seat, Store};
use tokio::sync::watch;
use tokio::time::{Instant, interval};
use upkeep::UpkeepStats;

use crate::form::Formed;
use crate::intent::{joining, seat_of};

/// How often drives are looked at, and the log says how far a rebuild is.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Lets drives vote once a recount found everything on them, and says meanwhile how far it is.
/// Looks now and then whether drives are still there. Ends with the recounts.
pub(crate) async fn watch(
    formed: Arc<Formed>,
    ledger: Arc<Ledger>,
    store: Arc<Store>,
    stats: Arc<UpkeepStats>,
    mut sound: watch::Receiver<Vec<Seat>>,
) {
    let began = Instant::now();
    let mut ticks = interval(LOOK_EVERY);
    loop {
        tokio::select! {
            changed = sound.changed() => {
                if changed.is_err() {
                    return;
                }
                let seats = sound.borrow_and_update().clone();
                admit(&formed, &ledger, &store).await;
                let found = |drive: &&Arc<LocalDrive>| seats.contains(&store_seat(drive, &ledger));
                for drive in joining(&formed).iter().filter(found) {
                    activate(&ledger, drive).await;
                }
            }
            _ = ticks.tick() => {
                join_all(formed.local().iter().map(|drive| drive.look())).await;
                admit(&formed, &ledger, &store).await;
                say(&formed, &stats, began);
            }
        }
    }
}

/// A drive's seat in the store's words, and the index under which it must have been rebuilt.
pub(crate) fn store_seat(drive: &LocalDrive, ledger: &Ledger) -> Seat {
    let identity = drive.identity();
    Seat {
        set: usize::from(identity.set),
        place: usize::from(identity.place),
        membership: ledger.view().membership(identity.pool, identity.set),
    }
}

/// Admits the drives that began to join while the ledger had them vote: what they acknowledged
/// before counts no more. A rebuild that began before is none.
pub(crate) async fn admit(formed: &Formed, ledger: &Ledger, store: &Store) {
    for drive in joining(formed) {
        let identity = drive.identity();
        let (pool, set) = (identity.pool, identity.set);
        let view = ledger.view();
        let kept = view.seats.get(&(pool, set, identity.place));
        if !kept.is_some_and(|kept| kept.votes) {
            continue;
        }
        let seat = seat_of(&identity);
        tracing::warn!(
            drive = seat.drive,
            "a drive lost something: it is rebuilt before it votes"
        );
        match ledger.propose(Command::Admit { seat }).await {
            Ok(_) => store.admit(usize::from(set), ledger.view().membership(pool, set)),
            Err(error) => {
                tracing::error!(drive = %identity.drive, %error, "a drive is not admitted again yet");
            }
        }
    }
}

/// The ledger learns it first: a drive that was told and no more is rebuilt once more. Its own records
/// are part of what a drive must hold by then: they count what a majority of those that vote hold.
pub(crate) async fn activate(ledger: &Ledger, drive: &LocalDrive) {
    let seat = seat_of(&drive.identity());
    let id = drive.identity().drive;
    match ledger.make_copies_good().await {
        Ok(whole) if whole.contains(&id) => {}
        Ok(_) => {
            return tracing::error!(drive = %id, "a rebuilt drive lacks records of the ledger");
        }
        Err(error) => {
            return tracing::error!(drive = %id, %error, "a rebuilt drive does not vote yet");
        }
    }
    if let Err(error) = ledger.propose(Command::Activate { seat }).await {
        tracing::error!(drive = %id, %error, "a rebuilt drive does not vote yet");
        return;
    }
    match drive.set_standing(Standing::Voting).await {
        Ok(()) => tracing::warn!(drive = %id, "rebuilt: the drive votes"),
        Err(error) => tracing::error!(drive = %id, %error, "a rebuilt drive does not vote yet"),
    }
}

/// About how many registers a recount sees, as the drives' indexes tell.
pub(crate) fn expected(formed: &Formed) -> u64 {
    let local = formed.local();
    let entries = local.iter().map(|drive| drive.stats().entries);
    entries.max().unwrap_or(0)
}

/// How long the rest of a recount takes, if it goes on as it did.
fn rest(elapsed: Duration, done: u64, expected: u64) -> Option<Duration> {
    let left = u32::try_from(expected.saturating_sub(done)).ok()?;
    Some(elapsed.checked_mul(left)? / u32::try_from(done).ok().filter(|done| *done > 0)?)
}

fn say(formed: &Formed, stats: &UpkeepStats, began: Instant) {
    let drives: Vec<String> = joining(formed)
        .iter()
        .map(|drive| drive.identity().drive.to_string())
        .collect();
    if drives.is_empty() || stats.recounting() == 0 {
        return;
    }
    let (seen, expected) = (stats.recounting(), expected(formed));
    let rest = rest(began.elapsed(), seen, expected).map(|rest| rest.as_secs());
    tracing::info!(
        ?drives,
        seen,
        about = expected,
        seconds_left = rest,
        written = stats.repaired(),
        "drives are being rebuilt"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_told_from_what_was_done() {
        let second = Duration::from_secs(1);
        assert_eq!(rest(10 * second, 100, 400), Some(30 * second));
        assert_eq!(
            rest(second, 400, 300),
            Some(Duration::ZERO),
            "more than thought"
        );
        assert_eq!(rest(second, 0, 300), None);
    }
}

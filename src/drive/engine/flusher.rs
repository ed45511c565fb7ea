//! The thread that writes tables to runs, keeps segments ready, and sees to what is overdue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::keeper::Keeper;
use super::queue::{Force, Job};
use super::segment::SPARES;
use super::shared::ChoreState;
use crate::contract::Error;
use crate::fault::from_io;
use crate::index::RunWriter;

/// A table with something in it is flushed after this long without a full one.
const IDLE: Duration = Duration::from_secs(5);
/// What was told is durable after this long at the latest.
const LAZY: Duration = Duration::from_secs(1);
/// A drive is full when less than a segment is free, or this part of the disk if that is less.
const SPACE_PART: u64 = 50;
/// Or when so few files can be made.
const INODES_MIN: u64 = 64;
/// How often a full or hung drive is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until the drive closes.
pub(super) fn run(keeper: &Arc<Keeper>) {
    let shared = &keeper.shared;
    let mut active_since: Option<(Instant, u64)> = None;
    loop {
        if !shared.chores.look(|chores| is_busy(chores)) && !shared.health.is_full() {
            shared
                .chores
                .wait(None, |chores| is_due(chores) || is_busy(chores));
        }
        shared.chores.wait(Some(LAZY), is_due);
        if shared.chores.look(|chores| chores.stop) {
            return;
        }
        let prepared = prepare_spares(keeper);
        if !flush_all(keeper) || !prepared {
            // Full, most likely: others may make space meanwhile. What can be written may be all that it takes.
            shared.chores.wait(Some(RETRY), |chores| {
                let more = chores.manifest_due || !chores.frozen.is_empty();
                chores.stop || !chores.stuck && more
            });
        }
        check_disk(keeper);
        fill_spares(keeper);
        if shared
            .chores
            .look(|chores| std::mem::take(&mut chores.told))
        {
            let (answer, _) = oneshot::channel();
            shared.queue.push(Job::Sync(Force::No, answer));
        }
        if shared
            .chores
            .look(|chores| std::mem::take(&mut chores.doubted))
        {
            // One that takes no writes either is out of service, and not full of damage.
            let (answer, _) = oneshot::channel();
            shared.queue.push(Job::Sync(Force::Yes, answer));
        }
        if shared.chores.look(|chores| chores.hung) {
            probe(keeper);
        }
        freeze_if_idle(keeper, &mut active_since);
    }
}

/// Whether there is something to look after from time to time.
fn is_busy(chores: &ChoreState) -> bool {
    chores.active || chores.told || chores.hung || chores.doubted
}

fn is_due(chores: &ChoreState) -> bool {
    chores.stop || chores.manifest_due || chores.segments_changed || !chores.frozen.is_empty()
}

/// Writes every frozen table to a run; `false` if that failed.
pub(super) fn flush_all(keeper: &Keeper) -> bool {
    let chores = &keeper.shared.chores;
    let mut flushed = Ok(());
    while flushed.is_ok() && chores.look(|chores| !chores.frozen.is_empty()) {
        flushed = keeper.reserve.lend(|| flush_one(keeper));
    }
    if flushed.is_ok() && chores.look(|chores| chores.manifest_due) {
        flushed = keeper.reserve.lend(|| keeper.update(|_| {}));
        chores.add(|chores| {
            chores.manifest_due = flushed.is_err();
            chores.tidy = true;
        });
    }
    chores.add(|chores| chores.stuck = flushed.is_err());
    if let Err(error) = &flushed {
        keeper.report("flushing the index", error);
    }
    flushed.is_ok()
}

/// Writes the oldest frozen table to a run.
fn flush_one(keeper: &Keeper) -> Result<(), Error> {
    let shared = &keeper.shared;
    let tree = shared.tree();
    let Some(table) = tree.frozen.last().cloned() else {
        return Ok(());
    };
    let frozen = shared.chores.look(|chores| {
        let frozen = chores.frozen.front()?;
        Some((frozen.end, frozen.segments.clone(), frozen.highest.clone()))
    });
    let Some((end, segments, highest)) = frozen else {
        return Ok(());
    };
    let table = table.read();
    let run = if table.len() == 0 {
        None
    } else {
        shared.failpoints.hit("flush.before-run");
        let (id, path) = keeper.new_run();
        let written =
            RunWriter::create(&path, id, shared.seal, table.len() as u64).and_then(|mut writer| {
                table
                    .iter()
                    .try_for_each(|(key, value)| writer.add(key, value))?;
                writer.finish()
            });
        let opened = written.and_then(|meta| Ok((keeper.open_run(&path, &meta)?, meta)));
        if opened.is_err() {
            // What is left of it is removed at the next start if it cannot be now.
            let _ = std::fs::remove_file(&path);
        }
        shared.failpoints.hit("flush.after-run");
        Some(opened?)
    };
    drop(table);
    keeper.update(|update| {
        let manifest = update.manifest();
        manifest.replay = end;
        manifest.segments = segments;
        manifest.highest = highest;
        if let Some((run, meta)) = run {
            manifest.runs.insert(0, meta);
            update.tree().runs.insert(0, run);
        }
        update.tree().frozen.pop();
    })?;
    // The tidier may have something to merge or to collect now. The next start begins behind
    // whatever was wrong at this one.
    shared.chores.add(|chores| {
        chores.tidy = true;
        chores.damaged = false;
        // Where space is short, what the manifest before this one needs is given up at once.
        chores.manifest_due |= shared.is_short();
    });
    Ok(())
}

/// Keeps segments ready to be written to; `false` if there is no space for them.
fn prepare_spares(keeper: &Keeper) -> bool {
    let shared = &keeper.shared;
    shared.chores.look(|chores| chores.segments_changed = false);
    while shared.segments.spares() < SPARES {
        if let Err(error) = shared.segments.prepare_new() {
            keeper.report("preparing a segment", &from_io(&error));
            // Segments that hold little must give their space back.
            shared.chores.add(|chores| chores.tidy = true);
            return false;
        }
    }
    true
}

/// Fills prepared segments, until there is something else to do.
fn fill_spares(keeper: &Keeper) {
    let shared = &keeper.shared;
    while !shared.chores.look(|chores| is_due(chores)) {
        match shared.segments.fill_step() {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return keeper.report("filling a segment", &from_io(&error)),
        }
    }
}

/// Notes whether there is space for new bytes, and whether the drive can be trusted to take them.
pub(super) fn check_disk(keeper: &Keeper) {
    let shared = &keeper.shared;
    if shared.shards.sync_failed() {
        shared.health.kill("a shard file could not be synced");
    }
    if shared.root.is_read_only() == Ok(true) {
        shared.health.set_read_only();
    }
    let Ok(space) = shared.root.space() else {
        return;
    };
    let least = shared.segments.segment_len().min(space.total / SPACE_PART);
    let full = shared.health.is_full();
    // Twice as much must be free again before new bytes are welcome.
    let enough =
        space.free > if full { 2 * least } else { least } && space.inodes_free > INODES_MIN;
    shared.health.set_full(!enough || full && shared.is_short());
    // What was given up is set aside again before it is missed.
    let lacking = keeper.reserve.lacking();
    if lacking > 0
        && space.free > 2 * least + lacking
        && space.inodes_free > INODES_MIN
        && let Err(error) = keeper.reserve.fill()
    {
        tracing::warn!(%error, "no space was set aside");
    }
}

/// Finds out whether a hung drive answers again: a write, a sync and a read, or what is left of these.
fn probe(keeper: &Keeper) {
    let shared = &keeper.shared;
    let (answer, answered) = oneshot::channel();
    shared.queue.push(Job::Sync(Force::Yes, answer));
    let read_only = shared.health.is_read_only();
    // This thread may hang as long as the disk does: it has nothing better to do.
    let wrote = answered.blocking_recv().is_ok_and(|result| result.is_ok());
    if (wrote || read_only) && shared.root.still_itself().is_ok() && shared.root.space().is_ok() {
        shared.chores.look(|chores| chores.hung = false);
        shared.health.revive();
    }
}

/// Has a table that nobody adds to any more flushed, so that an idle drive holds little memory.
fn freeze_if_idle(keeper: &Keeper, active_since: &mut Option<(Instant, u64)>) {
    let shared = &keeper.shared;
    if !shared.chores.look(|chores| chores.active) {
        *active_since = None;
        return;
    }
    let runs = keeper.runs().len() as u64;
    match active_since {
        Some((since, seen)) if *seen == runs => {
            if since.elapsed() >= IDLE {
                shared.chores.look(|chores| chores.active = false);
                let (answer, _answered) = oneshot::channel();
                shared.queue.push(Job::Freeze(answer));
                *active_since = None;
            }
        }
        _ => *active_since = Some((Instant::now(), runs)),
    }
}

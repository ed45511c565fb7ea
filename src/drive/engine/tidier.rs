//! The thread that merges runs, collects segments and removes files.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use types::{Order, Slot, VersionId};

use super::committer::SLACK;
use super::entry::{self, Entry, Standing};
use super::head::{self, Location};
use super::keeper::Keeper;
use super::keys;
use super::orphans::{STAGED_MAX, YOUNG, remove_orphans};
use super::queue::{Job, MovedRow};
use super::replay::Reader;
use super::segment::{FIRST_BATCH, Purpose, SPARES, Segment};
use super::shared::{Part, Shared};
use crate::contract::Error;
use crate::fault::{from_io, from_io_read};
use crate::index::{Access, Depth, Run, RunMeta, RunWriter, Verdict, compact, pick, salvage};
use crate::register::Register;

/// A segment is collected once less than one part in this many of it is live.
const LIVE_PART: u64 = 2;
/// Where there is no space for new segments: once one part in this many is dead.
const SHORT_PART: u64 = 8;
/// Bytes of rows copied to the end of the log in one go.
const MOVE_BYTES: usize = 1 << 20;
/// Prepared segments beyond those needed are given back to the disk.
const SPARES_MAX: usize = SPARES + 1;
/// Registers handed to the committer from one merge, as more may be superseded in them.
const REVISITS_MAX: usize = 10_000;
/// How often this thread looks around unasked.
const TICK: Duration = Duration::from_secs(60);
/// How often all shard files are walked.
const WALK_EVERY: Duration = Duration::from_secs(24 * 3600);
/// How often a segment that is still being read is looked at again.
const LEAVING: Duration = Duration::from_millis(50);

/// What this thread remembers.
#[derive(Default)]
struct Tidier {
    /// Segments that hold damaged rows: they stay until those are healed.
    damaged: HashSet<u64>,
    /// Runs that could not be merged: they stay.
    unmergeable: HashSet<Vec<u64>>,
    /// Segments out of use that somebody still reads.
    leaving: Vec<Arc<Segment>>,
    /// When orphans were looked for last, or the drive was opened.
    walked: Option<Instant>,
}

/// Runs until the drive closes.
pub(super) fn run(keeper: &Arc<Keeper>) {
    let shared = &keeper.shared;
    let mut tidier = Tidier::default();
    loop {
        let tick = if tidier.leaving.is_empty() {
            TICK
        } else {
            LEAVING
        };
        let tick = Some(tick);
        shared.chores.wait(tick, |chores| {
            chores.stop || chores.tidy || !chores.doomed.is_empty()
        });
        if shared.chores.look(|chores| chores.stop) {
            return;
        }
        remove_doomed(shared);
        let tidy = shared.chores.look(|chores| {
            chores.at_work = chores.tidy;
            std::mem::take(&mut chores.tidy)
        });
        if tidy {
            salvage_damaged(keeper);
            tidier.merge(keeper);
            tidier.collect(keeper);
        }
        tidier.recycle(keeper);
        if tidy {
            shared.chores.add(|chores| chores.at_work = false);
        }
        tidier.look_for_orphans(shared);
    }
}

/// Removes files that no row lists any more and nobody reads.
pub(super) fn remove_doomed(shared: &Shared) {
    let doomed = shared
        .chores
        .look(|chores| std::mem::take(&mut chores.doomed));
    for (data, generation) in doomed {
        // Its last reader has it removed, or did so already.
        if shared.held.holds(data) || !shared.doomed.lock().contains(&(data, generation)) {
            continue;
        }
        shared.failpoints.hit("drop.before-unlink");
        if let Err(error) = shared.shards.remove(data, generation) {
            // An orphan now: it stays unreadable until it is found as one.
            tracing::warn!(%data, generation, %error, "a shard file cannot be removed");
            continue;
        }
        shared.doomed.lock().remove(&(data, generation));
    }
}

/// Does at once what the thread would do over time. The thread must have nothing to do.
#[cfg(test)]
pub(super) fn tidy_once(keeper: &Keeper) {
    let mut tidier = Tidier::default();
    salvage_damaged(keeper);
    tidier.merge(keeper);
    tidier.collect(keeper);
    while !tidier.leaving.is_empty() {
        tidier.recycle(keeper);
    }
}

impl Tidier {
    /// Removes now and then what was staged and never committed.
    fn look_for_orphans(&mut self, shared: &Shared) {
        let walked = *self.walked.get_or_insert_with(Instant::now);
        if walked.elapsed() < WALK_EVERY {
            return;
        }
        self.walked = Some(Instant::now());
        // Heal may have written again what was damaged in them.
        self.damaged.clear();
        shared.shards.discard_stale(STAGED_MAX);
        if let Err(error) = remove_orphans(shared, YOUNG) {
            tracing::warn!(%error, "the walk over shard files was cut short");
        }
    }

    /// Merges runs as long as there are some worth it.
    fn merge(&mut self, keeper: &Keeper) {
        loop {
            let runs = keeper.runs();
            let Some(range) = pick(&runs) else { return };
            let names = |range: &Range<usize>| -> Vec<u64> {
                runs.get(range.clone())
                    .unwrap_or_default()
                    .iter()
                    .map(|run| run.id.0)
                    .collect()
            };
            if self.unmergeable.contains(&names(&range)) {
                return;
            }
            let merged = runs.get(range.clone()).unwrap_or_default();
            if !has_space(&keeper.shared, merged) {
                return;
            }
            match merge(keeper, &runs, &range) {
                Ok(()) => {}
                Err(Error::Offline(_)) => return,
                // There may be space for it later.
                Err(error @ Error::Full) => return keeper.report("merging runs", &error),
                Err(error) => {
                    keeper.report("merging runs", &error);
                    self.unmergeable.insert(names(&range));
                    return;
                }
            }
        }
    }

    /// Copies what is live out of segments that hold little else, and takes those out of use.
    fn collect(&mut self, keeper: &Keeper) {
        let shared = &keeper.shared;
        let replayed_from = keeper.replayed_from();
        // The newest is the one that the log ends in, however little it holds.
        let mut segments = shared.segments.all();
        segments.pop();
        segments.retain(|segment| {
            let old = segment.last.load(Ordering::Relaxed) < replayed_from;
            old && !self.damaged.contains(&segment.id)
        });
        let candidates: Vec<u64> = if shared.is_short() {
            self.emptiest(shared, &segments).into_iter().collect()
        } else {
            let sparse =
                |found: &&Arc<Segment>| live(found).saturating_mul(LIVE_PART) < used(found);
            segments
                .iter()
                .filter(sparse)
                .map(|found| found.id)
                .collect()
        };
        for id in candidates {
            match collect(shared, id) {
                Ok(()) => self.leaving.extend(shared.segments.take_out(id)),
                Err(error @ (Error::Offline(_) | Error::Full)) => {
                    tracing::warn!(%error, "collecting a segment must wait");
                    return;
                }
                Err(error) => {
                    tracing::error!(segment = id, %error, "a segment cannot be collected");
                    self.damaged.insert(id);
                }
            }
        }
    }

    /// Where there is no space for new segments, what little is dead in one counts; but what lives
    /// in it must find room, or nothing is gained.
    fn emptiest(&self, shared: &Shared, segments: &[Arc<Segment>]) -> Option<u64> {
        let left = shared.segments.left(Purpose::Collection);
        let room = left.saturating_sub(SLACK as u64);
        let worth = |found: &&Arc<Segment>| {
            live(found) <= room && live(found) <= used(found) / SHORT_PART * (SHORT_PART - 1)
        };
        let found = segments
            .iter()
            .filter(worth)
            .min_by_key(|found| live(found));
        // One at a time: space may be on its way.
        let found = found.filter(|_| self.leaving.is_empty());
        found.map(|found| found.id)
    }

    /// Prepares segments that nobody reads any more for another life, or removes them.
    fn recycle(&mut self, keeper: &Keeper) {
        let shared = &keeper.shared;
        let leaving = std::mem::take(&mut self.leaving);
        for segment in leaving {
            let (id, len) = (segment.id, segment.len);
            // Readers took theirs while it was in use: there will be no more.
            if let Err(segment) = Arc::try_unwrap(segment) {
                self.leaving.push(segment);
                continue;
            }
            shared.failpoints.hit("collect.before-recycle");
            let wanted =
                shared.segments.spares() < SPARES_MAX && len == shared.segments.segment_len();
            let result = match wanted {
                true => shared.segments.recycle(id, len),
                false => shared.segments.remove(id),
            };
            shared.failpoints.hit("collect.after-recycle");
            if let Err(error) = result {
                keeper.report("recycling a segment", &from_io(&error));
            }
            shared.chores.add(|chores| {
                chores.segments_changed = true;
                chores.tidy |= shared.is_short();
            });
        }
    }
}

fn live(segment: &Segment) -> u64 {
    segment.live.load(Ordering::Relaxed)
}

fn used(segment: &Segment) -> u64 {
    segment.used.load(Ordering::Relaxed)
}

/// Whether a merge may take the space that it needs until the runs are gone that it replaces: what is
/// written to no end is space that others lack meanwhile.
fn has_space(shared: &Shared, merged: &[RunMeta]) -> bool {
    let bytes: u64 = merged.iter().map(|run| run.bytes).sum();
    shared.root.space().is_ok_and(|space| bytes < space.free)
}

/// Merges neighbouring runs.
fn merge(keeper: &Keeper, runs: &[RunMeta], range: &Range<usize>) -> Result<(), Error> {
    let shared = &keeper.shared;
    let metas = runs.get(range.clone()).unwrap_or_default();
    let first = metas.first().map(|run| run.id);
    let tree = shared.tree();
    let at = tree
        .runs
        .iter()
        .position(|run| Some(run.meta().id) == first);
    let inputs = at
        .and_then(|at| tree.runs.get(at..at + metas.len()))
        .unwrap_or_default();
    let depth = if range.end == runs.len() {
        Depth::Bottom
    } else {
        Depth::Above
    };
    let mut finder = Finder::new(shared);
    replace(keeper, metas, |writer| {
        compact(inputs, depth, writer, |key, value| {
            finder.look_at(key, value)
        })
    })?;
    if !finder.found.is_empty() {
        shared.queue.push(Job::Revisit(finder.found));
    }
    Ok(())
}

/// Writes runs in which a block is damaged again, without that block. What it held is lost to
/// this drive: it does not vote until it is rebuilt.
fn salvage_damaged(keeper: &Keeper) {
    // What lies below a damaged block is read, and may turn out damaged then.
    for _ in 0..2 * keeper.shared.tree().runs.len() {
        let tree = keeper.shared.tree();
        let Some(oldest) = tree.runs.iter().rposition(|run| run.is_damaged()) else {
            return;
        };
        match salvage_run(keeper, tree.runs.get(oldest..).unwrap_or_default()) {
            Ok(()) | Err(Error::Corrupt(_)) => {}
            Err(error) => return keeper.report("salvaging a damaged run", &error),
        }
    }
}

/// Salvages the first of these, which lie one below the other.
fn salvage_run(keeper: &Keeper, runs: &[Arc<Run>]) -> Result<(), Error> {
    let Some((run, below)) = runs.split_first() else {
        return Ok(());
    };
    let shared = &keeper.shared;
    tracing::error!(
        run = run.meta().id.0,
        "a block of the index is damaged: the drive does not vote until it is rebuilt"
    );
    let (answer, answered) = oneshot::channel();
    shared.queue.push(Job::Standing(Standing::Joining, answer));
    let joined = answered.blocking_recv();
    joined.unwrap_or_else(|_| Err(Error::Offline("the committer stopped".into())))?;
    replace(keeper, std::slice::from_ref(run.meta()), |writer| {
        salvage(run, below, writer)
    })
}

/// Puts one new run in the place of neighbouring ones.
fn replace(
    keeper: &Keeper,
    metas: &[RunMeta],
    write: impl FnOnce(RunWriter) -> Result<RunMeta, Error>,
) -> Result<(), Error> {
    let entries = metas.iter().map(|run| run.entries).sum();
    let (id, path) = keeper.new_run();
    let written = RunWriter::create(&path, id, keeper.shared.seal, entries).and_then(write);
    let opened = written.and_then(|meta| Ok((keeper.open_run(&path, &meta)?, meta)));
    if opened.is_err() {
        // What is left of it is removed at the next start if it cannot be now.
        let _ = std::fs::remove_file(&path);
    }
    let (run, meta) = opened?;
    let old: HashSet<u64> = metas.iter().map(|run| run.id.0).collect();
    keeper.update(|update| {
        let runs = &mut update.manifest().runs;
        let at = runs
            .iter()
            .position(|run| old.contains(&run.id.0))
            .unwrap_or(0);
        runs.retain(|run| !old.contains(&run.id.0));
        runs.insert(at, meta);
        let runs = &mut update.tree().runs;
        runs.retain(|run| !old.contains(&run.meta().id.0));
        runs.insert(at, run);
    })
}

/// Finds registers in which a settled row should have replaced others: what the committer could
/// not keep in mind, or a restart forgot.
struct Finder<'s> {
    shared: &'s Shared,
    register: Vec<u8>,
    settled: Vec<(VersionId, Order)>,
    found: Vec<Register>,
}

impl<'s> Finder<'s> {
    fn new(shared: &'s Shared) -> Self {
        Self {
            shared,
            register: Vec::new(),
            settled: Vec::new(),
            found: Vec::new(),
        }
    }

    fn look_at(&mut self, key: &[u8], value: &[u8]) -> Result<Verdict, Error> {
        let row = key
            .split_last_chunk::<{ Register::ROW_LEN }>()
            .map(|(register, _)| register);
        let Some((register, row)) = row.zip(head::decode_value(key, value)) else {
            return Ok(Verdict::Keep);
        };
        if register != self.register.as_slice() {
            self.register.clear();
            self.register.extend_from_slice(register);
            self.settled.clear();
        }
        let head = row.head;
        let replaced =
            |(version, order): &(VersionId, Order)| *version == head.version && *order > head.order;
        if self.settled.iter().any(replaced) {
            let known = self
                .found
                .last()
                .is_some_and(|last| last.as_bytes() == register);
            if !known && self.found.len() < REVISITS_MAX {
                self.found.extend(Register::from_bytes(register));
            }
        } else if self.covers(row.slot, head.order) {
            self.settled.push((head.version, head.order));
        }
        Ok(Verdict::Keep)
    }

    fn covers(&self, slot: Slot, order: Order) -> bool {
        self.shared.settled.read().covers(slot, order)
    }
}

/// Has every row of a segment that the index still refers to written again at the log's end.
fn collect(shared: &Shared, id: u64) -> Result<(), Error> {
    match collect_in_order(shared, id) {
        Err(Error::Corrupt(why)) => {
            tracing::warn!(
                segment = id,
                why,
                "a damaged segment is collected row by row"
            );
            collect_by_index(shared, id)
        }
        done => done,
    }
}

/// As the index leads there, row by row: a row that is damaged must be healed first.
fn collect_by_index(shared: &Shared, id: u64) -> Result<(), Error> {
    let tree = shared.tree();
    let mut walk = tree.walk(&keys::ROWS)?;
    let (mut moves, mut damaged) = (Vec::new(), Ok(()));
    let mut bytes = 0;
    while let Some((key, value)) = walk.next()? {
        let Some(at) = head::decode_location(value).filter(|at| at.segment == id) else {
            continue;
        };
        let row = match shared.read_log(at, Part::Whole) {
            Ok(row) => row.row(&shared.row_key).map(drop).map(|()| row),
            Err(error) => Err(error),
        };
        let row = match row {
            Ok(row) => row.into_bytes(),
            Err(error @ Error::Corrupt(_)) => {
                damaged = Err(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        bytes += row.len();
        moves.push(MovedRow {
            key: key.to_vec(),
            at,
            bytes: row,
        });
        if bytes >= MOVE_BYTES {
            move_rows(shared, std::mem::take(&mut moves))?;
            bytes = 0;
        }
    }
    move_rows(shared, moves)?;
    damaged
}

/// As they lie in the segment.
fn collect_in_order(shared: &Shared, id: u64) -> Result<(), Error> {
    let opened = shared
        .segments
        .open_segment(id, false)
        .map_err(|error| from_io_read(&error))?;
    let segment = opened.ok_or(Error::Corrupt("a segment's header is damaged"))?;
    let end = shared
        .segments
        .find(id)
        .map_or(0, |segment| segment.used.load(Ordering::Relaxed));
    let mut reader = Reader::new(&segment, shared.drive);
    let (mut at, mut moves) = (u64::from(FIRST_BATCH), Vec::new());
    let mut bytes = 0;
    while at < end {
        let batch = reader.batch(at).map_err(|error| from_io_read(&error))?;
        let batch = batch.ok_or(Error::Corrupt("a batch of the log is damaged"))?;
        let mut rest = batch.body;
        while !rest.is_empty() {
            let offset =
                at + super::batch::HEADER_LEN as u64 + (batch.body.len() - rest.len()) as u64;
            let (entry, after) =
                entry::take(rest).ok_or(Error::Corrupt("an entry of the log does not parse"))?;
            if let Entry::Row(row) = entry {
                let location = Location {
                    segment: id,
                    offset: u32::try_from(offset).unwrap_or(u32::MAX),
                    row_len: row.row_len,
                    inline_len: super::bytes::len32(row.inline.len()),
                };
                let key = row.key();
                if is_current(shared, &key, location)? {
                    let len = usize::try_from(location.bytes()).unwrap_or(usize::MAX);
                    bytes += len;
                    moves.push(MovedRow {
                        key,
                        at: location,
                        bytes: rest.get(..len).unwrap_or_default().to_vec(),
                    });
                }
            }
            rest = after;
        }
        at += u64::from(batch.header.len);
        if bytes >= MOVE_BYTES {
            move_rows(shared, std::mem::take(&mut moves))?;
            bytes = 0;
        }
    }
    move_rows(shared, moves)
}

fn is_current(shared: &Shared, key: &[u8], at: Location) -> Result<bool, Error> {
    let value = shared.tree().find(&shared.seal, key, Access::Point)?;
    Ok(value.is_some_and(|value| head::decode_location(&value) == Some(at)))
}

fn move_rows(shared: &Shared, moves: Vec<MovedRow>) -> Result<(), Error> {
    if moves.is_empty() {
        return Ok(());
    }
    let (answer, answered) = oneshot::channel();
    shared.queue.push(Job::Move(moves, answer));
    answered
        .blocking_recv()
        .unwrap_or_else(|_| Err(Error::Offline("the committer stopped".into())))
}

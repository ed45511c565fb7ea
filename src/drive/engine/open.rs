//! From a directory to a running drive.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use types::{Epoch, Order, Slot};

use super::batch::{Batch, HEADER_LEN};
use super::committer::{Beginning, Crowd};
use super::entry::{self, Entry, Standing};
use super::head::{self, Location};
use super::health::Health;
use super::held::Held;
use super::keeper::{Keeper, run_path, runs_directory, sync_directory};
use super::keys;
use super::log::{Log, Position};
use super::manifest::{FoundManifest, Manifest, Manifests};
use super::options::Options;
use super::replay::{Replayed, replay};
use super::reserve::Reserve;
use super::row::{Freed, RowEntry, RowKey};
use super::segment::{FIRST_BATCH, Purpose, SPARES, Segment, Segments};
use super::settled::Settled;
use super::shared::{Chores, Shared};
use super::tree::Tree;
use crate::contract::{Error, Identity};
use crate::fault::from_io;
use crate::files::{Access, Root, ShardFiles};
use crate::index::{BlockCache, Memtable, Run, RunSeal};
use crate::register::Register;

/// A drive whose state was read, and whose threads do not run yet.
pub(super) struct Opened {
    pub(super) shared: Arc<Shared>,
    pub(super) keeper: Keeper,
    /// `None` on a read-only mount.
    pub(super) beginning: Option<Beginning>,
    /// Whether a part of what the drive held may be lost.
    pub(super) damaged: bool,
}

/// What the tail of the log adds to the manifest.
struct State {
    table: Memtable,
    fences: Vec<Epoch>,
    highest: Vec<Order>,
    settled: Settled,
    standing: Standing,
    live: BTreeMap<u64, i128>,
    recent: Vec<Recent>,
    bytes: u64,
}

/// A row of the tail.
struct Recent {
    slot: Slot,
    order: Order,
    register: Register,
    /// Whether the tail had a row of the register before.
    crowded: bool,
}

/// Opens the drive at `path`.
pub(super) fn open(path: &Path, expected: &Identity, options: &Options) -> Result<Opened, Error> {
    let root = Root::open(path, expected)?;
    let writable = root.access() == Access::Writable;
    let failpoints = options.failpoints.of(expected.place);
    let shards = ShardFiles::open(&root)?.with_failpoints(failpoints.clone());
    let shards = Arc::new(shards);
    let index = path.join("index");
    let (log, runs) = (index.join("log"), runs_directory(&index));
    // What a disk cannot read at a start is not given up as damage: a drive that is offline can be tried
    // again, and one that dropped what it could not read has lost it.
    let io = |error: io::Error| from_io(&error);
    if writable {
        fs::create_dir_all(&log).map_err(io)?;
        fs::create_dir_all(&runs).map_err(io)?;
        // Names too may be in memory alone, if a life ended before they were synced.
        for directory in [&index, &log, &runs] {
            sync_directory(directory).map_err(io)?;
        }
    }
    let segments = Segments::open(&log, expected.drive).map_err(io)?;
    let ids = segments.list(writable).map_err(io)?;
    let manifests = Manifests::new(&index, expected.deployment, expected.drive);
    let (mut manifest, mut damage) = find_manifest(&manifests, &ids, options)?;
    let reserve = Reserve::open(&index, root.space()?.total);
    if writable && (manifest.generation == 0 || damage.is_some()) {
        manifest.generation += 1;
        reserve.lend(|| manifests.write(&manifest, &failpoints).map_err(io))?;
    }
    let seal = RunSeal::new(expected.deployment, expected.drive);
    let cache = Arc::new(BlockCache::new(options.limits.cache_bytes));
    let opened_runs = open_runs(&runs, &mut manifest, seal, &cache, &mut damage)?;
    let ids = open_segments(&segments, &manifest, &ids, writable).map_err(io)?;
    let mut state = State::from_manifest(&manifest);
    let from = manifest.replay;
    let replayed = replay(
        &segments,
        expected.drive,
        &ids,
        from,
        writable,
        |batch, segment, offset| state.apply(batch, segment, offset).is_some(),
    );
    let mut replayed = replayed.map_err(io)?;
    let behind = replayed.end.next <= options.position;
    replayed.end.next = replayed.end.next.max(options.position + 1);
    let behind = behind.then_some("it knows less than its peers remember of it");
    let damage = damage.or(replayed.damage).or(behind);
    if let Some(damage) = damage {
        state.distrust(damage);
        // Even an empty table is then flushed: the next start begins behind the damage.
        state.bytes = state.bytes.max(1);
    }
    if writable {
        remove_strays(&runs, &manifest).map_err(io)?;
    }
    let end = replayed.end;
    let active = finish_log(&segments, replayed, writable).map_err(io)?;
    keep_readable(&segments, &manifest, &ids).map_err(io)?;
    state.count_live(&segments);
    let shared =
        Arc::new(state.shared(expected, options, root, shards, segments, opened_runs, end));
    shared
        .chores
        .look(|chores| chores.damaged = damage.is_some());
    let beginning = active.map(|active| state.beginning(&shared, active, end));
    let files = (manifests, runs, reserve);
    let keeper = Keeper::new(Arc::clone(&shared), files, cache, manifest);
    Ok(Opened {
        shared,
        keeper,
        beginning,
        damaged: damage.is_some(),
    })
}

/// The manifest to begin with, and what is wrong if it is not the newest there should be.
fn find_manifest(
    manifests: &Manifests,
    segments: &[u64],
    options: &Options,
) -> Result<(Manifest, Option<&'static str>), Error> {
    let lost = |newest, damage| {
        let mut manifest = Manifest::empty(Standing::Joining);
        manifest.generation = newest;
        // What is in the log is all that is left: it is read from its first segment on.
        manifest.replay.segment = segments.first().copied().unwrap_or(1);
        (manifest, Some(damage))
    };
    Ok(match manifests.find().map_err(|error| from_io(&error))? {
        FoundManifest::Sound(manifest) => (*manifest, None),
        FoundManifest::Damaged(newest) => lost(newest, "no manifest reads well"),
        FoundManifest::Nothing if segments.is_empty() => (Manifest::empty(options.fresh), None),
        FoundManifest::Nothing => lost(0, "the manifest is missing"),
    })
}

/// Opens the runs that the manifest lists; those that cannot be are taken off the list.
fn open_runs(
    directory: &Path,
    manifest: &mut Manifest,
    seal: RunSeal,
    cache: &Arc<BlockCache>,
    damage: &mut Option<&'static str>,
) -> Result<Vec<Arc<Run>>, Error> {
    let mut runs = Vec::new();
    let mut lost = HashSet::new();
    for meta in &manifest.runs {
        match Run::open(&run_path(directory, meta.id), meta, seal, Arc::clone(cache)) {
            Ok(run) => runs.push(Arc::new(run)),
            Err(Error::Corrupt(why)) => {
                *damage = damage.or(Some(why));
                lost.insert(meta.id);
            }
            Err(Error::Io(io::ErrorKind::NotFound)) => {
                *damage = damage.or(Some("a run is missing"));
                lost.insert(meta.id);
            }
            Err(error) => return Err(error),
        }
    }
    manifest.runs.retain(|run| !lost.contains(&run.id));
    Ok(runs)
}

/// Removes runs that an interrupted flush or merge left.
fn remove_strays(directory: &Path, manifest: &Manifest) -> io::Result<()> {
    let listed: HashSet<_> = manifest
        .runs
        .iter()
        .map(|run| run_path(directory, run.id))
        .collect();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if !listed.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Opens the segments in front of the log's tail; says which files there are behind. One that the
/// manifest lists may be gone: what lived in it was moved, and no manifest was written since.
fn open_segments(
    segments: &Segments,
    manifest: &Manifest,
    ids: &[u64],
    writable: bool,
) -> io::Result<Vec<u64>> {
    let begin = manifest.replay.segment;
    let listed: BTreeMap<u64, _> = manifest
        .segments
        .iter()
        .map(|state| (state.id, state))
        .collect();
    for id in ids.iter().copied().filter(|id| *id < begin) {
        match listed.get(&id) {
            Some(state) => segments.open_sealed(id, state.live, state.used, state.last)?,
            // Collected, and then the server stopped.
            None if writable => segments.remove(id)?,
            None => {}
        }
    }
    Ok(ids.iter().copied().filter(|id| *id >= begin).collect())
}

/// Rows are read on from a segment that the manifest lists, though its header is damaged.
fn keep_readable(segments: &Segments, manifest: &Manifest, tail: &[u64]) -> io::Result<()> {
    let listed = manifest.segments.iter();
    for state in listed.filter(|state| tail.contains(&state.id)) {
        if segments.find(state.id).is_none() {
            // What is live in it is counted with the tail.
            segments.open_sealed(state.id, 0, state.used, state.last)?;
        }
    }
    Ok(())
}

/// Readies the segment that the next batch goes to; `None` on a read-only mount.
fn finish_log(
    segments: &Segments,
    replayed: Replayed,
    writable: bool,
) -> io::Result<Option<(Arc<Segment>, u32)>> {
    if let Some(active) = &replayed.active {
        segments.insert(Arc::clone(active));
    }
    if !writable {
        return Ok(None);
    }
    replayed
        .spares
        .into_iter()
        .for_each(|spare| segments.adopt_spare(spare));
    let active = match replayed.active {
        Some(active) => Some((active, replayed.end.offset)),
        None => {
            if segments.spares() == 0 {
                segments.prepare_new()?;
            }
            let first = segments.next(Purpose::Upkeep);
            first.map(|first| (first, FIRST_BATCH))
        }
    };
    while segments.spares() < SPARES {
        match segments.prepare_new() {
            // What is deleted makes room.
            Err(error) if from_io(&error) == Error::Full => break,
            prepared => prepared?,
        }
    }
    Ok(active)
}

impl State {
    fn from_manifest(manifest: &Manifest) -> Self {
        let count = usize::from(Slot::COUNT);
        let mut fences = vec![Epoch::default(); count];
        for (slot, epoch) in &manifest.fences {
            if let Some(fence) = fences.get_mut(slot.index()) {
                *fence = *epoch;
            }
        }
        let mut highest = vec![Order::ZERO; count];
        for (slot, order) in &manifest.highest {
            if let Some(highest) = highest.get_mut(slot.index()) {
                *highest = *order;
            }
        }
        let mut live = BTreeMap::new();
        for segment in manifest
            .segments
            .iter()
            .filter(|segment| segment.id >= manifest.replay.segment)
        {
            live.insert(segment.id, i128::from(segment.live));
        }
        Self {
            table: Memtable::default(),
            fences,
            highest,
            settled: manifest.settled.clone(),
            standing: manifest.standing,
            live,
            recent: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes in a batch; `None` if an entry of it does not parse.
    fn apply(&mut self, batch: &Batch<'_>, segment: &Segment, offset: u32) -> Option<()> {
        self.bytes += u64::from(batch.header.len);
        for (place, position) in (0..).zip(&batch.header.peers) {
            self.settled.peer(place, *position);
        }
        let mut rest = batch.body;
        while !rest.is_empty() {
            let at = usize::try_from(offset).ok()? + HEADER_LEN + batch.body.len() - rest.len();
            let (entry, after) = entry::take(rest)?;
            rest = after;
            match entry {
                Entry::Row(row) => self.row(&row, segment.id, u32::try_from(at).ok()?)?,
                Entry::Fence(slot, epoch) => {
                    let fence = self.fences.get_mut(slot.index())?;
                    *fence = epoch.max(*fence);
                }
                Entry::Mark(mark) => {
                    self.settled.mark(&mark);
                }
                Entry::Floor(slot, epoch) => {
                    self.settled.floor(slot, epoch);
                }
                Entry::Drop { key, freed } => {
                    self.table.insert(key, None);
                    self.free(freed);
                }
                Entry::Meta { key, value } => {
                    let value = value.map(keys::meta_value);
                    self.table.insert(&keys::meta_key(key), value.as_deref());
                }
                Entry::Standing(standing) => self.standing = standing,
                Entry::File(data, generation) => {
                    let value = generation.map(keys::file_value);
                    self.table.insert(&keys::file_key(data), value.as_deref());
                }
            }
        }
        Some(())
    }

    fn row(&mut self, row: &RowEntry<'_>, segment: u64, offset: u32) -> Option<()> {
        let (_, slot) = head::decode_head(row.head, row.born, row.order)?;
        let at = Location {
            segment,
            offset,
            row_len: row.row_len,
            inline_len: u32::try_from(row.inline.len()).ok()?,
        };
        let crowded = self.table.has_prefix(row.register);
        self.table
            .insert(&row.key(), Some(&head::encode_value(row.head, at)));
        *self.live.entry(segment).or_default() += i128::from(at.bytes());
        row.replaces.into_iter().for_each(|freed| self.free(freed));
        let highest = self.highest.get_mut(slot.index())?;
        *highest = row.order.max(*highest);
        self.recent.push(Recent {
            slot,
            order: row.order,
            register: Register::from_bytes(row.register)?,
            crowded,
        });
        Some(())
    }

    fn free(&mut self, freed: Freed) {
        *self.live.entry(freed.segment).or_default() -= i128::from(freed.bytes);
    }

    /// A part of what the drive held may be lost: it does not vote until it is rebuilt.
    fn distrust(&mut self, damage: &'static str) {
        tracing::error!(
            damage,
            "drive is damaged: it does not vote until it is rebuilt"
        );
        self.standing = Standing::Joining;
        // What was settled rests on rows that may be lost.
        self.settled.distrust();
    }

    /// What the drive's threads share.
    #[expect(clippy::too_many_arguments, reason = "each is a part of it, made once")]
    fn shared(
        &mut self,
        identity: &Identity,
        options: &Options,
        root: Root,
        shards: Arc<ShardFiles>,
        segments: Segments,
        runs: Vec<Arc<Run>>,
        end: Position,
    ) -> Shared {
        let writable = root.access() == Access::Writable;
        let active = Arc::new(RwLock::new(std::mem::take(&mut self.table)));
        let tree = Tree {
            active,
            frozen: Vec::new(),
            runs,
        };
        Shared {
            drive: identity.drive,
            root,
            shards,
            segments: Arc::new(segments),
            tree: RwLock::new(Arc::new(tree)),
            seal: RunSeal::new(identity.deployment, identity.drive),
            row_key: RowKey::new(identity.deployment, identity.drive),
            fences: self
                .fences
                .iter()
                .map(|fence| AtomicU64::new(fence.as_u64()))
                .collect(),
            settled: RwLock::new(self.settled.clone()),
            told: Mutex::default(),
            queue: super::queue::Queue::default(),
            health: Health::new(self.standing, !writable, options.limits.timeouts),
            chores: Chores::default(),
            counters: super::stats::Counters::default(),
            failpoints: options.failpoints.of(identity.place),
            position: AtomicU64::new(end.next - 1),
            peers: Mutex::new(*self.settled.peers()),
            doomed: Mutex::default(),
            held: Held::default(),
        }
    }

    /// Brings the segments' counts up to date.
    fn count_live(&self, segments: &Segments) {
        for (id, change) in &self.live {
            if let Some(segment) = segments.find(*id) {
                let live = i128::from(segment.live.load(Ordering::Relaxed)) + change;
                segment
                    .live
                    .store(u64::try_from(live).unwrap_or(0), Ordering::Relaxed);
            }
        }
    }

    /// What the committer begins with.
    fn beginning(
        self,
        shared: &Arc<Shared>,
        active: (Arc<Segment>, u32),
        end: Position,
    ) -> Beginning {
        let (active, offset) = active;
        let at = Position {
            segment: active.id,
            offset,
            ..end
        };
        let mut crowd = Crowd::default();
        let mut revisit = Vec::new();
        let tree = shared.tree();
        for Recent {
            slot,
            order,
            register,
            crowded,
        } in self.recent
        {
            if !crowded && tree.is_in_memory(shared.seal.register_hash(register.as_bytes())) {
                continue;
            }
            match self.settled.covers(slot, order) {
                true => revisit.push(register),
                false => crowd.push(slot, order, Arc::new(register)),
            }
        }
        if !revisit.is_empty() {
            shared.queue.push(super::queue::Job::Revisit(revisit));
        }
        let segments = Arc::clone(&shared.segments);
        Beginning {
            log: Log::new(
                shared.drive,
                segments,
                active,
                at,
                shared.failpoints.clone(),
            ),
            fences: self.fences,
            highest: self.highest,
            settled: self.settled,
            crowd,
            replayed: self.bytes,
        }
    }
}

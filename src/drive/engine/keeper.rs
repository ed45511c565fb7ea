//! The manifest, and what both background threads of a drive need.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use types::{Epoch, Slot};

use super::log::Position;
use super::manifest::{Manifest, Manifests};
use super::reserve::Reserve;
use super::shared::Shared;
use super::tree::Tree;
use crate::contract::Error;
use crate::fault::from_io;
use crate::index::{BlockCache, Run, RunId, RunMeta};

/// What the flusher and the tidier share.
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    manifests: Manifests,
    runs: PathBuf,
    cache: Arc<BlockCache>,
    /// What a full disk writes runs and manifests with.
    pub(super) reserve: Reserve,
    checkpoint: Mutex<Checkpoint>,
}

/// What is durable in the manifests.
struct Checkpoint {
    current: Manifest,
    /// Where a start replays from if the newest manifest turns out damaged.
    previous_replay: Position,
    /// Runs that the newest manifest does not list, and the first that did not.
    obsolete: Vec<(RunId, u64)>,
}

/// A change of what the manifest lists.
pub(super) struct Update<'u> {
    manifest: &'u mut Manifest,
    tree: &'u mut Tree,
}

impl Update<'_> {
    /// The manifest to be.
    pub(super) fn manifest(&mut self) -> &mut Manifest {
        self.manifest
    }

    /// The tree to be. Its tables belong to the committer; the oldest frozen one may be taken out.
    pub(super) fn tree(&mut self) -> &mut Tree {
        self.tree
    }
}

/// The directory of runs in an index directory.
pub(super) fn runs_directory(index: &Path) -> PathBuf {
    index.join("runs")
}

/// The path of a run.
pub(super) fn run_path(runs: &Path, id: RunId) -> PathBuf {
    runs.join(format!("{:016x}.run", id.0))
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        (manifests, runs, reserve): (Manifests, PathBuf, Reserve),
        cache: Arc<BlockCache>,
        current: Manifest,
    ) -> Self {
        let previous_replay = current.replay;
        let checkpoint = Checkpoint {
            current,
            // Of the manifest before it nothing is known: nothing is given up before the next.
            previous_replay: Position {
                next: 0,
                ..previous_replay
            },
            obsolete: Vec::new(),
        };
        Self {
            shared,
            manifests,
            runs,
            cache,
            reserve,
            checkpoint: Mutex::new(checkpoint),
        }
    }

    /// The runs, newest first.
    pub(super) fn runs(&self) -> Vec<RunMeta> {
        self.checkpoint.lock().current.runs.clone()
    }

    /// Batches before this one are needed by no start.
    pub(super) fn replayed_from(&self) -> u64 {
        let checkpoint = self.checkpoint.lock();
        checkpoint
            .previous_replay
            .next
            .min(checkpoint.current.replay.next)
    }

    /// A number and path for a new run.
    pub(super) fn new_run(&self) -> (RunId, PathBuf) {
        let mut checkpoint = self.checkpoint.lock();
        let id = RunId(checkpoint.current.next_run);
        checkpoint.current.next_run += 1;
        (id, run_path(&self.runs, id))
    }

    /// Opens a run that was just written, its name made durable.
    pub(super) fn open_run(&self, path: &Path, meta: &RunMeta) -> Result<Arc<Run>, Error> {
        sync_directory(&self.runs).map_err(|error| from_io(&error))?;
        Run::open(path, meta, self.shared.seal, Arc::clone(&self.cache)).map(Arc::new)
    }

    /// Makes a change durable in a new manifest, and only then effective.
    pub(super) fn update(&self, change: impl FnOnce(&mut Update<'_>)) -> Result<(), Error> {
        let mut checkpoint = self.checkpoint.lock();
        let mut next = checkpoint.current.clone();
        let tree = self.shared.tree();
        let mut tree_next = Tree::clone(&tree);
        change(&mut Update {
            manifest: &mut next,
            tree: &mut tree_next,
        });
        next.generation += 1;
        next.standing = self.shared.health.standing();
        next.fences = self.fences();
        next.settled = self.shared.settled.read().clone();
        self.manifests
            .write(&next, &self.shared.failpoints)
            .map_err(|error| from_io(&error))?;
        let generation = next.generation;
        let gone = checkpoint.current.runs.iter().map(|run| run.id);
        let gone: Vec<RunId> = gone
            .filter(|id| next.runs.iter().all(|run| run.id != *id))
            .collect();
        checkpoint
            .obsolete
            .extend(gone.into_iter().map(|id| (id, generation)));
        checkpoint.previous_replay = checkpoint.current.replay;
        checkpoint.current = next;
        self.install(&tree, tree_next);
        self.remove_runs(&mut checkpoint);
        Ok(())
    }

    /// Puts the changed tree in place, with whatever the committer froze meanwhile.
    fn install(&self, before: &Tree, changed: Tree) {
        let taken = before.frozen.len() - changed.frozen.len();
        self.shared.chores.add(|chores| {
            let mut tree = self.shared.tree.write();
            let mut next = Tree::clone(&tree);
            next.frozen.truncate(next.frozen.len() - taken);
            next.runs = changed.runs;
            *tree = Arc::new(next);
            chores.frozen.drain(..taken);
        });
    }

    fn fences(&self) -> Vec<(Slot, Epoch)> {
        let fences = self
            .shared
            .fences
            .iter()
            .map(|fence| fence.load(Ordering::Acquire));
        (0..Slot::COUNT)
            .zip(fences)
            .filter(|(_, fence)| *fence > 0)
            .map(|(slot, fence)| (Slot::new(slot), Epoch::from_u64(fence)))
            .collect()
    }

    /// Removes runs that neither of the two newest manifests lists.
    fn remove_runs(&self, checkpoint: &mut Checkpoint) {
        let generation = checkpoint.current.generation;
        checkpoint.obsolete.retain(|(id, since)| {
            if *since >= generation {
                return true;
            }
            // One that cannot be removed now is removed at the next start.
            let _ = fs::remove_file(run_path(&self.runs, *id));
            false
        });
    }

    /// Ends the drive's service after an I/O error in the background, where it must.
    pub(super) fn report(&self, what: &str, error: &Error) {
        match error {
            Error::Full => {
                self.shared.health.set_full(true);
                // Whoever looks after a full drive may sleep.
                self.shared
                    .chores
                    .add(|chores| chores.segments_changed = true);
            }
            Error::ReadOnly => self.shared.health.set_read_only(),
            Error::Io(_) | Error::Offline(_) => {
                self.shared.health.kill(&format!("{what}: {error}"));
            }
            other => tracing::error!(what, error = %other, "drive upkeep failed"),
        }
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

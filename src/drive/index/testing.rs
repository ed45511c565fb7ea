//! What the tests of this folder share: a directory that goes away, and a seal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use types::{DeploymentId, DriveId};

use super::{BlockCache, Run, RunId, RunMeta, RunSeal, RunWriter};
use crate::contract::Error;

/// A directory of a test's own, removed when dropped.
pub(super) struct TestDir(PathBuf);

impl TestDir {
    pub(super) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sarsen-index-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self, run: RunId) -> PathBuf {
        self.0.join(format!("{}.run", run.0))
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn seal() -> RunSeal {
    RunSeal::new(
        DeploymentId::from_bytes([1; 16]),
        DriveId::from_bytes([2; 16]),
    )
}

/// Writes a run of these entries.
pub(super) fn write<'e>(
    path: &Path,
    id: RunId,
    entries: impl Iterator<Item = (&'e [u8], Option<&'e [u8]>)>,
) -> RunMeta {
    let mut writer = RunWriter::create(path, id, seal(), 1000).unwrap();
    for (key, value) in entries {
        writer.add(key, value).unwrap();
    }
    writer.finish().unwrap()
}

pub(super) fn open(path: &Path, meta: &RunMeta) -> Result<Arc<Run>, Error> {
    Run::open(path, meta, seal(), Arc::new(BlockCache::new(1 << 20))).map(Arc::new)
}

//! A directory for one test, gone afterwards.

use std::path::{Path, PathBuf};

pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let suffix = super::entries::random_suffix().unwrap();
        let path = std::env::temp_dir().join(format!("sarsen-drive-{suffix}"));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// How many files of a drive there are in its `tmp/`.
    pub(crate) fn tmp_files(&self) -> usize {
        let staged = |path: &&String| path.starts_with("tmp/") && self.0.join(path).is_file();
        self.listing().iter().filter(staged).count()
    }

    /// Every path below, relative, in order.
    pub(crate) fn listing(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![self.0.clone()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                found.push(
                    path.strip_prefix(&self.0)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                );
                if path.is_dir() && !path.is_symlink() {
                    open.push(path);
                }
            }
        }
        found.sort_unstable();
        found
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

//! Space set aside, so that a disk without a free byte can write what gives space back.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, fallocate};

use crate::contract::Error;

/// The file's name in the index directory.
const NAME: &str = "reserve";
/// It takes this part of the disk.
const DISK_PART: u64 = 32;
/// But no more.
const LEN_MAX: u64 = 64 << 20;

/// A file of zeros that is given up when a run or a manifest finds no space. It is no more than must
/// be free again before a full drive takes new bytes.
pub(super) struct Reserve {
    path: PathBuf,
    len: u64,
    held: AtomicBool,
}

impl Reserve {
    /// The one in an index directory, on a disk of that length.
    pub(super) fn open(index: &Path, disk_len: u64) -> Self {
        let (path, len) = (index.join(NAME), (disk_len / DISK_PART).min(LEN_MAX));
        let held = fs::metadata(&path).is_ok_and(|file| file.len() == len);
        Self {
            path,
            len,
            held: AtomicBool::new(held),
        }
    }

    /// How much is to be set aside, and is not.
    pub(super) fn lacking(&self) -> u64 {
        match self.held.load(Ordering::Relaxed) {
            true => 0,
            false => self.len,
        }
    }

    /// Sets the space aside.
    pub(super) fn fill(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600);
        let file = file.open(&self.path)?;
        let filled = fallocate(&file, FallocateFlags::empty(), 0, self.len)
            .map_err(io::Error::from)
            .and_then(|()| file.sync_all());
        if filled.is_err() {
            // A file of another length is none.
            let _ = file.set_len(0);
        }
        self.held.store(filled.is_ok(), Ordering::Relaxed);
        filled
    }

    /// Does something once more with the space given up, if there was none for it.
    pub(super) fn lend<T>(&self, attempt: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        match attempt() {
            Err(Error::Full) if self.give_up() => attempt(),
            done => done,
        }
    }

    fn give_up(&self) -> bool {
        let held = self.held.swap(false, Ordering::Relaxed);
        let cut = |path| OpenOptions::new().write(true).open(path)?.set_len(0);
        if held {
            tracing::warn!("the drive's reserve of space is given up");
        }
        held && cut(&self.path)
            .and_then(|()| fs::remove_file(&self.path))
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Scratch;

    #[test]
    fn the_reserve_is_given_up_once_and_only_where_space_lacks() {
        let scratch = Scratch::new();
        let reserve = Reserve::open(scratch.path(), 32 << 20);
        assert_eq!(reserve.lacking(), 1 << 20);
        assert_eq!(reserve.lend(|| Err::<(), _>(Error::Full)), Err(Error::Full));
        reserve.fill().unwrap();
        let file = scratch.path().join(NAME);
        assert_eq!(fs::metadata(&file).unwrap().len(), 1 << 20);
        assert_eq!(
            reserve.lend(|| Err::<(), _>(Error::Missing)),
            Err(Error::Missing)
        );
        let again = Reserve::open(scratch.path(), 32 << 20);
        assert_eq!(again.lacking(), 0, "found");
        let lent = || {
            if file.exists() {
                Err(Error::Full)
            } else {
                Ok(1)
            }
        };
        assert_eq!(again.lend(lent), Ok(1));
        assert_eq!(again.lacking(), 1 << 20);
    }
}

//! Shard files kept open for reading: opening one costs six times a read.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use types::DataId;

/// Which file of a drive.
pub(super) type FileName = (DataId, u32);

/// A shard file whose header was found good.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) file: OwnedFd,
    /// Bytes of frames, as the header says and the file's length confirmed.
    pub(super) frames_len: u64,
}

/// The files read last, at most `capacity` of them. None is kept for longer than `age_max`: then
/// its header is looked at again, which nothing else would do on a file that is never closed.
#[derive(Debug)]
pub(super) struct OpenFiles {
    capacity: usize,
    age_max: Duration,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    files: HashMap<FileName, Kept>,
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    used: u64,
    since: Instant,
    file: Arc<OpenFile>,
}

impl OpenFiles {
    pub(super) fn new(capacity: usize, age_max: Duration) -> Self {
        Self {
            capacity,
            age_max,
            table: Mutex::default(),
        }
    }

    pub(super) fn find(&self, name: FileName) -> Option<Arc<OpenFile>> {
        let table = &mut *self.table.lock();
        table.uses += 1;
        let kept = table.files.get_mut(&name)?;
        if kept.since.elapsed() > self.age_max {
            table.files.remove(&name);
            return None;
        }
        kept.used = table.uses;
        Some(Arc::clone(&kept.file))
    }

    /// Keeps a file open; the one that was used longest ago makes room.
    pub(super) fn keep(&self, name: FileName, file: Arc<OpenFile>) {
        let table = &mut *self.table.lock();
        table.uses += 1;
        if table.files.len() >= self.capacity && !table.files.contains_key(&name) {
            let oldest = table
                .files
                .iter()
                .min_by_key(|(_, kept)| kept.used)
                .map(|(name, _)| *name);
            oldest.and_then(|oldest| table.files.remove(&oldest));
        }
        let kept = Kept {
            used: table.uses,
            since: Instant::now(),
            file,
        };
        table.files.insert(name, kept);
    }

    pub(super) fn forget(&self, name: FileName) {
        self.table.lock().files.remove(&name);
    }

    /// Closes all that nobody is reading.
    pub(super) fn clear(&self) {
        self.table.lock().files.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u8) -> FileName {
        (DataId::from_bytes([number; 16]), 1)
    }

    fn open() -> Arc<OpenFile> {
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        Arc::new(OpenFile {
            file,
            frames_len: 0,
        })
    }

    #[test]
    fn a_file_is_looked_at_again_after_a_while_however_often_it_is_read() {
        let files = OpenFiles::new(2, Duration::ZERO);
        files.keep(name(1), open());
        std::thread::sleep(Duration::from_millis(1));
        assert!(files.find(name(1)).is_none());
    }

    #[test]
    fn the_file_used_longest_ago_makes_room() {
        let files = OpenFiles::new(2, Duration::from_secs(60));
        files.keep(name(1), open());
        files.keep(name(2), open());
        assert!(files.find(name(1)).is_some());
        files.keep(name(3), open());
        assert!(files.find(name(2)).is_none());
        assert!(files.find(name(1)).is_some() && files.find(name(3)).is_some());
        files.forget(name(1));
        assert!(files.find(name(1)).is_none());
        files.clear();
        assert!(files.find(name(3)).is_none());
    }
}

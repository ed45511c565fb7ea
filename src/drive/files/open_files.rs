//! Shard files kept open for reading: opening one costs six times a read.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

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

/// The files read last, at most `capacity` of them.
#[derive(Debug)]
pub(super) struct OpenFiles {
    capacity: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    files: HashMap<FileName, (u64, Arc<OpenFile>)>,
    uses: u64,
}

impl OpenFiles {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            table: Mutex::default(),
        }
    }

    pub(super) fn find(&self, name: FileName) -> Option<Arc<OpenFile>> {
        let table = &mut *self.table.lock();
        table.uses += 1;
        let (used, file) = table.files.get_mut(&name)?;
        *used = table.uses;
        Some(Arc::clone(file))
    }

    /// Keeps a file open; the one that was used longest ago makes room.
    pub(super) fn keep(&self, name: FileName, file: Arc<OpenFile>) {
        let table = &mut *self.table.lock();
        table.uses += 1;
        if table.files.len() >= self.capacity && !table.files.contains_key(&name) {
            let oldest = table
                .files
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(name, _)| *name);
            oldest.and_then(|oldest| table.files.remove(&oldest));
        }
        table.files.insert(name, (table.uses, file));
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

    #[test]
    fn the_file_used_longest_ago_makes_room() {
        let name = |number| (DataId::from_bytes([number; 16]), 1);
        let open = || {
            let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
            Arc::new(OpenFile {
                file,
                frames_len: 0,
            })
        };
        let files = OpenFiles::new(2);
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

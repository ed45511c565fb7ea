//! Shard files that are being read.

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use types::DataId;

use super::local::{Lane, Reader};
use super::shared::Shared;
use crate::contract::{Error, Reply, ShardRead, ShardReader};

/// How many readers each file has. What is held stays on the disk when its last row goes, and is
/// removed when its last reader has done. A start knows of no readers.
#[derive(Default)]
pub(super) struct Held(Mutex<HashMap<DataId, u32>>);

impl Held {
    /// Whether anybody reads the file.
    pub(super) fn holds(&self, data: DataId) -> bool {
        self.0.lock().contains_key(&data)
    }

    fn hold(&self, files: &[DataId]) {
        let mut held = self.0.lock();
        for data in files {
            *held.entry(*data).or_default() += 1;
        }
    }

    /// Says which of them nobody holds any more.
    fn release(&self, files: &[DataId]) -> Vec<DataId> {
        let mut held = self.0.lock();
        let mut free = Vec::new();
        for data in files {
            let Some(readers) = held.get_mut(data) else {
                continue;
            };
            *readers -= 1;
            if *readers == 0 {
                held.remove(data);
                free.push(*data);
            }
        }
        free
    }
}

/// Files that somebody reads. Between two reads it does not keep the drive open: whoever reads may be
/// slow, and a drive that is out of service is to be opened anew.
pub(super) struct HeldFiles {
    drive: Weak<Shared>,
    lane: Lane,
    files: Arc<[DataId]>,
    /// Generations that no row listed when it began; none, nearly always.
    gone: Vec<(DataId, u32)>,
}

impl HeldFiles {
    /// Holds the files. What is to be removed already is not for new readers: they would take it
    /// for a shard that counts.
    pub(super) fn new(reader: Reader, files: Arc<[DataId]>) -> Self {
        // Held first: what is not doomed after that stays.
        reader.shared.held.hold(&files);
        let gone = reader.shared.doomed(&files);
        Self {
            drive: Arc::downgrade(&reader.shared),
            lane: reader.lane,
            files,
            gone,
        }
    }
}

impl ShardReader for HeldFiles {
    fn read(&self, read: ShardRead) -> Reply<Bytes> {
        let Some(shared) = self.drive.upgrade() else {
            return Box::pin(ready(Err(Error::Offline(Arc::from("closed")))));
        };
        let gone = self.gone.iter().filter(|(data, _)| *data == read.data);
        let above = gone.map(|(_, generation)| *generation).max();
        let lane = self.lane.clone();
        Reader { shared, lane }.shard(read, above)
    }
}

impl Drop for HeldFiles {
    fn drop(&mut self) {
        let Some(shared) = self.drive.upgrade() else {
            return;
        };
        let waiting = shared.doomed(&shared.held.release(&self.files));
        if !waiting.is_empty() {
            shared.chores.add(|chores| chores.doomed.extend(waiting));
        }
    }
}

impl Shared {
    /// Those of the files that no row lists any more, with their generations.
    fn doomed(&self, files: &[DataId]) -> Vec<(DataId, u32)> {
        let doomed = self.doomed.lock();
        if doomed.is_empty() {
            return Vec::new();
        }
        let of = |data: &DataId| doomed.range((*data, 0)..=(*data, u32::MAX)).copied();
        files.iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use types::Placed;

    use super::super::tests::{at, commit, formatted, opened, register, runtime};
    use super::*;
    use crate::contract::{Discard, Drive, Row};

    fn file(root: &Path, data: DataId) -> bool {
        let [fan_out, ..] = data.to_bytes();
        let directory = root.join(format!("shards/{fan_out:02x}"));
        directory.join(format!("{data}.0")).exists()
    }

    /// Writes an object whose bytes are in a file; returns the file's id.
    async fn write(drive: &impl Drive, key: &str, sequence: u64) -> DataId {
        let mut commit = commit(key, sequence, 9);
        let mut head = commit.row.head;
        head.placed = Placed::File;
        let mut stage = drive.stage(head.data, register(key)).await.unwrap();
        stage
            .append(Bytes::from_static(b"the bytes"))
            .await
            .unwrap();
        stage.finish().await.unwrap();
        commit.inline = None;
        commit.row = Arc::new(Row {
            head,
            files: [head.data].into(),
            tail: Bytes::new(),
        });
        drive.commit(commit).await.unwrap();
        head.data
    }

    async fn take_away(drive: &impl Drive, key: &str, sequence: u64) {
        let discard = Discard {
            fence: commit(key, sequence, 0).fence,
            register: register(key),
            rows: vec![(at(sequence), at(sequence))],
            keep: [].into(),
        };
        drive.discard(discard).await.unwrap();
    }

    fn wait_until_gone(root: &Path, data: DataId) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while file(root, data) {
            assert!(Instant::now() < deadline, "{data} is not removed");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_file_outlasts_its_row_as_long_as_it_is_read() {
        let scratch = formatted();
        let (root, drive) = (scratch.path(), opened(scratch.path()));
        runtime().block_on(async {
            let (read, unread) = (write(&drive, "a", 1).await, write(&drive, "b", 2).await);
            let readers = [0, 1].map(|_| drive.read_shards([read].into()));
            take_away(&drive, "a", 1).await;
            take_away(&drive, "b", 2).await;
            // Files are seen to in turn: the first one's has come by then.
            wait_until_gone(root, unread);
            let [first, second] = readers;
            drop(first);
            let all = ShardRead {
                data: read,
                offset: 0,
                len: 9,
            };
            let found = second.read(all).await;
            assert_eq!(found.as_deref(), Ok(b"the bytes".as_slice()));
            let late = drive.read_shards([read].into());
            assert_eq!(late.read(all).await, Err(Error::Missing));
            drop(second);
            assert!(file(root, read), "who comes late holds it too");
            drop(late);
            wait_until_gone(root, read);
        });
    }

    /// Fails if a drive that is out of service stays in use as long as somebody is slow to read.
    #[test]
    fn whoever_reads_keeps_no_drive_from_being_opened_anew() {
        let scratch = formatted();
        let drive = opened(scratch.path());
        let (reader, data, position) = runtime().block_on(async {
            let data = write(&drive, "a", 1).await;
            (drive.read_shards([data].into()), data, drive.positions().0)
        });
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || tell.send(drive.abandon()));
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(position));
        let again = opened(scratch.path());
        assert_eq!(again.positions().0, position);
        runtime().block_on(async {
            let all = ShardRead {
                data,
                offset: 0,
                len: 9,
            };
            let closed = reader.read(all).await;
            assert_eq!(closed, Err(Error::Offline("closed".into())));
            let found = again.read_shards([data].into()).read(all).await;
            assert_eq!(found.as_deref(), Ok(b"the bytes".as_slice()));
        });
    }
}

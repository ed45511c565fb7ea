//! The shard files of a drive: staged in `tmp/`, published under `shards/`, read, removed.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::AtFlags;
use rustix::io::Errno;
use types::DataId;

use super::aligned::AlignedBuffer;
use super::entries;
use super::frames::FrameBuffers;
use super::header::{HEADER_LEN, Header};
use super::inspect::{SHARDS, TMP, TMP_FAN_OUT};
use super::open_files::{FileName, OpenFile, OpenFiles};
use super::root::{Access, Root};
use super::staging::{StageFile, TmpFile};
use crate::contract::{Error, Identity, Staged};
use crate::failpoint::Failpoints;
use crate::fault::{from_errno, from_read};
use crate::now::read_now;
use crate::register::Register;

/// Descriptors kept open for reading, per drive.
const OPEN_FILES_MAX: usize = 256;
/// How long one is kept open at most, so that its header is read again now and then.
const OPEN_AGE_MAX: Duration = Duration::from_secs(3600);

/// The shard files of one drive. All methods block as long as the disk does.
#[derive(Debug)]
pub(crate) struct ShardFiles {
    identity: Identity,
    shards: OwnedFd,
    // Empty on a drive that takes no writes.
    tmp: Vec<Arc<OwnedFd>>,
    open_files: OpenFiles,
    buffers: FrameBuffers,
    sync_failed: AtomicBool,
    failpoints: Failpoints,
    // Whole and synced, waiting for their commit.
    waiting: Mutex<HashMap<DataId, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    place: TmpFile,
    frames_len: u64,
    since: Instant,
}

/// A file that has its name but not yet for ever: see [`ShardFiles::sync_directories`].
#[derive(Debug)]
pub(crate) struct Published {
    fan_out: u8,
    directory: OwnedFd,
}

impl ShardFiles {
    /// The shard files of an open drive. What was staged and never committed before is removed.
    pub(crate) fn open(root: &Root) -> Result<Self, Error> {
        let shards = entries::open_directory(root.directory(), SHARDS).map_err(from_errno)?;
        let tmp = match root.access() {
            Access::Writable => empty_tmp(root).map_err(from_errno)?,
            Access::ReadOnly => Vec::new(),
        };
        Ok(Self {
            identity: root.formatted().identity.clone(),
            shards,
            tmp,
            open_files: OpenFiles::new(OPEN_FILES_MAX, OPEN_AGE_MAX),
            buffers: FrameBuffers::default(),
            sync_failed: AtomicBool::new(false),
            failpoints: Failpoints::default(),
            waiting: Mutex::default(),
        })
    }

    /// The same, with places at which a test may kill the process.
    pub(crate) fn with_failpoints(self, failpoints: Failpoints) -> Self {
        Self { failpoints, ..self }
    }

    /// Begins a file for `data`. Invisible, and gone after a crash.
    pub(crate) fn create(&self, data: DataId, register: Register) -> Result<StageFile, Error> {
        self.with_descriptors(|| {
            let [.., last] = data.to_bytes();
            let tmp = self.tmp.get(usize::from(last % TMP_FAN_OUT));
            let tmp = tmp.ok_or(Errno::ROFS)?;
            StageFile::create(tmp, &self.identity, data, register.clone())
        })
        .map_err(from_errno)
    }

    /// Appends the last frames, syncs the file and keeps it for its commit. A file staged before
    /// for the same data id gives way.
    pub(crate) fn finish(
        &self,
        mut file: StageFile,
        frames: &[Bytes],
        buffer: &mut AlignedBuffer,
    ) -> Result<Staged, Error> {
        let data = file.data();
        file.complete(frames, buffer)?;
        self.failpoints.hit("stage.before-sync");
        let (place, header) = file.sync().inspect_err(|error| self.note_sync(error))?;
        let waiting = Waiting {
            place,
            frames_len: header.frames_len,
            since: Instant::now(),
        };
        let replaced = self.waiting.lock().insert(data, waiting);
        // Its file is removed here, outside the lock.
        drop(replaced);
        self.failpoints.hit("stage.after-sync");
        Ok(Staged {
            data,
            len: header.frames_len,
        })
    }

    /// The bytes of frames staged for `data`, if a whole and synced file waits for its commit.
    pub(crate) fn staged_len(&self, data: DataId) -> Option<u64> {
        self.waiting
            .lock()
            .get(&data)
            .map(|waiting| waiting.frames_len)
    }

    /// Removes what is staged for `data`.
    pub(crate) fn discard_staged(&self, data: DataId) {
        let waiting = self.waiting.lock().remove(&data);
        drop(waiting);
    }

    /// Removes what has waited for its commit for `age` or longer, and says how many.
    pub(crate) fn discard_stale(&self, age: Duration) -> usize {
        let stale: Vec<Waiting> = {
            let mut waiting = self.waiting.lock();
            waiting
                .extract_if(|_, file| file.since.elapsed() >= age)
                .map(|(_, file)| file)
                .collect()
        };
        stale.len()
    }

    /// Gives the file staged for `data` its name of this generation. Visible at once, durable
    /// after [`ShardFiles::sync_directories`]; a crash before leaves an orphan or nothing.
    /// [`Error::NotStaged`] if nothing whole and synced is staged; a generation that exists is
    /// never replaced. For one thread alone: the committer.
    pub(crate) fn publish(&self, data: DataId, generation: u32) -> Result<Published, Error> {
        let waiting = self.waiting.lock().remove(&data);
        let Waiting { place, .. } = waiting.ok_or(Error::NotStaged(data))?;
        let Published { fan_out, directory } = self.named(data)?;
        let name = file_name((data, generation));
        match rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => return Err(Error::Io(std::io::ErrorKind::AlreadyExists)),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(from_errno(errno)),
        }
        place
            .rename(&directory, &name)
            .map_err(|errno| match errno {
                Errno::NOENT => Error::NotStaged(data),
                other => from_errno(other),
            })?;
        Ok(Published { fan_out, directory })
    }

    /// A file that has its name already.
    pub(crate) fn named(&self, data: DataId) -> Result<Published, Error> {
        let fan_out = fan_out(data);
        let directory = self.with_descriptors(|| self.open_fan_out(fan_out));
        Ok(Published {
            fan_out,
            directory: directory.map_err(from_errno)?,
        })
    }

    /// Makes the names of one batch durable: each directory is synced once.
    pub(crate) fn sync_directories(&self, mut published: Vec<Published>) -> Result<(), Error> {
        published.sort_unstable_by_key(|file| file.fan_out);
        published.dedup_by_key(|file| file.fan_out);
        if published.is_empty() {
            return Ok(());
        }
        self.failpoints.hit("publish.before-sync");
        for file in &published {
            let synced = rustix::fs::fsync(&file.directory).map_err(from_errno);
            synced.inspect_err(|error| self.note_sync(error))?;
        }
        self.failpoints.hit("publish.after-sync");
        Ok(())
    }

    /// Whether a sync ever failed with an I/O error. The file it was about is not used, but the
    /// drive is suspect from then on.
    pub(crate) fn sync_failed(&self) -> bool {
        self.sync_failed.load(Ordering::Relaxed)
    }

    /// `len` bytes of frames from `offset`. The header and the exact length of the file are
    /// checked; the frames are not.
    pub(crate) fn read(
        &self,
        data: DataId,
        generation: u32,
        offset: u64,
        len: usize,
    ) -> Result<Bytes, Error> {
        let file = self.open_file((data, generation))?;
        read_frames(&file, offset, len)
    }

    /// As [`ShardFiles::read`], if that takes no disk; else `None`.
    pub(crate) fn read_now(
        &self,
        data: DataId,
        generation: u32,
        offset: u64,
        len: usize,
    ) -> Option<Bytes> {
        let file = self.open_files.find((data, generation))?;
        check_len(&file).ok()?;
        offset
            .checked_add(len as u64)
            .filter(|end| *end <= file.frames_len)?;
        let at = offset + HEADER_LEN as u64;
        self.buffers
            .read(len, |bytes| read_now(&file.file, bytes, at))
    }

    /// Bytes of frames of a published file.
    pub(crate) fn len(&self, data: DataId, generation: u32) -> Result<u64, Error> {
        self.open_file((data, generation))
            .map(|file| file.frames_len)
    }

    /// Removes a published file; one that is not there is no error. It may come back after a
    /// power cut, as an orphan.
    pub(crate) fn remove(&self, data: DataId, generation: u32) -> Result<(), Error> {
        let name = (data, generation);
        let directory = self
            .with_descriptors(|| self.open_fan_out(fan_out(data)))
            .map_err(from_errno)?;
        let removed = rustix::fs::unlinkat(&directory, file_name(name), AtFlags::empty());
        self.open_files.forget(name);
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(from_errno(errno)),
        }
    }

    /// The generations of `data` that have a file, in order. Reads a directory: for heal.
    pub(crate) fn generations(&self, data: DataId) -> Result<Vec<u32>, Error> {
        let names = self.names_in(fan_out(data))?;
        let mut found: Vec<u32> = names
            .into_iter()
            .filter(|name| name.0 == data)
            .map(|name| name.1)
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    /// The published files whose names say that they belong in this fan-out directory, in order.
    pub(super) fn names_in(&self, fan_out: u8) -> Result<Vec<FileName>, Error> {
        let directory = self
            .with_descriptors(|| self.open_fan_out(fan_out))
            .map_err(from_errno)?;
        let names = entries::names(&directory).map_err(from_errno)?;
        let belongs = |name: &FileName| self::fan_out(name.0) == fan_out;
        let mut names: Vec<FileName> = names
            .iter()
            .filter_map(|name| parse_file_name(name))
            .filter(belongs)
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Opens a file and checks its header against its name, its drive and its length.
    pub(super) fn check(&self, name: FileName) -> Result<(OpenFile, Header), Error> {
        let open = || entries::open_file(self.open_fan_out(fan_out(name.0))?, &file_name(name));
        let file = self.with_descriptors(open).map_err(from_read)?;
        let block = entries::read_up_to(&file, 0, HEADER_LEN).map_err(from_read)?;
        let header = Header::decode(&block)?;
        if header.deployment != self.identity.deployment || header.drive != self.identity.drive {
            return Err(Error::Corrupt("shard file was written for another drive"));
        }
        if header.data != name.0 {
            return Err(Error::Corrupt(
                "shard file holds other data than its name says",
            ));
        }
        let open = OpenFile {
            file,
            frames_len: header.frames_len,
        };
        check_len(&open)?;
        Ok((open, header))
    }

    #[cfg(test)]
    pub(super) fn open_files_clear(&self) {
        self.open_files.clear();
    }

    fn open_file(&self, name: FileName) -> Result<Arc<OpenFile>, Error> {
        if let Some(file) = self.open_files.find(name) {
            // Removed, replaced, cut or grown behind our back: the name decides, not what we hold.
            match check_len(&file) {
                Ok(()) => return Ok(file),
                Err(_) => self.open_files.forget(name),
            }
        }
        let (file, _) = self.check(name)?;
        let file = Arc::new(file);
        self.open_files.keep(name, Arc::clone(&file));
        // A removal that ran since has cleared the entry before it was made; its file would
        // keep its space as long as it stays open.
        if check_len(&file).is_err() {
            self.open_files.forget(name);
        }
        Ok(file)
    }

    fn note_sync(&self, error: &Error) {
        if matches!(error, Error::Io(_)) {
            self.sync_failed.store(true, Ordering::Relaxed);
        }
    }

    /// Tries again without the open files if the process has no descriptors left.
    fn with_descriptors<T>(&self, attempt: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
        match attempt() {
            Err(Errno::MFILE | Errno::NFILE) => {
                self.open_files.clear();
                attempt()
            }
            other => other,
        }
    }

    fn open_fan_out(&self, fan_out: u8) -> Result<OwnedFd, Errno> {
        entries::open_directory(self.shards.as_fd(), &format!("{fan_out:02x}"))
    }
}

/// Opens the directories of `tmp/` and removes what is in them.
fn empty_tmp(root: &Root) -> Result<Vec<Arc<OwnedFd>>, Errno> {
    let tmp = entries::open_directory(root.directory(), TMP)?;
    (0..TMP_FAN_OUT)
        .map(|fan_out| {
            let directory = entries::open_directory(&tmp, &format!("{fan_out:x}"))?;
            for name in entries::names(&directory)? {
                // A directory there is none of ours: it is ignored, as every stray is.
                let _ = rustix::fs::unlinkat(&directory, &name, AtFlags::empty());
            }
            Ok(Arc::new(directory))
        })
        .collect()
}

/// Bytes of an open file's frames.
pub(super) fn read_frames(file: &OpenFile, offset: u64, len: usize) -> Result<Bytes, Error> {
    const BEYOND: Error = Error::Corrupt("shard file ends before the bytes asked for");
    let end = offset.checked_add(len as u64).ok_or(BEYOND)?;
    if end > file.frames_len {
        return Err(BEYOND);
    }
    let at = offset + HEADER_LEN as u64;
    let bytes = entries::read_up_to(&file.file, at, len).map_err(from_read)?;
    if bytes.len() < len {
        Err(BEYOND)
    } else {
        Ok(Bytes::from(bytes))
    }
}

/// Linked, and exactly as long as its header says.
fn check_len(file: &OpenFile) -> Result<(), Error> {
    let stat = rustix::fs::fstat(&file.file).map_err(from_errno)?;
    if stat.st_nlink == 0 {
        return Err(Error::Missing);
    }
    let expected = file.frames_len.checked_add(HEADER_LEN as u64);
    if u64::try_from(stat.st_size).ok() != expected {
        return Err(Error::Corrupt(
            "shard file is not as long as its header says",
        ));
    }
    Ok(())
}

fn fan_out(data: DataId) -> u8 {
    let [first, ..] = data.to_bytes();
    first
}

fn file_name((data, generation): FileName) -> String {
    format!("{data}.{generation}")
}

/// The inverse of [`file_name`]; `None` for strays.
fn parse_file_name(name: &str) -> Option<FileName> {
    let (data, generation) = name.split_once('.')?;
    let parsed = (DataId::parse(data).ok()?, generation.parse().ok()?);
    (file_name(parsed) == name).then_some(parsed)
}

//! One file of the log, and the directory of all of them.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use types::DriveId;

use super::batch::ALIGN;
use super::bytes::Fields;

const MAGIC: [u8; 8] = *b"sarsens1";
const CRC_AT: usize = ALIGN - 8;
/// Segments of a disk with room are this long.
const SEGMENT_LEN: u64 = 64 << 20;
/// And never shorter than this: the longest entry must fit.
const SEGMENT_LEN_MIN: u64 = 16 << 20;
/// No entry is longer.
pub(super) const ENTRY_LEN_MAX: usize = 12 << 20;
/// Where a segment's first batch begins.
pub(super) const FIRST_BATCH: u32 = ALIGN as u32;

/// The block at the front of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Whose log it is part of.
    pub(super) drive: DriveId,
    /// Its number, which its file name repeats.
    pub(super) id: u64,
    /// Random; every batch in it repeats this, so that bytes which a client stored, or an
    /// earlier life of the file left behind, never look like one.
    pub(super) nonce: u64,
    /// The length of the file.
    pub(super) len: u64,
}

impl SegmentHeader {
    /// The block.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.drive.to_bytes());
        for number in [self.id, self.nonce, self.len] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.resize(CRC_AT, 0);
        let crc = crc_fast::crc64_nvme(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The inverse; `None` for anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (front, crc) = bytes.get(..ALIGN)?.split_last_chunk::<8>()?;
        let mut fields = Fields(front);
        if fields.array()? != MAGIC || crc_fast::crc64_nvme(front) != u64::from_le_bytes(*crc) {
            return None;
        }
        Some(Self {
            drive: DriveId::from_bytes(fields.array()?),
            id: fields.u64()?,
            nonce: fields.u64()?,
            len: fields.u64()?,
        })
    }
}

/// A file of the log.
#[derive(Debug)]
pub(super) struct Segment {
    /// Its number.
    pub(super) id: u64,
    /// See [`SegmentHeader`]. Zero where nobody appends any more.
    pub(super) nonce: u64,
    /// The length of the file.
    pub(super) len: u64,
    /// The file.
    pub(super) file: File,
    /// Bytes of rows in it that the index refers to. A hint when to collect it; what is in use
    /// is looked up before anything is given up.
    pub(super) live: AtomicU64,
    /// Where its last batch ends.
    pub(super) used: AtomicU64,
    /// The number of its last batch.
    pub(super) last: AtomicU64,
}

impl Segment {
    pub(super) fn new(header: SegmentHeader, file: File) -> Self {
        Self {
            id: header.id,
            nonce: header.nonce,
            len: header.len,
            file,
            live: AtomicU64::new(0),
            used: AtomicU64::new(u64::from(FIRST_BATCH)),
            last: AtomicU64::new(0),
        }
    }

    /// The same segment on a disk that cannot read it.
    #[cfg(test)]
    pub(super) fn unreadable(&self) -> Self {
        let header = SegmentHeader {
            drive: DriveId::from_bytes([0; 16]),
            id: self.id,
            nonce: self.nonce,
            len: self.len,
        };
        Self::new(header, crate::fault::tests::unreadable())
    }

    /// Whether its file still has a name.
    pub(super) fn is_linked(&self) -> io::Result<bool> {
        Ok(rustix::fs::fstat(&self.file)?.st_nlink > 0)
    }

    /// The segment and where its first hole begins, if it has one. A file system that cannot tell
    /// has none.
    fn with_hole(self: Arc<Self>) -> Option<(Arc<Self>, u64)> {
        let hole = rustix::fs::seek(&self.file, SeekFrom::Hole(0)).ok()?;
        // The header stays, whatever the file system says of it.
        let hole = hole.max(FIRST_BATCH.into());
        (hole < self.len).then_some((self, hole))
    }

    /// Counts bytes in.
    pub(super) fn add_live(&self, bytes: u64) {
        self.live.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes out.
    pub(super) fn free(&self, bytes: u64) {
        let _ = self
            .live
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |live| {
                Some(live.saturating_sub(bytes))
            });
    }
}

/// The name of a segment's file.
pub(super) fn file_name(id: u64) -> String {
    format!("{id:016x}.log")
}

/// The segment whose file has this name.
pub(super) fn parse_name(name: &str) -> Option<u64> {
    let id = name.strip_suffix(".log").filter(|id| id.len() == 16)?;
    u64::from_str_radix(id, 16).ok()
}

/// All segments of a drive, those prepared for use among them.
pub(super) struct Segments {
    directory: OwnedFd,
    drive: DriveId,
    /// The length of new segments but for the first.
    len: u64,
    in_use: RwLock<BTreeMap<u64, Arc<Segment>>>,
    spares: Mutex<Spares>,
    /// How many there are: each batch asks, and a lock may be held as long as a disk takes.
    ready: AtomicUsize,
}

#[derive(Default)]
struct Spares {
    ready: VecDeque<Arc<Segment>>,
    next_id: u64,
}

/// How many prepared segments there are to be: one for anything, and what is kept.
pub(super) const SPARES: usize = KEPT + 1;
/// How many are kept for what frees space on a full disk: deletions that come faster than
/// segments come back do not get to the last one at once.
const KEPT: usize = 2;
/// Of a segment with no other behind it, this part is kept for the collector and for intent.
const COLLECTION_PART: u64 = 2;
/// And this part for intent alone.
const INTENT_PART: u64 = 8;

/// A fresh segment is filled in steps of this length.
const FILL_STEP: usize = 1 << 20;
/// And not before this part of the one before it is used.
const FILL_AFTER: u64 = 4;

/// What the next segment is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// New bytes: some spares stay, and where one of these went nothing follows it.
    Growth,
    /// Fences, marks, deletions: all spares may go, but for what the others need of the last.
    Upkeep,
    /// Rows of a segment that gives all of its space back once they are elsewhere.
    Collection,
    /// The small store, without which no server starts: all there is.
    Intent,
}

impl Segments {
    /// Opens the directory, whose segments are still unknown.
    pub(super) fn open(path: &Path, drive: DriveId) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let disk = rustix::fs::fstatvfs(&directory)?;
        let disk_len = disk.f_blocks.saturating_mul(disk.f_frsize);
        let len = (disk_len / 64).clamp(SEGMENT_LEN_MIN, SEGMENT_LEN) / ALIGN as u64 * ALIGN as u64;
        Ok(Self {
            directory,
            drive,
            len,
            in_use: RwLock::new(BTreeMap::new()),
            spares: Mutex::new(Spares {
                next_id: 1,
                ..Spares::default()
            }),
            ready: AtomicUsize::new(0),
        })
    }

    /// The numbers of all segments that have a file, in order; other files are removed: they are
    /// what an interrupted preparation left.
    pub(super) fn list(&self, mutable: bool) -> io::Result<Vec<u64>> {
        let mut ids = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.directory)? {
            let entry = entry?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => match parse_name(name) {
                    Some(id) => ids.push(id),
                    None if mutable => {
                        rustix::fs::unlinkat(&self.directory, name, AtFlags::empty())?
                    }
                    None => {}
                },
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Opens a segment's file; its header is not looked at.
    pub(super) fn open_file(&self, id: u64, writable: bool) -> io::Result<File> {
        Ok(self.open_with(id, writable, OFlags::empty())?)
    }

    /// Opens a segment's file past the page cache, whatever memory holds of it; `None` where that
    /// cannot be had.
    pub(super) fn open_direct(&self, id: u64, writable: bool) -> io::Result<Option<File>> {
        match self.open_with(id, writable, OFlags::DIRECT) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::INVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn open_with(&self, id: u64, writable: bool, extra: OFlags) -> Result<File, Errno> {
        let mode = if writable {
            OFlags::RDWR
        } else {
            OFlags::RDONLY
        };
        let flags = mode | OFlags::NOFOLLOW | OFlags::CLOEXEC | extra;
        Ok(rustix::fs::openat(&self.directory, file_name(id), flags, Mode::empty())?.into())
    }

    /// Opens a segment with its header, if that reads well.
    pub(super) fn open_segment(&self, id: u64, writable: bool) -> io::Result<Option<Arc<Segment>>> {
        let file = self.open_file(id, writable)?;
        let mut block = vec![0; ALIGN];
        match file.read_exact_at(&mut block, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let len = file.metadata()?.len();
        Ok(SegmentHeader::decode(&block)
            .filter(|header| header.id == id && header.drive == self.drive && header.len == len)
            .map(|header| Arc::new(Segment::new(header, file))))
    }

    /// Opens a segment that is only read, from what the manifest knows of it.
    pub(super) fn open_sealed(&self, id: u64, live: u64, used: u64, last: u64) -> io::Result<()> {
        let file = self.open_file(id, false)?;
        let len = file.metadata()?.len();
        let header = SegmentHeader {
            drive: self.drive,
            id,
            nonce: 0,
            len,
        };
        let segment = Segment::new(header, file);
        segment.live.store(live, Ordering::Relaxed);
        segment.used.store(used, Ordering::Relaxed);
        segment.last.store(last, Ordering::Relaxed);
        self.insert(Arc::new(segment));
        Ok(())
    }

    /// Takes a segment among those in use.
    pub(super) fn insert(&self, segment: Arc<Segment>) {
        self.skip(segment.id);
        self.in_use.write().insert(segment.id, segment);
    }

    /// Makes sure that no new segment gets this number.
    pub(super) fn skip(&self, id: u64) {
        let mut spares = self.spares.lock();
        spares.next_id = spares.next_id.max(id + 1);
    }

    /// The segment of that number, if it is in use.
    pub(super) fn find(&self, id: u64) -> Option<Arc<Segment>> {
        self.in_use.read().get(&id).cloned()
    }

    /// All segments in use, in order.
    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.in_use.read().values().cloned().collect()
    }

    /// Takes a segment out of use. Whoever still reads from it holds it.
    pub(super) fn take_out(&self, id: u64) -> Option<Arc<Segment>> {
        self.in_use.write().remove(&id)
    }

    /// How many segments are prepared.
    pub(super) fn spares(&self) -> usize {
        self.ready.load(Ordering::Relaxed)
    }

    fn add_spare(&self, spares: &mut Spares, segment: Arc<Segment>) {
        spares.ready.push_back(segment);
        self.ready.store(spares.ready.len(), Ordering::Relaxed);
    }

    /// How far a segment may be filled for that purpose while the log ends in it.
    pub(super) fn limit(&self, segment: &Segment, purpose: Purpose) -> u64 {
        match (purpose, self.spares()) {
            (Purpose::Growth, spares) if spares < KEPT => 0,
            (Purpose::Upkeep, 0) => segment.len - segment.len / COLLECTION_PART,
            (Purpose::Collection, 0) => segment.len - segment.len / INTENT_PART,
            _ => segment.len,
        }
    }

    /// The next segment to write to, now in use; `None` if there is none for that purpose.
    pub(super) fn next(&self, purpose: Purpose) -> Option<Arc<Segment>> {
        let segment = {
            let mut spares = self.spares.lock();
            let kept = if purpose == Purpose::Growth { KEPT } else { 0 };
            if spares.ready.len() <= kept {
                return None;
            }
            let segment = spares.ready.pop_front()?;
            self.ready.store(spares.ready.len(), Ordering::Relaxed);
            segment
        };
        self.in_use.write().insert(segment.id, Arc::clone(&segment));
        Some(segment)
    }

    /// Prepares a new segment, durably.
    pub(super) fn prepare_new(&self) -> io::Result<()> {
        let len = self.len_of(self.spares.lock().next_id);
        let disk = rustix::fs::fstatvfs(&self.directory)?;
        // A try that fails may hold all that there is for a while, and a run's last byte with it.
        if disk.f_bavail.saturating_mul(disk.f_frsize) < len {
            return Err(Errno::NOSPC.into());
        }
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = "new";
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::from_raw_mode(0o600))?;
        let result = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len)
            .map_err(io::Error::from)
            .and_then(|()| self.prepare(file.into(), len, name));
        if result.is_err() {
            // What is left is removed at the next start if it cannot be now.
            let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
        }
        result
    }

    /// Writes a step of zeros to the segment that comes next if it was never written to; `false` if
    /// there is nothing to fill, or no hurry. What a disk gave space but no bytes is a hole, and
    /// the sync of a batch in a hole has to write the file's metadata too.
    pub(super) fn fill_step(&self) -> io::Result<bool> {
        let soon = self
            .in_use
            .read()
            .values()
            .next_back()
            .is_some_and(|active| active.used.load(Ordering::Relaxed) > active.len / FILL_AFTER);
        let next = self.spares.lock().ready.front().cloned();
        let Some((segment, hole)) = next.filter(|_| soon).and_then(Segment::with_hole) else {
            return Ok(false);
        };
        let step =
            usize::try_from(segment.len - hole).map_or(FILL_STEP, |left| left.min(FILL_STEP));
        let zeros = vec![0; step + ALIGN];
        let aligned = zeros.as_ptr().align_offset(ALIGN);
        let zeros = zeros.get(aligned..aligned + step).unwrap_or_default();
        // Else a quarter of the CPU went into copies of zeros that nobody reads.
        let direct = self.open_direct(segment.id, true)?;
        let spares = self.spares.lock();
        // Once in use it holds batches.
        if spares.ready.iter().any(|ready| ready.id == segment.id) {
            let file = direct.as_ref().unwrap_or(&segment.file);
            match file.write_all_at(zeros, hole) {
                // Opened directly but refused at the first write: its blocks are larger.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    segment.file.write_all_at(zeros, hole)?;
                }
                written => written?,
            }
        }
        drop(spares);
        segment.file.sync_data()?;
        Ok(true)
    }

    /// Prepares a segment that was taken out of use and that nobody reads any more for another
    /// life. Its blocks were written before.
    pub(super) fn recycle(&self, id: u64, len: u64) -> io::Result<()> {
        let (old, name) = (file_name(id), "old");
        let file = self.open_file(id, true)?;
        rustix::fs::renameat(&self.directory, &old, &self.directory, name)?;
        rustix::fs::fsync(&self.directory)?;
        self.prepare(file, len, name)
    }

    /// Gives a segment's space back to the disk.
    pub(super) fn remove(&self, id: u64) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            &self.directory,
            file_name(id),
            AtFlags::empty(),
        )?)
    }

    fn prepare(&self, file: File, len: u64, name: &str) -> io::Result<()> {
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).map_err(|_| io::Error::other("no randomness"))?;
        let mut spares = self.spares.lock();
        let header = SegmentHeader {
            drive: self.drive,
            id: spares.next_id,
            nonce: u64::from_le_bytes(nonce),
            len,
        };
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()?;
        rustix::fs::renameat(&self.directory, name, &self.directory, file_name(header.id))?;
        rustix::fs::fsync(&self.directory)?;
        spares.next_id += 1;
        self.add_spare(&mut spares, Arc::new(Segment::new(header, file)));
        Ok(())
    }

    /// Takes a segment that holds no batch among the prepared ones. They must come in order.
    pub(super) fn adopt_spare(&self, segment: Arc<Segment>) {
        self.skip(segment.id);
        self.add_spare(&mut self.spares.lock(), segment);
    }

    /// The length of a new segment. The first is in use before it can be filled, so it is short.
    fn len_of(&self, id: u64) -> u64 {
        if id == 1 { SEGMENT_LEN_MIN } else { self.len }
    }

    /// How many bytes may still be written for that purpose, from above.
    pub(super) fn left(&self, purpose: Purpose) -> u64 {
        let newest = self.in_use.read().values().next_back().cloned();
        let left = newest.map_or(0, |newest| {
            let used = newest.used.load(Ordering::Relaxed);
            self.limit(&newest, purpose).saturating_sub(used)
        });
        left + self.spares() as u64 * self.len
    }

    /// The length that new segments get, but for the first.
    pub(super) fn segment_len(&self) -> u64 {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_and_any_flipped_byte_is_seen() {
        let header = SegmentHeader {
            drive: DriveId::from_bytes([1; 16]),
            id: 5,
            nonce: 6,
            len: 1 << 24,
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 2;
            assert_eq!(SegmentHeader::decode(&bad), None, "byte {at}");
        }
    }

    #[test]
    fn names_are_parsed_strictly() {
        assert_eq!(parse_name(&file_name(0xab)), Some(0xab));
        for bad in [
            "",
            "ab.log",
            "00000000000000ab",
            "new",
            "00000000000000ab.log.x",
        ] {
            assert_eq!(parse_name(bad), None);
        }
    }

    #[test]
    fn the_next_segment_is_filled_once_it_is_wanted_soon() {
        let scratch = crate::files::Scratch::new();
        let segments = Segments::open(scratch.path(), DriveId::from_bytes([1; 16])).unwrap();
        for _ in 0..4 {
            segments.prepare_new().unwrap();
        }
        let active = segments.next(Purpose::Growth).unwrap();
        let next = || segments.spares.lock().ready.front().cloned().unwrap();
        if next().with_hole().is_none() {
            // A file system whose files have no holes.
            return;
        }
        assert!(!segments.fill_step().unwrap(), "no hurry");
        active.used.store(active.len / 2, Ordering::Relaxed);
        while segments.fill_step().unwrap() {}
        let filled = segments.next(Purpose::Growth).unwrap();
        assert!(Arc::clone(&filled).with_hole().is_none());
        let mut header = vec![0; ALIGN];
        filled.file.read_exact_at(&mut header, 0).unwrap();
        assert!(
            SegmentHeader::decode(&header).is_some(),
            "it is overwritten"
        );
        assert!(next().with_hole().is_some(), "one at a time");
    }
}

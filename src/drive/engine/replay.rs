//! Reading the log's tail at a start.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{Advice, SeekFrom};
use rustix::io::Errno;
use types::DriveId;

use super::batch::{self, ALIGN, Batch, HEADER_LEN};
use super::log::Position;
use super::segment::{ENTRY_LEN_MAX, FIRST_BATCH, Segment, Segments};

/// How far behind the end of what is whole a later batch is looked for. No batch is longer, so
/// whatever follows a damaged one begins within this.
const LOOK_AHEAD: u64 = 2 * ENTRY_LEN_MAX as u64;
/// Bytes read at once.
const WINDOW: usize = 1 << 20;

/// What the tail of a log turned out to be.
pub(super) struct Replayed {
    /// Where the next batch goes.
    pub(super) end: Position,
    /// The segment that `end` lies in; `None` if it is missing or unreadable.
    pub(super) active: Option<Arc<Segment>>,
    /// Prepared segments behind it, in order.
    pub(super) spares: Vec<Arc<Segment>>,
    /// What is wrong, if a batch in the middle is missing or damaged.
    pub(super) damage: Option<&'static str>,
}

/// Hands every whole batch from `from` on to `apply`, with the segment and the offset where it
/// lies. `ids` are the segments that have a file, in order. A tail that was torn by a crash ends
/// the log; a gap in front of a later batch is damage, and the rest is handed over all the same.
/// `apply` answers whether it could make sense of the entries.
///
/// What a killed process left on its way to the disk is synced first, since it is shown from here on. Then only
/// what is read from the disk counts: where a sync failed, in an earlier life too, memory may go on
/// showing bytes that never got there, and the next sync says nothing of them.
pub(super) fn replay(
    segments: &Segments,
    drive: DriveId,
    ids: &[u64],
    from: Position,
    writable: bool,
    mut apply: impl FnMut(&Batch<'_>, &Segment, u32) -> bool,
) -> io::Result<Replayed> {
    let mut out = Replayed {
        end: from,
        active: None,
        spares: Vec::new(),
        damage: None,
    };
    let mut expected = from.segment;
    for id in ids.iter().copied().filter(|id| *id >= from.segment) {
        let Some(segment) = segments.open_segment(id, writable)? else {
            // An unreadable header in front of batches is damage; a spare's is none, but which
            // of the two it was cannot be told. The log goes on behind it, so that the next start
            // does not meet it again.
            out.damage = out.damage.or(Some("a segment's header is damaged"));
            expected = id + 1;
            segments.skip(id);
            let before = out.active.take().into_iter().chain(out.spares.drain(..));
            before.for_each(|before| segments.insert(before));
            continue;
        };
        if id != expected {
            out.damage = out.damage.or(Some("a segment of the log is missing"));
        }
        expected = id + 1;
        let begin = if id == from.segment {
            from.offset
        } else {
            FIRST_BATCH
        };
        segment.used.store(u64::from(begin), Ordering::Relaxed);
        if writable {
            segment.file.sync_data()?;
        }
        let mut reader = Reader::of_tail(&segment, drive, segments.open_direct(id, false)?)?;
        let found = read_segment(&mut reader, begin, &mut out, &mut apply)?;
        if found || id == from.segment {
            if let Some(before) = out.active.replace(Arc::clone(&segment)) {
                segments.insert(before);
            }
            // Unused segments before one in use are not given out again.
            out.spares
                .drain(..)
                .for_each(|unused| segments.insert(unused));
        } else {
            out.spares.push(segment);
        }
    }
    if out.active.is_none()
        && (out.end
            != Position {
                segment: 1,
                offset: FIRST_BATCH,
                next: 1,
                chain: 0,
            }
            || !ids.is_empty())
    {
        out.damage = out.damage.or(Some("the end of the log is missing"));
    }
    Ok(out)
}

/// Reads one segment; `true` if it holds a batch that belongs to the log's tail.
fn read_segment(
    reader: &mut Reader<'_>,
    begin: u32,
    out: &mut Replayed,
    apply: &mut impl FnMut(&Batch<'_>, &Segment, u32) -> bool,
) -> io::Result<bool> {
    let mut at = u64::from(begin);
    let mut found = false;
    loop {
        let segment = reader.segment;
        let next = out.end.next;
        let sound = match reader.batch(at)? {
            Some(batch) if batch.header.number >= next => {
                let in_order = batch.header.number == next && batch.header.chain == out.end.chain;
                if !in_order && out.damage.is_none() {
                    out.damage = Some("a batch of the log is damaged or missing");
                }
                let offset = u32::try_from(at).map_err(io::Error::other)?;
                if !apply(&batch, segment, offset) {
                    out.damage = out.damage.or(Some("an entry of the log does not parse"));
                }
                Some((batch.header, batch.crc))
            }
            _ => None,
        };
        match sound {
            Some((header, crc)) => {
                at += u64::from(header.len);
                found = true;
                out.end = Position {
                    segment: segment.id,
                    offset: u32::try_from(at).map_err(io::Error::other)?,
                    next: header.number + 1,
                    chain: crc,
                };
                segment.used.store(at, Ordering::Relaxed);
                segment.last.store(header.number, Ordering::Relaxed);
            }
            None => match reader.later_batch(at, next)? {
                Some(later) => at = later,
                None => return Ok(found),
            },
        }
    }
}

/// Where bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// From memory, if they are there.
    Memory,
    /// From the disk.
    Disk,
}

/// Reads batches of one segment through a window.
pub(super) struct Reader<'s> {
    segment: &'s Segment,
    drive: DriveId,
    nonce: u64,
    /// The same file, past what memory holds of it.
    direct: Option<File>,
    /// Whole blocks; it begins somewhere in `memory`, where a direct read may put them.
    window: Range<usize>,
    window_at: u64,
    window_from: Source,
    memory: Vec<u8>,
}

impl<'s> Reader<'s> {
    /// A reader of a segment that was opened with its header.
    pub(super) fn new(segment: &'s Segment, drive: DriveId) -> Self {
        Self {
            segment,
            drive,
            nonce: segment.nonce,
            direct: None,
            window: 0..0,
            window_at: 0,
            window_from: Source::Memory,
            memory: Vec::new(),
        }
    }

    /// A reader of a segment of the tail: `direct` is the same file, read from the disk. Without it what
    /// memory holds is dropped, as far as the system does that.
    fn of_tail(segment: &'s Segment, drive: DriveId, direct: Option<File>) -> io::Result<Self> {
        let mut reader = Self::new(segment, drive);
        match direct {
            Some(direct) => reader.direct = Some(direct),
            None => reader.forget()?,
        }
        Ok(reader)
    }

    fn forget(&mut self) -> io::Result<()> {
        self.direct = None;
        match rustix::fs::fadvise(&self.segment.file, 0, None, Advice::DontNeed) {
            // A file system in memory alone.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
            dropped => Ok(dropped?),
        }
    }

    fn best_source(&self) -> Source {
        match self.direct {
            Some(_) => Source::Disk,
            None => Source::Memory,
        }
    }

    /// The whole batch at `at`, if there is one of this segment's life.
    pub(super) fn batch(&mut self, at: u64) -> io::Result<Option<Batch<'_>>> {
        let source = self.best_source();
        let Some((header, _)) = self.header(at, source)? else {
            return Ok(None);
        };
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        Ok(self.bytes(at, len, source)?.and_then(batch::open))
    }

    fn header(&mut self, at: u64, source: Source) -> io::Result<Option<(batch::Header, u64)>> {
        let (drive, nonce) = (self.drive, self.nonce);
        let Some(bytes) = self.bytes(at, HEADER_LEN, source)? else {
            return Ok(None);
        };
        Ok(batch::peek(bytes).filter(|(header, _)| header.drive == drive && header.nonce == nonce))
    }

    /// Where behind `at` a whole batch of that number or a later one begins, if any does.
    fn later_batch(&mut self, at: u64, number: u64) -> io::Result<Option<u64>> {
        let end = at.saturating_add(LOOK_AHEAD).min(self.segment.len);
        let mut at = at + ALIGN as u64;
        while at < end {
            if at >= self.window_at + self.window.len() as u64 {
                match next_data(&self.segment.file, at)? {
                    Some(data) => at = at.max(data / ALIGN as u64 * ALIGN as u64),
                    None => return Ok(None),
                }
            }
            // Only a look: what is found is read again by whoever relies on it.
            let due = self
                .header(at, Source::Memory)?
                .is_some_and(|(header, _)| header.number >= number);
            if due && self.batch(at)?.is_some() {
                return Ok(Some(at));
            }
            at += ALIGN as u64;
        }
        Ok(None)
    }

    fn bytes(&mut self, at: u64, len: usize, source: Source) -> io::Result<Option<&[u8]>> {
        let end = at.saturating_add(len as u64);
        if end > self.segment.len {
            return Ok(None);
        }
        let within = at >= self.window_at && end <= self.window_at + self.window.len() as u64;
        if !within || source == Source::Disk && self.window_from == Source::Memory {
            self.fill(at, len, source)?;
        }
        let from = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
        let window = self.memory.get(self.window.clone()).unwrap_or_default();
        Ok(window.get(from..from + len))
    }

    /// Reads a window that begins at `at`.
    fn fill(&mut self, at: u64, len: usize, source: Source) -> io::Result<()> {
        let rest = usize::try_from(self.segment.len - at).unwrap_or(usize::MAX);
        let len = len.next_multiple_of(ALIGN).max(WINDOW).min(rest);
        self.memory.resize(len + ALIGN, 0);
        let from = self.memory.as_ptr().align_offset(ALIGN).min(ALIGN);
        self.window = from..from + len;
        let Some(window) = self.memory.get_mut(self.window.clone()) else {
            return Ok(());
        };
        (self.window_at, self.window_from) = (at, source);
        if source == Source::Disk
            && let Some(direct) = &self.direct
        {
            match read_exact(direct, window, at) {
                // Blocks larger than ours, say: then as where there are no direct reads.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.forget()?,
                read => return read,
            }
        }
        let window = self.memory.get_mut(self.window.clone());
        read_exact(&self.segment.file, window.unwrap_or_default(), at)
    }
}

/// Where the next bytes lie that were ever written, from `at` on: most of a prepared segment is a
/// hole, and a start need not read through it.
fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok(Some(data)),
        Err(Errno::NXIO) => Ok(None),
        // A file system that does not tell.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(at)),
        Err(error) => Err(error.into()),
    }
}

/// Reads all of `bytes`; what a file lacks is zero.
fn read_exact(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    match file.read_exact_at(bytes, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            bytes.fill(0);
            Ok(())
        }
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::{self, PEERS};
    use super::super::segment::SegmentHeader;
    use super::*;
    use crate::files::Scratch;

    const DRIVE: DriveId = DriveId::from_bytes([2; 16]);

    fn batch(nonce: u64, number: u64) -> Vec<u8> {
        let mut batch = [vec![0; HEADER_LEN], vec![5; 6000]].concat();
        batch::seal(&mut batch, DRIVE, nonce, number, 0, &[0; PEERS]);
        batch
    }

    /// Fails if a batch counts that memory holds and the disk does not, or the other way round.
    #[test]
    fn only_what_the_disk_holds_counts() {
        let scratch = Scratch::new();
        let paths = ["disk", "memory"].map(|name| scratch.path().join(name));
        let files = paths.clone().map(|path| {
            let file = File::options()
                .create_new(true)
                .read(true)
                .write(true)
                .open(path)
                .unwrap();
            file.set_len(1 << 20).unwrap();
            file
        });
        let header = SegmentHeader {
            drive: DRIVE,
            id: 1,
            nonce: 7,
            len: 1 << 20,
        };
        let [disk, memory] = files;
        let (first, second) = (batch(7, 1), batch(7, 2));
        let at = u64::from(FIRST_BATCH);
        let then = at + first.len() as u64;
        for file in [&disk, &memory] {
            file.write_all_at(&first, at).unwrap();
        }
        memory.write_all_at(&second, then).unwrap();
        let segment = Segment::new(header, memory);
        let mut reader = Reader::of_tail(&segment, DRIVE, Some(disk)).unwrap();
        assert!(reader.batch(at).unwrap().is_some());
        assert!(reader.batch(then).unwrap().is_none());
        assert_eq!(reader.later_batch(at, 2).unwrap(), None, "nor behind");
        let mut without = Reader::of_tail(&segment, DRIVE, None).unwrap();
        assert!(without.batch(then).unwrap().is_some());
    }
}

//! The end of the log, where batches are appended.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use types::DriveId;

use super::batch::{self, HEADER_LEN, PEERS};
use super::segment::{Purpose, Segment, Segments};
use crate::failpoint::Failpoints;

/// A place in the log, and what must come there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The segment's number.
    pub(super) segment: u64,
    /// From its beginning.
    pub(super) offset: u32,
    /// The number of the batch that begins there.
    pub(super) next: u64,
    /// The checksum of the batch before.
    pub(super) chain: u64,
}

/// The end of the log. Only the committer has it.
pub(super) struct Log {
    drive: DriveId,
    segments: Arc<Segments>,
    active: Arc<Segment>,
    at: Position,
    failpoints: Failpoints,
}

impl Log {
    /// Goes on at `at`, which is the end of `active`.
    pub(super) fn new(
        drive: DriveId,
        segments: Arc<Segments>,
        active: Arc<Segment>,
        at: Position,
        failpoints: Failpoints,
    ) -> Self {
        Self {
            drive,
            segments,
            active,
            at,
            failpoints,
        }
    }

    /// Where the next batch goes.
    pub(super) fn end(&self) -> Position {
        self.at
    }

    /// The segment that the next batch goes to.
    pub(super) fn active(&self) -> &Arc<Segment> {
        &self.active
    }

    /// Makes room for a batch with that many bytes of entries: in this segment or the next.
    /// `false` if there is no space for that purpose.
    pub(super) fn make_room(&mut self, body_len: usize, purpose: Purpose) -> bool {
        let len = (HEADER_LEN + body_len).next_multiple_of(batch::ALIGN) as u64;
        if self.fits(len, purpose) {
            return true;
        }
        let begin = u64::from(super::segment::FIRST_BATCH);
        if begin + len > self.segments.segment_len() {
            return false;
        }
        let Some(next) = self.segments.next(purpose) else {
            return false;
        };
        self.active = next;
        self.at.segment = self.active.id;
        self.at.offset = super::segment::FIRST_BATCH;
        self.fits(len, purpose)
    }

    fn fits(&self, len: u64, purpose: Purpose) -> bool {
        u64::from(self.at.offset) + len <= self.segments.limit(&self.active, purpose)
    }

    /// Writes and syncs a batch: `buffer` holds room for a header and then the entries. It is
    /// durable on return, in a file that still has its name.
    pub(super) fn append(&mut self, buffer: &mut Vec<u8>, peers: &[u64; PEERS]) -> io::Result<()> {
        let crc = batch::seal(
            buffer,
            self.drive,
            self.active.nonce,
            self.at.next,
            self.at.chain,
            peers,
        );
        self.failpoints.hit("commit.before-write");
        self.active
            .file
            .write_all_at(buffer, u64::from(self.at.offset))?;
        self.failpoints.hit("commit.before-sync");
        self.active.file.sync_data()?;
        if !self.active.is_linked()? {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the log was deleted",
            ));
        }
        self.active.last.store(self.at.next, Ordering::Relaxed);
        self.at.next += 1;
        self.at.chain = crc;
        self.at.offset += super::bytes::len32(buffer.len());
        self.active
            .used
            .store(u64::from(self.at.offset), Ordering::Relaxed);
        self.failpoints.hit("commit.after-sync");
        Ok(())
    }
}

//! A shard file while it is written: in `tmp/`, past the page cache, gone if not finished.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;
use types::DataId;

use super::aligned::{ALIGNMENT, AlignedBuffer};
use super::entries;
use super::header::{HEADER_LEN, Header};
use crate::contract::{Error, Identity};
use crate::fault::from_errno;
use crate::register::Register;

/// A file in `tmp/`, removed when this is dropped unless it moved on.
#[derive(Debug)]
pub(super) struct TmpFile {
    tmp: Arc<OwnedFd>,
    name: String,
    moved: bool,
}

impl TmpFile {
    /// Moves it to `name` in `directory`. The caller syncs the directory.
    pub(super) fn rename(mut self, directory: &OwnedFd, name: &str) -> Result<(), Errno> {
        rustix::fs::renameat(&self.tmp, &self.name, directory, name)?;
        self.moved = true;
        Ok(())
    }
}

impl Drop for TmpFile {
    fn drop(&mut self) {
        if !self.moved {
            // What stays behind is removed when the drive is opened next.
            let _ = rustix::fs::unlinkat(&self.tmp, &self.name, AtFlags::empty());
        }
    }
}

/// Writes one shard file. Every method blocks; after an error the file is useless and the value
/// is to be dropped, which removes it.
#[derive(Debug)]
pub(crate) struct StageFile {
    place: TmpFile,
    file: OwnedFd,
    header: Header,
    direct: bool,
    // Everything before this offset, a multiple of the alignment, is in the file.
    written: u64,
    // What comes there: less than one block.
    tail: Vec<u8>,
}

impl StageFile {
    pub(super) fn create(
        tmp: &Arc<OwnedFd>,
        identity: &Identity,
        data: DataId,
        register: Register,
    ) -> Result<Self, Errno> {
        let name = format!("{data}.{}", entries::random_suffix()?);
        let (file, direct) = match entries::create_file(tmp, &name, OFlags::DIRECT) {
            // Some kernels make the file before they refuse the flag.
            Err(Errno::INVAL) => {
                let _ = rustix::fs::unlinkat(tmp, &name, AtFlags::empty());
                (entries::create_file(tmp, &name, OFlags::empty())?, false)
            }
            created => (created?, true),
        };
        let place = TmpFile {
            tmp: Arc::clone(tmp),
            name,
            moved: false,
        };
        let header = Header::new(identity, data, register, 0);
        // The first block is zeros until the length is known.
        Ok(Self {
            place,
            file,
            header,
            direct,
            written: 0,
            tail: vec![0; HEADER_LEN],
        })
    }

    /// Whose file it is.
    pub(crate) fn data(&self) -> DataId {
        self.header.data
    }

    /// Appends frames, whole blocks of them to the disk: those that lie in memory as in the file
    /// from where they are, others by way of `buffer`.
    pub(crate) fn append(
        &mut self,
        frames: &[Bytes],
        buffer: &mut AlignedBuffer,
    ) -> Result<(), Error> {
        buffer.clear();
        buffer.fill(&self.tail);
        for frame in frames {
            let mut rest = frame.as_ref();
            if let Some(begun) = aligned_after(buffer.split().1.len(), rest) {
                let (front, behind) = rest.split_at(begun);
                let front = buffer.fill(front);
                let (blocks, tail) = behind.split_at(behind.len() - behind.len() % ALIGNMENT);
                assert!(front.is_empty(), "a block that was begun has room");
                self.write_all(buffer.split().0, blocks)?;
                buffer.clear();
                rest = tail;
            }
            while !rest.is_empty() {
                rest = buffer.fill(rest);
                if buffer.is_full() {
                    self.write_all(buffer.split().0, &[])?;
                    buffer.clear();
                }
            }
            self.header.frames_len += frame.len() as u64;
        }
        let (blocks, tail) = buffer.split();
        self.write_all(blocks, &[])?;
        self.tail.clear();
        self.tail.extend_from_slice(tail);
        Ok(())
    }

    /// Appends the last frames and writes the header: the file is whole, but not yet synced.
    pub(super) fn complete(
        &mut self,
        frames: &[Bytes],
        buffer: &mut AlignedBuffer,
    ) -> Result<(), Error> {
        let header_due = self.written > 0;
        if !header_due {
            // Nothing is out yet: the true header goes out with the frames.
            let added: usize = frames.iter().map(Bytes::len).sum();
            let header = Header {
                frames_len: added as u64,
                ..self.header.clone()
            };
            self.tail = encode(&header)?.to_vec();
        }
        self.append(frames, buffer)?;
        if header_due {
            buffer.clear();
            buffer.fill(&encode(&self.header)?);
            self.write_at([buffer.split().0, &[]], 0)?;
        }
        if !self.tail.is_empty() {
            // Less than a block cannot go out directly, and padding would have to be cut off.
            self.leave_direct()?;
            entries::write_all(&self.file, &self.tail, self.written).map_err(from_errno)?;
        }
        Ok(())
    }

    /// Syncs a complete file. A sync that fails is not tried again: what it lost is unknown.
    pub(super) fn sync(self) -> Result<(TmpFile, Header), Error> {
        rustix::fs::fdatasync(&self.file).map_err(from_errno)?;
        Ok((self.place, self.header))
    }

    /// Writes whole blocks behind those that are out.
    fn write_all(&mut self, first: &[u8], second: &[u8]) -> Result<(), Error> {
        self.write_at([first, second], self.written)?;
        self.written += (first.len() + second.len()) as u64;
        Ok(())
    }

    fn write_at(&mut self, blocks: [&[u8]; 2], offset: u64) -> Result<(), Error> {
        match entries::write_both(&self.file, blocks, offset) {
            // Opened directly but refused at the first write, or blocks larger than ours.
            Err(Errno::INVAL) if self.direct => {
                self.leave_direct()?;
                entries::write_both(&self.file, blocks, offset).map_err(from_errno)
            }
            written => written.map_err(from_errno),
        }
    }

    fn leave_direct(&mut self) -> Result<(), Error> {
        if self.direct {
            let flags = rustix::fs::fcntl_getfl(&self.file).map_err(from_errno)?;
            rustix::fs::fcntl_setfl(&self.file, flags - OFlags::DIRECT).map_err(from_errno)?;
            self.direct = false;
        }
        Ok(())
    }
}

/// How many of the bytes finish the block that was begun with `begun`, if whole blocks follow
/// them that are aligned in memory.
fn aligned_after(begun: usize, bytes: &[u8]) -> Option<usize> {
    let front = begun.next_multiple_of(ALIGNMENT) - begun;
    let behind = bytes.get(front..)?;
    let aligned = behind.as_ptr().addr().is_multiple_of(ALIGNMENT);
    (aligned && behind.len() >= ALIGNMENT).then_some(front)
}

fn encode(header: &Header) -> Result<[u8; HEADER_LEN], Error> {
    header
        .encode()
        .ok_or(Error::Corrupt("register is too long for a shard file"))
}

const _: () = assert!(HEADER_LEN == ALIGNMENT, "frames begin at a block");

//! Names inside a drive: opened without following links, made, listed, synced.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Only the server's user reads a drive.
pub(super) const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o700);

/// Opens a directory; a symlink in its place is refused.
pub(super) fn open_directory(at: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Opens a plain file to read; a symlink, and anything that could block, is refused.
pub(super) fn open_file(at: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    // Without NONBLOCK the opening of a stray pipe would never return.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(at, name, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file),
        _ => Err(Errno::LOOP),
    }
}

/// Makes a directory unless there is one.
pub(super) fn make_directory(at: impl AsFd, name: &str) -> Result<(), Errno> {
    match rustix::fs::mkdirat(at, name, DIRECTORY_MODE) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

/// Creates a file that must not be there yet, to write.
pub(super) fn create_file(at: impl AsFd, name: &str, extra: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | extra;
    rustix::fs::openat(at, name, flags, FILE_MODE)
}

/// The names in a directory, but for `.` and `..` and those that are not UTF-8 (which this room
/// never makes). An unreadable directory is an error, never a short list.
pub(super) fn names(directory: impl AsFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        match entry?.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_all(file: impl AsFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(&file, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                offset += written as u64;
                bytes = bytes.get(written..).unwrap_or_default();
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Writes all of two runs of bytes, one behind the other, at `offset`: with one call if the
/// system takes them whole.
pub(super) fn write_both(
    file: impl AsFd,
    [first, second]: [&[u8]; 2],
    offset: u64,
) -> Result<(), Errno> {
    let written = if first.is_empty() || second.is_empty() {
        0
    } else {
        let both = [IoSlice::new(first), IoSlice::new(second)];
        rustix::io::retry_on_intr(|| rustix::io::pwritev(&file, &both, offset))?
    };
    let (first, of_second) = match written.checked_sub(first.len()) {
        Some(more) => (&[][..], more),
        None => (first.get(written..).unwrap_or_default(), 0),
    };
    let offset = offset + written as u64;
    write_all(&file, first, offset)?;
    let second = second.get(of_second..).unwrap_or_default();
    write_all(&file, second, offset + first.len() as u64)
}

/// Reads up to `len` bytes from `offset`; fewer only where the file ends.
pub(super) fn read_up_to(file: impl AsFd, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = offset
            .checked_add(bytes.len() as u64)
            .ok_or(Errno::OVERFLOW)?;
        match rustix::io::pread(&file, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// Sixteen random hexadecimal digits, for a name nobody else uses.
pub(super) fn random_suffix() -> Result<String, Errno> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|_| Errno::IO)?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

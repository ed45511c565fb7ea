//! What the operating system says, in the words of the room.

use std::io;

use rustix::io::Errno;

use crate::contract::Error;

/// What is stored and cannot be had back: the disk gives it up, or the file system below it is
/// damaged there. To be treated as any other damage.
pub(crate) const UNREADABLE: Error = Error::Corrupt("the disk cannot read it");

/// The room's error for a refused system call.
pub(crate) fn from_errno(errno: Errno) -> Error {
    match errno {
        Errno::NOSPC | Errno::DQUOT => Error::Full,
        Errno::ROFS => Error::ReadOnly,
        Errno::NOENT => Error::Missing,
        // Every name is opened without following links and as the kind it must be.
        Errno::LOOP | Errno::NOTDIR | Errno::ISDIR => {
            Error::Corrupt("not a plain file or directory")
        }
        other => Error::Io(other.kind()),
    }
}

/// The same for a call of the standard library.
pub(crate) fn from_io(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full,
        io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnly,
        io::ErrorKind::UnexpectedEof => Error::Corrupt("a file is shorter than it should be"),
        kind => Error::Io(kind),
    }
}

/// The room's error for a refused reading of something that was stored. If it were no answer, as
/// that of a drive that is away, what a disk cannot read would never be written again elsewhere.
pub(crate) fn from_read(errno: Errno) -> Error {
    if is_lost(errno) {
        UNREADABLE
    } else {
        from_errno(errno)
    }
}

/// The same for a call of the standard library.
pub(crate) fn from_io_read(error: &io::Error) -> Error {
    match Errno::from_io_error(error) {
        Some(errno) if is_lost(errno) => UNREADABLE,
        _ => from_io(error),
    }
}

/// Whether this, in answer to a read, is said of the bytes and not of the request.
fn is_lost(errno: Errno) -> bool {
    // A bad sector; one that fails its protection; metadata that fails its checksum or makes no sense.
    let of_media = matches!(errno, Errno::IO | Errno::NODATA | Errno::ILSEQ);
    of_media || matches!(errno, Errno::BADMSG | Errno::UCLEAN)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file of which no byte can be read: every read is an I/O error.
    pub(crate) fn unreadable() -> std::fs::File {
        // What a process has mapped at the address of the offset; nothing is, at the lowest.
        std::fs::File::open("/proc/self/mem").unwrap()
    }

    #[test]
    fn refusals_that_callers_act_on_have_their_own_names() {
        let table = [
            (Errno::NOSPC, Error::Full),
            (Errno::DQUOT, Error::Full),
            (Errno::ROFS, Error::ReadOnly),
            (Errno::NOENT, Error::Missing),
            (Errno::LOOP, Error::Corrupt("not a plain file or directory")),
            (
                Errno::ACCESS,
                Error::Io(std::io::ErrorKind::PermissionDenied),
            ),
        ];
        for (errno, error) in table {
            assert_eq!(from_errno(errno), error, "{errno}");
            assert_eq!(from_read(errno), error, "{errno}");
        }
        assert!(matches!(from_errno(Errno::IO), Error::Io(_)));
    }

    #[test]
    fn what_cannot_be_read_is_damaged_and_a_write_that_fails_is_not() {
        for errno in [Errno::IO, Errno::NODATA, Errno::UCLEAN, Errno::BADMSG] {
            assert_eq!(from_read(errno), UNREADABLE);
            assert_eq!(from_io_read(&errno.into()), UNREADABLE);
            assert!(matches!(from_io(&errno.into()), Error::Io(_)));
        }
        let missing = io::Error::from(Errno::NOENT);
        assert_eq!(
            from_io_read(&missing),
            Error::Io(io::ErrorKind::NotFound),
            "only what is there can be damaged"
        );
    }
}

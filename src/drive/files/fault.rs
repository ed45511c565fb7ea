//! What the operating system says, in the words of the room.

use rustix::io::Errno;

use crate::contract::Error;

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

#[cfg(test)]
mod tests {
    use super::*;

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
        }
        assert!(matches!(from_errno(Errno::IO), Error::Io(_)));
    }
}

//! What a file system must do before it may carry a drive.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

use super::entries;
use super::inspect::{PROBE_PREFIX, TMP};

/// The longest name this room makes is a staging file's: 36 for the data id, a dot, 16 digits.
const NAME_LEN_MIN: usize = 64;

/// Tries it out in `tmp/`. `Some` is the one line that says what the file system does not do.
/// `O_DIRECT` is not asked for: staging does without where it is refused.
pub(super) fn probe(root: &OwnedFd) -> Result<Option<&'static str>, Errno> {
    let tmp = entries::open_directory(root, TMP)?;
    sweep(&tmp)?;
    let verdict = try_all(&tmp);
    sweep(&tmp)?;
    verdict
}

fn try_all(tmp: &OwnedFd) -> Result<Option<&'static str>, Errno> {
    let name = |end: &str| format!("{PROBE_PREFIX}{end}");
    let (old, new) = (name("old"), name("new"));
    for (name, content) in [(&old, b"old"), (&new, b"new")] {
        let file = entries::create_file(tmp, name, OFlags::empty())?;
        entries::write_all(&file, content, 0)?;
        if rustix::fs::fsync(&file).is_err() {
            return Ok(Some("the file system does not sync files"));
        }
    }
    let held = entries::open_file(tmp, &old)?;
    let replaced = rustix::fs::renameat(tmp, &new, tmp, &old).is_ok();
    let read = |file: &OwnedFd| entries::read_up_to(file, 0, 4);
    if !replaced || read(&entries::open_file(tmp, &old)?)? != b"new" || read(&held)? != b"old" {
        return Ok(Some(
            "the file system does not rename a file over another in one step",
        ));
    }
    if rustix::fs::fsync(tmp).is_err() {
        return Ok(Some("the file system does not sync directories"));
    }
    if rustix::fs::statat(tmp, old.to_ascii_uppercase(), AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Ok(Some(
            "the file system does not tell upper case from lower case",
        ));
    }
    let long = name(&"n".repeat(NAME_LEN_MIN - PROBE_PREFIX.len()));
    if entries::create_file(tmp, &long, OFlags::empty()).is_err()
        || !entries::names(tmp)?.contains(&long)
    {
        return Ok(Some("the file system does not take names of 64 bytes"));
    }
    Ok(None)
}

/// Removes what a probe left.
fn sweep(tmp: &OwnedFd) -> Result<(), Errno> {
    for name in entries::names(tmp)? {
        if name.to_ascii_lowercase().starts_with(PROBE_PREFIX) {
            rustix::fs::unlinkat(tmp, &name, AtFlags::empty())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::inspect::open_root;
    use crate::files::scratch::Scratch;

    #[test]
    fn a_fit_file_system_passes_and_nothing_is_left() {
        let scratch = Scratch::new();
        let root = open_root(scratch.path()).unwrap();
        entries::make_directory(&root, TMP).unwrap();
        for _ in 0..2 {
            assert_eq!(probe(&root), Ok(None));
            assert_eq!(scratch.listing(), ["tmp"]);
        }
    }
}

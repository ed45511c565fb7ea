//! Making a directory a drive: directories first, identity last, nothing before all checks.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, IFlags, OFlags};
use rustix::io::Errno;
use types::Geometry;

use super::entries;
use super::identity::{self, Formatted};
use super::inspect::{self, Found, IDENTITY_NEW, INDEX, SHARDS, TMP, TMP_FAN_OUT};
use super::probe;
use crate::contract::Identity;

/// Why a directory was not made a drive. Each is one line for an operator.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The path holds something, or cannot be looked at; nothing was written.
    #[error("{}: {found}", path.display())]
    NotEmpty {
        /// The path.
        path: PathBuf,
        /// What it holds.
        found: Found,
    },
    /// Another process is at work on the same directory.
    #[error("{}: in use by another process", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The file system cannot carry a drive.
    #[error("{}: {lacks}", path.display())]
    Unfit {
        /// The path.
        path: PathBuf,
        /// What it does not do.
        lacks: &'static str,
    },
    /// The operating system refused a step.
    #[error("{}: cannot be formatted: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes the directory at `path`, which may be missing but not hold anything, a drive. Durable
/// on return. A crash on the way leaves a directory that [`inspect`](crate::inspect) still calls
/// empty, so that the next start does it again.
pub fn format(
    path: &Path,
    identity: &Identity,
    geometry: Geometry,
) -> Result<Formatted, FormatError> {
    let io = |source: io::Error| FormatError::Io {
        path: path.to_owned(),
        source,
    };
    create_directories(path).map_err(io)?;
    let not_empty = |found| FormatError::NotEmpty {
        path: path.to_owned(),
        found,
    };
    let root = inspect::open_root(path).map_err(not_empty)?;
    lock(&root).map_err(|_| FormatError::InUse {
        path: path.to_owned(),
    })?;
    let formatted = format_locked(path, &root, identity, geometry);
    unlock(&root);
    let formatted = formatted?;
    sync_parent(path).map_err(io)?;
    Ok(formatted)
}

fn format_locked(
    path: &Path,
    root: &OwnedFd,
    identity: &Identity,
    geometry: Geometry,
) -> Result<Formatted, FormatError> {
    let path = || path.to_owned();
    let io = |errno: Errno| FormatError::Io {
        path: path(),
        source: errno.into(),
    };
    let mounted = match inspect::examine_root(root).map_err(io)?.0 {
        Found::Empty { mounted } => mounted,
        found => {
            return Err(FormatError::NotEmpty {
                path: path(),
                found,
            });
        }
    };
    entries::make_directory(root, TMP).map_err(io)?;
    if let Some(lacks) = probe::probe(root).map_err(io)? {
        // Best effort: an empty tmp/ is no hindrance to the next attempt either.
        let _ = rustix::fs::unlinkat(root, TMP, AtFlags::REMOVEDIR);
        return Err(FormatError::Unfit {
            path: path(),
            lacks,
        });
    }
    let formatted = Formatted {
        identity: identity.clone(),
        geometry,
        mounted,
    };
    populate(root, &formatted).map_err(io)?;
    Ok(formatted)
}

/// Takes the drive for this process until [`unlock`], or until its last descriptor is closed.
pub(super) fn lock(root: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::flock(root, FlockOperation::NonBlockingLockExclusive)
}

/// Gives the drive back. Closing the descriptor is not enough at once: a process that is being
/// started at the same time holds a copy for a moment.
pub(super) fn unlock(root: &OwnedFd) {
    // It can only fail if there is no lock to give back.
    let _ = rustix::fs::flock(root, FlockOperation::Unlock);
}

/// Makes whatever directories of a drive are missing. Done again it changes nothing.
pub(super) fn make_directories(root: &OwnedFd) -> Result<(), Errno> {
    for name in [INDEX, SHARDS, TMP] {
        entries::make_directory(root, name)?;
    }
    let shards = entries::open_directory(root, SHARDS)?;
    for fan_out in 0..=u8::MAX {
        entries::make_directory(&shards, &format!("{fan_out:02x}"))?;
    }
    rustix::fs::fsync(&shards)?;
    let tmp = entries::open_directory(root, TMP)?;
    spread(&tmp);
    for fan_out in 0..TMP_FAN_OUT {
        entries::make_directory(&tmp, &format!("{fan_out:x}"))?;
    }
    rustix::fs::fsync(&tmp)?;
    rustix::fs::fsync(root)
}

/// Asks ext4 to put the directories that will be made in this one far from each other, as XFS
/// does by itself. The files of a directory lie near it; if all were made in one place, each
/// would search the same inode bitmap, and without a journal ext4 walks there past every inode
/// that was freed in the last minute: a quarter of all CPU time under load.
fn spread(directory: &OwnedFd) {
    // Other file systems have no such flag, and none is needed to be right.
    if let Ok(flags) = rustix::fs::ioctl_getflags(directory) {
        let _ = rustix::fs::ioctl_setflags(directory, flags | IFlags::TOPDIR);
    }
}

fn populate(root: &OwnedFd, formatted: &Formatted) -> Result<(), Errno> {
    make_directories(root)?;
    write_identity(root, formatted)
}

/// Sees to it that the identity and its copy in the index's directory both read well. Says
/// whether the identity itself had to be written again.
pub(super) fn keep_identity(root: &OwnedFd, formatted: &Formatted) -> Result<bool, Errno> {
    let index = entries::open_directory(root, INDEX)?;
    let sound = |directory: &OwnedFd| {
        let file = entries::open_file(directory, identity::FILE_NAME)?;
        let bytes = entries::read_up_to(&file, 0, identity::LEN_MAX + 1)?;
        Ok::<_, Errno>(Formatted::parse(&bytes).as_ref() == Ok(formatted))
    };
    let damaged = sound(root) != Ok(true);
    if damaged {
        write_identity(root, formatted)?;
    }
    if sound(&index) != Ok(true) {
        write_identity(&index, formatted)?;
    }
    Ok(damaged)
}

fn write_identity(directory: &OwnedFd, formatted: &Formatted) -> Result<(), Errno> {
    match rustix::fs::unlinkat(directory, IDENTITY_NEW, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let file = entries::create_file(directory, IDENTITY_NEW, OFlags::empty())?;
    entries::write_all(&file, formatted.render().as_bytes(), 0)?;
    rustix::fs::fsync(&file)?;
    rustix::fs::renameat(directory, IDENTITY_NEW, directory, identity::FILE_NAME)?;
    rustix::fs::fsync(directory)
}

/// Creates `path` and what is missing above it, each new name durable.
fn create_directories(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Whatever it is, the checks that follow have an exact word for it.
        _ => return Ok(()),
    }
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        create_directories(parent)?;
    }
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::files::identity::tests::sample;
    use crate::files::inspect::inspect;
    use crate::files::scratch::Scratch;

    type Change = fn(&Path);

    fn format_at(path: &Path) -> Result<Formatted, FormatError> {
        format(path, &sample().identity, sample().geometry)
    }

    #[test]
    fn a_formatted_directory_says_who_it_is() {
        let scratch = Scratch::new();
        let path = scratch.path().join("a/b/c");
        assert_eq!(inspect(&path), Found::Missing);
        assert_eq!(format_at(&path).unwrap(), sample());
        assert_eq!(inspect(&path), Found::Formatted(sample()));
        assert_eq!(fs::read_dir(path.join(SHARDS)).unwrap().count(), 256);
        let again = format_at(&path).unwrap_err().to_string();
        assert!(
            again.ends_with("c: drive d1d1d1d1-d1d1-d1d1-d1d1-d1d1d1d1d1d1"),
            "{again}"
        );
    }

    #[test]
    fn what_holds_anything_is_left_alone() {
        let table: [(&str, Change); 4] = [
            (
                "not empty and not a drive of sarsen: it holds \".minio.sys\"",
                |path| {
                    fs::create_dir(path.join(".minio.sys")).unwrap();
                    fs::write(path.join("z"), b"").unwrap();
                },
            ),
            (
                "not empty and not a drive of sarsen: it holds \"shards\"",
                |path| {
                    fs::create_dir_all(path.join("shards/00/x")).unwrap();
                },
            ),
            (
                "not empty and not a drive of sarsen: it holds \"tmp\"",
                |path| {
                    symlink("/", path.join("tmp")).unwrap();
                },
            ),
            ("sarsen.json is damaged", |path| {
                fs::write(path.join("sarsen.json"), b"").unwrap()
            }),
        ];
        for (why, fill) in table {
            let scratch = Scratch::new();
            fill(scratch.path());
            let before = scratch.listing();
            let error = format_at(scratch.path()).unwrap_err().to_string();
            assert_eq!(error, format!("{}: {why}", scratch.path().display()));
            assert_eq!(scratch.listing(), before, "nothing is written: {why}");
        }
        let scratch = Scratch::new();
        let file = scratch.path().join("file");
        fs::write(&file, b"x").unwrap();
        assert!(
            format_at(&file)
                .unwrap_err()
                .to_string()
                .ends_with("not a directory")
        );
    }

    #[test]
    fn an_interrupted_formatting_is_done_again() {
        let steps: [Change; 5] = [
            |path| fs::create_dir(path.join("lost+found")).unwrap(),
            |path| fs::create_dir_all(path.join(TMP)).unwrap(),
            |path| fs::write(path.join(TMP).join("probe-1"), b"x").unwrap(),
            |path| fs::create_dir_all(path.join("shards/a7")).unwrap(),
            |path| fs::write(path.join(IDENTITY_NEW), b"{").unwrap(),
        ];
        let scratch = Scratch::new();
        for step in steps {
            step(scratch.path());
            assert_eq!(inspect(scratch.path()), Found::Empty { mounted: false });
        }
        format_at(scratch.path()).unwrap();
        assert_eq!(inspect(scratch.path()), Found::Formatted(sample()));
    }

    #[test]
    fn a_drive_without_its_identity_is_damaged_and_not_empty() {
        let scratch = Scratch::new();
        format_at(scratch.path()).unwrap();
        fs::write(scratch.path().join("index/log"), b"x").unwrap();
        fs::remove_file(scratch.path().join("sarsen.json")).unwrap();
        assert_eq!(
            inspect(scratch.path()),
            Found::Damaged("sarsen.json is missing from a drive that holds data")
        );
        symlink("/etc/hostname", scratch.path().join("sarsen.json")).unwrap();
        assert_eq!(
            inspect(scratch.path()),
            Found::Damaged("sarsen.json is not a plain file")
        );
    }

    #[test]
    fn a_drive_that_lost_its_mount_is_recognised() {
        let scratch = Scratch::new();
        format_at(scratch.path()).unwrap();
        let mounted = Formatted {
            mounted: true,
            ..sample()
        };
        fs::write(scratch.path().join("sarsen.json"), mounted.render()).unwrap();
        assert_eq!(inspect(scratch.path()), Found::Unmounted(mounted));
        assert!(inspect::is_mount(&inspect::open_root(Path::new("/proc")).unwrap()).unwrap());
        assert!(inspect::is_mount(&inspect::open_root(Path::new("/")).unwrap()).unwrap());
    }

    #[test]
    fn a_file_system_that_takes_no_writes_is_refused() {
        let error = format_at(Path::new("/proc/sarsen-test")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("/proc/sarsen-test: cannot be formatted: "),
            "{error}"
        );
    }
}

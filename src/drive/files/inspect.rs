//! What a path holds, before anybody writes to it.

use std::fmt;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, StatVfsMountFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::entries;
use super::identity::{self, Formatted};

/// The directories of a drive.
pub(super) const INDEX: &str = "index";
pub(super) const SHARDS: &str = "shards";
pub(super) const TMP: &str = "tmp";
/// How many directories `tmp/` has.
pub(super) const TMP_FAN_OUT: u8 = 16;
/// The identity while it is being written.
pub(super) const IDENTITY_NEW: &str = "sarsen.json.new";
/// The probe's files in `tmp/` begin so.
pub(super) const PROBE_PREFIX: &str = "probe-";

/// What [`inspect`] found at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A drive in good order.
    Formatted(Formatted),
    /// A drive that can be read but not written.
    ReadOnly(Formatted),
    /// A drive that was a mount of its own when it was formatted and is not one now: the rest of
    /// it, or a copy, on another disk. To be left alone.
    Unmounted(Formatted),
    /// A directory that may be formatted. `mounted` says whether it is a mount of its own: if
    /// the drives beside it are and it is not, then its mount is missing.
    Empty {
        /// Whether the directory is a mount of its own.
        mounted: bool,
    },
    /// There is nothing at the path.
    Missing,
    /// Something else is at the path, and `entry` is the first of its names.
    Foreign {
        /// The first name, in byte order, that is none of ours; empty if the path itself is no
        /// directory.
        entry: String,
    },
    /// A drive of ours whose identity is gone, damaged or of an unknown format.
    Damaged(&'static str),
    /// The operating system refuses to show it.
    Unreadable(ErrorKind),
}

impl fmt::Display for Found {
    /// One line for an operator, to be put after the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Formatted(drive) => write!(f, "drive {}", drive.identity.drive),
            Self::ReadOnly(drive) => write!(f, "drive {}, mounted read-only", drive.identity.drive),
            Self::Unmounted(drive) => {
                write!(
                    f,
                    "drive {} was a mount when it was formatted and is none now",
                    drive.identity.drive
                )
            }
            Self::Empty { .. } => f.write_str("empty"),
            Self::Missing => f.write_str("no such directory"),
            Self::Foreign { entry } if entry.is_empty() => f.write_str("not a directory"),
            Self::Foreign { entry } => {
                write!(f, "not empty and not a drive of sarsen: it holds {entry:?}")
            }
            Self::Damaged(why) => f.write_str(why),
            Self::Unreadable(kind) => write!(f, "cannot be read: {kind}"),
        }
    }
}

/// A drive's root and identity file, held open.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) root: OwnedFd,
    pub(super) identity_file: OwnedFd,
}

/// Says what is at `path`. Never writes. May block as long as the disk does.
pub fn inspect(path: &Path) -> Found {
    examine(path).0
}

/// [`inspect`], with the open files where there is an identity that reads well.
pub(super) fn examine(path: &Path) -> (Found, Option<Held>) {
    let root = match open_root(path) {
        Ok(root) => root,
        Err(found) => return (found, None),
    };
    match examine_root(&root) {
        Ok((found, Some(identity_file))) => (
            found,
            Some(Held {
                root,
                identity_file,
            }),
        ),
        Ok((found, None)) => (found, None),
        Err(errno) => (Found::Unreadable(errno.kind()), None),
    }
}

/// Opens the directory at `path`. The path itself may lead through symlinks: it is the
/// operator's; nothing below it may.
pub(super) fn open_root(path: &Path) -> Result<OwnedFd, Found> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => Found::Missing,
        Errno::NOTDIR => Found::Foreign {
            entry: String::new(),
        },
        other => Found::Unreadable(other.kind()),
    })
}

/// What is in an open directory, and its identity file if that reads well.
pub(super) fn examine_root(root: &OwnedFd) -> Result<(Found, Option<OwnedFd>), Errno> {
    let mounted = is_mount(root)?;
    let identity_file = match entries::open_file(root, identity::FILE_NAME) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok((examine_unnamed(root, mounted)?, None)),
        Err(Errno::LOOP) => return Ok((Found::Damaged("sarsen.json is not a plain file"), None)),
        Err(errno) => return Err(errno),
    };
    let bytes = entries::read_up_to(&identity_file, 0, identity::LEN_MAX + 1)?;
    let parsed = match Formatted::parse(&bytes) {
        Err(identity::DAMAGED) => copy_of_identity(root).ok_or(identity::DAMAGED),
        parsed => parsed,
    };
    let found = match parsed {
        Err(why) => return Ok((Found::Damaged(why), None)),
        Ok(formatted) if formatted.mounted && !mounted => Found::Unmounted(formatted),
        Ok(formatted) if is_read_only(root)? || syncs_nothing(root) => Found::ReadOnly(formatted),
        Ok(formatted) => Found::Formatted(formatted),
    };
    Ok((found, Some(identity_file)))
}

/// What the copy of the identity says, where that itself is damaged.
fn copy_of_identity(root: &OwnedFd) -> Option<Formatted> {
    let index = entries::open_directory(root, INDEX).ok()?;
    let file = entries::open_file(&index, identity::FILE_NAME).ok()?;
    let bytes = entries::read_up_to(&file, 0, identity::LEN_MAX + 1).ok()?;
    Formatted::parse(&bytes).ok()
}

/// A directory without identity: empty but for what an interrupted formatting leaves, or not ours.
fn examine_unnamed(root: &OwnedFd, mounted: bool) -> Result<Found, Errno> {
    let mut names = entries::names(root)?;
    names.sort_unstable();
    let all_ours = [INDEX, SHARDS, TMP]
        .iter()
        .all(|ours| names.iter().any(|name| name == ours));
    for entry in names {
        let bare = match entry.as_str() {
            "lost+found" | IDENTITY_NEW => true,
            INDEX => holds_only(root, INDEX, |_, _| false)?,
            SHARDS => holds_only(root, SHARDS, |shards, name| is_bare(shards, name, 2))?,
            TMP => holds_only(root, TMP, |tmp, name| {
                name.to_ascii_lowercase().starts_with(PROBE_PREFIX) || is_bare(tmp, name, 1)
            })?,
            _ => return Ok(Found::Foreign { entry }),
        };
        if !bare && all_ours {
            return Ok(Found::Damaged(
                "sarsen.json is missing from a drive that holds data",
            ));
        }
        if !bare {
            return Ok(Found::Foreign { entry });
        }
    }
    Ok(Found::Empty { mounted })
}

/// Whether `name` is a directory in which `allowed` holds for every entry.
fn holds_only(
    at: impl AsFd,
    name: &str,
    allowed: impl Fn(&OwnedFd, &str) -> bool,
) -> Result<bool, Errno> {
    let directory = match entries::open_directory(at, name) {
        Err(Errno::LOOP | Errno::NOTDIR) => return Ok(false),
        opened => opened?,
    };
    Ok(entries::names(&directory)?
        .iter()
        .all(|entry| allowed(&directory, entry)))
}

/// Whether `name` is one of the directories over which files are fanned out, and empty.
fn is_bare(at: &OwnedFd, name: &str, digits: usize) -> bool {
    name.len() == digits && holds_only(at, name, |_, _| false).unwrap_or(false)
}

/// Whether a directory is the root of a mount, bind mounts included where the kernel tells.
pub(super) fn is_mount(root: &OwnedFd) -> Result<bool, Errno> {
    let known = rustix::fs::statx(root, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
    if let Ok(known) = known
        && known
            .stx_attributes_mask
            .contains(StatxAttributes::MOUNT_ROOT)
    {
        return Ok(known.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    }
    let own = rustix::fs::fstat(root)?;
    let parent = rustix::fs::statat(root, "..", AtFlags::empty())?;
    // `/` is its own parent.
    Ok(own.st_dev != parent.st_dev || own.st_ino == parent.st_ino)
}

/// Whether the file system takes no writes since it found itself damaged: ext4 does not then say so among
/// its flags.
fn syncs_nothing(root: impl AsFd) -> bool {
    rustix::fs::fsync(root) == Err(Errno::ROFS)
}

/// Whether the file system takes no writes.
pub(super) fn is_read_only(root: impl AsFd) -> Result<bool, Errno> {
    Ok(rustix::fs::fstatvfs(root)?
        .f_flag
        .contains(StatVfsMountFlags::RDONLY))
}

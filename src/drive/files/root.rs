//! A drive's root, held by this process alone.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Stat;
use rustix::io::Errno;

use super::entries;
use super::format;
use super::identity::{self, Formatted};
use super::inspect::{self, Found, Held};
use crate::contract::{Error, Identity};
use crate::fault::from_errno;

/// Whether a drive takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reads and writes.
    Writable,
    /// The mount is read-only.
    ReadOnly,
}

/// The room on the file system of a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    /// All bytes.
    pub(crate) total: u64,
    /// Bytes that this process may still write.
    pub(crate) free: u64,
    /// Inodes left; `u64::MAX` where the file system makes them as it goes.
    pub(crate) inodes_free: u64,
}

/// An open, locked drive. The lock and the descriptors go with the value.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    held: Held,
    formatted: Formatted,
    access: Access,
    device: u64,
    inode: u64,
}

impl Root {
    /// Opens the drive at `path`, which must be the one that `expected` names, sound, still the
    /// mount it was, and open nowhere else. Everything else is [`Error::Offline`] with a line
    /// that says why. A read-only drive opens too.
    pub(crate) fn open(path: &Path, expected: &Identity) -> Result<Self, Error> {
        let offline = |why: String| Error::Offline(Arc::from(format!("{}: {why}", path.display())));
        let (found, held) = inspect::examine(path);
        let (formatted, access) = match found {
            Found::Formatted(formatted) => (formatted, Access::Writable),
            Found::ReadOnly(formatted) => (formatted, Access::ReadOnly),
            other => return Err(offline(other.to_string())),
        };
        if let Some(why) = difference(&formatted.identity, expected) {
            return Err(offline(why));
        }
        let held = held.ok_or_else(|| offline("its identity is gone".to_owned()))?;
        format::lock(&held.root).map_err(|errno| match errno {
            Errno::WOULDBLOCK => offline("in use by another process".to_owned()),
            other => offline(format!("cannot be locked: {other}")),
        })?;
        let stat = rustix::fs::fstat(&held.root).map_err(from_errno)?;
        let (device, inode) = place(&stat);
        let mut root = Self {
            path: path.to_owned(),
            held,
            formatted,
            access,
            device,
            inode,
        };
        if access == Access::Writable {
            // A fan-out directory that somebody removed comes back empty: what it held is
            // missing shards, which other drives make good.
            format::make_directories(&root.held.root).map_err(from_errno)?;
            let again = format::keep_identity(&root.held.root, &root.formatted);
            if again.map_err(from_errno)? {
                tracing::error!(path = %path.display(), "sarsen.json was damaged: written again from its copy");
                let file = entries::open_file(&root.held.root, identity::FILE_NAME);
                root.held.identity_file = file.map_err(from_errno)?;
            }
        }
        Ok(root)
    }

    /// The path it was opened at.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the drive said of itself when it was opened.
    pub(crate) fn formatted(&self) -> &Formatted {
        &self.formatted
    }

    /// Whether it took writes when it was opened.
    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// The held root directory.
    pub(crate) fn directory(&self) -> &OwnedFd {
        &self.held.root
    }

    /// Whether the path still leads to the directory that is open here, and its identity is
    /// still linked: `rm -rf` under a live server, a swapped or lost mount, must not be
    /// acknowledged. Two system calls; to be asked after the sync and before it counts.
    pub(crate) fn still_itself(&self) -> Result<(), Error> {
        let offline =
            |why: &str| Error::Offline(Arc::from(format!("{}: {why}", self.path.display())));
        let identity = rustix::fs::fstat(&self.held.identity_file).map_err(from_errno)?;
        if identity.st_nlink == 0 {
            return Err(offline("sarsen.json was removed or replaced"));
        }
        match rustix::fs::stat(&self.path) {
            Ok(stat) if place(&stat) == (self.device, self.inode) => Ok(()),
            Ok(_) => Err(offline("the path leads to another directory now")),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(offline("the directory is gone")),
            Err(errno) => Err(from_errno(errno)),
        }
    }

    /// The room left now.
    pub(crate) fn space(&self) -> Result<Space, Error> {
        let stat = rustix::fs::fstatvfs(&self.held.root).map_err(from_errno)?;
        Ok(Space {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            // btrfs and others report none at all.
            inodes_free: if stat.f_files == 0 {
                u64::MAX
            } else {
                stat.f_favail
            },
        })
    }

    /// Whether the file system takes no writes now.
    pub(crate) fn is_read_only(&self) -> Result<bool, Error> {
        inspect::is_read_only(&self.held.root).map_err(from_errno)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        format::unlock(&self.held.root);
    }
}

fn place(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// How the drive that is there differs from the one that should be.
fn difference(found: &Identity, expected: &Identity) -> Option<String> {
    if found.deployment != expected.deployment {
        return Some(format!(
            "a drive of another deployment, {}",
            found.deployment
        ));
    }
    if found.drive != expected.drive {
        return Some(format!(
            "drive {} is here instead of {}",
            found.drive, expected.drive
        ));
    }
    (found != expected).then(|| {
        let Identity {
            pool, set, place, ..
        } = found;
        format!(
            "drive {} belongs to pool {pool}, set {set}, place {place}",
            found.drive
        )
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use types::{DeploymentId, DriveId};

    use super::*;
    use crate::files::identity::tests::sample;
    use crate::files::scratch::Scratch;

    type Change = fn(&Path);

    fn formatted() -> Scratch {
        let scratch = Scratch::new();
        format::format(scratch.path(), &sample().identity, sample().geometry).unwrap();
        scratch
    }

    fn why_not(path: &Path, expected: &Identity) -> String {
        Root::open(path, expected)
            .unwrap_err()
            .to_string()
            .replace(path.to_str().unwrap(), "D")
    }

    #[test]
    fn only_the_expected_drive_opens() {
        let scratch = formatted();
        let expected = sample().identity;
        let other = Identity {
            deployment: DeploymentId::from_bytes([1; 16]),
            ..expected.clone()
        };
        assert_eq!(
            why_not(scratch.path(), &other),
            "offline: D: a drive of another deployment, dededede-dede-dede-dede-dededededede"
        );
        let other = Identity {
            drive: DriveId::from_bytes([1; 16]),
            ..expected.clone()
        };
        assert!(
            why_not(scratch.path(), &other)
                .ends_with("instead of 01010101-0101-0101-0101-010101010101")
        );
        let other = Identity {
            place: 0,
            ..expected.clone()
        };
        assert!(why_not(scratch.path(), &other).ends_with("belongs to pool 0, set 1, place 3"));
        let empty = Scratch::new();
        assert_eq!(why_not(empty.path(), &expected), "offline: D: empty");
        assert_eq!(
            Root::open(scratch.path(), &expected).unwrap().access(),
            Access::Writable
        );
    }

    #[test]
    fn a_drive_opens_once() {
        let scratch = formatted();
        let first = Root::open(scratch.path(), &sample().identity).unwrap();
        assert_eq!(
            why_not(scratch.path(), &sample().identity),
            "offline: D: in use by another process"
        );
        drop(first);
        Root::open(scratch.path(), &sample().identity).unwrap();
    }

    #[test]
    fn a_removed_fan_out_directory_comes_back() {
        let scratch = formatted();
        fs::remove_dir(scratch.path().join("shards/7f")).unwrap();
        Root::open(scratch.path(), &sample().identity).unwrap();
        assert!(scratch.path().join("shards/7f").is_dir());
    }

    /// Fails if there is no copy, or if it is not used, or not made good itself.
    #[test]
    fn a_damaged_identity_is_written_again_from_its_copy_and_the_other_way() {
        let scratch = formatted();
        let expected = sample().identity;
        drop(Root::open(scratch.path(), &expected).unwrap());
        let (main, copy) = ("sarsen.json", "index/sarsen.json");
        let whole = fs::read(scratch.path().join(main)).unwrap();
        for name in [main, copy] {
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 4;
                fs::write(scratch.path().join(name), bytes).unwrap();
                let root = Root::open(scratch.path(), &expected).unwrap();
                assert_eq!(root.still_itself(), Ok(()));
                for name in [main, copy] {
                    assert_eq!(fs::read(scratch.path().join(name)).unwrap(), whole, "{at}");
                }
            }
        }
        for name in [main, copy] {
            fs::write(scratch.path().join(name), b"{").unwrap();
        }
        assert!(why_not(scratch.path(), &expected).ends_with("sarsen.json is damaged"));
    }

    #[test]
    fn a_drive_knows_when_it_is_no_longer_itself() {
        let unmake: [(&str, Change); 4] = [
            ("sarsen.json was removed or replaced", |path| {
                fs::remove_file(path.join("sarsen.json")).unwrap()
            }),
            ("sarsen.json was removed or replaced", |path| {
                fs::copy(path.join("sarsen.json"), path.join("copy")).unwrap();
                fs::rename(path.join("copy"), path.join("sarsen.json")).unwrap();
            }),
            ("the directory is gone", |path| {
                fs::rename(path, path.with_extension("away")).unwrap()
            }),
            ("the path leads to another directory now", |path| {
                fs::rename(path, path.with_extension("away")).unwrap();
                fs::create_dir(path).unwrap();
            }),
        ];
        for (why, unmake) in unmake {
            let scratch = formatted();
            let root = Root::open(scratch.path(), &sample().identity).unwrap();
            assert_eq!(root.still_itself(), Ok(()));
            unmake(scratch.path());
            let error = root.still_itself().unwrap_err();
            assert_eq!(
                error,
                Error::Offline(format!("{}: {why}", scratch.path().display()).into())
            );
            let _ = fs::remove_dir_all(scratch.path().with_extension("away"));
        }
    }

    #[test]
    fn space_is_told() {
        let scratch = formatted();
        let root = Root::open(scratch.path(), &sample().identity).unwrap();
        let space = root.space().unwrap();
        assert!(space.total >= space.free && space.total > 0 && space.inodes_free > 0);
        assert_eq!(root.is_read_only(), Ok(false));
    }
}

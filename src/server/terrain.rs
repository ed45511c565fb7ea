//! File systems that cannot carry a drive, whatever they answer to a sync.

use std::path::Path;

use rustix::fs::statfs;

const NETWORK: &str = "a network file system, which cannot carry a drive";
const MEMORY: &str = "a file system in memory keeps nothing when the machine stops; \
                      SARSEN_DEV=on takes it for tests";

/// What is wrong with the file system below a path, or below the nearest directory above it that
/// is there; `None` if nothing is known to be. Numbers are those of statfs(2).
pub(crate) fn unfit(path: &Path) -> Option<&'static str> {
    let kind = path.ancestors().find_map(|path| statfs(path).ok())?.f_type;
    match kind {
        // tmpfs, ramfs
        0x0102_1994 | 0x8584_58f6 => Some(MEMORY),
        // NFS, SMB (three generations), Ceph, 9P
        0x6969 | 0x517b | 0xff53_4d42 | 0xfe53_4d42 | 0x00c3_6400 | 0x0102_1997 => Some(NETWORK),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_to_forget_is_named() {
        assert_eq!(unfit(Path::new("/dev/shm/not/there/yet")), Some(MEMORY));
        assert_eq!(unfit(Path::new("/proc")), None);
    }
}

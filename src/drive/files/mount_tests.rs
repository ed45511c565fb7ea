//! Faults that need a mount of their own; where mounting is not allowed they are not shown.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use types::{BucketId, DataId, ObjectKey};

use super::aligned::AlignedBuffer;
use super::identity::tests::sample;
use super::{Access, Found, Root, Scratch, ShardFiles, format, inspect};
use crate::contract::Error;
use crate::register::Register;

/// A tmpfs of 2 MiB.
struct Mounted(Scratch);

impl Mounted {
    fn new() -> Option<Self> {
        let scratch = Scratch::new();
        run(
            "mount",
            &["-t", "tmpfs", "-o", "size=2m", "tmpfs"],
            scratch.path(),
        )
        .then_some(Self(scratch))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn unmount(&self) {
        assert!(run("umount", &["--lazy"], self.path()));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &["--lazy", "--quiet"], self.path());
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    let output = Command::new(program).args(arguments).arg(path).output();
    output.is_ok_and(|output| output.status.success())
}

fn register() -> Register {
    Register::object(BucketId::from_u64(1), &ObjectKey::parse("a").unwrap())
}

#[test]
fn a_mount_is_told_from_the_directory_below_it() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    assert_eq!(inspect(mounted.path()), Found::Empty { mounted: true });
    let formatted = format(mounted.path(), &sample().identity, sample().geometry).unwrap();
    assert!(formatted.mounted);
    assert_eq!(inspect(mounted.path()), Found::Formatted(formatted.clone()));
    let copy = Scratch::new();
    std::fs::copy(
        mounted.path().join("sarsen.json"),
        copy.path().join("sarsen.json"),
    )
    .unwrap();
    assert_eq!(inspect(copy.path()), Found::Unmounted(formatted));

    let root = Root::open(mounted.path(), &sample().identity).unwrap();
    mounted.unmount();
    assert!(
        matches!(root.still_itself(), Err(Error::Offline(_))),
        "the path leads elsewhere"
    );
    assert_eq!(inspect(mounted.path()), Found::Empty { mounted: false });
}

#[test]
fn a_full_drive_is_full_and_keeps_no_partial_file() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    format(mounted.path(), &sample().identity, sample().geometry).unwrap();
    let root = Root::open(mounted.path(), &sample().identity).unwrap();
    let files = ShardFiles::open(&root).unwrap();
    let mut buffer = AlignedBuffer::new(64 * 1024);
    let mut file = files
        .create(DataId::from_bytes([1; 16]), register())
        .unwrap();
    let frames = [Bytes::from(vec![7; 100_000])];
    let error = loop {
        if let Err(error) = file.append(&frames, &mut buffer) {
            break error;
        }
    };
    assert_eq!(error, Error::Full);
    assert_eq!(root.space().unwrap().free, 0);
    drop(file);
    assert_eq!(mounted.0.tmp_files(), 0);
    assert!(!files.sync_failed());
}

#[test]
fn a_drive_mounted_read_only_opens_and_serves_reads() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let formatted = format(mounted.path(), &sample().identity, sample().geometry).unwrap();
    let data = DataId::from_bytes([1; 16]);
    {
        let root = Root::open(mounted.path(), &sample().identity).unwrap();
        let files = ShardFiles::open(&root).unwrap();
        let file = files.create(data, register()).unwrap();
        files
            .finish(
                file,
                &[Bytes::from_static(b"frames")],
                &mut AlignedBuffer::new(4096),
            )
            .unwrap();
        files
            .sync_directories(vec![files.publish(data, 1).unwrap()])
            .unwrap();
    }
    assert!(run("mount", &["-o", "remount,ro"], mounted.path()));
    assert_eq!(inspect(mounted.path()), Found::ReadOnly(formatted));
    let root = Root::open(mounted.path(), &sample().identity).unwrap();
    assert_eq!(
        (root.access(), root.is_read_only()),
        (Access::ReadOnly, Ok(true))
    );
    let files = ShardFiles::open(&root).unwrap();
    assert_eq!(files.read(data, 1, 0, 6).unwrap(), "frames");
    assert_eq!(files.create(data, register()).unwrap_err(), Error::ReadOnly);
    assert_eq!(files.remove(data, 1), Err(Error::ReadOnly));
    drop((files, root));
    assert!(run("mount", &["-o", "remount,rw"], mounted.path()));
}

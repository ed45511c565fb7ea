//! Disks without a free byte. Where mounting is not allowed they are not shown.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use types::{Kind, Placed};

use super::LocalDrive;
use super::segment::SPARES;
use super::tests::{commit, identity, opened, put, runtime, sequences, settle};
use crate::contract::{Commit, Drive, Error, MetaWrite, Status};
use crate::files::{Scratch, format};

/// A tmpfs of 256 MiB with a drive in it.
struct Disk(Scratch);

impl Disk {
    fn new() -> Option<Self> {
        let scratch = Scratch::new();
        let disk = run(
            "mount",
            &["-t", "tmpfs", "-o", "size=256m", "tmpfs"],
            scratch.path(),
        )
        .then_some(Self(scratch))?;
        let geometry = types::Geometry::new(2, 2).unwrap();
        format(disk.path(), &identity(), geometry).unwrap();
        Some(disk)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves no byte.
    fn fill(&self) {
        let mut file = File::create(self.path().join("fill")).unwrap();
        for unit in [1 << 20, 4096, 1] {
            while file.write_all(&vec![1; unit]).is_ok() {}
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["--lazy", "--quiet"], self.path());
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    let output = Command::new(program).args(arguments).arg(path).output();
    output.is_ok_and(|output| output.status.success())
}

fn name(number: u64) -> String {
    format!("key {number}")
}

const LEN: usize = 200 << 10;

/// Puts until nothing more goes in; says how many went.
async fn put_all(drive: &LocalDrive) -> u64 {
    let mut stored = 0;
    // Before the next segment is prepared there may be no room either.
    while drive.status() == Status::Online {
        let next = stored + 1;
        match drive.commit(commit(&name(next), next, LEN)).await {
            Ok(_) => stored = next,
            Err(Error::Full) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(drive.status(), Status::Full);
    settle(drive, stored);
    stored
}

fn tombstone(key: &str, sequence: u64) -> Commit {
    let mut commit = commit(key, sequence, 0);
    let row = std::sync::Arc::make_mut(&mut commit.row);
    (row.head.kind, row.head.placed) = (Kind::Tombstone, Placed::Nowhere);
    commit.inline = None;
    commit
}

/// What a start writes, record by record.
async fn begin(drive: &LocalDrive, start: u64, records: u64) {
    for record in 0..records {
        let write = MetaWrite {
            key: Bytes::from(format!("raft/{}", record % 8)),
            value: Some(Bytes::from(vec![start as u8; 4000])),
        };
        let written = drive.meta_write(vec![write]).await;
        assert_eq!(written, Ok(()), "record {record} of start {start}");
    }
}

/// Waits for what goes on in the background.
fn soon(what: &str, done: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Fails if a full drive takes no intent, or if deletions may use up what starts need.
#[test]
fn starts_of_a_full_drive_find_the_space_that_deletions_leave() {
    let Some(disk) = Disk::new() else { return };
    let runtime = runtime();
    let drive = opened(disk.path());
    let stored = runtime.block_on(async {
        let stored = put_all(&drive).await;
        disk.fill();
        // Deletions of what is not there take space, and give none back.
        let mut sequence = stored;
        let refused = loop {
            sequence += 1;
            let absent = tombstone(&format!("no {sequence}"), sequence);
            if let Err(error) = drive.commit(absent).await {
                break error;
            }
            assert!(sequence < 100_000, "a disk without an end");
        };
        assert_eq!(refused, Error::Full);
        stored
    });
    drop(drive);
    for start in 0..24 {
        let drive = opened(disk.path());
        runtime.block_on(async {
            begin(&drive, start, 8).await;
            let number = start % stored + 1;
            assert_eq!(sequences(&drive, &name(number)).await, [number]);
        });
    }
}

/// Fails if what starts write takes space for good, where there is no byte to write a run with.
#[test]
fn a_full_drive_starts_as_often_as_it_must() {
    let Some(disk) = Disk::new() else { return };
    let runtime = runtime();
    let drive = opened(disk.path());
    let stored = runtime.block_on(put_all(&drive));
    disk.fill();
    let mut written = drive.positions().0;
    drop(drive);
    // Twice what is left of the log.
    for start in 0..100 {
        let drive = opened(disk.path());
        assert!(drive.spares() > 0, "space came back before start {start}");
        let ample = drive.spares() == SPARES;
        let has_less = drive.replayed_from() > written;
        assert!(ample || has_less, "start {start} left all to be replayed");
        runtime.block_on(async {
            begin(&drive, start, 100).await;
            let number = start % stored + 1;
            assert_eq!(sequences(&drive, &name(number)).await, [number]);
        });
        written = drive.positions().0;
    }
}

/// Fails if a disk without a free byte gets no space back from deletions in its log.
#[test]
fn a_full_drive_takes_new_bytes_once_enough_is_deleted() {
    let Some(disk) = Disk::new() else { return };
    let runtime = runtime();
    let drive = opened(disk.path());
    let stored = runtime.block_on(put_all(&drive));
    disk.fill();
    drop(drive);
    let drive = opened(disk.path());
    runtime.block_on(async {
        for number in 2..=stored {
            let gone = tombstone(&name(number), stored + number);
            assert!(drive.commit(gone).await.is_ok(), "deletion {number}");
        }
        settle(&drive, 2 * stored);
    });
    soon("segments come back", || drive.spares() >= SPARES);
    std::fs::remove_file(disk.path().join("fill")).unwrap();
    soon("space is told", || drive.status() == Status::Online);
    runtime.block_on(async {
        put(&drive, "new", 3 * stored, LEN).await;
        assert_eq!(sequences(&drive, "new").await, [3 * stored]);
        assert_eq!(sequences(&drive, &name(1)).await, [1]);
    });
}

//! The engine as a whole, on a directory.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use types::{
    BucketId, DataId, DeploymentId, DriveId, Epoch, Etag, Geometry, Head, Kind, ObjectKey, Order,
    Placed, Slot, StorageClass, Timestamp, VersionId,
};

use super::{LocalDrive, Options};
use crate::contract::{
    Commit, Committed, Drive, Error, Fence, Identity, MetaWrite, Row, RowAnswer, RowsRequest,
    SettleMark, Settles, Status, Want,
};
use crate::files::{Scratch, format};
use crate::register::Register;
use crate::suite::{Subject, conformance};

pub(super) const SLOT: u16 = 3;

pub(super) fn identity() -> Identity {
    Identity {
        deployment: DeploymentId::from_bytes([1; 16]),
        drive: DriveId::from_bytes([2; 16]),
        pool: 0,
        set: 0,
        place: 0,
    }
}

/// A directory with a drive in it.
pub(super) fn formatted() -> Scratch {
    let scratch = Scratch::new();
    let geometry = Geometry::new(2, 2).unwrap();
    format(scratch.path(), &identity(), geometry).unwrap();
    scratch
}

pub(super) fn opened(path: &Path) -> LocalDrive {
    LocalDrive::open(path, &identity(), &Options::default()).unwrap()
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

pub(super) fn at(sequence: u64) -> Order {
    Order::new(Epoch::new(1, 5), sequence)
}

pub(super) fn register(key: &str) -> Arc<Register> {
    let key = ObjectKey::parse(key).unwrap();
    Arc::new(Register::object(BucketId::from_u64(7), &key))
}

/// The null version of that sequence, with a frame of that length.
pub(super) fn commit(key: &str, sequence: u64, len: usize) -> Commit {
    let head = Head {
        kind: Kind::Object,
        version: VersionId::Null,
        born: at(sequence),
        order: at(sequence),
        prev: Order::ZERO,
        size: len as u64,
        modified: Timestamp::from_millis(sequence),
        etag: Etag::Md5([7; 16]),
        geometry: Geometry::new(2, 2).unwrap(),
        rotation: 0,
        class: StorageClass::Standard,
        placed: Placed::Inline,
        data: DataId::from_bytes(at(sequence).to_bytes()),
    };
    let tail = Bytes::from(format!("tail of {sequence}"));
    Commit {
        fence: Fence {
            slot: Slot::new(SLOT),
            epoch: Epoch::new(1, 5),
        },
        register: register(key),
        row: Arc::new(Row {
            head,
            files: Arc::new([]),
            tail,
        }),
        inline: Some(Bytes::from(vec![sequence as u8; len])),
    }
}

pub(super) async fn put(drive: &LocalDrive, key: &str, sequence: u64, len: usize) -> Committed {
    drive.commit(commit(key, sequence, len)).await.unwrap()
}

pub(super) async fn try_rows(drive: &LocalDrive, key: &str) -> Result<Vec<RowAnswer>, Error> {
    want(drive, key, Want::All).await
}

pub(super) async fn want(
    drive: &LocalDrive,
    key: &str,
    want: Want,
) -> Result<Vec<RowAnswer>, Error> {
    let (register, slot) = (register(key), Slot::new(SLOT));
    drive
        .rows(RowsRequest {
            raise: None,
            slot,
            register,
            want,
        })
        .await
}

/// The sequences of a key's rows; each is checked to be what was put.
pub(super) async fn sequences(drive: &LocalDrive, key: &str) -> Vec<u64> {
    let rows = try_rows(drive, key).await.unwrap();
    let check = |row: &RowAnswer| {
        let sequence = row.head.order.sequence;
        let inline = row.inline.clone().unwrap_or_default();
        let expected = commit(key, sequence, usize::try_from(row.head.size).unwrap());
        assert_eq!(
            (row.row.as_ref(), Some(inline)),
            (Some(&expected.row), expected.inline)
        );
        sequence
    };
    rows.iter().map(check).collect()
}

pub(super) fn settle(drive: &LocalDrive, settled: u64) {
    let (slot, epoch) = (Slot::new(SLOT), Epoch::new(1, 5));
    let marks = vec![SettleMark {
        slot,
        epoch,
        settled,
        complete: settled,
    }];
    drive.settle(Settles {
        marks,
        ..Settles::default()
    });
}

struct Directories(Vec<Scratch>);

impl Subject for Directories {
    async fn make(&mut self) -> Arc<dyn Drive> {
        self.0.push(formatted());
        Arc::new(opened(self.0.last().unwrap().path()))
    }

    async fn reopen(&mut self, drive: Arc<dyn Drive>) -> Arc<dyn Drive> {
        drop(drive);
        Arc::new(opened(self.0.last().unwrap().path()))
    }
}

#[test]
fn the_engine_keeps_every_promise() {
    runtime().block_on(conformance(&mut Directories(Vec::new())));
}

#[test]
fn a_deleted_drive_acknowledges_nothing() {
    type Change = fn(&Path);
    let ways: [Change; 4] = [
        |path| fs::remove_dir_all(path).unwrap(),
        |path| fs::remove_file(path.join("sarsen.json")).unwrap(),
        |path| fs::remove_dir_all(path.join("index")).unwrap(),
        |path| fs::rename(path, path.with_extension("elsewhere")).unwrap(),
    ];
    for unmake in ways {
        let scratch = formatted();
        let drive = opened(scratch.path());
        runtime().block_on(async {
            put(&drive, "a", 1, 10).await;
            assert_eq!(drive.look().await, Ok(()));
            unmake(scratch.path());
            let refused = drive.commit(commit("a", 2, 10)).await;
            assert!(matches!(refused, Err(Error::Offline(_))), "{refused:?}");
            assert!(matches!(drive.status(), Status::Offline(_)));
            assert!(matches!(
                try_rows(&drive, "a").await,
                Err(Error::Offline(_))
            ));
        });
        drop(drive);
        let _ = fs::remove_dir_all(scratch.path().with_extension("elsewhere"));
    }
}

/// Fails if only writes find out.
#[test]
fn a_deleted_drive_is_noticed_without_a_write() {
    let scratch = formatted();
    let drive = opened(scratch.path());
    fs::remove_dir_all(scratch.path()).unwrap();
    assert_eq!(drive.status(), Status::Online);
    let noticed = runtime().block_on(drive.look());
    assert!(matches!(noticed, Err(Error::Offline(_))), "{noticed:?}");
    assert!(matches!(drive.status(), Status::Offline(_)));
}

#[test]
fn a_closed_drive_has_nothing_to_replay() {
    let scratch = formatted();
    let drive = opened(scratch.path());
    runtime().block_on(async {
        for sequence in 1..=100 {
            put(&drive, &format!("key {sequence}"), sequence, 100).await;
        }
        settle(&drive, 100);
    });
    drive.close();
    let refused = runtime().block_on(drive.commit(commit("late", 200, 1)));
    assert!(matches!(refused, Err(Error::Offline(_))));
    drop(drive);
    let drive = opened(scratch.path());
    assert_eq!((drive.stats().entries, drive.stats().runs), (100, 1));
    runtime().block_on(async {
        assert_eq!(drive.positions().0, 101);
        let rows = try_rows(&drive, "key 7").await.unwrap();
        assert!(rows[0].settled, "told before the close");
        assert_eq!(sequences(&drive, "key 7").await, [7]);
    });
}

#[test]
fn a_drive_that_joins_says_so_until_it_votes() {
    let scratch = formatted();
    let joining = Options {
        fresh: super::Standing::Joining,
        ..Options::default()
    };
    let open = || LocalDrive::open(scratch.path(), &identity(), &joining).unwrap();
    let drive = open();
    assert_eq!(drive.status(), Status::Joining);
    drop(drive);
    let drive = open();
    assert_eq!(drive.status(), Status::Joining, "after a restart too");
    runtime()
        .block_on(drive.set_standing(super::Standing::Voting))
        .unwrap();
    drop(drive);
    assert_eq!(open().status(), Status::Online);
}

/// Fails if what a disk cannot read is as good as unknown, and never written again; and if a drive
/// that reads nothing is not asked whether it still writes.
#[test]
fn a_row_that_the_disk_cannot_read_is_damaged_and_the_drive_tried() {
    let scratch = formatted();
    let drive = opened(scratch.path());
    runtime().block_on(async {
        put(&drive, "a", 1, 100).await;
        drive.lose_log();
        let before = drive.stats();
        let found = want(&drive, "a", Want::Latest).await;
        assert!(matches!(found, Err(Error::Corrupt(_))), "{found:?}");
        let gap = try_rows(&drive, "a").await.unwrap();
        assert!(gap[0].row.is_none(), "a history shows that it is there");
        assert_eq!(drive.stats().corrupt_reads, before.corrupt_reads + 2);
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while drive.stats().batches == before.batches {
            assert!(std::time::Instant::now() < limit, "it was not tried");
            std::thread::yield_now();
        }
        assert_eq!(drive.status(), Status::Online);
    });
}

/// Fails if a row refers to a file whose name was given in a life that ended before it was synced.
#[test]
fn the_name_of_a_file_that_is_there_already_is_synced_with_its_row() {
    let scratch = formatted();
    let counted = crate::failpoint::Failpoints::counting(
        scratch.path().join("failpoint"),
        "publish.after-sync",
    );
    let options = Options {
        failpoints: counted.clone(),
        ..Options::default()
    };
    let drive = LocalDrive::open(scratch.path(), &identity(), &options).unwrap();
    runtime().block_on(async {
        let mut first = commit("a", 1, 9);
        let row = Arc::make_mut(&mut first.row);
        row.head.placed = Placed::File;
        row.files = [row.head.data].into();
        first.inline = None;
        let stage = drive.stage(row.head.data, register("a")).await.unwrap();
        stage.finish().await.unwrap();
        drive.commit(first.clone()).await.unwrap();
        assert_eq!(counted.passes(), 1);
        drive.commit(first).await.unwrap();
        assert_eq!(counted.passes(), 2);
    });
}

#[test]
fn entries_that_no_segment_could_hold_are_refused() {
    let scratch = formatted();
    let drive = opened(scratch.path());
    runtime().block_on(async {
        let huge = drive.commit(commit("huge", 1, 13 << 20)).await;
        assert_eq!(huge, Err(Error::Io(std::io::ErrorKind::InvalidInput)));
        let name = Bytes::from(vec![b'n'; 65]);
        let write = MetaWrite {
            key: name,
            value: None,
        };
        assert!(drive.meta_write(vec![write]).await.is_err());
        put(&drive, "large", 2, 11 << 20).await;
        assert_eq!(sequences(&drive, "large").await, [2]);
    });
}

//! How many commits a second drives take, and what each costs: `commits [seconds]`.
//!
//! Concurrent committers put 2 KiB frames (a 4 KiB object, 2+2) on one drive, and on four at once
//! as a set does, in directories below the current one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use drive::{
    Commit, Drive, Fence, Identity, LocalDrive, Options, Register, Row, SettleMark, Settles,
};
use types::{
    BucketId, DataId, DeploymentId, DriveId, Epoch, Etag, Geometry, Head, Kind, ObjectKey, Order,
    Placed, Slot, StorageClass, Timestamp, VersionId,
};

const FRAME_LEN: usize = 32 + 2048;

fn main() {
    let seconds = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(3);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime");
    report("drives  clients  commits/s  cpu us/commit/drive  commits/batch");
    for drives in [1, 4] {
        for clients in [1, 16, 64] {
            let (rate, cpu, batch) = run(&runtime, drives, clients, Duration::from_secs(seconds));
            report(&format!(
                "{drives:>6}  {clients:>7}  {rate:>9.0}  {cpu:>19.1}  {batch:>13.1}"
            ));
        }
    }
}

#[expect(clippy::print_stdout, reason = "a program meant to print")]
fn report(line: &str) {
    println!("{line}");
}

fn run(
    runtime: &tokio::runtime::Runtime,
    count: u8,
    clients: u64,
    time: Duration,
) -> (f64, f64, f64) {
    let root = Path::new("commits-bench");
    let _ = std::fs::remove_dir_all(root);
    let drives: Arc<[LocalDrive]> = (0..count).map(|place| open(root, place)).collect();
    let sequence = Arc::new(AtomicU64::new(1));
    let (begun, cpu) = (Instant::now(), cpu_time());
    runtime.block_on(async {
        let client = |_| {
            let (drives, sequence) = (Arc::clone(&drives), Arc::clone(&sequence));
            tokio::spawn(async move {
                while begun.elapsed() < time {
                    put(&drives, sequence.fetch_add(1, Ordering::Relaxed)).await;
                }
            })
        };
        let tasks: Vec<_> = (0..clients).map(client).collect();
        for task in tasks {
            task.await.expect("a client");
        }
    });
    let (cpu, elapsed) = (cpu_time() - cpu, begun.elapsed());
    let commits = (sequence.load(Ordering::Relaxed) - 1) as f64;
    let batches = drives
        .iter()
        .map(|drive| drive.stats().batches)
        .sum::<u64>() as f64;
    drop(drives);
    let _ = std::fs::remove_dir_all(root);
    let per_drive = commits * f64::from(count);
    (
        commits / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / per_drive,
        per_drive / batches,
    )
}

fn open(root: &Path, place: u8) -> LocalDrive {
    let identity = Identity {
        deployment: DeploymentId::from_bytes([1; 16]),
        drive: DriveId::from_bytes([place + 1; 16]),
        pool: 0,
        set: 0,
        place,
    };
    let path = root.join(place.to_string());
    let geometry = Geometry::new(2, 2).expect("2+2 is a geometry");
    drive::format(&path, &identity, geometry).expect("an empty directory");
    LocalDrive::open(&path, &identity, &Options::default()).expect("a drive")
}

/// One object on all drives; answered by all.
async fn put(drives: &[LocalDrive], sequence: u64) {
    let epoch = Epoch::new(0, 1);
    let slot = Slot::new(u16::try_from(sequence % 1024).unwrap_or(0));
    let order = Order::new(epoch, sequence);
    let key = ObjectKey::parse(&format!("some/prefix/object-{sequence:012}")).expect("a key");
    let register = Arc::new(Register::object(BucketId::from_u64(7), &key));
    let head = Head {
        kind: Kind::Object,
        version: VersionId::Null,
        born: order,
        order,
        prev: Order::ZERO,
        size: 4096,
        modified: Timestamp::from_millis(1),
        etag: Etag::Md5([7; 16]),
        geometry: Geometry::new(2, 2).expect("2+2 is a geometry"),
        rotation: 0,
        class: StorageClass::Standard,
        placed: Placed::Inline,
        data: DataId::from_bytes(order.to_bytes()),
    };
    let row = Arc::new(Row {
        head,
        files: Arc::new([]),
        tail: Bytes::from(vec![3; 80]),
    });
    let frame = Bytes::from(vec![5; FRAME_LEN]);
    let commits: Vec<_> = drives
        .iter()
        .map(|drive| {
            drive.commit(Commit {
                fence: Fence { slot, epoch },
                register: Arc::clone(&register),
                row: Arc::clone(&row),
                inline: Some(frame.clone()),
            })
        })
        .collect();
    for commit in commits {
        commit.await.expect("a commit");
    }
    if sequence.is_multiple_of(1000) {
        for drive in drives {
            drive.settle(Settles {
                marks: vec![SettleMark {
                    slot,
                    epoch,
                    settled: sequence,
                    complete: sequence,
                }],
                ..Settles::default()
            });
        }
    }
}

/// What this process has used of all processors.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

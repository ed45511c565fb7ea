//! Measures staging against the disk itself: `stage DIR [UPLOADS] [OBJECT_MIB] [OBJECTS]`.
//!
//! Formats four drives under `DIR` (which should be empty), writes objects of 2 + 2 shards
//! through their stages, and compares with plain direct writes to the same disk in the same run.
#![expect(clippy::print_stdout, reason = "prints its table")]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use drive::{Drive, Identity, LocalDrive, Options, Register};
use rustix::fs::OFlags;
use types::{BucketId, DataId, DeploymentId, DriveId, Geometry, ObjectKey};

/// A 1 MiB block's shard of two, with its hash.
const FRAME_LEN: usize = (512 << 10) + 32;
const MIB: usize = 1 << 20;
const DRIVES: u8 = 4;
/// A second in the kernel's process statistics (`USER_HZ`).
const CLOCK_TICKS: f64 = 100.0;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is to be written.
#[derive(Clone, Copy)]
struct Load {
    uploads: usize,
    object_mib: usize,
    objects: usize,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments
        .next()
        .ok_or("usage: stage DIR [UPLOADS] [OBJECT_MIB] [OBJECTS]")?;
    let directory = Path::new(&directory);
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse());
    let (uploads, object_mib) = (number(8)?, number(64)?);
    let load = Load {
        uploads,
        object_mib,
        objects: number(uploads * 4)?,
    };
    fs::create_dir_all(directory)?;
    let runtime = tokio::runtime::Runtime::new()?;
    println!("{:<28} {:>8} {:>14}", "", "MiB/s", "CPU-s per GiB");
    for round in 1..=3 {
        let mib = load.objects * load.object_mib * 2;
        let raw = measure(&format!("{round}: direct writes"), mib, || {
            write_raw(directory, mib)
        })?;
        let staged = measure(&format!("{round}: {uploads} uploads"), mib, || {
            runtime.block_on(stage_all(directory, load))
        })?;
        println!("{:<28} {:>7.0}%", "", 100.0 * staged / raw);
    }
    Ok(())
}

/// Runs `work`, which writes `mib` MiB, and returns its MiB/s.
fn measure(
    name: &str,
    mib: usize,
    work: impl FnOnce() -> Result<(), Failure>,
) -> Result<f64, Failure> {
    let (begun, cpu) = (Instant::now(), cpu_seconds()?);
    work()?;
    let (elapsed, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let speed = mib as f64 / elapsed;
    println!(
        "{name:<28} {speed:>8.0} {:>14.3}",
        cpu * 1024.0 / mib as f64
    );
    Ok(speed)
}

/// User and system time of this process so far.
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat
        .rsplit_once(") ")
        .ok_or("no process statistics")?
        .1
        .split(' ');
    let ticks = fields.skip(11).take(2).map(|ticks| ticks.parse::<u32>());
    let ticks: u32 = ticks.sum::<Result<_, _>>()?;
    Ok(f64::from(ticks) / CLOCK_TICKS)
}

/// Four files at once, 1 MiB a write, each synced at its end.
fn write_raw(directory: &Path, mib: usize) -> Result<(), Failure> {
    thread::scope(|scope| {
        let write = |place: u8| {
            scope.spawn(move || write_raw_file(&directory.join(format!("raw{place}")), mib / 4))
        };
        let writers: Vec<_> = (0..DRIVES).map(write).collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().map_err(|_| "a writer panicked")?)
    })
}

fn write_raw_file(path: &Path, mib: usize) -> Result<(), Failure> {
    let flags = OFlags::DIRECT.bits().cast_signed();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(flags)
        .open(path)?;
    let memory = vec![7; MIB + 4096];
    let block = memory
        .get(memory.as_ptr().align_offset(4096)..)
        .and_then(|aligned| aligned.get(..MIB));
    let block = block.ok_or("memory cannot be aligned")?;
    for at in 0..mib {
        file.write_all_at(block, (at * MIB) as u64)?;
    }
    file.sync_data()?;
    fs::remove_file(path)?;
    Ok(())
}

async fn stage_all(directory: &Path, load: Load) -> Result<(), Failure> {
    let drives: Result<Vec<_>, Failure> = (0..DRIVES)
        .map(|place| open_drive(directory, place))
        .collect();
    let drives: Arc<Vec<LocalDrive>> = Arc::new(drives?);
    let begun = Arc::new(AtomicUsize::new(0));
    let frame = Bytes::from(vec![7; FRAME_LEN]);
    let uploads: Vec<_> = (0..load.uploads)
        .map(|upload| {
            let (drives, begun, frame) = (Arc::clone(&drives), Arc::clone(&begun), frame.clone());
            tokio::spawn(async move {
                while begun.fetch_add(1, Ordering::Relaxed) < load.objects {
                    // The same id again: what was staged before gives way.
                    let data = DataId::from_bytes((upload as u128).to_be_bytes());
                    upload_one(&drives, data, &frame, load.object_mib).await?;
                }
                Ok::<(), Failure>(())
            })
        })
        .collect();
    for upload in uploads {
        upload.await??;
    }
    Ok(())
}

fn open_drive(directory: &Path, place: u8) -> Result<LocalDrive, Failure> {
    let path = directory.join(format!("drive{place}"));
    let identity = Identity {
        deployment: DeploymentId::from_bytes([1; 16]),
        drive: DriveId::from_bytes([place; 16]),
        pool: 0,
        set: 0,
        place,
    };
    if !path.exists() {
        drive::format(&path, &identity, Geometry::new(2, 2)?)?;
    }
    Ok(LocalDrive::open(&path, &identity, &Options::default())?)
}

/// One object: a frame for each drive and block, then all files synced at once.
async fn upload_one(
    drives: &[LocalDrive],
    data: DataId,
    frame: &Bytes,
    blocks: usize,
) -> Result<(), Failure> {
    let register = Arc::new(Register::object(
        BucketId::from_u64(1),
        &ObjectKey::parse("key")?,
    ));
    let mut stages = Vec::new();
    for drive in drives {
        stages.push(drive.stage(data, Arc::clone(&register)).await?);
    }
    for _ in 0..blocks {
        for stage in &mut stages {
            stage.append(frame.clone()).await?;
        }
    }
    let finishing: Vec<_> = stages
        .into_iter()
        .map(|stage| tokio::spawn(stage.finish()))
        .collect();
    for finished in finishing {
        finished.await??;
    }
    Ok(())
}

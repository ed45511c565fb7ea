//! What restarts and damage leave.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use rustix::fs::FallocateFlags;

use super::batch::{self, ALIGN, HEADER_LEN};
use super::segment::file_name;
use super::tests::{
    commit, formatted, identity, opened, put, register, runtime, sequences, settle, try_rows, want,
};
use super::{LocalDrive, Options, Standing};
use crate::contract::{Discard, Drive, Error, Status, Want};
use crate::files::Scratch;

fn segment(scratch: &Scratch, id: u64) -> PathBuf {
    scratch.path().join("index/log").join(file_name(id))
}

/// Where each batch of the first segment begins and ends.
fn batches(path: &Path) -> Vec<(usize, usize)> {
    let bytes = fs::read(path).unwrap();
    let mut found = Vec::new();
    let mut at = ALIGN;
    while let Some(batch) = batch::open(&bytes[at..]) {
        let len = batch.header.len as usize;
        found.push((at, at + len));
        at += len;
    }
    found
}

/// A drive with one batch a key, `key 1` to `key 5`, stopped without a flush.
fn five_batches() -> (Scratch, PathBuf, Vec<(usize, usize)>) {
    let scratch = formatted();
    let drive = opened(scratch.path());
    runtime().block_on(async {
        for sequence in 1..=5 {
            put(&drive, &format!("key {sequence}"), sequence, 50).await;
        }
    });
    drop(drive);
    let log = segment(&scratch, 1);
    let found = batches(&log);
    assert_eq!(found.len(), 5);
    (scratch, log, found)
}

/// Files of an index: their bytes but for the zeros at the end, and their lengths.
type Kept = BTreeMap<PathBuf, (Vec<u8>, u64)>;

/// A log is put back as it was.
fn restore(scratch: &Scratch, kept: &Kept) {
    let index = scratch.path().join("index");
    fs::remove_dir_all(&index).unwrap();
    for (path, (bytes, len)) in kept {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = fs::File::create(path).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file.set_len(*len).unwrap();
    }
    fs::create_dir_all(index.join("runs")).unwrap();
}

fn keep(scratch: &Scratch) -> Kept {
    let index = scratch.path().join("index");
    let found = scratch
        .listing()
        .into_iter()
        .map(|name| scratch.path().join(name));
    let files = found.filter(|path| path.starts_with(&index) && path.is_file());
    files
        .map(|path| {
            // The batches of these tests are few: what lies behind them is zeros.
            let mut bytes = fs::read(&path).unwrap();
            let end = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            let len = bytes.len() as u64;
            bytes.truncate(end);
            (path, (bytes, len))
        })
        .collect()
}

#[test]
fn a_torn_last_batch_is_cut_wherever_it_was_torn() {
    let (scratch, log, found) = five_batches();
    let (from, to) = found[4];
    let bytes = fs::read(&log).unwrap();
    let cuts = (from..from + HEADER_LEN + 400)
        .step_by(7)
        .chain([from + 1, to - 1]);
    for cut in cuts {
        let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
        file.write_all_at(&vec![0; to - cut], cut as u64).unwrap();
        let drive = opened(scratch.path());
        assert_eq!(drive.status(), Status::Online, "cut at {cut}");
        runtime().block_on(async {
            assert_eq!(sequences(&drive, "key 4").await, [4]);
            // Zeros at the end of the batch are padding: then it is whole.
            let last = sequences(&drive, "key 5").await;
            let whole = bytes[cut..to].iter().all(|byte| *byte == 0);
            assert_eq!(last.is_empty(), !whole, "cut at {cut}");
            if !whole {
                assert_eq!(drive.positions().0, 4);
                put(&drive, "key 5", 5, 50).await;
            }
        });
        drop(drive);
        // What was put instead is the same batch, byte for byte, but for its fresh fence.
        file.write_all_at(&bytes[from..to], from as u64).unwrap();
    }
}

#[test]
fn a_flipped_byte_before_a_later_batch_is_damage() {
    let (scratch, log, found) = five_batches();
    let kept = keep(&scratch);
    for (number, (from, to)) in found.iter().enumerate().take(4) {
        for at in (*from..*from + HEADER_LEN + 420)
            .step_by(11)
            .chain([to - 1])
        {
            let file = fs::OpenOptions::new()
                .write(true)
                .read(true)
                .open(&log)
                .unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at as u64).unwrap();
            file.write_all_at(&[byte[0] ^ 0x20], at as u64).unwrap();
            let drive = opened(scratch.path());
            assert_eq!(drive.status(), Status::Joining, "batch {number}, byte {at}");
            runtime().block_on(async {
                for key in 1..=5u64 {
                    let rows = sequences(&drive, &format!("key {key}")).await;
                    let lost = key == number as u64 + 1;
                    assert_eq!(rows.is_empty(), lost, "key {key}, byte {at}");
                }
            });
            drop(drive);
            assert_eq!(opened(scratch.path()).status(), Status::Joining, "for good");
            restore(&scratch, &kept);
        }
    }
}

/// Fails if the search for a later batch ends at a hole.
#[test]
fn a_batch_behind_a_hole_is_found() {
    let scratch = formatted();
    let drive = opened(scratch.path());
    runtime().block_on(async {
        put(&drive, "long", 1, 5 << 20).await;
        put(&drive, "behind", 2, 50).await;
    });
    drop(drive);
    let log = segment(&scratch, 1);
    let (from, to) = batches(&log)[0];
    let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, from as u64, (to - from) as u64).unwrap();
    let drive = opened(scratch.path());
    assert_eq!(drive.status(), Status::Joining);
    runtime().block_on(async { assert_eq!(sequences(&drive, "behind").await, [2]) });
}

/// Fails if a header that was damaged once is met again, or takes the rows of its segment along.
#[test]
fn a_damaged_header_is_left_behind_and_the_rows_of_its_segment_are_read_on() {
    for id in 1..=3 {
        let scratch = formatted();
        let drive = opened(scratch.path());
        runtime().block_on(async { put(&drive, "flushed", 1, 50).await });
        let log = segment(&scratch, id);
        // The last spare is made by the flusher, in its own time.
        let since = Instant::now();
        while !log.exists() && since.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(5));
        }
        drive.close();
        drop(drive);
        let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
        file.write_all_at(&[9], 30).unwrap();
        let drive = opened(scratch.path());
        assert_eq!(drive.status(), Status::Joining, "segment {id}");
        runtime().block_on(async {
            assert_eq!(sequences(&drive, "flushed").await, [1], "segment {id}");
            put(&drive, "new", 2, 50).await;
            drive.set_standing(Standing::Voting).await.unwrap();
        });
        drop(drive);
        let drive = opened(scratch.path());
        assert_eq!(drive.status(), Status::Online, "segment {id}, again");
        runtime().block_on(async {
            assert_eq!(sequences(&drive, "flushed").await, [1], "segment {id}");
            assert_eq!(sequences(&drive, "new").await, [2], "segment {id}");
        });
    }
}

#[test]
fn a_lost_segment_or_manifest_is_damage() {
    let (scratch, log, _) = five_batches();
    let kept = keep(&scratch);
    let manifests = || -> Vec<PathBuf> {
        let names = fs::read_dir(scratch.path().join("index")).unwrap();
        let paths = names.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_file()).collect()
    };
    type Change<'c> = &'c dyn Fn();
    let ways: [Change<'_>; 5] = [
        &|| fs::remove_file(&log).unwrap(),
        &|| fs::write(&log, b"").unwrap(),
        &|| {
            manifests()
                .iter()
                .for_each(|path| fs::remove_file(path).unwrap())
        },
        &|| {
            manifests()
                .iter()
                .for_each(|path| fs::write(path, b"junk").unwrap())
        },
        &|| {
            let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
            file.write_all_at(&[9], 30).unwrap();
        },
    ];
    for (way, damage) in ways.iter().enumerate() {
        damage();
        let drive = opened(scratch.path());
        assert_eq!(drive.status(), Status::Joining, "way {way}");
        runtime().block_on(async { put(&drive, "new", 9, 10).await });
        drop(drive);
        let drive = opened(scratch.path());
        runtime().block_on(async { assert_eq!(sequences(&drive, "new").await, [9]) });
        drop(drive);
        restore(&scratch, &kept);
    }
    assert_eq!(opened(scratch.path()).status(), Status::Online);
}

#[test]
fn a_flip_in_a_row_that_was_flushed_is_seen_and_healed() {
    let scratch = formatted();
    let drive = opened(scratch.path());
    runtime().block_on(async {
        put(&drive, "a", 1, 50).await;
        put(&drive, "b", 2, 50).await;
    });
    drive.close();
    drop(drive);
    let log = segment(&scratch, 1);
    let (from, _) = batches(&log)[0];
    let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
    // The tail of the row.
    let bytes = fs::read(&log).unwrap();
    let tail = b"tail of 1";
    let found = bytes
        .windows(tail.len())
        .position(|window| window == tail)
        .unwrap();
    assert!(found > from);
    file.write_all_at(b"X", found as u64).unwrap();
    let drive = opened(scratch.path());
    runtime().block_on(async {
        assert_eq!(drive.status(), Status::Online);
        let rows = try_rows(&drive, "a").await.unwrap();
        assert_eq!(rows.len(), 1, "the index knows of it");
        assert_eq!((&rows[0].row, &rows[0].inline), (&None, &None));
        let at = rows[0].head.order;
        let alone = want(&drive, "a", Want::Exact(at, at)).await;
        assert_eq!(alone, Err(Error::Corrupt("row has a wrong hash")));
        let newest = want(&drive, "a", Want::Latest).await;
        assert_eq!(newest, alone);
        assert_eq!(sequences(&drive, "b").await, [2]);
        assert_eq!(drive.stats().corrupt_reads, 3);
        put(&drive, "a", 1, 50).await;
        assert_eq!(sequences(&drive, "a").await, [1], "healed");
    });
}

#[derive(Debug, Clone)]
enum Step {
    Put { key: u8, len: u16 },
    Settle,
    Reopen,
    Close,
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (0..40u8, any::<u16>()).prop_map(|(key, len)| Step::Put { key, len }),
        3 => Just(Step::Settle),
        1 => prop_oneof![Just(Step::Reopen), Just(Step::Close), Just(Step::Flush)],
    ];
    prop::collection::vec(step, 1..120)
}

/// Overwrites, settles and restarts at random: each key shows its last put, whole.
#[test]
fn any_history_of_restarts_and_flushes_keeps_the_newest() {
    let config = Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    };
    let runtime = runtime();
    let run = |history: Vec<Step>| {
        let scratch = formatted();
        let mut drive = opened(scratch.path());
        let mut newest = BTreeMap::new();
        for (sequence, step) in (1u64..).zip(history) {
            match step {
                Step::Put { key, len } => {
                    let key = format!("key {key}");
                    runtime.block_on(put(&drive, &key, sequence, usize::from(len)));
                    newest.insert(key, sequence);
                }
                Step::Settle => settle(&drive, sequence),
                Step::Reopen => {
                    drop(drive);
                    drive = opened(scratch.path());
                }
                Step::Close => {
                    drive.close();
                    drop(drive);
                    drive = opened(scratch.path());
                }
                Step::Flush => drive.flush(),
            }
        }
        runtime.block_on(async {
            for (key, sequence) in &newest {
                let found = sequences(&drive, key).await;
                assert_eq!(found.first(), Some(sequence), "{key}: {found:?}");
            }
        });
        Ok(())
    };
    TestRunner::new(config).run(&steps(), run).unwrap();
}

/// Overwrites far beyond the log's live size: segments are collected, and nothing live is lost.
#[test]
fn overwrites_give_their_space_back() {
    let scratch = formatted();
    let drive = opened(scratch.path());
    let runtime = runtime();
    let mut newest = BTreeMap::new();
    // Ten keys stay as they are, spread over the first segment.
    runtime.block_on(async {
        for sequence in 1..=4000u64 {
            let (key, len) = match sequence % 400 {
                0 => (format!("stays {sequence}"), 5_000),
                _ => (format!("key {}", sequence % 7), 100_000),
            };
            put(&drive, &key, sequence, len).await;
            newest.insert(key, sequence);
            settle(&drive, sequence);
        }
    });
    // Nothing is given up before the one but last manifest can do without.
    for _ in 0..3 {
        drive.flush();
        runtime.block_on(put(&drive, "more", 5000, 10));
    }
    drive.tidy();
    let stats = drive.stats();
    assert!(stats.log_bytes <= 256 << 20, "{stats:?} after 400 MB");
    let check = |drive: &LocalDrive| {
        runtime.block_on(async {
            for (key, sequence) in &newest {
                assert_eq!(sequences(drive, key).await, [*sequence], "{key}");
            }
        });
    };
    check(&drive);
    drop(drive);
    check(&opened(scratch.path()));
}

/// Fails if one flip keeps a whole segment's space for ever, or takes a row that is still good.
#[test]
fn a_damaged_segment_is_collected_once_what_was_damaged_is_healed() {
    let scratch = formatted();
    let drive = opened(scratch.path());
    let runtime = runtime();
    runtime.block_on(async {
        for sequence in 1..=200 {
            let (key, len) = match sequence {
                1 | 2 => (format!("stays {sequence}"), 5_000),
                _ => ("key".to_owned(), 100_000),
            };
            put(&drive, &key, sequence, len).await;
            settle(&drive, sequence);
        }
    });
    let log = segment(&scratch, 1);
    let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
    let (from, _) = batches(&log)[0];
    // In the row, which is then damaged too.
    file.write_all_at(&[9], from as u64 + HEADER_LEN as u64 + 100)
        .unwrap();
    for _ in 0..3 {
        drive.flush();
        runtime.block_on(put(&drive, "more", 5000, 10));
    }
    drive.tidy();
    assert!(log.exists(), "a row in it is damaged");
    runtime.block_on(async {
        assert_eq!(sequences(&drive, "stays 2").await, [2]);
        put(&drive, "stays 1", 1, 5_000).await;
    });
    drive.tidy();
    assert!(!log.exists(), "nothing in it is needed");
    runtime.block_on(async {
        assert_eq!(sequences(&drive, "stays 1").await, [1]);
        assert_eq!(sequences(&drive, "stays 2").await, [2]);
    });
}

#[test]
fn a_damaged_drive_is_rebuilt_and_votes_again() {
    let (scratch, log, found) = five_batches();
    let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
    file.write_all_at(&[0xff; 8], found[1].0 as u64 + 300)
        .unwrap();
    let drive = opened(scratch.path());
    runtime().block_on(async {
        let again = commit("key 2", 2, 50);
        drive.commit(again).await.unwrap();
        drive.set_standing(Standing::Voting).await.unwrap();
    });
    drop(drive);
    let drive = LocalDrive::open(scratch.path(), &identity(), &Options::default()).unwrap();
    // The damaged batch lies before the manifest that was written when it was found.
    assert_eq!(drive.status(), Status::Online);
    runtime().block_on(async { assert_eq!(sequences(&drive, "key 2").await, [2]) });
}

/// Fails if the log goes on where the drive thinks it ends: then it is behind for ever.
#[test]
fn a_drive_behind_what_its_peers_remember_joins_and_catches_up() {
    let (scratch, _, _) = five_batches();
    let at = |position| {
        let options = Options {
            position,
            ..Options::default()
        };
        LocalDrive::open(scratch.path(), &identity(), &options).unwrap()
    };
    assert_eq!(at(5).status(), Status::Online, "all that they remember");
    let drive = at(9);
    assert_eq!(drive.status(), Status::Joining);
    runtime().block_on(async {
        assert_eq!(
            sequences(&drive, "key 3").await,
            [3],
            "nothing is thrown away"
        );
        assert!(put(&drive, "key 6", 6, 50).await.position > 9);
        drive.set_standing(Standing::Voting).await.unwrap();
    });
    drop(drive);
    let drive = at(9);
    assert_eq!(drive.status(), Status::Online);
    runtime().block_on(async { assert_eq!(sequences(&drive, "key 6").await, [6]) });
}

fn key(number: u64) -> String {
    format!("key {number:05}")
}

/// More entries than one block of a run takes.
async fn put_600(drive: &LocalDrive) {
    for number in 1..=600 {
        put(drive, &key(number), number, 50).await;
    }
}

fn runs(scratch: &Scratch) -> BTreeSet<PathBuf> {
    let found = fs::read_dir(scratch.path().join("index/runs")).unwrap();
    found.map(|entry| entry.unwrap().path()).collect()
}

/// Damages the first block of a run.
fn damage(run: &Path) {
    let file = fs::OpenOptions::new().write(true).open(run).unwrap();
    file.write_all_at(b"X", 2000).unwrap();
}

/// A damaged block of the index is found by whoever reads it; the drive then gives up its vote
/// and that block, and what comes again is read again. Fails without the salvage: the block stays
/// and every read that meets it fails.
#[test]
fn a_damaged_block_of_a_run_is_given_up_and_filled_again() {
    let scratch = formatted();
    let (drive, runtime) = (opened(scratch.path()), runtime());
    runtime.block_on(put_600(&drive));
    drive.flush();
    damage(runs(&scratch).first().unwrap());
    runtime.block_on(async {
        let mut reads = 1..=600;
        let damaged = loop {
            let number = reads.next().expect("no read met the damage");
            if try_rows(&drive, &key(number)).await.is_err() {
                break number;
            }
        };
        while try_rows(&drive, &key(damaged)).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(drive.status(), Status::Joining);
        let mut lost = 0;
        for number in 1..=600 {
            lost += u64::from(sequences(&drive, &key(number)).await.is_empty());
            put(&drive, &key(number), number, 50).await;
            assert_eq!(sequences(&drive, &key(number)).await, [number]);
        }
        assert!((1..600).contains(&lost), "{lost} in one block");
        drive.set_standing(Standing::Voting).await.unwrap();
    });
    drop(drive);
    let drive = opened(scratch.path());
    assert_eq!(drive.status(), Status::Online);
    runtime.block_on(async { assert_eq!(sequences(&drive, &key(1)).await, [1]) });
}

/// Fails if what lies below a damaged block comes back: here it held that all is gone.
#[test]
fn what_a_damaged_block_hid_stays_hidden() {
    let scratch = formatted();
    let (drive, runtime) = (opened(scratch.path()), runtime());
    runtime.block_on(put_600(&drive));
    drive.flush();
    let first = runs(&scratch);
    runtime.block_on(async {
        for number in 1..=599 {
            let rows = try_rows(&drive, &key(number)).await.unwrap();
            let gone = Discard {
                fence: commit("key", 1, 0).fence,
                register: register(&key(number)),
                rows: rows
                    .iter()
                    .map(|row| (row.head.born, row.head.order))
                    .collect(),
                keep: [].into(),
            };
            drive.discard(gone).await.unwrap();
        }
    });
    drive.flush();
    damage(runs(&scratch).difference(&first).next().unwrap());
    runtime.block_on(async {
        while try_rows(&drive, &key(1)).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(drive.status(), Status::Joining);
        for number in 1..=599 {
            let found = try_rows(&drive, &key(number)).await;
            assert_eq!(found.map(|rows| rows.len()), Ok(0), "{number}");
        }
        assert_eq!(
            sequences(&drive, &key(600)).await,
            [600],
            "the gap has an end"
        );
    });
}

/// Fails if the collector takes the segment that the log ends in for one that holds nothing: what
/// is written next lies in a segment that is gone.
#[test]
fn the_segment_that_the_log_ends_in_is_never_collected() {
    let scratch = formatted();
    let options = Options {
        position: 9,
        ..Options::default()
    };
    let drive = LocalDrive::open(scratch.path(), &identity(), &options).unwrap();
    drive.tidy();
    runtime().block_on(async {
        put(&drive, "a", 1, 50).await;
        assert_eq!(sequences(&drive, "a").await, [1]);
    });
}

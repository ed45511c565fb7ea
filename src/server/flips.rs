//! Tests: every byte of every file of a drive, flipped one at a time, under the server's own
//! start. What is read is right, nothing panics, and all is repaired in place.
//!
//! `SARSEN_FLIP_EVERY` says which bytes: each Nth of a file, a few hundred in all if it is not
//! set. `SARSEN_FLIP_FROM` shifts them: N runs, shifted by 0 to N − 1, flip every byte once.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::intent::joining;
use crate::rig::{DRIVES, FILES, Node};

/// Each file's bytes that are flipped, if nothing else is asked for.
const EVERY: usize = 997;
/// That many of a short file in any case.
const FEW: usize = 12;
/// Bytes in front of a shard file's frames. They are read when the file is opened.
const SHARD_HEADER: usize = 4096;
/// Servers that are flipped side by side: most of a start is waiting.
const SIDE_BY_SIDE: usize = 6;

/// Which bytes to flip.
struct Slice {
    every: usize,
    from: usize,
}

impl Slice {
    fn from_env() -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok();
            text.map(|text| text.parse::<usize>().unwrap())
        };
        Self {
            every: number("SARSEN_FLIP_EVERY").unwrap_or(EVERY),
            from: number("SARSEN_FLIP_FROM").unwrap_or(0),
        }
    }

    /// The bytes of the `number`th file, which is so long: in the first slice a few at least.
    fn of(&self, number: usize, len: usize) -> impl Iterator<Item = usize> + use<> {
        let every = match self.from {
            0 => self.every.min(len / FEW + 1),
            _ => self.every,
        };
        let first = (number * 37 + self.from) % every;
        (first..len).step_by(every)
    }
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// A file: its path, its bytes but for zeros at the end, and its length.
type Content = (PathBuf, Vec<u8>, u64);

/// The files of a directory.
struct Kept(Vec<Content>);

impl Kept {
    fn of(home: &Path) -> Self {
        let mut found = Vec::new();
        files(home, &mut found);
        found.sort();
        let keep = |path: PathBuf| {
            let mut bytes = fs::read(&path).unwrap();
            let len = bytes.len() as u64;
            let used = bytes.iter().rposition(|byte| *byte != 0);
            bytes.truncate(used.map_or(0, |last| last + 1));
            (path.strip_prefix(home).unwrap().to_owned(), bytes, len)
        };
        Self(found.into_iter().map(keep).collect())
    }

    /// Makes it the only content of a directory, which keeps its empty ones.
    fn restore(&self, home: &Path) {
        let mut found = Vec::new();
        files(home, &mut found);
        found.iter().for_each(|path| fs::remove_file(path).unwrap());
        for (path, bytes, len) in &self.0 {
            let path = home.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = File::create(path).unwrap();
            file.write_all_at(bytes, 0).unwrap();
            file.set_len(*len).unwrap();
        }
        for place in 0..DRIVES {
            fs::create_dir_all(home.join(format!("{place}/tmp"))).unwrap();
        }
    }

    /// The bytes of a slice, as far as a start reads them or forgets that it had; of the zeros
    /// behind what is used, one.
    fn places(&self, place: usize, slice: &Slice) -> Vec<(&Path, u64)> {
        let of_drive = |file: &&Content| file.0.starts_with(place.to_string());
        let shards = format!("{place}/shards");
        let mut places = Vec::new();
        for (number, (path, bytes, len)) in self.0.iter().filter(of_drive).enumerate() {
            let mut used = (bytes.len() + 1).min(usize::try_from(*len).unwrap());
            if path.starts_with(&shards) {
                used = used.min(SHARD_HEADER);
            }
            let of_file = slice.of(number, used);
            places.extend(of_file.map(|at| (path.as_path(), at as u64)));
        }
        places
    }
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << (at % 8)], at).unwrap();
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let builder = builder.worker_threads(1).enable_all();
    builder.build().unwrap().block_on(work)
}

/// What a killed server leaves, and then one that was stopped.
fn left_behind(home: &Path) -> [Kept; 2] {
    block_on(async {
        let node = Node::start(home).await;
        node.fill().await;
        node.check("before").await;
    });
    let killed = Kept::of(home);
    block_on(async {
        let node = Node::start(home).await;
        node.check("before").await;
        node.stop().await;
    });
    [killed, Kept::of(home)]
}

/// A server on damaged drives serves all, repairs all, and finds all whole at its next start.
async fn survives(home: &Path, what: &str) {
    let node = Node::start(home).await;
    node.check(what).await;
    node.make_whole(what).await;
    node.check(what).await;
    node.stop().await;
    let node = Node::start(home).await;
    let joining = joining(&node.formed).len();
    assert_eq!(joining, 0, "{what}: at the next start");
    node.check(what).await;
    node.stop().await;
}

/// Fails if a damaged batch, block, manifest or header is believed or voted with, or if something is
/// left as it is that the next start meets again.
#[test]
fn a_flip_of_any_byte_is_served_around_and_repaired() {
    let slice = Slice::from_env();
    let scratch = tempfile::tempdir().unwrap();
    let left = left_behind(&scratch.path().join("base"));
    let mut places = Vec::new();
    for (number, kept) in left.iter().enumerate() {
        let of_drive = kept.places(2 * number + 1, &slice).into_iter();
        places.extend(of_drive.map(|(path, at)| (kept, path, at)));
    }
    assert!(places.len() > left.len());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for number in 0..SIDE_BY_SIDE {
            let home = scratch.path().join(format!("home{number}"));
            fs::create_dir(&home).unwrap();
            let (places, next, failed) = (&places, &next, &failed);
            scope.spawn(move || {
                let due = || places.get(next.fetch_add(1, Ordering::Relaxed));
                while let Some((kept, path, at)) = due() {
                    let what = format!("byte {at} of {}", path.display());
                    kept.restore(&home);
                    flip(&home.join(path), *at);
                    let tried = catch_unwind(AssertUnwindSafe(|| block_on(survives(&home, &what))));
                    if tried.is_err() {
                        failed.lock().unwrap().push(what);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let (bad, of) = (failed.len(), places.len());
    assert!(failed.is_empty(), "{bad} of {of} flips: {failed:?}");
}

/// Fails if a drive whose index blocks with the ledger's records are damaged is taken for one that
/// is away: two of four, and the ledger would not open.
#[test]
fn a_ledger_that_is_damaged_on_two_drives_opens_from_the_others() {
    let scratch = tempfile::tempdir().unwrap();
    block_on(async {
        let node = Node::start(scratch.path()).await;
        node.fill().await;
        node.stop().await;
        let mut found = Vec::new();
        for place in [0, 2] {
            files(
                &scratch.path().join(format!("{place}/index/runs")),
                &mut found,
            );
        }
        assert!(found.len() >= 2);
        // What is not of any bucket is in the first block.
        found.iter().for_each(|path| flip(path, 100));
    });
    block_on(survives(scratch.path(), "the first blocks of all runs"));
}

/// The newest generation of a shard file.
fn newest(path: &Path) -> PathBuf {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let generation = |path: &PathBuf| -> Option<u32> {
        let found = path.file_name()?.to_str()?.strip_prefix(&name)?;
        found.strip_prefix('.')?.parse().ok()
    };
    let names = fs::read_dir(path.parent().unwrap()).unwrap();
    let paths = names.map(|entry| entry.unwrap().path());
    let ours = paths.filter(|path| generation(path).is_some());
    ours.max_by_key(generation).unwrap()
}

/// The frames of a shard file. Its header may change: parts belong to an object in the end.
fn frames(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    bytes.split_off(SHARD_HEADER)
}

/// Fails if a frame is believed, or what is written again is not what it was.
#[test]
fn a_flip_of_any_byte_of_a_frame_is_served_around_and_repaired() {
    let slice = Slice::from_env();
    let scratch = tempfile::tempdir().unwrap();
    block_on(async {
        let node = Node::start(scratch.path()).await;
        node.fill().await;
        node.make_whole("before").await;
        // What was replaced goes a little later.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut found = Vec::new();
        files(&scratch.path().join("2/shards"), &mut found);
        found.sort();
        assert_eq!(found.len(), FILES);
        for (number, path) in found.iter().enumerate() {
            let before = frames(path);
            for at in slice.of(number, before.len()) {
                let at = SHARD_HEADER + at;
                let what = format!("byte {at} of {}", path.display());
                flip(&newest(path), at as u64);
                node.check(&what).await;
                node.scrub().await;
                assert!(node.scrub().await.is_healed(), "{what}");
                assert!(frames(&newest(path)) == before, "{what}");
            }
        }
        node.check("at the end").await;
        node.stop().await;
    });
}

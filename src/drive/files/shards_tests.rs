//! Shard files on a real file system.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use types::{BucketId, DataId, ObjectKey};

use super::aligned::AlignedBuffer;
use super::identity::tests::sample;
use super::open_files::OpenFile;
use super::shards::read_frames;
use super::{Root, Scratch, ShardFiles, format};
use crate::contract::Error;
use crate::fault::UNREADABLE;
use crate::register::Register;

const BUFFER_LEN: usize = 64 * 1024;
const HEADER_LEN: usize = 4096;

struct Fixture {
    scratch: Scratch,
    files: ShardFiles,
    root: Root,
}

fn data(number: u8) -> DataId {
    DataId::from_bytes([number; 16])
}

fn register() -> Register {
    Register::object(BucketId::from_u64(1), &ObjectKey::parse("a/b").unwrap())
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

impl Fixture {
    fn new() -> Self {
        let scratch = Scratch::new();
        format(scratch.path(), &sample().identity, sample().geometry).unwrap();
        let root = Root::open(scratch.path(), &sample().identity).unwrap();
        let files = ShardFiles::open(&root).unwrap();
        Self {
            scratch,
            files,
            root,
        }
    }

    fn stage(&self, number: u8, appends: &[&[u8]], last: &[u8]) {
        let mut buffer = AlignedBuffer::new(BUFFER_LEN);
        let mut file = self.files.create(data(number), register()).unwrap();
        for frames in appends {
            file.append(&[Bytes::copy_from_slice(frames)], &mut buffer)
                .unwrap();
        }
        let last = Bytes::copy_from_slice(last);
        let staged = self.files.finish(file, &[last], &mut buffer).unwrap();
        assert_eq!(self.files.staged_len(data(number)), Some(staged.len));
    }

    fn publish(&self, number: u8, bytes: &[u8]) -> PathBuf {
        self.stage(number, &[], bytes);
        let published = self.files.publish(data(number), 1).unwrap();
        self.files.sync_directories(vec![published]).unwrap();
        self.path(number)
    }

    fn path(&self, number: u8) -> PathBuf {
        let name = format!("shards/{number:02x}/{}.1", data(number));
        self.scratch.path().join(name)
    }

    fn read_all(&self, number: u8) -> Result<Bytes, Error> {
        let len = self.files.len(data(number), 1)?;
        self.files.read(data(number), 1, 0, len.try_into().unwrap())
    }

    fn tmp_names(&self) -> usize {
        self.scratch.tmp_files()
    }
}

/// The same bytes at an address that lies in its page as `at` does in its block of the file.
fn laid_out(bytes: &[u8], at: usize) -> Bytes {
    let mut room = vec![0; bytes.len() + 2 * 4096];
    let start = room.as_ptr().align_offset(4096) + at % 4096;
    room[start..start + bytes.len()].copy_from_slice(bytes);
    Bytes::from(room).slice(start..start + bytes.len())
}

#[test]
fn frames_that_lie_in_memory_as_in_their_file_are_the_same_in_it() {
    let fixture = Fixture::new();
    let lens = [30_032, 4096, 70_000, 5, 4091, 8192, 1, 40_000];
    let mut buffer = AlignedBuffer::new(BUFFER_LEN);
    for (number, skew) in [(1, 0), (2, 1), (3, 4095)] {
        let mut file = fixture.files.create(data(number), register()).unwrap();
        let mut expected = Vec::new();
        for pair in lens.chunks(2) {
            let mut frames = Vec::new();
            for len in pair {
                let bytes = content(*len);
                // Some lie elsewhere, and go by way of the buffer.
                let skew = if expected.len() % 3 == 0 { skew } else { 0 };
                frames.push(laid_out(&bytes, expected.len() + skew));
                expected.extend_from_slice(&bytes);
            }
            file.append(&frames, &mut buffer).unwrap();
        }
        fixture.files.finish(file, &[], &mut buffer).unwrap();
        fixture.files.publish(data(number), 1).unwrap();
        assert_eq!(fixture.read_all(number).unwrap(), expected, "{skew}");
    }
}

#[test]
fn frames_of_any_length_read_back_also_after_reopening() {
    let fixture = Fixture::new();
    let lens = [
        0,
        1,
        4095,
        4096,
        4097,
        BUFFER_LEN - HEADER_LEN,
        BUFFER_LEN,
        300_001,
    ];
    for (number, len) in (0u8..).zip(lens) {
        fixture.publish(number, &content(len));
    }
    let Fixture {
        scratch,
        files,
        root,
    } = fixture;
    drop((files, root));
    let root = Root::open(scratch.path(), &sample().identity).unwrap();
    let files = ShardFiles::open(&root).unwrap();
    let fixture = Fixture {
        scratch,
        files,
        root,
    };
    for (number, len) in (0u8..).zip(lens) {
        assert_eq!(fixture.read_all(number).unwrap(), content(len));
        let (_, header) = fixture.files.check((data(number), 1)).unwrap();
        assert_eq!(header.register, register());
        assert_eq!(
            fs::metadata(fixture.path(number)).unwrap().len() as usize,
            HEADER_LEN + len
        );
    }
}

#[test]
fn however_the_frames_are_cut_the_file_is_the_same() {
    let fixture = Fixture::new();
    let whole = content(200_000);
    let whole_file = fs::read(fixture.publish(9, &whole)).unwrap();
    for piece_len in [1_000, 4_096, 65_536, 70_001, 199_999] {
        let pieces: Vec<&[u8]> = whole.chunks(piece_len).collect();
        for last in [0, 1] {
            let (appends, rest) = pieces.split_at(pieces.len() - last);
            fixture.stage(9, appends, &rest.concat());
            fixture.files.remove(data(9), 1).unwrap();
            fixture.files.publish(data(9), 1).unwrap();
            assert!(
                fs::read(fixture.path(9)).unwrap() == whole_file,
                "{piece_len} {last}"
            );
        }
    }
}

#[test]
fn what_is_not_finished_or_not_committed_leaves_nothing() {
    let fixture = Fixture::new();
    let mut buffer = AlignedBuffer::new(BUFFER_LEN);
    let mut file = fixture.files.create(data(1), register()).unwrap();
    file.append(&[content(100_000).into()], &mut buffer)
        .unwrap();
    assert_eq!(fixture.tmp_names(), 1);
    drop(file);
    assert_eq!(fixture.tmp_names(), 0, "dropped");
    assert_eq!(
        fixture.files.publish(data(1), 1).unwrap_err(),
        Error::NotStaged(data(1))
    );

    fixture.stage(1, &[], b"first");
    fixture.stage(1, &[], b"second");
    assert_eq!(
        (fixture.tmp_names(), fixture.files.staged_len(data(1))),
        (1, Some(6)),
        "replaced"
    );
    fixture.files.discard_staged(data(1));
    assert_eq!(fixture.tmp_names(), 0, "discarded");

    fixture.stage(1, &[], b"x");
    assert_eq!(fixture.files.discard_stale(Duration::from_secs(3600)), 0);
    assert_eq!(fixture.files.discard_stale(Duration::ZERO), 1);
    assert_eq!(fixture.tmp_names(), 0, "stale");

    fs::write(fixture.scratch.path().join("tmp/a/left"), b"by a crash").unwrap();
    ShardFiles::open(&fixture.root).unwrap();
    assert_eq!(fixture.tmp_names(), 0, "emptied at start");
}

#[test]
fn a_staged_file_that_vanished_is_not_staged() {
    let fixture = Fixture::new();
    fixture.stage(1, &[], b"x");
    fs::remove_dir_all(fixture.scratch.path().join("tmp")).unwrap();
    assert_eq!(
        fixture.files.publish(data(1), 1).unwrap_err(),
        Error::NotStaged(data(1))
    );
}

#[test]
fn a_generation_is_never_replaced() {
    let fixture = Fixture::new();
    fixture.publish(1, b"first");
    fixture.stage(1, &[], b"second");
    let exists = Error::Io(std::io::ErrorKind::AlreadyExists);
    assert_eq!(fixture.files.publish(data(1), 1).unwrap_err(), exists);
    fixture.stage(1, &[], b"second");
    fixture.files.publish(data(1), 12).unwrap();
    assert_eq!(fixture.files.generations(data(1)), Ok(vec![1, 12]));
    assert_eq!(fixture.read_all(1).unwrap(), "first");
    assert_eq!(fixture.files.read(data(1), 12, 1, 3).unwrap(), "eco");
}

#[test]
fn removal_is_seen_at_once_and_may_be_repeated() {
    let fixture = Fixture::new();
    let path = fixture.publish(1, b"first");
    assert_eq!(fixture.read_all(1).unwrap(), "first");
    for _ in 0..2 {
        assert_eq!(fixture.files.remove(data(1), 1), Ok(()));
    }
    assert_eq!(fixture.read_all(1), Err(Error::Missing));

    fixture.publish(2, b"second");
    assert_eq!(fixture.read_all(2).unwrap(), "second");
    fs::remove_file(fixture.path(2)).unwrap();
    assert_eq!(
        fixture.read_all(2),
        Err(Error::Missing),
        "removed by somebody else"
    );
    assert!(!path.exists());
}

#[test]
fn every_flipped_byte_of_a_header_is_found() {
    let fixture = Fixture::new();
    let path = fixture.publish(1, &content(5000));
    let sound = fs::read(&path).unwrap();
    for at in 0..HEADER_LEN {
        let mut flipped = sound.clone();
        flipped[at] ^= 1 << (at % 8);
        // A new inode, so that the open file does not hide it.
        let new = path.with_extension("new");
        fs::write(&new, flipped).unwrap();
        fs::rename(&new, &path).unwrap();
        assert!(
            matches!(fixture.read_all(1), Err(Error::Corrupt(_))),
            "byte {at}"
        );
    }
}

#[test]
fn short_long_and_empty_files_are_corrupt() {
    let fixture = Fixture::new();
    let path = fixture.publish(1, &content(5000));
    let whole = fs::metadata(&path).unwrap().len();
    for cached in [true, false] {
        for len in [0, 1, HEADER_LEN as u64, whole - 1, whole + 1, whole + 8192] {
            if cached {
                assert_eq!(fixture.read_all(1).unwrap(), content(5000));
            } else {
                fixture.files.open_files_clear();
            }
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            let sound = fs::read(&path).unwrap();
            file.set_len(len).unwrap();
            assert!(
                matches!(fixture.read_all(1), Err(Error::Corrupt(_))),
                "{len}"
            );
            fs::write(&path, sound).unwrap();
        }
    }
    for (offset, len) in [(0, 5001), (5000, 1), (u64::MAX, 1), (u64::MAX - 5000, 2)] {
        assert!(matches!(
            fixture.files.read(data(1), 1, offset, len),
            Err(Error::Corrupt(_))
        ));
    }
    assert_eq!(fixture.files.read(data(1), 1, 5000, 0).unwrap(), "");
}

#[test]
fn files_of_other_drives_and_other_data_are_corrupt() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let path = fixture.publish(1, b"one");
    fs::copy(fixture.publish(2, b"two"), &path).unwrap();
    assert_eq!(
        fixture.read_all(1),
        Err(Error::Corrupt(
            "shard file holds other data than its name says"
        ))
    );
    let mut identity = sample().identity;
    identity.drive = types::DriveId::from_bytes([0xee; 16]);
    let foreign = Scratch::new();
    format(foreign.path(), &identity, sample().geometry).unwrap();
    let root = Root::open(foreign.path(), &identity).unwrap();
    let foreign_files = ShardFiles::open(&root).unwrap();
    let theirs = foreign.path().join(format!("shards/03/{}.1", data(3)));
    fs::copy(other.publish(3, b"three"), theirs).unwrap();
    let error = foreign_files.read(data(3), 1, 0, 5).unwrap_err();
    assert_eq!(
        error,
        Error::Corrupt("shard file was written for another drive")
    );
}

#[test]
fn links_pipes_and_directories_are_never_followed_or_waited_for() {
    let fixture = Fixture::new();
    let target = fixture.publish(1, b"one");
    for number in [2u8, 3, 4] {
        let path = fixture.path(number);
        match number {
            2 => symlink(&target, &path).unwrap(),
            3 => fs::create_dir(&path).unwrap(),
            _ => rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR,
                0,
            )
            .unwrap(),
        }
        assert!(
            matches!(fixture.read_all(number), Err(Error::Corrupt(_))),
            "{number}"
        );
    }
    let fan_out = fixture.scratch.path().join("shards/01");
    fs::rename(&fan_out, fixture.scratch.path().join("elsewhere")).unwrap();
    symlink(fixture.scratch.path().join("elsewhere"), &fan_out).unwrap();
    fixture.files.open_files_clear();
    assert!(
        matches!(fixture.read_all(1), Err(Error::Corrupt(_))),
        "linked directory"
    );
    fixture.stage(1, &[], b"again");
    assert!(matches!(
        fixture.files.publish(data(1), 2),
        Err(Error::Corrupt(_))
    ));
}

/// Fails if what a disk cannot read is an answer that nobody repairs.
#[test]
fn frames_that_the_disk_cannot_read_are_damaged() {
    let file = OpenFile {
        file: crate::fault::tests::unreadable().into(),
        frames_len: 100,
    };
    assert_eq!(read_frames(&file, 10, 50), Err(UNREADABLE));
}

#[test]
fn a_walk_sees_every_file_and_no_stray() {
    let fixture = Fixture::new();
    for number in [1, 2, 0xff] {
        fixture.publish(number, &content(usize::from(number)));
    }
    fixture.stage(2, &[], b"healed");
    fixture.files.publish(data(2), 2).unwrap();
    let shards = fixture.scratch.path().join("shards");
    for stray in [
        "x".to_owned(),
        format!("{}.1", data(1)),
        format!("{}.01", data(2)),
        format!("{}", data(2)),
    ] {
        fs::write(shards.join("02").join(stray), b"stray").unwrap();
    }
    fs::write(fixture.path(0xff), b"damaged").unwrap();
    let walked: Vec<_> = fixture.files.walk().map(|item| item.unwrap()).collect();
    let names: Vec<_> = walked
        .iter()
        .map(|file| (file.data, file.generation))
        .collect();
    assert_eq!(
        names,
        [(data(1), 1), (data(2), 1), (data(2), 2), (data(0xff), 1)]
    );
    let healed = walked[2].header.as_ref().unwrap();
    assert_eq!((&healed.register, healed.frames_len), (&register(), 6));
    assert!(healed.age < Duration::from_secs(600));
    assert!(matches!(walked[3].header, Err(Error::Corrupt(_))));

    fs::remove_dir(shards.join("aa")).unwrap();
    let errors = fixture.files.walk().filter(Result::is_err).count();
    assert_eq!(errors, 1, "a walk that missed a directory says so");
}

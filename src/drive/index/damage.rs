//! Tests: whatever happens to a run's file, a read is right or fails.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::testing::{TestDir, open, seal, write};
use super::{Access, BlockCache, Merge, Run, RunId, RunMeta, RunSeal, RunWriter};
use crate::contract::Error;
use types::{DeploymentId, DriveId};

type Model = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn small_model() -> Model {
    // Large values, so that a short file has several blocks.
    let entry = |n: u32| {
        let value = (n % 5 != 3).then(|| vec![u8::try_from(n % 251).unwrap(); 1500]);
        (format!("register-{n:05}{:032}", n % 3).into_bytes(), value)
    };
    (0..30).map(entry).collect()
}

fn write_model(path: &Path, id: RunId, model: &Model) -> RunMeta {
    write(
        path,
        id,
        model
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_deref())),
    )
}

/// Reads everything in every way; what is read must be in the model, in order, without a gap.
fn check(path: &Path, meta: &RunMeta, model: &Model, access: Access) -> Result<(), Error> {
    let run = open(path, meta)?;
    for key in model.keys().step_by(11) {
        let register = seal().register_hash(super::filter_part(key));
        assert!(run.may_contain(register), "a filter that lies");
        let Ok(iter) = run.iter_from(key, access) else {
            continue;
        };
        assert_eq!(iter.key(), Some(key.as_slice()));
        assert_eq!(iter.value(), model[key].as_deref());
    }
    let mut merge = Merge::new([], [&run], &[], access)?;
    let mut expected = model.iter();
    loop {
        let found = merge.next_entry();
        if let Err(error) = found {
            assert_eq!(
                merge.next().err(),
                Some(error.clone()),
                "a failure that passes"
            );
            return Err(error);
        }
        let expected = expected
            .next()
            .map(|(key, value)| (key.as_slice(), value.as_deref()));
        assert_eq!(found?, expected);
        if expected.is_none() {
            return Ok(());
        }
    }
}

#[test]
fn a_flip_of_any_byte_is_an_error_and_never_another_answer() {
    let dir = TestDir::new("flip");
    let path = dir.path(RunId(1));
    let model = small_model();
    let meta = write_model(&path, RunId(1), &model);
    assert_eq!(check(&path, &meta, &model, Access::Scan), Ok(()));
    assert_eq!(check(&path, &meta, &model, Access::Point), Ok(()));
    let bytes = std::fs::read(&path).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    for (at, byte) in bytes.iter().enumerate() {
        file.write_all_at(&[byte ^ (1 << (at % 8))], at as u64)
            .unwrap();
        let access = [Access::Scan, Access::Point][at % 2];
        let found = check(&path, &meta, &model, access);
        assert!(
            matches!(found, Err(Error::Corrupt(_))),
            "byte {at}: {found:?}"
        );
        file.write_all_at(&[*byte], at as u64).unwrap();
    }
    assert_eq!(check(&path, &meta, &model, Access::Scan), Ok(()));
}

#[test]
fn a_file_of_any_other_length_is_refused() {
    let dir = TestDir::new("length");
    let path = dir.path(RunId(1));
    let model = small_model();
    let meta = write_model(&path, RunId(1), &model);
    let mut bytes = std::fs::read(&path).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    for len in (0..meta.bytes).rev() {
        file.set_len(len).unwrap();
        let short = RunMeta {
            bytes: len,
            ..meta.clone()
        };
        assert!(
            matches!(open(&path, &meta).err(), Some(Error::Corrupt(_))),
            "{len} bytes"
        );
        assert!(
            matches!(open(&path, &short).err(), Some(Error::Corrupt(_))),
            "{len} bytes"
        );
    }
    bytes.push(0);
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(open(&path, &meta).err(), Some(Error::Corrupt(_))));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(
        open(&path, &meta).err(),
        Some(Error::Io(std::io::ErrorKind::NotFound))
    );
}

/// Fails if what cannot be read is an answer that nobody repairs.
#[test]
fn a_block_that_the_disk_cannot_read_is_a_damaged_one() {
    let dir = TestDir::new("unreadable");
    let path = dir.path(RunId(1));
    let model = small_model();
    let meta = write_model(&path, RunId(1), &model);
    let mut run = open(&path, &meta).unwrap();
    Arc::get_mut(&mut run).unwrap().lose();
    for access in [Access::Point, Access::Scan] {
        let found = run.iter_from(b"register", access).err();
        assert!(matches!(found, Some(Error::Corrupt(_))), "{found:?}");
    }
    assert!(run.is_damaged());
}

#[test]
fn correct_bytes_of_another_run_or_drive_or_place_are_refused() {
    let dir = TestDir::new("foreign");
    let (here, there) = (dir.path(RunId(1)), dir.path(RunId(2)));
    let model = small_model();
    let meta = write_model(&here, RunId(1), &model);
    let other = write_model(&there, RunId(2), &model);
    assert!(open(&here, &other).is_err(), "another run's number");
    let foreign = RunSeal::new(
        DeploymentId::from_bytes([1; 16]),
        DriveId::from_bytes([3; 16]),
    );
    assert!(Run::open(&here, &meta, foreign, Arc::new(BlockCache::new(0))).is_err());
    let renamed = RunMeta {
        last: (*b"zz").into(),
        ..meta.clone()
    };
    assert!(
        open(&here, &renamed).is_err(),
        "not what the manifest lists"
    );
    // Run 2's first block in run 1: same bytes, same place, other run.
    let mut bytes = std::fs::read(&here).unwrap();
    let stranger = std::fs::read(&there).unwrap();
    bytes[..20_000].copy_from_slice(&stranger[..20_000]);
    std::fs::write(&here, &bytes).unwrap();
    let found = check(&here, &meta, &model, Access::Scan);
    assert!(matches!(found, Err(Error::Corrupt(_))), "{found:?}");
}

#[test]
fn a_writer_refuses_disorder_and_never_overwrites() {
    let dir = TestDir::new("disorder");
    let path = dir.path(RunId(1));
    let mut writer = RunWriter::create(&path, RunId(1), seal(), 9).unwrap();
    writer.add(b"b", Some(b"1")).unwrap();
    assert!(writer.add(b"b", Some(b"2")).is_err());
    assert!(writer.add(b"a", None).is_err());
    let again = RunWriter::create(&path, RunId(1), seal(), 9).err();
    assert_eq!(again, Some(Error::Io(std::io::ErrorKind::AlreadyExists)));
}

#[test]
fn an_empty_run_reads_as_empty() {
    let dir = TestDir::new("empty");
    let path = dir.path(RunId(5));
    let meta = write_model(&path, RunId(5), &Model::new());
    assert_eq!((meta.entries, meta.first.len()), (0, 0));
    assert_eq!(check(&path, &meta, &Model::new(), Access::Point), Ok(()));
}

#[test]
fn version_1_is_written_and_read_as_ever() {
    let dir = TestDir::new("fixture");
    let (written, kept) = (dir.path(RunId(7)), dir.path(RunId(8)));
    let entry = |n: u32| {
        let key = format!("bucket/key-{:03}{:032}", n / 2, n % 2).into_bytes();
        (key, (n % 7 != 3).then(|| n.to_le_bytes().repeat(3)))
    };
    let model: Model = (0..40).map(entry).collect();
    let meta = write_model(&written, RunId(7), &model);
    let fixture = include_bytes!("fixtures/v1.run");
    std::fs::write(&kept, fixture).unwrap();
    assert_eq!(check(&kept, &meta, &model, Access::Scan), Ok(()));
    assert_eq!(
        std::fs::read(&written).unwrap(),
        fixture,
        "the writer's form has changed"
    );
}

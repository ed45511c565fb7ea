//! Shard files: from staging to the last row that lists them.

use std::sync::Arc;

use bytes::Bytes;
use types::Kind;

use super::Subject;
use super::fixture::{Draft, Hand, at, bucket, data, object, object_key};
use crate::contract::{Error, ShardRead, ShardReader, Want};
use crate::register::Register;

fn bytes(seed: u8) -> Vec<u8> {
    (0..70_001u32)
        .map(|at| seed.wrapping_add(u8::try_from(at % 251).unwrap_or(0)))
        .collect()
}

async fn hand(subject: &mut impl Subject) -> Hand {
    Hand::new(subject.make().await)
}

pub(super) async fn a_file_counts_once_it_is_staged_and_committed(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let register = object("file");
    let draft = Draft::new(1).file(data(1));
    let unstaged = hand.try_commit(&register, &draft).await;
    assert_eq!(unstaged, Err(Error::NotStaged(data(1))));
    // Begun, and then given up.
    let stage = hand.drive.stage(data(1), Arc::clone(&register)).await;
    let mut stage = stage.unwrap_or_else(|error| panic!("staging: {error}"));
    stage
        .append(Bytes::from_static(b"half"))
        .await
        .expect("an append");
    let unfinished = hand.try_commit(&register, &draft).await;
    assert_eq!(unfinished, Err(Error::NotStaged(data(1))), "unfinished");
    drop(stage);
    let dropped = hand.try_commit(&register, &draft).await;
    assert_eq!(dropped, Err(Error::NotStaged(data(1))), "given up");
    assert_eq!(
        hand.rows(&register, Want::All).await,
        [],
        "a refused commit leaves no row"
    );
    let content = bytes(1);
    hand.stage(data(1), &register, &content).await;
    assert_eq!(
        hand.read(data(1), 0, 1).await,
        Err(Error::Missing),
        "staged is not visible"
    );
    hand.commit(&register, &draft).await;
    for (offset, len) in [(0, content.len()), (0, 1), (4_095, 4_098), (70_000, 1)] {
        let from = usize::try_from(offset).unwrap_or(0);
        let read = hand.read(data(1), offset, len).await;
        assert_eq!(
            read.as_deref(),
            Ok(&content[from..from + len]),
            "{len} bytes at {offset}"
        );
    }
    for (offset, len) in [(70_001, 1), (69_000, 2_000), (u64::MAX, 1)] {
        let read = hand.read(data(1), offset, len).await;
        assert!(
            matches!(read, Err(Error::Corrupt(_))),
            "past the end: {read:?}"
        );
    }
    assert_eq!(hand.read(data(2), 0, 1).await, Err(Error::Missing));
    hand.commit(&register, &draft).await;
    assert!(
        hand.read(data(1), 0, 1).await.is_ok(),
        "a repeated commit needs no staging"
    );
}

pub(super) async fn a_staged_file_is_whole_or_gone_after_a_restart(subject: &mut impl Subject) {
    let first = hand(subject).await;
    let register = object("waits");
    first.stage(data(1), &register, &bytes(1)).await;
    let hand = Hand::new(subject.reopen(first.drive).await);
    let draft = Draft::new(1).file(data(1));
    if let Err(error) = hand.try_commit(&register, &draft).await {
        assert_eq!(error, Error::NotStaged(data(1)), "discarded as an orphan");
        assert_eq!(
            hand.rows(&register, Want::All).await,
            [],
            "no row without its file"
        );
        hand.stage(data(1), &register, &bytes(1)).await;
        hand.commit(&register, &draft).await;
    }
    let hand = Hand::new(subject.reopen(hand.drive).await);
    let read = hand.read(data(1), 7, 100).await;
    assert_eq!(
        read.as_deref(),
        Ok(&bytes(1)[7..107]),
        "committed, it stays"
    );
}

pub(super) async fn a_file_leaves_with_its_last_row(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let register = object("last row");
    hand.stage(data(1), &register, &bytes(1)).await;
    hand.commit(&register, &Draft::new(1).file(data(1))).await;
    // A change of tags: a new order of the same version, with the same file.
    hand.commit(&register, &Draft::born(at(1), at(2)).file(data(1)))
        .await;
    hand.settle(2).await;
    assert_eq!(hand.summary(&register, Want::All).await, [(1, 2, true)]);
    assert!(
        hand.read(data(1), 0, 1).await.is_ok(),
        "the row that stayed lists it"
    );
    // Replaced by another version id: both stay. Replaced by its own tombstone: gone.
    hand.stage(data(3), &register, &bytes(3)).await;
    hand.commit(&register, &Draft::new(3).file(data(3))).await;
    hand.commit(&register, &Draft::born(at(1), at(4)).kind(Kind::Tombstone))
        .await;
    assert!(
        hand.read(data(1), 0, 1).await.is_ok(),
        "the tombstone is not settled"
    );
    hand.settle(4).await;
    assert_eq!(
        hand.read(data(1), 0, 1).await,
        Err(Error::Missing),
        "replaced"
    );
    assert!(hand.read(data(3), 0, 1).await.is_ok(), "another version's");
    hand.discard(&register, &[(at(3), at(3))], &[])
        .await
        .expect("a discard");
    assert_eq!(
        hand.read(data(3), 0, 1).await,
        Err(Error::Missing),
        "discarded"
    );
    // Null versions replace each other's files.
    let null = object("null files");
    for sequence in 5..=6 {
        hand.stage(data(sequence), &null, &bytes(5)).await;
        hand.commit(&null, &Draft::new(sequence).null().file(data(sequence)))
            .await;
    }
    assert!(
        hand.read(data(5), 0, 1).await.is_ok(),
        "the newer is not settled"
    );
    hand.settle(6).await;
    assert_eq!(hand.read(data(5), 0, 1).await, Err(Error::Missing));
    let hand = Hand::new(subject.reopen(hand.drive).await);
    let rows = hand.summary(&null, Want::All).await;
    assert_eq!(rows, [(6, 6, true)], "the older row stays gone");
    assert!(hand.read(data(6), 70_000, 1).await.is_ok());
}

pub(super) async fn a_file_stays_for_those_who_read_it(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let register = object("read on");
    hand.stage(data(1), &register, &bytes(1)).await;
    hand.commit(&register, &Draft::new(1).file(data(1))).await;
    let reader = hand.reader(data(1));
    hand.commit(&register, &Draft::born(at(1), at(2)).kind(Kind::Tombstone))
        .await;
    hand.settle(2).await;
    let read = async |reader: &dyn ShardReader, offset| {
        let (data, len) = (data(1), 9);
        reader.read(ShardRead { data, offset, len }).await
    };
    let late = hand.reader(data(1));
    assert_eq!(read(&*late, 0).await, Err(Error::Missing), "too late");
    for from in [0, 70_001 - 9] {
        let offset = u64::try_from(from).unwrap_or(0);
        let found = read(&*reader, offset).await;
        assert_eq!(found.as_deref(), Ok(&bytes(1)[from..from + 9]), "{offset}");
    }
    drop(late);
    assert!(read(&*reader, 0).await.is_ok(), "another reader has done");
    drop(reader);
    // Staged and committed again, it counts again.
    hand.stage(data(1), &register, &bytes(3)).await;
    hand.commit(&register, &Draft::new(3).file(data(1))).await;
    let found = hand.read(data(1), 0, 9).await;
    assert_eq!(found.as_deref(), Ok(&bytes(3)[..9]), "anew");
    let hand = Hand::new(subject.reopen(hand.drive).await);
    assert!(hand.read(data(1), 0, 9).await.is_ok(), "for good");
}

pub(super) async fn heal_replaces_a_file_by_a_new_generation(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let register = object("heal");
    let draft = Draft::new(1).file(data(1));
    hand.stage(data(1), &register, &bytes(1)).await;
    hand.commit(&register, &draft).await;
    hand.stage(data(1), &register, &bytes(2)).await;
    let read = hand.read(data(1), 0, 9).await;
    assert_eq!(
        read.as_deref(),
        Ok(&bytes(1)[..9]),
        "the old generation until the commit"
    );
    hand.commit(&register, &draft).await;
    assert_eq!(
        hand.read(data(1), 0, 9).await.as_deref(),
        Ok(&bytes(2)[..9]),
        "then the new one"
    );
    let hand = Hand::new(subject.reopen(hand.drive).await);
    assert_eq!(
        hand.read(data(1), 0, 9).await.as_deref(),
        Ok(&bytes(2)[..9]),
        "for good"
    );
    assert_eq!(hand.rows(&register, Want::All).await.len(), 1);
}

pub(super) async fn a_completed_upload_keeps_its_parts(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let key = object_key("movie");
    let upload = Arc::new(Register::upload(bucket(), &key, at(1)));
    let part = |number| Arc::new(Register::part(bucket(), &key, at(1), number));
    let movie = object("movie");
    hand.commit(&upload, &Draft::new(1)).await;
    for number in 1..=2u16 {
        let sequence = u64::from(number) + 1;
        hand.stage(data(sequence), &part(number), &bytes(2)).await;
        hand.commit(
            &part(number),
            &Draft::new(sequence).null().file(data(sequence)),
        )
        .await;
    }
    // The third part never reached this drive: heal will bring it.
    let parts = [data(2), data(3), data(4)];
    hand.commit(&movie, &Draft::new(5).parts(&parts)).await;
    hand.settle(5).await;
    for number in 1..=2u16 {
        let row = at(u64::from(number) + 1);
        hand.discard(&part(number), &[(row, row)], &parts)
            .await
            .expect("a discard");
    }
    hand.discard(&upload, &[(at(1), at(1))], &parts)
        .await
        .expect("a discard");
    assert_eq!(
        hand.rows(&part(1), Want::All).await,
        [],
        "the part's row is gone"
    );
    assert!(
        hand.read(data(2), 0, 1).await.is_ok(),
        "its file lives on in the object"
    );
    assert!(hand.read(data(3), 70_000, 1).await.is_ok());
    assert_eq!(hand.read(data(4), 0, 1).await, Err(Error::Missing));
    hand.stage(data(4), &movie, &bytes(4)).await;
    hand.commit(&movie, &Draft::new(5).parts(&parts)).await;
    assert_eq!(
        hand.read(data(4), 0, 3).await.as_deref(),
        Ok(&bytes(4)[..3]),
        "healed"
    );
    let hand = Hand::new(subject.reopen(hand.drive).await);
    for number in 2..=4 {
        assert!(
            hand.read(data(number), 0, 1).await.is_ok(),
            "part file {number}"
        );
    }
    hand.commit(&movie, &Draft::born(at(5), at(6)).kind(Kind::Tombstone))
        .await;
    hand.settle(6).await;
    for number in 2..=4 {
        let read = hand.read(data(number), 0, 1).await;
        assert_eq!(
            read,
            Err(Error::Missing),
            "part file {number} leaves with the object"
        );
    }
}

pub(super) async fn a_part_and_its_object_keep_each_others_files(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let key = object_key("film");
    let part = |number| Arc::new(Register::part(bucket(), &key, at(1), number));
    let film = object("film");
    for number in 1..=2u16 {
        let sequence = u64::from(number) + 1;
        hand.stage(data(sequence), &part(number), &bytes(2)).await;
        let draft = Draft::new(sequence).null().file(data(sequence));
        hand.commit(&part(number), &draft).await;
    }
    let both = Draft::new(5).parts(&[data(2), data(3)]);
    hand.commit(&film, &both).await;
    // The first part goes: its file is the object's. The object goes: the second is the part's.
    hand.discard(&part(1), &[(at(2), at(2))], &[])
        .await
        .expect("a discard");
    assert!(hand.read(data(2), 0, 1).await.is_ok(), "the object's");
    hand.commit(&film, &Draft::born(at(5), at(6)).kind(Kind::Tombstone))
        .await;
    hand.settle(6).await;
    assert_eq!(hand.read(data(2), 0, 1).await, Err(Error::Missing));
    let hand = Hand::new(subject.reopen(hand.drive).await);
    assert!(hand.read(data(3), 0, 1).await.is_ok(), "the part's");
    hand.commit(&film, &Draft::new(7).parts(&[data(3)])).await;
    hand.discard(&part(2), &[(at(3), at(3))], &[])
        .await
        .expect("a discard");
    assert!(hand.read(data(3), 0, 1).await.is_ok(), "completed again");
    hand.discard(&film, &[(at(7), at(7))], &[])
        .await
        .expect("a discard");
    assert_eq!(hand.read(data(3), 0, 1).await, Err(Error::Missing));
}

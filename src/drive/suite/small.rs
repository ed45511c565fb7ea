//! The small store, positions, and what a restart must leave.

use bytes::Bytes;
use types::{Kind, Slot};

use super::Subject;
use super::fixture::{Draft, EPOCH, Hand, SLOT, at, data, fence, object, scan_of};
use crate::contract::{Drive, Error, MetaWrite, Scan, Settles, Status, Want};
use crate::register::Register;

async fn write(drive: &dyn Drive, writes: &[(&str, Option<&str>)]) {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let one = |(key, value): &(&str, Option<&str>)| MetaWrite {
        key: bytes(key),
        value: value.map(bytes),
    };
    let written = drive.meta_write(writes.iter().map(one).collect()).await;
    written.unwrap_or_else(|error| panic!("small writes: {error}"));
}

async fn read(drive: &dyn Drive, prefix: &str) -> Vec<(String, String)> {
    let pairs = drive
        .meta_scan(Bytes::copy_from_slice(prefix.as_bytes()))
        .await;
    let pairs = pairs.unwrap_or_else(|error| panic!("small reads: {error}"));
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    pairs
        .iter()
        .map(|(key, value)| (text(key), text(value)))
        .collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

pub(super) async fn small_writes_are_all_or_nothing_and_last(subject: &mut impl Subject) {
    let mut drive = subject.make().await;
    assert_eq!(read(&*drive, "").await, []);
    write(
        &*drive,
        &[
            ("log/2", Some("b")),
            ("vote", Some("7")),
            ("log/1", Some("a")),
        ],
    )
    .await;
    write(
        &*drive,
        &[
            ("log/1", None),
            ("log/3", Some("")),
            ("gone", None),
            ("vote", Some("8")),
        ],
    )
    .await;
    // A name as long as a row's key is none, and no scan meets it.
    let name = "n".repeat(Register::ROW_LEN + 1);
    write(&*drive, &[(&name, Some("x"))]).await;
    let everything = Scan {
        start: Vec::new(),
        prefix: Vec::new(),
        ..scan_of("")
    };
    let page = drive.scan(everything).await;
    assert_eq!(page.map(|page| page.rows), Ok(Vec::new()));
    write(&*drive, &[(&name, None)]).await;
    let long = "v".repeat(1 << 20);
    let longest = "k".repeat(64);
    write(&*drive, &[(&longest, Some(&long))]).await;
    for round in 0..2 {
        let expected = pairs(&[("log/2", "b"), ("log/3", "")]);
        assert_eq!(read(&*drive, "log/").await, expected, "round {round}");
        assert_eq!(
            read(&*drive, "vote").await,
            pairs(&[("vote", "8")]),
            "round {round}"
        );
        assert_eq!(
            read(&*drive, "k").await,
            pairs(&[(&longest, &long)]),
            "round {round}"
        );
        assert_eq!(read(&*drive, "").await.len(), 4, "round {round}");
        drive = subject.reopen(drive).await;
    }
    assert_eq!(
        Hand::new(drive).scan(scan_of("")).await,
        [],
        "nothing of it is a register"
    );
}

pub(super) async fn positions_grow_and_peers_are_remembered(subject: &mut impl Subject) {
    let hand = Hand::new(subject.make().await);
    let register = object("positions");
    let mut last = 0;
    for sequence in 1..=5 {
        let committed = hand.commit(&register, &Draft::new(sequence)).await;
        assert!(
            committed.position > last,
            "a later commit has a higher position"
        );
        last = committed.position;
        assert!(
            hand.drive.positions().0 >= last,
            "an acknowledged position is durable"
        );
    }
    let peers = |list: &[(u8, u64)]| Settles {
        peers: list.to_vec(),
        ..Settles::default()
    };
    hand.drive.settle(peers(&[(1, 70), (2, 9)]));
    hand.settle_all(peers(&[(1, 60), (3, 1)])).await;
    let mut remembered = hand.drive.positions().1;
    remembered.sort_unstable();
    assert_eq!(remembered, [(1, 70), (2, 9), (3, 1)], "the highest of each");
    let before = hand.drive.positions().0;
    let hand = Hand::new(subject.reopen(hand.drive).await);
    let (position, mut after) = hand.drive.positions();
    after.sort_unstable();
    assert!(
        position >= before,
        "a position never falls: {position} after {before}"
    );
    assert_eq!(after, remembered, "peers' positions outlive a restart");
    let committed = hand.commit(&register, &Draft::new(9)).await;
    assert!(committed.position > before);
}

pub(super) async fn everything_acknowledged_survives(subject: &mut impl Subject) {
    let mut hand = Hand::new(subject.make().await);
    let mut rounds = Vec::new();
    for round in 0..4u64 {
        let base = 100 * round;
        let register = object(&format!("survivor {round}"));
        hand.commit(&register, &Draft::new(base + 1).inline(3_000))
            .await;
        hand.stage(data(base + 2), &register, &[7; 9_000]).await;
        hand.commit(&register, &Draft::new(base + 2).file(data(base + 2)))
            .await;
        hand.commit(&register, &Draft::new(base + 3).kind(Kind::Marker))
            .await;
        hand.commit(&register, &Draft::new(base + 4)).await;
        hand.discard(&register, &[(at(base + 4), at(base + 4))], &[])
            .await
            .expect("a discard");
        hand.settle(base + 2).await;
        let before = hand.rows(&register, Want::All).await;
        rounds.push((register, before));
        let identity = hand.drive.identity();
        hand = Hand::new(subject.reopen(hand.drive).await);
        assert_eq!(hand.drive.identity(), identity, "it is still itself");
        assert_eq!(hand.drive.status(), Status::Online);
        for (register, before) in &rounds {
            let after = hand.rows(register, Want::All).await;
            let heads = |rows: &[crate::contract::RowAnswer]| {
                rows.iter()
                    .map(|row| (row.head, row.row.clone(), row.inline.clone()))
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                heads(&after),
                heads(before),
                "{register:?} in round {round}"
            );
        }
        let read = hand.read(data(base + 2), 8_999, 1).await;
        assert_eq!(read.as_deref(), Ok(&[7u8][..]));
        assert_eq!(
            hand.scan(scan_of("survivor")).await.len(),
            rounds.len() + 1,
            "round {round}"
        );
    }
    hand.raise(&object("x"), fence(EPOCH + 1))
        .await
        .expect("a raise");
    let hand = Hand::new(subject.reopen(hand.drive).await);
    let late = hand.try_commit(&object("x"), &Draft::new(999)).await;
    assert!(
        matches!(late, Err(Error::Fenced { .. })),
        "slot {:?}: {late:?}",
        Slot::new(SLOT)
    );
}

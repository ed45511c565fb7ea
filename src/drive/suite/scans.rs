//! Lists.

use std::sync::Arc;

use types::{BucketId, Kind};

use super::Subject;
use super::fixture::{Draft, Hand, at, bucket, object, object_key, scan_of, scanned};
use crate::contract::{Scan, Want};
use crate::register::{Register, Space};

async fn hand(subject: &mut impl Subject) -> Hand {
    Hand::new(subject.make().await)
}

fn keys(rows: &[(String, u64, bool)]) -> Vec<&str> {
    rows.iter().map(|(key, ..)| key.as_str()).collect()
}

pub(super) async fn registers_come_in_order_and_within_the_prefix(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let sorted = [
        "a", "a/b", "a/b/c", "ab", "b", "photos/1", "photos/2", "ü", "😀",
    ];
    for (number, key) in [4, 2, 8, 0, 6, 1, 7, 5, 3].map(|at| (at as u64 + 1, sorted[at])) {
        hand.commit(&object(key), &Draft::new(number).inline(50))
            .await;
    }
    let elsewhere = BucketId::from_u64(bucket().as_u64() + 1);
    let other = Arc::new(Register::object(elsewhere, &object_key("b")));
    hand.commit(&other, &Draft::new(90)).await;
    let upload = Arc::new(Register::upload(bucket(), &object_key("b"), at(91)));
    hand.commit(&upload, &Draft::new(91)).await;
    hand.settle(2).await;
    let rows = hand.scan(scan_of("")).await;
    assert_eq!(keys(&rows), sorted);
    assert_eq!(rows[0], ("a".into(), 1, true), "a settled row says so");
    assert_eq!(rows[2], ("a/b/c".into(), 3, false));
    for (prefix, found) in [
        ("a", &sorted[..4]),
        ("a/", &sorted[1..3]),
        ("photos/2", &sorted[6..7]),
    ] {
        assert_eq!(
            keys(&hand.scan(scan_of(prefix)).await),
            found,
            "prefix {prefix}"
        );
    }
    assert_eq!(hand.scan(scan_of("zzz")).await, []);
    let uploads = Register::prefix(bucket(), Space::Uploads, "");
    let scan = Scan {
        start: Vec::new(),
        prefix: uploads,
        ..scan_of("")
    };
    assert_eq!(keys(&hand.scan(scan).await), ["b"], "a space of its own");
    for (start, found) in [("a", 0), ("a/", 1), ("ab", 3), ("ac", 4), ("zz", 7)] {
        let start = Register::prefix(bucket(), Space::Objects, start);
        let rows = hand
            .scan(Scan {
                start,
                ..scan_of("")
            })
            .await;
        assert_eq!(keys(&rows), &sorted[found..]);
    }
    let start = object("b").as_bytes().to_vec();
    let rows = hand
        .scan(Scan {
            start,
            ..scan_of("")
        })
        .await;
    assert_eq!(keys(&rows), &sorted[4..], "the start is within");
}

pub(super) async fn pages_join_without_gap_or_repeat(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let mut sequence = 0;
    for number in 0..40 {
        let register = object(&format!("page/{number:03}"));
        for _ in 0..=number % 3 {
            sequence += 1;
            hand.commit(&register, &Draft::new(sequence)).await;
        }
        if number % 5 == 0 {
            sequence += 1;
            let born = at(sequence - 1);
            let tombstone = Draft::born(born, at(sequence)).kind(Kind::Tombstone);
            hand.commit(&register, &tombstone).await;
        }
    }
    hand.settle(30).await;
    for want in [Want::Latest, Want::All] {
        let whole = hand
            .scan(Scan {
                want,
                ..scan_of("page/")
            })
            .await;
        assert!(whole.len() >= 40, "tombstones are rows too");
        for rows_max in [1, 2, 7, 39, 40] {
            let paged = hand
                .scan(Scan {
                    want,
                    rows_max,
                    ..scan_of("page/")
                })
                .await;
            assert_eq!(paged, whole, "{rows_max} rows a page, {want:?}");
        }
        let page = hand
            .page(Scan {
                want,
                rows_max: 10,
                ..scan_of("page/")
            })
            .await;
        assert!(
            (1..=20).contains(&page.rows.len()),
            "about ten rows, not {}",
            page.rows.len()
        );
        let next = page.next.as_ref().expect("more rows follow");
        for row in &page.rows {
            let register = scanned(&page, row.register.clone());
            assert!(
                register.as_bytes() < next.as_slice(),
                "looked at, and before `next`"
            );
        }
    }
}

pub(super) async fn a_scan_agrees_with_rows(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let register = object("page/005");
    for sequence in 1..=4 {
        hand.commit(&register, &Draft::new(sequence)).await;
    }
    hand.settle(3).await;
    for want in [Want::Latest, Want::All] {
        let rows = hand.rows(&register, want).await;
        let page = hand
            .page(Scan {
                want,
                ..scan_of("page/005")
            })
            .await;
        assert!(
            page.next.is_none() && page.rows.len() == rows.len(),
            "{want:?}"
        );
        for (listed, row) in page.rows.iter().zip(&rows) {
            assert_eq!(
                (listed.head, listed.settled),
                (row.head, row.settled),
                "{want:?}"
            );
        }
    }
}

pub(super) async fn delimiters_skip_only_behind_what_surely_shows(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let rows = [
        ("a", Kind::Object),
        ("b/1", Kind::Object),
        ("b/2", Kind::Object),
        ("b/sub/3", Kind::Object),
        ("c/1", Kind::Tombstone),
        ("c/2", Kind::Marker),
        ("c/3", Kind::Object),
        ("c/4", Kind::Object),
        ("d", Kind::Object),
        ("e/1", Kind::Object),
        ("e/2", Kind::Object),
    ];
    for (sequence, (key, kind)) in (1..).zip(rows) {
        hand.commit(&object(key), &Draft::new(sequence).kind(kind))
            .await;
    }
    hand.settle(9).await;
    let slash = Some(Arc::from(&b"/"[..]));
    let scan = Scan {
        delimiter: slash.clone(),
        ..scan_of("")
    };
    let expected = ["a", "b/1", "c/1", "c/2", "c/3", "d", "e/1", "e/2"];
    for rows_max in [1, 3, 1000] {
        let rows = hand
            .scan(Scan {
                rows_max,
                ..scan.clone()
            })
            .await;
        assert_eq!(keys(&rows), expected, "{rows_max} rows a page");
    }
    let versions = hand
        .scan(Scan {
            want: Want::All,
            ..scan
        })
        .await;
    let expected = ["a", "b/1", "c/1", "c/2", "d", "e/1", "e/2"];
    assert_eq!(keys(&versions), expected, "a marker is a version");
    let inside = hand
        .scan(Scan {
            delimiter: slash.clone(),
            ..scan_of("b/")
        })
        .await;
    assert_eq!(
        keys(&inside),
        ["b/1", "b/2", "b/sub/3"],
        "behind the prefix"
    );
    let long = Scan {
        delimiter: Some(Arc::from(&b"/sub/"[..])),
        ..scan_of("")
    };
    assert_eq!(hand.scan(long).await.len(), rows.len(), "one key holds it");
}

pub(super) async fn delimiters_count_in_the_key_alone(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let slash = Some(Arc::from(&b"/"[..]));
    // Slashes in the bucket's number and in an upload's are no delimiters.
    for sequence in [0x2f01, 0x2f02] {
        let upload = Arc::new(Register::upload(bucket(), &object_key("up"), at(sequence)));
        hand.commit(&upload, &Draft::new(sequence)).await;
    }
    hand.settle(0x2f02).await;
    let prefix = Register::prefix(bucket(), Space::Uploads, "");
    let scan = Scan {
        start: prefix.clone(),
        prefix,
        delimiter: slash,
        ..scan_of("")
    };
    assert_eq!(keys(&hand.scan(scan).await), ["up", "up"]);
}

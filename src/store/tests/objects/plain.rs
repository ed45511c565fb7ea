//! Objects on healthy drives.

use std::time::Duration;

use drive::Twin;
use futures_util::StreamExt;
use store::{Error, Expect, Put, Tags, Versioning};
use types::{ByteRange, VersionId};

use crate::rig::{
    Rig, bucket, bytes_of, content, delete, delete_version, find, get, key, put, put_new, put_of,
    try_put, version,
};

const SIZES: [usize; 9] = [
    0,
    1,
    4 << 10,
    128 << 10,
    (128 << 10) + 1,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
    (5 << 20) + 3,
];

#[tokio::test(start_paused = true)]
async fn what_was_put_is_read_back_in_every_size_and_geometry() {
    for (data, parity) in [(1, 0), (1, 1), (2, 1), (2, 2), (4, 2)] {
        let store = Rig::new(data, parity).store(1);
        for (seed, size) in SIZES.into_iter().enumerate() {
            let (name, bytes) = (format!("o{size}"), content(size, seed as u64));
            let written = put(&store, &name, &bytes).await;
            let found = find(&store, &name).await.unwrap();
            assert_eq!(found.head.size, size as u64);
            assert_eq!(found.head.etag, written.etag);
            assert_eq!(written.etag, types::Etag::Md5(store::md5_of(&bytes)));
            assert_eq!(found.properties.user[0].1, "grey");
            let range = ByteRange::whole(found.head.size);
            assert!(bytes_of(found, range).await.unwrap() == bytes, "{size}");
        }
        assert_eq!(store.counters().bad_shards(), 0);
        assert_eq!(store.hints(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn any_range_is_that_part_of_the_whole() {
    let store = Rig::new(4, 2).store(1);
    for size in SIZES {
        let bytes = content(size, 3);
        put(&store, "k", &bytes).await;
        let edges = [0, 1, size / 3, size / 2, 1 << 18, 1 << 20, size];
        for from in edges.into_iter().filter(|from| *from <= size) {
            for to in edges.into_iter().filter(|to| (from..=size).contains(to)) {
                let range = ByteRange {
                    start: from as u64,
                    end: to as u64,
                };
                let part = bytes_of(find(&store, "k").await.unwrap(), range).await;
                assert!(part.unwrap() == bytes[from..to], "{size}: {from}..{to}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_replaces_and_a_deletion_removes() {
    let store = Rig::new(2, 2).store(1);
    assert_eq!(get(&store, "k").await, Err(Error::NoSuchKey));
    for size in [10, 300 << 10, 0, 5] {
        let bytes = content(size, size as u64);
        put(&store, "k", &bytes).await;
        assert_eq!(get(&store, "k").await, Ok(bytes));
    }
    assert!(delete(&store, "k").await.is_ok());
    assert_eq!(get(&store, "k").await, Err(Error::NoSuchKey));
    assert!(
        delete(&store, "k").await.is_ok(),
        "deleting nothing is fine"
    );
    put(&store, "k", b"again").await;
    assert_eq!(get(&store, "k").await.unwrap(), b"again");
}

#[tokio::test(start_paused = true)]
async fn versions_are_kept_hidden_by_markers_and_taken_away_by_name() {
    let store = Rig::new(2, 2).store(1);
    let versioned = |size| Put {
        versioning: Versioning::Enabled,
        ..put_of(size)
    };
    put(&store, "k", b"before").await;
    let (one, two) = (content(9, 1), content(200 << 10, 2));
    let first = try_put(&store, "k", &versioned(one.len()), &one).await;
    let second = try_put(&store, "k", &versioned(two.len()), &two).await;
    let (first, second) = (first.unwrap().version, second.unwrap().version);
    assert_eq!(get(&store, "k").await.unwrap(), two);
    assert_eq!(version(&store, "k", Some(first)).await.unwrap(), one);
    let null = version(&store, "k", Some(VersionId::Null)).await;
    assert_eq!(null.unwrap(), b"before");

    let marker = delete_version(&store, "k", Versioning::Enabled, None).await;
    let marker = marker.unwrap().version.unwrap();
    let hidden = get(&store, "k").await;
    assert!(matches!(hidden, Err(Error::DeleteMarker { version, .. }) if version == marker));
    let gone = delete_version(&store, "k", Versioning::Enabled, Some(marker)).await;
    assert!(gone.unwrap().marker);
    assert_eq!(get(&store, "k").await.unwrap(), two);
    let gone = delete_version(&store, "k", Versioning::Enabled, Some(second)).await;
    assert!(gone.is_ok());
    assert_eq!(get(&store, "k").await.unwrap(), one);
    let gone = version(&store, "k", Some(second)).await;
    assert_eq!(gone, Err(Error::NoSuchVersion));
}

#[tokio::test(start_paused = true)]
async fn a_body_of_another_length_leaves_nothing_behind() {
    let store = Rig::new(2, 2).store(1);
    for size in [0, 10, 128 << 10, 3 << 20] {
        let bytes = content(size, 1);
        for announced in [size.wrapping_sub(1), size + 1, size + (1 << 20)] {
            if announced > 10 << 20 {
                continue;
            }
            let done = try_put(&store, "k", &put_of(announced), &bytes).await;
            let short = matches!(done, Err(Error::BodyLength { .. }));
            assert!(short, "{size} as {announced}: {done:?}");
        }
    }
    assert_eq!(get(&store, "k").await, Err(Error::NoSuchKey));
}

#[tokio::test(start_paused = true)]
async fn of_conditional_writes_at_once_exactly_one_wins() {
    let store = Rig::new(2, 2).store(1);
    let writers = (0..16u8).map(|writer| {
        let store = store.clone();
        let size = if writer.is_multiple_of(2) {
            100
        } else {
            200 << 10
        };
        tokio::spawn(async move { put_new(&store, "k", &vec![writer; size]).await })
    });
    let mut winner = None;
    let writers: Vec<_> = writers.collect();
    for (number, writer) in (0..16u8).zip(writers) {
        match writer.await.unwrap() {
            Ok(_) => assert_eq!(winner.replace(number), None, "two winners"),
            Err(error) => assert_eq!(error, Error::PreconditionFailed),
        }
    }
    let bytes = get(&store, "k").await.unwrap();
    assert_eq!(bytes.first().copied(), winner);
}

#[tokio::test(start_paused = true)]
async fn of_writers_that_saw_the_same_tag_exactly_one_wins() {
    let store = Rig::new(2, 1).store(1);
    let seen = put(&store, "k", b"seen").await.etag.to_string();
    let writers: Vec<_> = (0..8u8)
        .map(|writer| {
            let (store, seen) = (store.clone(), seen.clone());
            tokio::spawn(async move {
                let put = Put {
                    expect: Expect::Match(Tags::OneOf(vec![seen])),
                    ..put_of(1)
                };
                try_put(&store, "k", &put, &[writer]).await
            })
        })
        .collect();
    let mut winners = Vec::new();
    for (number, writer) in (0..8u8).zip(writers) {
        match writer.await.unwrap() {
            Ok(_) => winners.push(number),
            Err(error) => assert_eq!(error, Error::PreconditionFailed),
        }
    }
    assert_eq!(get(&store, "k").await.unwrap(), winners);
}

#[tokio::test(start_paused = true)]
async fn what_a_write_expects_can_be_asked_beforehand() {
    let store = Rig::new(2, 2).store(1);
    let check = async |expect: Expect| store.check(bucket(), &key("k"), &expect).await;
    let other = || Tags::OneOf(vec!["0".to_owned()]);
    assert_eq!(check(Expect::NoneMatch(Tags::Any)).await, Ok(()));
    assert_eq!(check(Expect::Match(Tags::Any)).await, Err(Error::NoSuchKey));
    put(&store, "k", b"x").await;
    assert_eq!(check(Expect::Anything).await, Ok(()));
    assert_eq!(check(Expect::Match(Tags::Any)).await, Ok(()));
    assert_eq!(check(Expect::NoneMatch(other())).await, Ok(()));
    let failed = Err(Error::PreconditionFailed);
    assert_eq!(check(Expect::NoneMatch(Tags::Any)).await, failed);
    assert_eq!(check(Expect::Match(other())).await, failed);
    let marked = delete_version(&store, "k", Versioning::Enabled, None).await;
    assert!(marked.unwrap().marker);
    assert_eq!(check(Expect::NoneMatch(Tags::Any)).await, Ok(()));
}

/// Fails if drives remove what is being read.
#[tokio::test(start_paused = true)]
async fn what_was_found_is_read_to_its_end_though_it_is_replaced_or_deleted() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    let second = Duration::from_secs(1);
    for size in [3 << 20, 200_000] {
        let bytes = content(size, 1);
        put(&store, "k", &bytes).await;
        let before: Vec<_> = rig.twins.iter().map(Twin::files).collect();
        let found = find(&store, "k").await.unwrap();
        let range = ByteRange::whole(found.head.size);
        let mut replaced = Box::pin(found.stream(range));
        let mut deleted = Box::pin(find(&store, "k").await.unwrap().stream(range));
        let mut read = replaced.next().await.unwrap().unwrap().to_vec();
        put(&store, "k", &content(size, 2)).await;
        // Settled, and a batch that says so: from here on the first one has no row.
        tokio::time::sleep(second).await;
        put(&store, "other", b"x").await;
        for (twin, before) in rig.twins.iter().zip(&before) {
            assert!(before.iter().all(|data| !twin.files().contains(data)));
        }
        while let Some(piece) = replaced.next().await {
            read.extend_from_slice(&piece.unwrap());
        }
        assert!(read == bytes, "{size}: replaced");
        delete(&store, "k").await.unwrap();
        tokio::time::sleep(second).await;
        put(&store, "other", b"x").await;
        let mut read = Vec::new();
        while let Some(piece) = deleted.next().await {
            read.extend_from_slice(&piece.unwrap());
        }
        assert!(
            read == bytes,
            "{size}: and then deleted, before its first byte"
        );
        assert_eq!(store.counters().bad_shards(), 0);
        assert_eq!(store.hints(), 0, "nothing is amiss");
    }
}

//! Multipart uploads: parts, their order, their end, and what is left of them.

use std::sync::Arc;

use drive::{Fault, Twin};
use futures_util::future::join_all;
use store::{
    Complete, Depth, Error, Expect, NewUpload, Part, Properties, PutPart, Store, Tags, Upload,
    Versioning, WriteError, Written,
};
use types::{ByteRange, DataId, Etag, Order, StorageClass, Timestamp};

use crate::recount::walk;
use crate::rig::{
    Pieces, Rig, bucket, bytes_of, calm, content, delete, find, get, key, names, put, put_new,
};

pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

pub(crate) async fn create(store: &Store, name: &str) -> Result<Order, Error> {
    let new = NewUpload {
        properties: Properties {
            headers: vec![("content-type".into(), "text/plain".into())],
            ..Properties::default()
        },
        class: StorageClass::Standard,
        now: now(),
    };
    store.create_upload(bucket(), &key(name), &new).await
}

pub(crate) async fn try_part(
    store: &Store,
    name: &str,
    upload: Order,
    number: u16,
    bytes: &[u8],
) -> Result<Part, Error> {
    let put = PutPart {
        number,
        size: bytes.len() as u64,
        class: StorageClass::Standard,
        now: now(),
    };
    let (name, mut body) = (key(name), Pieces::new(bytes, 70_001));
    let done = store.put_part(bucket(), &name, upload, &put, &mut body);
    done.await.map_err(|error| match error {
        WriteError::Store(error) => error,
        WriteError::Body(error) => panic!("{error}"),
    })
}

pub(crate) async fn part(
    store: &Store,
    name: &str,
    upload: Order,
    number: u16,
    bytes: &[u8],
) -> Part {
    let done = try_part(store, name, upload, number, bytes).await;
    done.unwrap_or_else(|error| panic!("part {number} of {name}: {error}"))
}

/// A part in files of its own, of bytes by its number.
async fn large_part(store: &Store, name: &str, upload: Order, number: u16) -> Part {
    let bytes = content(300 << 10, u64::from(number));
    part(store, name, upload, number, &bytes).await
}

pub(crate) async fn parts(store: &Store, name: &str, upload: Order) -> Result<Vec<Part>, Error> {
    let key = key(name);
    store.parts(bucket(), &key, upload, 0, usize::MAX).await
}

pub(crate) async fn upload(store: &Store, name: &str, upload: Order) -> Result<Upload, Error> {
    store.upload(bucket(), &key(name), upload).await
}

/// An entity tag as a client would make it; the store keeps whatever it is given.
pub(crate) fn etag(parts: &[Part]) -> Etag {
    let sums: Vec<[u8; 16]> = parts.iter().map(|part| part.extent.md5).collect();
    Etag::Parts(
        store::md5_of(&sums.concat()),
        u16::try_from(parts.len()).unwrap(),
    )
}

pub(crate) fn complete_of(parts: Vec<Part>, versioning: Versioning, expect: Expect) -> Complete {
    Complete {
        versioning,
        expect,
        etag: etag(&parts),
        parts,
        checksum: None,
        now: now(),
    }
}

pub(crate) async fn complete(
    store: &Store,
    name: &str,
    upload: Order,
    parts: Vec<Part>,
) -> Result<Written, Error> {
    let complete = complete_of(parts, Versioning::Off, Expect::Anything);
    store
        .complete(bucket(), &key(name), upload, &complete)
        .await
}

pub(crate) async fn abort(store: &Store, name: &str, upload: Order) -> Result<(), Error> {
    store.abort(bucket(), &key(name), upload, now()).await
}

/// The files that the parts need.
pub(crate) fn files(parts: &[Part]) -> Vec<DataId> {
    let full = parts.iter().filter(|part| part.extent.size > 0);
    let mut files: Vec<DataId> = full.map(|part| part.extent.data).collect();
    files.sort_unstable();
    files
}

#[tokio::test(start_paused = true)]
async fn parts_in_any_order_become_one_object() {
    for (data, parity) in [(1, 0), (1, 1), (2, 1), (2, 2), (4, 2)] {
        let rig = Rig::new(data, parity);
        let store = rig.store(1);
        let id = create(&store, "k").await.unwrap();
        let sizes = [(9, 300 << 10), (1, (1 << 20) + 7), (10_000, 11), (4, 0)];
        let mut sent = Vec::new();
        for (number, size) in sizes {
            let bytes = content(size, u64::from(number));
            part(&store, "k", id, number, &bytes).await;
            sent.push((number, bytes));
        }
        assert_eq!(names(&store).await, [""; 0], "no list shows it");
        assert_eq!(get(&store, "k").await, Err(Error::NoSuchKey));
        sent.sort_unstable();
        let found = parts(&store, "k", id).await.unwrap();
        let numbers: Vec<u16> = found.iter().map(|part| part.extent.number).collect();
        assert_eq!(numbers, [1, 4, 9, 10_000]);
        let page = store.parts(bucket(), &key("k"), id, 1, 2).await.unwrap();
        assert_eq!(page, found[1..3]);

        let written = complete(&store, "k", id, found.clone()).await.unwrap();
        let whole: Vec<u8> = sent.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let object = find(&store, "k").await.unwrap();
        assert_eq!(object.head.etag, etag(&found));
        assert_eq!(written.etag, object.head.etag);
        assert_eq!(object.properties.headers[0].1, "text/plain");
        assert_eq!(object.head.size, whole.len() as u64);
        assert!(get(&store, "k").await.unwrap() == whole);
        let seam = sent[0].1.len();
        for (from, to) in [
            (seam - 1, seam + 1),
            (seam, whole.len()),
            (5, whole.len() - 12),
        ] {
            let range = ByteRange {
                start: from as u64,
                end: to as u64,
            };
            let read = bytes_of(find(&store, "k").await.unwrap(), range).await;
            assert!(read.unwrap() == whole[from..to], "{from}..{to}");
        }
        assert_eq!(names(&store).await, ["k"]);
        for gone in [
            upload(&store, "k", id).await.err(),
            try_part(&store, "k", id, 1, b"late").await.err(),
            complete(&store, "k", id, found.clone()).await.err(),
            abort(&store, "k", id).await.err(),
        ] {
            assert_eq!(gone, Some(Error::NoSuchUpload));
        }
        calm().await;
        assert_eq!(parts(&store, "k", id).await.unwrap(), [], "no row is left");
        assert_eq!(rig.twins[0].files(), files(&found));
        delete(&store, "k").await.unwrap();
        calm().await;
        put(&store, "other", b"another batch").await;
        assert_eq!(rig.twins[0].files(), [], "nothing is left");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_acknowledged_part_counts_and_what_is_not_named_goes() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    let id = create(&store, "k").await.unwrap();
    for seed in 0..4 {
        part(&store, "k", id, 1, &content(200 << 10, seed)).await;
        part(&store, "k", id, 2, &content(150 << 10, seed)).await;
    }
    let stale = parts(&store, "k", id).await.unwrap();
    part(&store, "k", id, 1, &content(200 << 10, 9)).await;
    let refused = complete(&store, "k", id, stale.clone()).await;
    assert_eq!(refused, Err(Error::InvalidPart(1)), "another one by now");
    let mut named = parts(&store, "k", id).await.unwrap();
    assert_ne!(named[0], stale[0]);
    let other = named.pop().unwrap();
    complete(&store, "k", id, named.clone()).await.unwrap();
    assert!(get(&store, "k").await.unwrap() == content(200 << 10, 9));
    calm().await;
    for twin in &rig.twins {
        assert_eq!(twin.files(), files(&named));
    }
    let never = create(&store, "k").await.unwrap();
    let missing = complete(&store, "k", never, vec![other]).await;
    assert_eq!(missing, Err(Error::InvalidPart(2)));
}

#[tokio::test(start_paused = true)]
async fn an_aborted_upload_leaves_nothing() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    put(&store, "k", b"old").await;
    let id = create(&store, "k").await.unwrap();
    for number in 1..40 {
        part(&store, "k", id, number, &content(1_000, 1)).await;
    }
    assert_eq!(rig.twins[3].files().len(), 39);
    let unknown = Order::new(id.epoch, id.sequence + 1_000);
    assert_eq!(abort(&store, "k", unknown).await, Err(Error::NoSuchUpload));
    assert_eq!(abort(&store, "x", id).await, Err(Error::NoSuchUpload));
    abort(&store, "k", id).await.unwrap();
    assert_eq!(abort(&store, "k", id).await, Err(Error::NoSuchUpload));
    let late = try_part(&store, "k", id, 1, b"late").await;
    assert_eq!(late, Err(Error::NoSuchUpload));
    calm().await;
    assert_eq!(rig.twins[3].files(), []);
    assert_eq!(get(&store, "k").await.unwrap(), b"old");
}

#[tokio::test(start_paused = true)]
async fn a_completion_keeps_conditions_and_makes_versions() {
    let store = Rig::new(2, 2).store(1);
    let name = key("k");
    put(&store, "k", b"there").await;
    let id = create(&store, "k").await.unwrap();
    part(&store, "k", id, 1, &content(200 << 10, 1)).await;
    let found = parts(&store, "k", id).await.unwrap();
    let refused = complete_of(found.clone(), Versioning::Off, Expect::NoneMatch(Tags::Any));
    let done = store.complete(bucket(), &name, id, &refused).await;
    assert_eq!(done, Err(Error::PreconditionFailed));
    assert_eq!(get(&store, "k").await.unwrap(), b"there");
    part(&store, "k", id, 2, b"it still takes parts").await;
    let tag = find(&store, "k").await.unwrap().head.etag.to_string();
    let expect = Expect::Match(Tags::OneOf(vec![tag]));
    let versioned = complete_of(found, Versioning::Enabled, expect);
    let done = store.complete(bucket(), &name, id, &versioned).await;
    let version = done.unwrap().version;
    let null = store
        .find(bucket(), &name, Some(types::VersionId::Null))
        .await;
    assert!(null.is_ok(), "the older version stays");
    let born = store.find(bucket(), &name, Some(version)).await.unwrap();
    assert_eq!(born.head.size, 200 << 10);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_again_hears_the_same() {
    let store = Rig::new(2, 2).store(1);
    let id = create(&store, "k").await.unwrap();
    part(&store, "k", id, 1, &content(200 << 10, 1)).await;
    let found = parts(&store, "k", id).await.unwrap();
    let written = complete(&store, "k", id, found.clone()).await.unwrap();
    let again = |tag| {
        let (store, name) = (store.clone(), key("k"));
        async move { store.completed(bucket(), &name, id, tag, now()).await }
    };
    assert_eq!(again(etag(&found)).await, Ok(written));
    let other = again(Etag::Parts([0; 16], 1)).await;
    assert_eq!(other, Err(Error::NoSuchUpload), "of other parts");
    put(&store, "k", b"replaced").await;
    assert_eq!(again(etag(&found)).await, Err(Error::NoSuchUpload));
}

#[tokio::test(start_paused = true)]
async fn of_completions_at_once_one_wins() {
    let store = Rig::new(2, 2).store(1);
    let mut uploads = Vec::new();
    for seed in 0..8u64 {
        let id = create(&store, "k").await.unwrap();
        part(&store, "k", id, 1, &content(200 << 10, seed)).await;
        uploads.push((id, parts(&store, "k", id).await.unwrap()));
    }
    // The same one twice, and different ones, on condition that there is none.
    uploads.push(uploads[0].clone());
    let racing = uploads.iter().map(|(id, parts)| {
        let (store, id) = (store.clone(), *id);
        let expect = Expect::NoneMatch(Tags::Any);
        let complete = complete_of(parts.clone(), Versioning::Off, expect);
        tokio::spawn(async move { store.complete(bucket(), &key("k"), id, &complete).await })
    });
    let racing: Vec<_> = racing.collect();
    let done: Vec<_> = join_all(racing)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let winners: Vec<usize> = (0..9).filter(|at| done[*at].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{done:?}");
    for error in done.iter().filter_map(|done| done.as_ref().err()) {
        assert!(matches!(
            error,
            Error::PreconditionFailed | Error::NoSuchUpload
        ));
    }
    let seed = (winners[0] % 8) as u64;
    assert!(get(&store, "k").await.unwrap() == content(200 << 10, seed));
}

#[tokio::test(start_paused = true)]
async fn parts_that_missed_different_drives_are_read_and_healed() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    let id = create(&store, "k").await.unwrap();
    for number in 1..=4u16 {
        let twin = &rig.twins[usize::from(number) - 1];
        twin.fail(Fault::Offline);
        large_part(&store, "k", id, number).await;
        twin.mend(Fault::Offline);
    }
    let found = parts(&store, "k", id).await.unwrap();
    complete(&store, "k", id, found.clone()).await.unwrap();
    let whole: Vec<u8> = (1..=4).flat_map(|seed| content(300 << 10, seed)).collect();
    assert!(get(&store, "k").await.unwrap() == whole);
    calm().await;
    assert!(store.hints() > 0, "the object has gaps");
    while let Some(healed) = store.heal_next().await {
        healed.unwrap();
    }
    for twin in &rig.twins {
        assert_eq!(twin.files(), files(&found));
    }
    for away in [[0, 1], [1, 2], [2, 3], [0, 3]] {
        away.iter()
            .for_each(|place| rig.twins[*place].fail(Fault::Offline));
        assert!(get(&store, "k").await.unwrap() == whole, "{away:?} away");
        rig.twins.iter().for_each(|twin| twin.mend(Fault::Offline));
    }
}

#[tokio::test(start_paused = true)]
async fn parts_damaged_on_different_drives_are_no_loss() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    let id = create(&store, "k").await.unwrap();
    for number in 1..=4u16 {
        large_part(&store, "k", id, number).await;
    }
    let found = parts(&store, "k", id).await.unwrap();
    complete(&store, "k", id, found.clone()).await.unwrap();
    calm().await;
    // Each part is bad on two drives, and every drive has bad parts.
    for (at, part) in found.iter().enumerate() {
        for place in [at % 4, (at + 1) % 4] {
            assert!(rig.twins[place].flip_shard(part.extent.data, 50));
        }
    }
    let scrubbed = walk(&store, Depth::Shards).await;
    assert_eq!((scrubbed.lost, scrubbed.repaired), (0, 4), "{scrubbed:?}");
    assert!(walk(&store, Depth::Shards).await.is_healed());
    for place in 0..3 {
        assert!(rig.twins[place].flip_shard(found[2].extent.data, 50));
    }
    assert_eq!(
        walk(&store, Depth::Shards).await.lost,
        1,
        "that is one too many"
    );
    assert_eq!(get(&store, "k").await, Err(Error::Damaged));
}

#[tokio::test(start_paused = true)]
async fn a_drive_that_was_wiped_gets_parts_and_objects_again() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    let done = create(&store, "done").await.unwrap();
    let open = create(&store, "open").await.unwrap();
    for number in 1..=3u16 {
        large_part(&store, "done", done, number).await;
        large_part(&store, "open", open, number).await;
    }
    let found = parts(&store, "done", done).await.unwrap();
    complete(&store, "done", done, found).await.unwrap();
    calm().await;
    rig.twins[1].wipe();
    rig.twins[1].fail(Fault::Joining);
    assert!(walk(&store, Depth::Rows).await.complete);
    assert!(walk(&store, Depth::Rows).await.is_healed());
    rig.twins[1].mend(Fault::Joining);
    calm().await;
    rig.twins[2..]
        .iter()
        .for_each(|twin| twin.fail(Fault::Offline));
    let whole: Vec<u8> = (1..=3).flat_map(|seed| content(300 << 10, seed)).collect();
    assert!(get(&store, "done").await.unwrap() == whole);
    rig.twins[2..]
        .iter()
        .for_each(|twin| twin.mend(Fault::Offline));
    let found = parts(&store, "open", open).await.unwrap();
    complete(&store, "open", open, found).await.unwrap();
    calm().await;
    rig.twins[2..]
        .iter()
        .for_each(|twin| twin.fail(Fault::Offline));
    assert!(get(&store, "open").await.unwrap() == whole);
}

/// An older holder's completion and a newer one's abort, message by message: never both, and what
/// is shown can be read.
#[tokio::test(start_paused = true)]
async fn late_messages_of_an_older_holder_never_show_what_was_given_up() {
    for stalled in 0..16usize {
        for late in 0..4 {
            let rig = Rig::new(2, 2);
            let (older, newer) = (rig.store(1), rig.store(2));
            put(&older, "k", b"old").await;
            let id = create(&older, "k").await.unwrap();
            let bytes = content(200 << 10, 1);
            part(&older, "k", id, 1, &bytes).await;
            let found = parts(&older, "k", id).await.unwrap();
            calm().await;
            let stall = |twin: &Twin| twin.fail(Fault::Stall);
            let places = rig.twins.iter().enumerate();
            let places = places.filter(|(place, _)| stalled >> place & 1 == 1);
            places.for_each(|(_, twin)| stall(twin));
            let wait = std::time::Duration::from_millis(300);
            let task = Arc::clone(&older);
            let one = tokio::spawn(async move { complete(&task, "k", id, found).await });
            tokio::time::sleep(wait).await;
            rig.twins[late].mend(Fault::Stall);
            tokio::time::sleep(wait).await;
            let task = Arc::clone(&newer);
            let two = tokio::spawn(async move { abort(&task, "k", id).await });
            tokio::time::sleep(wait).await;
            rig.twins.iter().for_each(|twin| twin.mend(Fault::Stall));
            let (one, two) = (one.await.unwrap(), two.await.unwrap());
            assert!(one.is_err() || two.is_err(), "{stalled:b} {late}: both");
            calm().await;
            drop((older, newer));
            let last = rig.store(3);
            let _ = walk(&last, Depth::Rows).await;
            let shown = get(&last, "k").await;
            let what = format!("{stalled:b} {late}: {one:?} {two:?}");
            match (one.is_ok(), two.is_ok()) {
                (true, _) => assert!(shown == Ok(bytes), "{what}"),
                (_, true) => assert_eq!(shown.unwrap(), b"old", "{what}"),
                _ => assert!(
                    shown == Ok(bytes) || shown.as_deref() == Ok(b"old"),
                    "{what}"
                ),
            }
            assert!(put_new(&last, "k", b"x").await.is_err());
        }
    }
}

//! Changes of tags: a new order of the same version and the same bytes.

use drive::Fault;
use store::{Depth, Error, Put, Store, Versioning};
use types::{Head, VersionId};

use crate::rig::{
    Rig, bucket, calm, content, delete, delete_version, find, get, heads, key, put, put_of,
    try_put, version,
};

const SIZES: [usize; 4] = [0, 4 << 10, 200 << 10, (2 << 20) + 5];

fn pairs(value: &str) -> Vec<(String, String)> {
    vec![("tag".to_owned(), value.to_owned())]
}

async fn tag(store: &Store, id: Option<VersionId>, value: &str) -> Result<VersionId, Error> {
    store.set_tags(bucket(), &key("k"), id, pairs(value)).await
}

async fn tags(store: &Store) -> Vec<(String, String)> {
    find(store, "k").await.unwrap().properties.tags
}

fn newest(rows: &[Head]) -> Head {
    *rows.iter().max_by_key(|head| head.order).unwrap()
}

#[tokio::test(start_paused = true)]
async fn tags_change_and_nothing_else_does() {
    for size in SIZES {
        let rig = Rig::new(2, 2);
        let store = rig.store(1);
        put(&store, "k", &content(size, 1)).await;
        let before = find(&store, "k").await.unwrap();
        for round in ["a", "b", "c"] {
            assert_eq!(tag(&store, None, round).await, Ok(VersionId::Null));
            assert_eq!(tags(&store).await, pairs(round));
            calm().await;
        }
        let after = find(&store, "k").await.unwrap();
        let (order, tags) = (after.head.order, after.properties.tags.clone());
        assert!(order > before.head.order && tags == pairs("c"));
        let same = Head {
            order,
            ..before.head
        };
        assert_eq!(after.head, same);
        assert_eq!(after.properties.user, before.properties.user);
        assert_eq!(get(&store, "k").await, Ok(content(size, 1)), "{size}");
        for twin in &rig.twins {
            let rows = heads(twin, "k").await;
            assert_eq!(newest(&rows), after.head);
            // The last one is dropped with the next commit that the drive takes.
            assert!(rows.len() <= 2, "older rows are dropped");
        }
        delete(&store, "k").await.unwrap();
        assert_eq!(tag(&store, None, "d").await, Err(Error::NoSuchKey));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drive_that_was_away_gets_the_tags_and_keeps_its_shard() {
    for size in SIZES {
        for away in 0..4 {
            let rig = Rig::new(2, 2);
            let store = rig.store(1);
            put(&store, "k", &content(size, 1)).await;
            calm().await;
            rig.twins[away].fail(Fault::Offline);
            tag(&store, None, "new").await.unwrap();
            calm().await;
            rig.twins[away].mend(Fault::Offline);
            // Whoever reads, the drive that is behind shows nobody the old tags.
            assert_eq!(tags(&rig.store(2)).await, pairs("new"), "{size} {away}");
            let store = rig.store(3);
            let healed = store
                .heal(bucket(), &key("k"), Depth::Shards)
                .await
                .unwrap();
            assert!(healed.clean, "{size} {away}: {healed:?}");
            calm().await;
            let head = find(&store, "k").await.unwrap().head;
            for twin in &rig.twins {
                assert_eq!(newest(&heads(twin, "k").await), head);
            }
            // The shard of the drive that was away counts: two others go.
            for other in (0..4).filter(|place| *place != away).take(2) {
                rig.twins[other].fail(Fault::Offline);
            }
            assert_eq!(
                get(&store, "k").await,
                Ok(content(size, 1)),
                "{size} {away}"
            );
            assert_eq!(tags(&store).await, pairs("new"));
        }
    }
}

/// Written without one drive, and changed without another: the first one gets its shard before
/// the change is ordered, since a commit that has begun must be able to end.
#[tokio::test(start_paused = true)]
async fn a_change_gives_a_drive_the_shard_that_it_lacks() {
    for size in SIZES {
        let rig = Rig::new(2, 2);
        let store = rig.store(1);
        rig.twins[3].fail(Fault::Offline);
        put(&store, "k", &content(size, 1)).await;
        calm().await;
        rig.twins[3].mend(Fault::Offline);
        rig.twins[0].fail(Fault::Offline);
        assert_eq!(
            tag(&store, None, "new").await,
            Ok(VersionId::Null),
            "{size}"
        );
        assert_eq!(tags(&store).await, pairs("new"));
        rig.twins[1].fail(Fault::Offline);
        assert_eq!(get(&store, "k").await, Ok(content(size, 1)), "{size}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_too_few_drives_tags_stay_and_nothing_hangs() {
    for size in SIZES {
        let rig = Rig::new(2, 2);
        let store = rig.store(1);
        put(&store, "k", &content(size, 1)).await;
        calm().await;
        for place in [1, 2] {
            rig.twins[place].fail(Fault::Offline);
        }
        let refused = tag(&store, None, "new").await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
        for place in [1, 2] {
            rig.twins[place].mend(Fault::Offline);
        }
        assert_eq!(tags(&store).await, []);
        assert_eq!(tag(&store, None, "later").await, Ok(VersionId::Null));
    }
}

#[tokio::test(start_paused = true)]
async fn each_version_has_its_own_tags_and_stays_where_it_was() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    put(&store, "k", b"null").await;
    let versioned = Put {
        versioning: Versioning::Enabled,
        ..put_of(200 << 10)
    };
    let bytes = content(200 << 10, 1);
    let first = try_put(&store, "k", &versioned, &bytes)
        .await
        .unwrap()
        .version;
    let last = try_put(&store, "k", &versioned, &content(200 << 10, 2))
        .await
        .unwrap()
        .version;
    assert_eq!(tag(&store, Some(first), "one").await, Ok(first));
    assert_eq!(
        tag(&store, Some(VersionId::Null), "nil").await,
        Ok(VersionId::Null)
    );
    assert_eq!(tags(&store).await, [], "the current one has none");
    assert_eq!(tag(&store, None, "cur").await, Ok(last));
    let other = rig.store(2);
    for (id, value) in [(first, "one"), (VersionId::Null, "nil"), (last, "cur")] {
        let found = other.find(bucket(), &key("k"), Some(id)).await.unwrap();
        assert_eq!(found.properties.tags, pairs(value));
    }
    assert_eq!(version(&other, "k", Some(first)).await, Ok(bytes));
    let marker = delete_version(&other, "k", Versioning::Enabled, None)
        .await
        .unwrap();
    for id in [None, marker.version] {
        let refused = tag(&other, id, "x").await;
        assert!(
            matches!(refused, Err(Error::DeleteMarker { .. })),
            "{refused:?}"
        );
    }
    let gone = delete_version(&other, "k", Versioning::Enabled, Some(first)).await;
    gone.unwrap();
    assert_eq!(
        tag(&other, Some(first), "x").await,
        Err(Error::NoSuchVersion)
    );
    let deposed = tag(&store, Some(last), "late").await;
    assert!(matches!(deposed, Err(Error::Unavailable(_))), "{deposed:?}");
}

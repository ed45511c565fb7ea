//! Deleting what a put that was cut off left on some drives.

use std::sync::atomic::Ordering;

use drive::{Discard, Drive, Fault, Fence};
use store::{Depth, Error, Put, Versioning};
use types::VersionId;

use crate::recount::walk;
use crate::rig::{
    Rig, calm, delete, delete_version, get, heads, put, put_of, register, slot_of, try_put, version,
};
use crate::upload_crashes::mortal;

/// A put reaches two drives that no read quorum need meet, and its process ends: so many by its
/// turn, and then these.
async fn cut_off(versioning: Versioning, writes: usize, late: &[usize]) -> Rig {
    let rig = Rig::new(2, 2);
    put(&rig.store(1), "another", b"batch").await;
    let (store, left) = mortal(&rig, 2, writes, late);
    let limit = std::time::Duration::from_secs(30);
    let put = Put {
        versioning,
        ..put_of(4)
    };
    let done = tokio::time::timeout(limit, try_put(&store, "k", &put, b"late")).await;
    assert!(!matches!(done, Ok(Ok(_))), "{done:?}");
    assert_eq!(left.load(Ordering::Relaxed), 0);
    drop(store);
    calm().await;
    rig.crash();
    rig
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_is_not_finished_later() {
    let rig = cut_off(Versioning::Off, 0, &[2, 3]).await;
    let store = rig.store(3);
    delete(&store, "k").await.unwrap();
    walk(&store, Depth::Rows).await;
    assert_eq!(get(&store, "k").await, Err(Error::NoSuchKey));
}

/// However the null version is named, and whatever became of the bucket since.
#[tokio::test(start_paused = true)]
async fn nor_if_a_drive_that_may_have_it_was_away() {
    let null = Some(VersionId::Null);
    let cases = [
        (Versioning::Off, Versioning::Off, None),
        (Versioning::Off, Versioning::Off, null),
        (Versioning::Off, Versioning::Enabled, null),
        (Versioning::Suspended, Versioning::Suspended, null),
        (Versioning::Suspended, Versioning::Enabled, null),
    ];
    for ((then, now, version), away) in cases.iter().flat_map(|case| [(case, 0), (case, 1)]) {
        let rig = cut_off(*then, 1, &[1]).await;
        rig.twins[away].fail(Fault::Offline);
        let store = rig.store(3);
        delete_version(&store, "k", *now, *version).await.unwrap();
        rig.twins[away].mend(Fault::Offline);
        walk(&store, Depth::Rows).await;
        let what = format!("{then:?} {now:?} {version:?} {away}");
        assert_eq!(get(&store, "k").await, Err(Error::NoSuchKey), "{what}");
    }
}

/// The tombstone of what nobody heard of stands in the history where it was made: what is written
/// then follows it, and older versions stay.
#[tokio::test(start_paused = true)]
async fn a_tombstone_of_nothing_keeps_the_versions_around_it() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    let versioned = Put {
        versioning: Versioning::Enabled,
        ..put_of(4)
    };
    let before = try_put(&store, "k", &versioned, b"old!").await.unwrap();
    rig.twins[3].fail(Fault::Offline);
    let null = Some(VersionId::Null);
    let gone = delete_version(&store, "k", Versioning::Enabled, null).await;
    assert_eq!(gone.unwrap().version, null);
    assert_eq!(get(&store, "k").await.unwrap(), b"old!");
    let after = try_put(&store, "k", &versioned, b"new!").await.unwrap();
    rig.twins[3].mend(Fault::Offline);
    calm().await;
    let store = rig.store(2);
    for _ in 0..2 {
        walk(&store, Depth::Rows).await;
    }
    for (written, bytes) in [(&before, b"old!"), (&after, b"new!")] {
        let found = version(&store, "k", Some(written.version)).await;
        assert_eq!(found.unwrap(), bytes);
    }
    assert_eq!(get(&store, "k").await.unwrap(), b"new!");
}

/// A drive that lost a part of its index may show again what was collected long ago, and have no
/// more of it than the head. Fails if that is called lost: nothing would be healed ever after.
#[tokio::test(start_paused = true)]
async fn a_tombstone_of_which_only_the_head_is_left_is_collected() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    put(&store, "k", b"old!").await;
    delete(&store, "k").await.unwrap();
    calm().await;
    let head = heads(&rig.twins[3], "k").await[0];
    for twin in &rig.twins[..3] {
        let gone = Discard {
            fence: Fence {
                slot: slot_of("k"),
                epoch: head.order.epoch,
            },
            register: register("k"),
            rows: vec![(head.born, head.order)],
            keep: [].into(),
        };
        twin.discard(gone).await.unwrap();
    }
    assert!(rig.twins[3].flip_row(&register("k"), head.born, head.order));
    let store = rig.store(2);
    assert_eq!(walk(&store, Depth::Rows).await.lost, 0);
    assert!(walk(&store, Depth::Rows).await.is_healed());
    for twin in &rig.twins {
        assert_eq!(heads(twin, "k").await, []);
    }
}

//! Deleting what a put that was cut off left on some drives.

use std::sync::atomic::Ordering;

use drive::Fault;
use store::{Depth, Error};

use crate::recount::walk;
use crate::rig::{Rig, calm, delete, get, put, put_of, try_put};
use crate::upload_crashes::mortal;

/// A put reaches two drives that no read quorum need meet, and its process ends.
async fn cut_off() -> Rig {
    let rig = Rig::new(2, 2);
    put(&rig.store(1), "another", b"batch").await;
    let (store, left) = mortal(&rig, 2, 0, &[2, 3]);
    let limit = std::time::Duration::from_secs(30);
    let done = tokio::time::timeout(limit, try_put(&store, "k", &put_of(4), b"late")).await;
    assert!(!matches!(done, Ok(Ok(_))), "{done:?}");
    assert_eq!(left.load(Ordering::Relaxed), 0);
    drop(store);
    calm().await;
    rig.crash();
    rig
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_is_not_finished_later() {
    let rig = cut_off().await;
    let store = rig.store(3);
    delete(&store, "k").await.unwrap();
    walk(&store, Depth::Rows).await;
    assert_eq!(get(&store, "k").await, Err(Error::NoSuchKey));
}

#[tokio::test(start_paused = true)]
async fn nor_if_a_drive_that_may_have_it_was_away() {
    for away in [2, 3] {
        let rig = cut_off().await;
        rig.twins[away].fail(Fault::Offline);
        let store = rig.store(3);
        delete(&store, "k").await.unwrap();
        rig.twins[away].mend(Fault::Offline);
        walk(&store, Depth::Rows).await;
        assert_eq!(get(&store, "k").await, Err(Error::NoSuchKey));
    }
}

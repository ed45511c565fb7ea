//! Lists of uploads, and uploads that nobody ends.

use drive::Fault;
use store::{Depth, Error, ListedUpload, Store, UploadsPage, UploadsRequest};
use types::{BucketId, Order, Timestamp};

use crate::recount::walk;
use crate::rig::{Rig, bucket, calm, content, key, names, put};
use crate::uploads::{abort, complete, create, now, part, parts, upload};

fn all(prefix: &str, delimiter: Option<&str>, entries_max: usize) -> UploadsRequest {
    UploadsRequest {
        bucket: bucket(),
        prefix: prefix.to_owned(),
        after: None,
        delimiter: delimiter.map(str::to_owned),
        entries_max,
    }
}

/// Keys with the uploads' ids, and common prefixes.
fn shown(page: &UploadsPage) -> Vec<(String, Option<Order>)> {
    let show = |entry: &ListedUpload| match entry {
        ListedUpload::Upload(key, id, _) => (key.clone(), Some(*id)),
        ListedUpload::Prefix(prefix) => (prefix.clone(), None),
    };
    page.entries.iter().map(show).collect()
}

async fn list(store: &Store, request: &UploadsRequest) -> UploadsPage {
    store.list_uploads(request).await.unwrap()
}

async fn keys(store: &Store, request: &UploadsRequest) -> Vec<String> {
    let page = list(store, request).await;
    shown(&page).into_iter().map(|(key, _)| key).collect()
}

#[tokio::test(start_paused = true)]
async fn uploads_are_listed_by_key_and_then_by_their_beginning() {
    let store = Rig::new(2, 2).store(1);
    let mut begun = Vec::new();
    for name in ["b", "a/2", "a", "a/1", "a", "ü", "a"] {
        begun.push((name.to_owned(), Some(create(&store, name).await.unwrap())));
    }
    put(&store, "object", b"is no upload").await;
    let done = create(&store, "done").await.unwrap();
    part(&store, "done", done, 1, b"x").await;
    let found = parts(&store, "done", done).await.unwrap();
    complete(&store, "done", done, found).await.unwrap();
    let gone = create(&store, "gone").await.unwrap();
    abort(&store, "gone", gone).await.unwrap();
    begun.sort();
    for wait in [false, true] {
        if wait {
            calm().await;
        }
        assert_eq!(shown(&list(&store, &all("", None, 100)).await), begun);
    }
    for size in 1..=8 {
        let mut request = all("", None, size);
        let mut paged = Vec::new();
        loop {
            let page = list(&store, &request).await;
            paged.extend(shown(&page));
            if !page.truncated {
                break;
            }
            request.after = paged.last().cloned();
        }
        assert_eq!(paged, begun, "pages of {size}");
    }
    assert_eq!(keys(&store, &all("a/", None, 9)).await, ["a/1", "a/2"]);
    assert_eq!(
        keys(&store, &all("", Some("/"), 9)).await,
        ["a", "a", "a", "a/", "b", "ü"]
    );
    let behind = |key: &str, delimiter| UploadsRequest {
        after: Some((key.to_owned(), None)),
        ..all("", delimiter, 9)
    };
    assert_eq!(
        keys(&store, &behind("a", None)).await,
        ["a/1", "a/2", "b", "ü"]
    );
    assert_eq!(keys(&store, &behind("a/", Some("/"))).await, ["b", "ü"]);
    assert_eq!(keys(&store, &behind("a/1", Some("/"))).await, ["b", "ü"]);
    assert_eq!(
        names(&store).await,
        ["done", "object"],
        "lists of objects show none"
    );
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_too_old_is_given_up_wherever_it_is() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    let mut old = Vec::new();
    for number in 0..30 {
        let name = format!("{number}");
        let id = create(&store, &name).await.unwrap();
        part(&store, &name, id, 1, &content(500, number)).await;
        old.push((name, id));
    }
    let elsewhere = BucketId::from_u64(900);
    let new = store::NewUpload {
        properties: store::Properties::default(),
        class: types::StorageClass::Standard,
        now: now(),
    };
    let stray = store
        .create_upload(elsewhere, &key("k"), &new)
        .await
        .unwrap();
    let later = Timestamp::from_millis(now().as_millis() + 1);
    let new = store::NewUpload { now: later, ..new };
    let young = store
        .create_upload(bucket(), &key("k"), &new)
        .await
        .unwrap();
    assert_eq!(store.expire_uploads(now(), later).await, Ok(0), "not yet");
    assert_eq!(store.expire_uploads(later, later).await, Ok(31));
    assert_eq!(store.expire_uploads(later, later).await, Ok(0));
    for (name, id) in &old {
        assert_eq!(upload(&store, name, *id).await, Err(Error::NoSuchUpload));
    }
    let found = store.upload(elsewhere, &key("k"), stray).await;
    assert_eq!(found, Err(Error::NoSuchUpload));
    assert!(upload(&store, "k", young).await.is_ok());
    calm().await;
    assert!(rig.twins.iter().all(|twin| twin.files().is_empty()));
    assert_eq!(store.abort_uploads(bucket(), later).await, Ok(1));
    assert!(upload(&store, "k", young).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_drive_that_was_away_when_an_upload_ended_is_swept_when_it_is_back() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    for (number, ending) in ["done", "gone"].into_iter().enumerate() {
        let id = create(&store, ending).await.unwrap();
        for part_number in 1..=3 {
            part(
                &store,
                ending,
                id,
                part_number,
                &content(900, number as u64),
            )
            .await;
        }
        rig.twins[2].fail(Fault::Offline);
        if ending == "done" {
            let mut found = parts(&store, ending, id).await.unwrap();
            found.pop();
            complete(&store, ending, id, found).await.unwrap();
        } else {
            abort(&store, ending, id).await.unwrap();
        }
        calm().await;
        rig.twins[2].mend(Fault::Offline);
    }
    assert_eq!(rig.twins[2].files().len(), 6);
    assert_eq!(rig.twins[1].files().len(), 2);
    for _ in 0..3 {
        walk(&store, Depth::Rows).await;
    }
    assert!(walk(&store, Depth::Shards).await.is_healed());
    assert_eq!(rig.twins[2].files(), rig.twins[1].files());
}

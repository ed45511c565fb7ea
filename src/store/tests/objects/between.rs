//! A new grant to the same process, between what a holder found and what it orders. Another holder
//! had the slot in between, and what it did must stand.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use drive::{
    Commit, Committed, Discard, Drive, Fault, Identity, MetaWrite, Register, Reply, Rows,
    RowsRequest, Scan, ScanPage, Settles, ShardReader, Stage, Status, Twin,
};
use parking_lot::Mutex;
use store::{Delete, Error, Expect, SetConfig, Store, Tags, Versioning};
use types::{DataId, Epoch};

use crate::recount::sound;
use crate::rig::{
    Rig, bucket, calm, content, deployment, get, grant, key, put, put_new, put_of, try_put,
};
use crate::uploads::{abort, complete, create, now, part, parts, try_part, upload};

type Event = Pin<Box<dyn Future<Output = ()> + Send>>;

/// After which answer it happens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Rows,
    Scan,
}

/// What happens once, before an answer arrives that was given before it.
type Fuse = Arc<Mutex<Option<(After, Event)>>>;

struct Slow {
    twin: Twin,
    fuse: Fuse,
}

impl Slow {
    fn answer<T: Send + 'static>(&self, after: After, answer: Reply<T>) -> Reply<T> {
        let fuse = Arc::clone(&self.fuse);
        Box::pin(async move {
            let answer = answer.await;
            let event = fuse.lock().take_if(|(at, _)| *at == after);
            if let Some((_, event)) = event {
                event.await;
            }
            answer
        })
    }
}

impl Drive for Slow {
    fn identity(&self) -> Identity {
        self.twin.identity()
    }
    fn status(&self) -> Status {
        self.twin.status()
    }
    fn commit(&self, commit: Commit) -> Reply<Committed> {
        self.twin.commit(commit)
    }
    fn rows(&self, request: RowsRequest) -> Reply<Rows> {
        self.answer(After::Rows, self.twin.rows(request))
    }
    fn scan(&self, scan: Scan) -> Reply<ScanPage> {
        self.answer(After::Scan, self.twin.scan(scan))
    }
    fn settle(&self, settles: Settles) {
        self.twin.settle(settles);
    }
    fn discard(&self, discard: Discard) -> Reply<()> {
        self.twin.discard(discard)
    }
    fn stage(&self, data: DataId, register: Arc<Register>) -> Reply<Box<dyn Stage>> {
        self.twin.stage(data, register)
    }
    fn read_shards(&self, files: Arc<[DataId]>) -> Box<dyn ShardReader> {
        self.twin.read_shards(files)
    }
    fn meta_write(&self, writes: Vec<MetaWrite>) -> Reply<()> {
        self.twin.meta_write(writes)
    }
    fn meta_scan(&self, prefix: Bytes) -> Reply<Vec<(Bytes, Bytes)>> {
        self.twin.meta_scan(prefix)
    }
    fn positions(&self) -> (u64, Vec<(u8, u64)>) {
        self.twin.positions()
    }
}

/// Two processes on the same drives.
struct Case {
    store: Arc<Store>,
    other: Arc<Store>,
    fuse: Fuse,
}

impl Case {
    fn new() -> Self {
        let (rig, fuse) = (Rig::new(2, 2), Fuse::default());
        let slow = |twin: &Twin| {
            let (twin, fuse) = (twin.clone(), Arc::clone(&fuse));
            Arc::new(Slow { twin, fuse }) as Arc<dyn Drive>
        };
        let config = SetConfig {
            deployment: deployment(),
            drives: rig.twins.iter().map(slow).collect(),
            standard: rig.geometry,
            reduced: rig.geometry,
            membership: Epoch::default(),
        };
        let store = Store::new(deployment(), vec![config]);
        grant(&store, 1);
        Self {
            store: Arc::new(store),
            other: rig.store(2),
            fuse,
        }
    }

    /// The other process does something under its lease, then the first one is granted another.
    fn between<F>(&self, after: After, act: impl FnOnce(Arc<Store>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (store, act) = (Arc::clone(&self.store), act(Arc::clone(&self.other)));
        let event = async move {
            act.await;
            grant(&store, 3);
        };
        *self.fuse.lock() = Some((after, Box::pin(event)));
    }

    /// What is there is settled, so that a read quorum alone decides.
    async fn overwritten_between(&self) {
        calm().await;
        self.between(After::Rows, |other| async move {
            put(&other, "k", b"other").await;
        });
    }

    async fn other_stands<T: std::fmt::Debug>(&self, told: Result<T, Error>) {
        assert!(matches!(told, Err(Error::Unavailable(_))), "{told:?}");
        assert!(self.fuse.lock().is_none(), "it happened");
        calm().await;
        assert_eq!(get(&self.store, "k").await.unwrap(), b"other");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_absent_under_an_older_grant_is_not_written_under_a_newer_one() {
    let case = Case::new();
    case.overwritten_between().await;
    let told = put_new(&case.store, "k", b"mine").await;
    case.other_stands(told).await;
    // Now it decides and orders by the same lease.
    let mut put = put_of(3);
    put.expect = Expect::Match(Tags::Any);
    try_put(&case.store, "k", &put, b"new").await.unwrap();
    assert_eq!(get(&case.store, "k").await.unwrap(), b"new");
}

#[tokio::test(start_paused = true)]
async fn a_version_found_under_an_older_grant_is_not_deleted_under_a_newer_one() {
    let case = Case::new();
    let etag = put(&case.store, "k", b"mine").await.etag;
    case.overwritten_between().await;
    let delete = Delete {
        versioning: Versioning::Off,
        version: None,
        expect: Expect::Match(Tags::OneOf(vec![etag.to_string()])),
        now: now(),
    };
    let told = case.store.delete(bucket(), &key("k"), &delete).await;
    case.other_stands(told).await;
}

#[tokio::test(start_paused = true)]
async fn a_version_found_under_an_older_grant_gets_no_tags_under_a_newer_one() {
    for size in [100, 200 << 10] {
        let case = Case::new();
        put(&case.store, "k", &content(size, 1)).await;
        case.overwritten_between().await;
        let tags = vec![("tag".to_owned(), "a".to_owned())];
        let told = case.store.set_tags(bucket(), &key("k"), None, tags).await;
        case.other_stands(told).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_open_under_an_older_grant_takes_nothing_under_a_newer_one() {
    let case = Case::new();
    let id = create(&case.store, "k").await.unwrap();
    part(&case.store, "k", id, 1, b"part").await;
    calm().await;
    case.between(After::Rows, move |other| async move {
        abort(&other, "k", id).await.unwrap();
        put(&other, "k", b"other").await;
    });
    let told = try_part(&case.store, "k", id, 2, b"late").await;
    case.other_stands(told).await;
    assert_eq!(parts(&case.store, "k", id).await, Ok(vec![]));
}

/// The parts were looked at, and then the other one gave the upload up.
#[tokio::test(start_paused = true)]
async fn an_upload_open_under_an_older_grant_is_not_completed_under_a_newer_one() {
    let case = Case::new();
    let id = create(&case.store, "k").await.unwrap();
    let named = vec![part(&case.store, "k", id, 1, b"part").await];
    calm().await;
    case.between(After::Scan, move |other| async move {
        abort(&other, "k", id).await.unwrap();
        put(&other, "k", b"other").await;
        calm().await;
    });
    let told = complete(&case.store, "k", id, named).await;
    case.other_stands(told).await;
    let gone = upload(&case.store, "k", id).await;
    assert_eq!(gone.err(), Some(Error::NoSuchUpload));
}

/// What a drive said before it was rebuilt is no vote, though it votes by the time that is heard.
/// Fails if only the standing at that time counts: with the one drive that lacks the object there is
/// then a quorum that denies it.
#[tokio::test(start_paused = true)]
async fn an_answer_of_a_drive_that_joined_is_no_vote_when_it_arrives_later() {
    let (rig, fuse) = (Rig::new(2, 2), Fuse::default());
    let store = rig.store(1);
    rig.twins[3].fail(Fault::Offline);
    put(&store, "k", b"x").await;
    calm().await;
    rig.twins[0].wipe();
    rig.twins[0].fail(Fault::Joining);
    let slow = Slow {
        twin: rig.twins[0].clone(),
        fuse: Arc::clone(&fuse),
    };
    let others = rig.twins[1..].iter().cloned();
    let others = others.map(|twin| Arc::new(twin) as Arc<dyn Drive>);
    let config = SetConfig {
        deployment: deployment(),
        drives: std::iter::once(Arc::new(slow) as _).chain(others).collect(),
        standard: rig.geometry,
        reduced: rig.geometry,
        membership: Epoch::default(),
    };
    let reader = Store::new(deployment(), vec![config]);
    let twins = rig.twins.clone();
    let only_last = move || {
        twins[3].mend(Fault::Offline);
        twins[1..3]
            .iter()
            .for_each(|twin| twin.fail(Fault::Offline));
    };
    only_last();
    let twins = rig.twins.clone();
    let rebuilt = async move {
        twins[3].fail(Fault::Offline);
        twins[1..3]
            .iter()
            .for_each(|twin| twin.mend(Fault::Offline));
        assert!(sound(&store).await.contains(&0));
        twins[0].mend(Fault::Joining);
        only_last();
    };
    *fuse.lock() = Some((After::Rows, Box::pin(rebuilt)));
    let read = get(&reader, "k").await;
    assert!(fuse.lock().is_none(), "it happened");
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
}

//! The process ends at every step of an upload's end, on any number of drives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use drive::{
    Commit, Committed, Discard, Drive, Identity, MetaWrite, Register, Reply, Rows, RowsRequest,
    Scan, ScanPage, Settles, ShardReader, Stage, Status, Twin,
};
use store::{Depth, Error, Part, SetConfig, Store};
use types::{DataId, Epoch, Order};

use crate::recount::walk;
use crate::rig::{Rig, bucket, calm, content, delete, deployment, get, grant, key, put};
use crate::uploads::{abort, complete, create, etag, files, now, part, parts, upload};

/// A drive that answers until so many writes were made on all drives together.
struct Fused {
    twin: Twin,
    left: Arc<AtomicUsize>,
    /// Commits that reach it after that: they were sent already.
    late: AtomicUsize,
}

impl Fused {
    fn burnt<T: Send + 'static>(&self) -> Option<Reply<T>> {
        let gone = || drive::Error::Offline("the process ended".into());
        (self.left.load(Ordering::Relaxed) == 0)
            .then(|| Box::pin(std::future::ready(Err(gone()))) as Reply<T>)
    }
}

/// Takes one away, if there is one.
fn take(left: &AtomicUsize) -> bool {
    let less = |left: usize| left.checked_sub(1);
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        .is_ok()
}

macro_rules! fused {
    ($self:ident, $call:expr) => {
        $self.burnt().unwrap_or_else(|| $call)
    };
}

impl Drive for Fused {
    fn identity(&self) -> Identity {
        self.twin.identity()
    }
    fn status(&self) -> Status {
        self.twin.status()
    }
    fn commit(&self, commit: Commit) -> Reply<Committed> {
        if take(&self.left) || take(&self.late) {
            return self.twin.commit(commit);
        }
        fused!(self, self.twin.commit(commit))
    }
    fn rows(&self, request: RowsRequest) -> Reply<Rows> {
        fused!(self, self.twin.rows(request))
    }
    fn scan(&self, scan: Scan) -> Reply<ScanPage> {
        fused!(self, self.twin.scan(scan))
    }
    fn settle(&self, settles: Settles) {
        if self.left.load(Ordering::Relaxed) > 0 {
            self.twin.settle(settles);
        }
    }
    fn discard(&self, discard: Discard) -> Reply<()> {
        fused!(self, {
            take(&self.left);
            self.twin.discard(discard)
        })
    }
    fn stage(&self, data: DataId, register: Arc<Register>) -> Reply<Box<dyn Stage>> {
        fused!(self, self.twin.stage(data, register))
    }
    fn read_shards(&self, files: Arc<[DataId]>) -> Box<dyn ShardReader> {
        self.twin.read_shards(files)
    }
    fn meta_write(&self, writes: Vec<MetaWrite>) -> Reply<()> {
        fused!(self, self.twin.meta_write(writes))
    }
    fn meta_scan(&self, prefix: Bytes) -> Reply<Vec<(Bytes, Bytes)>> {
        fused!(self, self.twin.meta_scan(prefix))
    }
    fn positions(&self) -> (u64, Vec<(u8, u64)>) {
        self.twin.positions()
    }
}

/// A process that ends after so many writes. One more commit reaches each of these drives.
pub(crate) fn mortal(
    rig: &Rig,
    epoch: u64,
    writes: usize,
    late: &[usize],
) -> (Store, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(writes));
    let fused = |(place, twin): (usize, &Twin)| {
        let (twin, left) = (twin.clone(), Arc::clone(&left));
        let late = AtomicUsize::new(usize::from(late.contains(&place)));
        Arc::new(Fused { twin, left, late }) as Arc<dyn Drive>
    };
    let config = SetConfig {
        deployment: deployment(),
        drives: rig.twins.iter().enumerate().map(fused).collect(),
        standard: rig.geometry,
        reduced: rig.geometry,
        membership: Epoch::default(),
    };
    let store = Store::new(deployment(), vec![config]);
    grant(&store, epoch);
    (store, left)
}

/// What comes after the crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    Retry,
    Abort,
    DeleteAndRetry,
}

struct Case {
    rig: Rig,
    id: Order,
    named: Vec<Part>,
    whole: Vec<u8>,
}

impl Case {
    /// Three parts, of which the second is not named in the end, over an older object.
    async fn new() -> Self {
        let rig = Rig::new(2, 2);
        let store = rig.store(1);
        put(&store, "k", b"old").await;
        let id = create(&store, "k").await.unwrap();
        for number in 1..=3u16 {
            part(&store, "k", id, number, &content(3_000, u64::from(number))).await;
        }
        let mut named = parts(&store, "k", id).await.unwrap();
        named.remove(1);
        calm().await;
        let whole = [content(3_000, 1), content(3_000, 3)].concat();
        Self {
            rig,
            id,
            named,
            whole,
        }
    }

    /// A client that asks again, as the door does for it.
    async fn retry(&self, store: &Store) -> Result<(), Error> {
        for _ in 0..2 {
            match upload(store, "k", self.id).await {
                Ok(_) => {}
                Err(Error::NoSuchUpload) => {
                    let (name, tag) = (key("k"), etag(&self.named));
                    let found = store.completed(bucket(), &name, self.id, tag, now()).await;
                    return found.map(|_| ());
                }
                Err(error) => return Err(error),
            }
            match complete(store, "k", self.id, self.named.clone()).await {
                Err(Error::NoSuchUpload) => {}
                done => return done.map(|_| ()),
            }
        }
        Err(Error::NoSuchUpload)
    }

    /// Everything is whole, and only what is needed is left.
    async fn check(&self, store: &Store, allowed: &[&[u8]], what: &str) {
        calm().await;
        for _ in 0..3 {
            walk(store, Depth::Rows).await;
        }
        calm().await;
        put(store, "another", b"batch").await;
        let shown = get(store, "k").await.unwrap();
        assert!(allowed.contains(&shown.as_slice()), "{what}");
        let scrub = walk(store, Depth::Shards).await;
        assert!(scrub.is_healed(), "{what}: {scrub:?}");
        if upload(store, "k", self.id).await.is_err() {
            let needed = match shown == self.whole {
                true => files(&self.named),
                false => Vec::new(),
            };
            for twin in &self.rig.twins {
                assert_eq!(twin.files(), needed, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_completion_cut_off_anywhere_is_old_or_new_and_can_be_asked_for_again() {
    let all = [
        Then::Nothing,
        Then::Retry,
        Then::Abort,
        Then::DeleteAndRetry,
    ];
    // A read quorum need not meet the last drive.
    let cases = all.map(|then| [(then, [].as_slice()), (then, &[3])]);
    for (then, late) in cases.into_iter().flatten() {
        let mut writes = 0;
        loop {
            let case = Case::new().await;
            let (store, left) = mortal(&case.rig, 2, writes, late);
            let limit = std::time::Duration::from_secs(30);
            let done = complete(&store, "k", case.id, case.named.clone());
            let done = tokio::time::timeout(limit, done).await;
            calm().await;
            let (acknowledged, unharmed) =
                (matches!(done, Ok(Ok(_))), left.load(Ordering::Relaxed) > 0);
            left.store(0, Ordering::Relaxed);
            drop(store);
            case.rig.crash();
            let what = format!("{then:?} after {writes} writes, {late:?}: {done:?}");
            let store = case.rig.store(3);
            let before = get(&store, "k").await.unwrap();
            assert!(before == case.whole || before == b"old", "{what}");
            assert!(!acknowledged || before == case.whole, "{what}");
            let (old, new) = (b"old".as_slice(), case.whole.as_slice());
            let mut allowed = vec![new];
            match then {
                // What was cut off may yet become visible, once.
                Then::Nothing if before == old => allowed.push(old),
                Then::Nothing => {}
                Then::Retry => assert_eq!(case.retry(&store).await, Ok(()), "{what}"),
                Then::Abort => {
                    match abort(&store, "k", case.id).await {
                        Ok(()) => allowed = vec![old],
                        Err(error) => assert_eq!(error, Error::NoSuchUpload, "{what}"),
                    }
                    assert!(upload(&store, "k", case.id).await.is_err());
                }
                Then::DeleteAndRetry => {
                    delete(&store, "k").await.unwrap();
                    calm().await;
                    put(&store, "another", b"batch").await;
                    if let Err(error) = case.retry(&store).await {
                        assert_eq!(error, Error::NoSuchUpload, "{what}");
                        put(&store, "k", old).await;
                        allowed = vec![old];
                    }
                }
            }
            case.check(&store, &allowed, &what).await;
            if unharmed {
                assert!(acknowledged, "{what}");
                break;
            }
            writes += 1;
        }
        assert!(writes > 20, "{then:?}: {writes} steps");
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_cut_off_anywhere_can_be_asked_for_again() {
    for writes in 0.. {
        let case = Case::new().await;
        let (store, left) = mortal(&case.rig, 2, writes, &[]);
        let limit = std::time::Duration::from_secs(30);
        let done = tokio::time::timeout(limit, abort(&store, "k", case.id)).await;
        calm().await;
        let unharmed = left.swap(0, Ordering::Relaxed) > 0;
        drop(store);
        case.rig.crash();
        let what = format!("after {writes} writes: {done:?}");
        let store = case.rig.store(3);
        let again = abort(&store, "k", case.id).await;
        assert!(matches!(again, Ok(()) | Err(Error::NoSuchUpload)), "{what}");
        assert_eq!(case.retry(&store).await, Err(Error::NoSuchUpload));
        case.check(&store, &[b"old"], &what).await;
        if unharmed {
            assert!(matches!(done, Ok(Ok(()))), "{what}");
            assert!(writes > 10, "{writes} steps");
            break;
        }
    }
}

//! The tasks of upkeep.

use std::sync::Arc;

use store::{Census, Seat, Store};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::pace::{Pace, pause};
use crate::stats::UpkeepStats;
use crate::{expiry, recount, scrub};

/// Upkeep of a store. It ends with [`Upkeep::stop`], or when this is dropped: at any instant,
/// since all it does are commits that go on by themselves.
#[derive(Debug)]
pub struct Upkeep {
    stats: Arc<UpkeepStats>,
    sound: watch::Receiver<Vec<Seat>>,
    tasks: JoinSet<()>,
}

impl Upkeep {
    /// Begins: a recount at once, hints as they come, the scrub when it is due,
    /// and old uploads every few hours. Must be called
    /// within a tokio runtime, once the store has its leases.
    pub fn start(store: Arc<Store>, pace: Pace) -> Self {
        let stats = Arc::new(UpkeepStats::default());
        let (tell, sound) = watch::channel(Vec::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(heal_hints(Arc::clone(&store), pace, Arc::clone(&stats)));
        let recounting = recount::run(Arc::clone(&store), pace, Arc::clone(&stats), tell);
        tasks.spawn(recounting);
        tasks.spawn(expiry::run(Arc::clone(&store), pace));
        tasks.spawn(scrub::run(store, pace, Arc::clone(&stats)));
        Self {
            stats,
            sound,
            tasks,
        }
    }

    /// What it did so far.
    pub fn stats(&self) -> &Arc<UpkeepStats> {
        &self.stats
    }

    /// The drives on which the last recount found all that a read quorum knows. Changes after
    /// each recount; closed at the end.
    pub fn sound(&self) -> watch::Receiver<Vec<Seat>> {
        self.sound.clone()
    }

    /// Ends it, and waits until nothing of it runs any more.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Heals what reads and writes note.
async fn heal_hints(store: Arc<Store>, pace: Pace, stats: Arc<UpkeepStats>) {
    loop {
        store.hinted().await;
        let began = Instant::now();
        match store.heal_next().await {
            Some(Ok(healed)) => {
                stats.hint();
                let done = Census {
                    repaired: healed.repaired,
                    collected: healed.collected,
                    discarded: healed.discarded,
                    ..Census::default()
                };
                stats.done(&Census::default(), &done);
            }
            Some(Err(error)) => tracing::warn!(%error, "a key that was noted could not be healed"),
            None => {}
        }
        pause(began, pace.recount_duty).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use drive::{Drive, Fault, Identity, Register, Twin};
    use futures_util::StreamExt;
    use store::{Depth, Expect, Properties, Put, SetConfig, Versioning};
    use types::{
        BucketId, DeploymentId, DriveId, Epoch, Geometry, ObjectKey, Slot, StorageClass, Timestamp,
    };

    use super::*;

    fn twins() -> Vec<Twin> {
        let twin = |place: u8| {
            let identity = Identity {
                deployment: DeploymentId::from_bytes([1; 16]),
                drive: DriveId::from_bytes([place; 16]),
                pool: 0,
                set: 0,
                place,
            };
            Twin::new(identity, u64::from(place))
        };
        (0..4).map(twin).collect()
    }

    fn store(twins: &[Twin], epoch: u64) -> Arc<Store> {
        let drives = twins.iter().cloned();
        let geometry = Geometry::new(2, 2).unwrap();
        let config = SetConfig {
            deployment: DeploymentId::from_bytes([1; 16]),
            drives: drives
                .map(|twin| Arc::new(twin) as Arc<dyn Drive>)
                .collect(),
            standard: geometry,
            reduced: geometry,
            membership: Epoch::default(),
        };
        let store = Store::new(config.deployment, vec![config]);
        for slot in 0..Slot::COUNT {
            store.grant(Slot::new(slot), Epoch::new(0, epoch));
        }
        Arc::new(store)
    }

    async fn put(store: &Store, name: &str, size: usize) {
        let key = ObjectKey::parse(name).unwrap();
        let put = Put {
            versioning: Versioning::Off,
            expect: Expect::Anything,
            size: size as u64,
            class: StorageClass::Standard,
            now: Timestamp::from_millis(0),
        };
        let mut body = Bytes::from(vec![7; size]);
        let done = store.put(BucketId::from_u64(1), &key, &put, &mut body);
        done.await.unwrap();
    }

    async fn flip(store: &Store, twin: &Twin, name: &str) {
        let key = ObjectKey::parse(name).unwrap();
        let found = store.find(BucketId::from_u64(1), &key, None).await.unwrap();
        let (head, register) = (found.head, Register::object(BucketId::from_u64(1), &key));
        let flipped = twin.flip_inline(&register, head.born, head.order, 40);
        assert!(flipped || twin.flip_shard(head.data, 40));
    }

    async fn is_whole(store: &Store) -> bool {
        let mut walk = store.walk(Depth::Shards, None);
        while walk.step().await {}
        walk.census().is_healed()
    }

    fn pace() -> Pace {
        Pace {
            scrub_every: Duration::from_secs(3600),
            ..Pace::default()
        }
    }

    async fn seconds(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_drive_that_returns_is_made_whole_and_then_healed_is_said() {
        let twins = twins();
        let store = store(&twins, 1);
        let upkeep = Upkeep::start(Arc::clone(&store), pace());
        twins[2].fail(Fault::Offline);
        for number in 0..50 {
            put(&store, &format!("{number}"), 1 + number * 7_000).await;
        }
        seconds(60).await;
        assert!(!upkeep.stats().healed(), "away is not healed");
        assert_eq!(upkeep.stats().repaired(), 0);
        twins[2].mend(Fault::Offline);
        seconds(60).await;
        assert!(upkeep.stats().healed());
        assert_eq!(upkeep.stats().repaired(), 50);
        assert!(upkeep.stats().recounts() >= 2, "counted again");
        upkeep.stop().await;
        assert!(is_whole(&store).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_scrub_finds_what_nobody_reads_and_a_reader_has_it_repaired_at_once() {
        let twins = twins();
        let store = store(&twins, 1);
        for (name, size) in [("inline", 5_000), ("file", 500_000), ("read", 600_000)] {
            put(&store, name, size).await;
        }
        let upkeep = Upkeep::start(Arc::clone(&store), pace());
        seconds(10).await;
        assert!(upkeep.stats().healed());
        flip(&store, &twins[0], "inline").await;
        flip(&store, &twins[1], "file").await;
        seconds(60).await;
        assert_eq!((upkeep.stats().repaired(), upkeep.stats().scrubs()), (0, 0));
        // The wall clock stands still in this test: the next scrub is an hour of waiting away.
        seconds(3_700).await;
        assert_eq!((upkeep.stats().repaired(), upkeep.stats().scrubs()), (2, 1));
        assert_eq!(upkeep.stats().scrubbed(), 3);
        for twin in &twins[..2] {
            flip(&store, twin, "read").await;
        }
        let key = ObjectKey::parse("read").unwrap();
        let found = store.find(BucketId::from_u64(1), &key, None).await.unwrap();
        let range = types::ByteRange::whole(found.head.size);
        let mut bytes = Box::pin(found.stream(range));
        while bytes.next().await.is_some() {}
        seconds(1).await;
        // The second may be noted while the first is being seen to.
        assert!((1..=2).contains(&upkeep.stats().hints()));
        assert_eq!(upkeep.stats().repaired(), 4);
        upkeep.stop().await;
        assert!(is_whole(&store).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_is_counted_and_never_called_healed() {
        let twins = twins();
        let store = store(&twins, 1);
        put(&store, "k", 900).await;
        for twin in &twins[..3] {
            flip(&store, twin, "k").await;
        }
        let pace = Pace {
            scrub_every: Duration::ZERO,
            ..pace()
        };
        let upkeep = Upkeep::start(Arc::clone(&store), pace);
        seconds(20).await;
        assert!(upkeep.stats().scrubs() > 0);
        assert_eq!((upkeep.stats().lost(), upkeep.stats().unhealed()), (1, 1));
        assert!(store.counters().unrecoverable() > 0);
    }

    /// Fails if a drive that begins to join later on waits for the next start.
    #[tokio::test(start_paused = true)]
    async fn a_drive_that_joins_is_recounted_for() {
        let twins = twins();
        let store = store(&twins, 1);
        put(&store, "k", 900).await;
        let upkeep = Upkeep::start(Arc::clone(&store), pace());
        seconds(10).await;
        let before = upkeep.stats().recounts();
        seconds(10).await;
        assert_eq!(upkeep.stats().recounts(), before, "nothing is amiss");
        twins[1].wipe();
        twins[1].fail(Fault::Joining);
        seconds(10).await;
        assert!(upkeep.stats().recounts() > before);
        let seat = Seat {
            set: 0,
            place: 1,
            membership: Epoch::default(),
        };
        assert!(upkeep.sound().borrow().contains(&seat));
        assert!(is_whole(&store).await);
    }

    #[tokio::test(start_paused = true)]
    async fn uploads_that_nobody_ends_are_given_up() {
        let store = store(&twins(), 1);
        let (bucket, key) = (BucketId::from_u64(1), ObjectKey::parse("k").unwrap());
        let new = |now| store::NewUpload {
            properties: Properties::default(),
            class: StorageClass::Standard,
            now: Timestamp::from_millis(now),
        };
        let old = store.create_upload(bucket, &key, &new(0)).await.unwrap();
        let young = store.create_upload(bucket, &key, &new(u64::MAX)).await;
        let upkeep = Upkeep::start(Arc::clone(&store), pace());
        seconds(1).await;
        assert!(store.upload(bucket, &key, old).await.is_err());
        assert!(store.upload(bucket, &key, young.unwrap()).await.is_ok());
        let later = store.create_upload(bucket, &key, &new(1)).await.unwrap();
        seconds(7 * 3600).await;
        assert!(store.upload(bucket, &key, later).await.is_err());
        upkeep.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_told() {
        let twins = twins();
        let store = store(&twins, 1);
        let upkeep = Upkeep::start(Arc::clone(&store), pace());
        seconds(1).await;
        upkeep.stop().await;
        assert_eq!(Arc::strong_count(&store), 1);
    }
}

//! The object store: all sets of a pool, and the operations on objects.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use drive::{MetaWrite, Register, Settles, Status, Want};
use futures_util::future::join_all;
use types::{BucketId, DeploymentId, Epoch, ObjectKey, Slot, VersionId};

use crate::buffers::BufferPool;
use crate::commit::Finisher;
use crate::counters::Counters;
use crate::delete::{Delete, Deleted};
use crate::error::{Error, WriteError};
use crate::expect::Expect;
use crate::get::Found;
use crate::heal::{Depth, Healed, heal};
use crate::hints::Hint;
use crate::list::{ListPage, ListRequest, SlotOf, list};
use crate::md5::Md5Lanes;
use crate::place::Spot;
use crate::put::{Body, Change, Put, Written};
use crate::set::{ErasureSet, SetConfig, Shared};
use crate::versions::{VersionsPage, VersionsRequest, list_versions};
use crate::walk::Walk;
use crate::writers::{BucketPass, Writers};

/// How long the deletion of a bucket waits for writes into it.
const DRAIN_WAIT: Duration = Duration::from_secs(20);
const DRAIN_STEP: Duration = Duration::from_millis(2);
/// How often drives are told what is settled.
const SETTLE_EVERY: Duration = Duration::from_millis(100);

/// The object store of a node.
pub struct Store {
    pub(crate) deployment: DeploymentId,
    pub(crate) sets: Vec<Arc<ErasureSet>>,
    counters: Arc<Counters>,
    writers: Arc<Writers>,
}

impl Store {
    /// A store on these sets. Must be called within a tokio runtime: it finishes commits and
    /// settles orders in tasks of its own, until it is dropped.
    pub fn new(deployment: DeploymentId, sets: Vec<SetConfig>) -> Self {
        let counters = Arc::new(Counters::default());
        let shared = Shared {
            buffers: BufferPool::new(),
            md5: Arc::new(Md5Lanes::new()),
            counters: Arc::clone(&counters),
        };
        let start = |config: SetConfig| {
            let (collector, incoming) = tokio::sync::mpsc::unbounded_channel();
            let set = Arc::new(ErasureSet::new(config, &shared, collector));
            tokio::spawn(Finisher::new(incoming));
            tokio::spawn(settle_for_ever(Arc::downgrade(&set)));
            set
        };
        Self {
            deployment,
            sets: sets.into_iter().map(start).collect(),
            counters,
            writers: Arc::default(),
        }
    }

    /// Takes up the lease on a slot.
    pub fn grant(&self, slot: Slot, epoch: Epoch) {
        for set in &self.sets {
            set.holder.grant(slot, epoch);
        }
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many registers wait for heal, or are being healed.
    pub fn hints(&self) -> usize {
        self.sets.iter().map(|set| set.hints.len()).sum()
    }

    /// Whether something is known to be amiss, whatever the last recount said.
    pub fn is_amiss(&self) -> bool {
        let amiss = |set: &Arc<ErasureSet>| set.hints.is_news() || set.away() > 0;
        self.sets.iter().any(amiss)
    }

    /// Whether every set has enough drives to write.
    pub fn writable(&self) -> bool {
        self.sets.iter().all(|set| {
            let geometry = set.geometry(types::StorageClass::Standard);
            set.writable() >= geometry.write_quorum()
        })
    }

    fn object(&self, bucket: BucketId, key: &ObjectKey) -> Result<(Spot, &Arc<ErasureSet>), Error> {
        let location = placement::locate(self.deployment, bucket, key, self.sets.len());
        let spot = Spot::new(Register::object(bucket, key), &location, 0);
        let set = self
            .sets
            .get(spot.set)
            .ok_or(Error::Unavailable("no such set"))?;
        Ok((spot, set))
    }

    /// Announces a write into a bucket. The caller then looks whether the bucket still lives, and
    /// keeps the pass until its write is answered.
    pub fn enter(&self, bucket: BucketId) -> BucketPass {
        self.writers.enter(bucket)
    }

    /// Waits until no write into the bucket is under way: none that was announced, and none that
    /// goes on without its client.
    pub async fn drain(&self, bucket: BucketId) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + DRAIN_WAIT;
        let prefix = bucket.as_u64().to_be_bytes();
        while self.writers.any(bucket) || self.sets.iter().any(|set| set.holder.busy(&prefix)) {
            if tokio::time::Instant::now() > deadline {
                return Err(Error::Unavailable(
                    "writes into the bucket are still under way",
                ));
            }
            tokio::time::sleep(DRAIN_STEP).await;
        }
        Ok(())
    }

    /// Fails if what a write expects of the current version does not hold now. It is for the write
    /// itself to decide; this may spare somebody a body in vain.
    pub async fn check(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        expect: &Expect,
    ) -> Result<(), Error> {
        if *expect == Expect::Anything {
            return Ok(());
        }
        let (spot, set) = self.object(bucket, key)?;
        let current = set.look(&spot, Want::Latest).await?;
        expect.check(current.as_ref().map(|(head, _)| head))
    }

    /// Writes an object.
    pub async fn put<B: Body>(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        put: &Put,
        body: &mut B,
    ) -> Result<Written, WriteError<B::Error>> {
        let (spot, set) = self.object(bucket, key)?;
        let (content, properties) = set.take_in(&spot, put.size, put.class, body).await?;
        let change = Change {
            versioning: put.versioning,
            expect: &put.expect,
            etag: types::Etag::Md5(content.md5),
            class: put.class,
            now: put.now,
            properties: &properties,
        };
        Ok(set.order(&spot, change, content).await?)
    }

    /// Finds the current version of an object, or a named one.
    pub async fn find(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        version: Option<VersionId>,
    ) -> Result<Found, Error> {
        let (spot, set) = self.object(bucket, key)?;
        set.find(&spot, version).await
    }

    /// Deletes an object, or one version of it.
    pub async fn delete(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        delete: &Delete,
    ) -> Result<Deleted, Error> {
        let (spot, set) = self.object(bucket, key)?;
        set.delete(&spot, delete).await
    }

    /// Replaces the tags of the current version, or of a named one. Says which it was.
    pub async fn set_tags(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        version: Option<VersionId>,
        tags: Vec<(String, String)>,
    ) -> Result<VersionId, Error> {
        let (spot, set) = self.object(bucket, key)?;
        set.set_tags(&spot, version, tags).await
    }

    /// Lists current objects.
    pub async fn list(&self, request: &ListRequest) -> Result<ListPage, Error> {
        list(&self.sets, &self.slot_of(request.bucket), request).await
    }

    /// Lists versions and delete markers.
    pub async fn list_versions(&self, request: &VersionsRequest) -> Result<VersionsPage, Error> {
        list_versions(&self.sets, &self.slot_of(request.keys.bucket), request).await
    }

    fn slot_of(&self, bucket: BucketId) -> SlotOf {
        let (deployment, sets) = (self.deployment, self.sets.len());
        Arc::new(move |key| placement::locate(deployment, bucket, key, sets).slot)
    }

    /// Heals one object.
    pub async fn heal(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        depth: Depth,
    ) -> Result<Healed, Error> {
        let (spot, set) = self.object(bucket, key)?;
        heal(set, &spot.register, spot.slot, depth).await
    }

    /// Waits until reads or writes have noted something for heal.
    pub async fn hinted(&self) {
        while !self.sets.iter().any(|set| set.hints.any_waits()) {
            let news = self.sets.iter().map(|set| Box::pin(set.hints.news()));
            futures_util::future::select_all(news).await;
        }
    }

    /// Heals one register that was noted; `None` if there is none. What cannot be made whole now
    /// is left to a recount.
    pub async fn heal_next(&self) -> Option<Result<Healed, Error>> {
        for set in &self.sets {
            while let Some((hint, depth)) = set.hints.take() {
                let Hint { register, slot, .. } = &hint;
                // A drive that is away lacks a row, and will lack it until it is back.
                if depth == Depth::Rows && set.away() > 0 {
                    set.hints.give_up();
                    continue;
                }
                let healed = heal(set, register, *slot, depth).await;
                if healed.as_ref().map_or(true, |healed| !healed.clean) {
                    set.hints.give_up();
                }
                return Some(healed);
            }
        }
        None
    }

    /// Whether something is known to be amiss that only a recount finds; forgets it. A drive that
    /// joins needs one until it votes.
    pub fn take_recount_due(&self) -> bool {
        let lost = self.sets.iter().filter(|set| set.hints.take_overflow());
        let lost = lost.count() > 0;
        let mut drives = self.sets.iter().flat_map(|set| &set.drives);
        lost || drives.any(|drive| drive.status() == Status::Joining)
    }

    /// How many drives answer nothing.
    pub fn away(&self) -> usize {
        self.sets.iter().map(|set| set.away()).sum()
    }

    /// Keeps a few bytes on the drives, for whoever starts next. Not for what must not be lost.
    pub async fn keep(&self, name: &'static str, value: Vec<u8>) {
        let write = MetaWrite {
            key: Bytes::from_static(name.as_bytes()),
            value: Some(value.into()),
        };
        // What a full drive has left is for what must not be lost.
        let drives = self.sets.iter().flat_map(|set| &set.drives);
        let drives = drives.filter(|drive| drive.status() != Status::Full);
        let replies = drives.map(|drive| drive.meta_write(vec![write.clone()]));
        for failed in join_all(replies).await.into_iter().filter_map(Result::err) {
            tracing::debug!(name, %failed, "not kept on a drive");
        }
    }

    /// What was kept last, as any drive tells.
    pub async fn kept(&self, name: &'static str) -> Option<Vec<u8>> {
        for drive in self.sets.iter().flat_map(|set| &set.drives) {
            let found = drive.meta_scan(Bytes::from_static(name.as_bytes())).await;
            if let Some((_, value)) = found.ok().and_then(|found| found.into_iter().next()) {
                return Some(value.to_vec());
            }
        }
        None
    }

    /// Tells drives what is settled, so that none forgets it when it closes: what is not settled
    /// needs a write quorum of drives to be read.
    pub fn settle(&self) {
        self.sets.iter().for_each(|set| settle(set));
    }

    /// A walk over everything stored that heals what it finds: a recount with [`Depth::Rows`], a
    /// scrub with [`Depth::Shards`]. From the beginning, or from an earlier walk's position.
    pub fn walk(&self, depth: Depth, position: Option<&[u8]>) -> Walk {
        Walk::new(self.deployment, &self.sets, depth, position)
    }
}

/// Tells drives what is settled, as long as the set lives.
async fn settle_for_ever(set: std::sync::Weak<ErasureSet>) {
    let mut ticks = tokio::time::interval(SETTLE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(set) = set.upgrade() else { return };
        settle(&set);
    }
}

/// Tells drives what became settled since they were last told.
fn settle(set: &ErasureSet) {
    let marks = set.holder.take_marks();
    if marks.is_empty() {
        return;
    }
    let settles = Settles {
        marks,
        floors: Vec::new(),
        peers: set.positions(),
    };
    for drive in &set.drives {
        drive.settle(settles.clone());
    }
}

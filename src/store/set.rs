//! One erasure set: its drives, and how they are asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use drive::{Drive, Register, RowAnswer, Rows, RowsRequest, Status, Want};
use erasure::Codec;
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use quorum::{Ballot, Places, Shard, Sighting};
use types::{DeploymentId, Epoch, Geometry, Head, Kind, Slot, StorageClass};

use crate::buffers::BufferPool;
use crate::commit::Collector;
use crate::counters::Counters;
use crate::error::Error;
use crate::heal::Depth;
use crate::hints::Hints;
use crate::holder::Holder;
use crate::laggards::Laggards;
use crate::md5::Md5Lanes;
use crate::shards::state_of;

/// Another drive is asked when those asked so far leave this much silence.
pub(crate) const HEDGE_AFTER: Duration = Duration::from_millis(80);

/// What a request ends with whose fence a drive refused.
pub(crate) const FENCED: Error = Error::Unavailable("another holder has the key's slot");

/// What a set is made of.
pub struct SetConfig {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The drives, by place. One that is missing is a drive that is offline.
    pub drives: Vec<Arc<dyn Drive>>,
    /// The code of `STANDARD` objects.
    pub standard: Geometry,
    /// The code of `REDUCED_REDUNDANCY` objects.
    pub reduced: Geometry,
    /// The set's membership index.
    pub membership: Epoch,
}

/// One erasure set.
pub(crate) struct ErasureSet {
    pub(crate) deployment: DeploymentId,
    pub(crate) drives: Vec<Arc<dyn Drive>>,
    pub(crate) standard: Geometry,
    reduced: Geometry,
    pub(crate) holder: Holder,
    pub(crate) buffers: BufferPool,
    pub(crate) md5: Arc<Md5Lanes>,
    pub(crate) hints: Hints,
    pub(crate) laggards: Laggards,
    pub(crate) counters: Arc<Counters>,
    pub(crate) collector: Collector,
    /// Bodies that are being read and sent.
    pub(crate) sending: AtomicUsize,
    /// The highest log position that each drive acknowledged.
    positions: Vec<AtomicU64>,
    codecs: parking_lot::Mutex<Vec<Codec>>,
}

/// What all sets share.
pub(crate) struct Shared {
    pub(crate) buffers: BufferPool,
    pub(crate) md5: Arc<Md5Lanes>,
    pub(crate) counters: Arc<Counters>,
}

/// What the answer of a drive is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// A vote.
    Votes,
    /// No vote: it joins.
    Joins,
}

/// What the drives said so far.
pub(crate) struct Asked {
    /// As votes.
    pub(crate) ballot: Ballot,
    /// In full, by place.
    pub(crate) rows: Vec<Option<Rows>>,
}

impl ErasureSet {
    pub(crate) fn new(config: SetConfig, shared: &Shared, collector: Collector) -> Self {
        let positions = config
            .drives
            .iter()
            .map(|drive| AtomicU64::new(drive.positions().0));
        let set = Self {
            positions: positions.collect(),
            sending: AtomicUsize::new(0),
            buffers: shared.buffers.clone(),
            md5: Arc::clone(&shared.md5),
            counters: Arc::clone(&shared.counters),
            hints: Hints::default(),
            laggards: Laggards::new(config.drives.len()),
            collector,
            deployment: config.deployment,
            standard: config.standard,
            reduced: config.reduced,
            holder: Holder::new(config.membership),
            codecs: parking_lot::Mutex::new(Vec::new()),
            drives: config.drives,
        };
        set.remember_peers();
        set
    }

    /// How many drives the set has.
    pub(crate) fn len(&self) -> usize {
        self.drives.len()
    }

    /// The code for a new object of this class: with drives away, more parity (design 4.4).
    pub(crate) fn geometry(&self, class: StorageClass) -> Geometry {
        let geometry = match class {
            StorageClass::Standard => self.standard,
            StorageClass::Reduced => self.reduced,
        };
        geometry.degraded(self.len() - self.writable())
    }

    /// How many drives take new bytes.
    pub(crate) fn writable(&self) -> usize {
        self.takers(Kind::Object).len()
    }

    /// The drives that take a row: a full one takes what makes room.
    pub(crate) fn takers(&self, kind: Kind) -> Places {
        let takes = |drive: &Arc<dyn Drive>| match drive.status() {
            Status::Online | Status::Joining => true,
            Status::Full => kind != Kind::Object,
            Status::ReadOnly | Status::Offline(_) => false,
        };
        let drives = self.drives.iter().enumerate();
        drives
            .filter_map(|(place, drive)| takes(drive).then_some(place))
            .collect()
    }

    /// Why too few drives take a row.
    pub(crate) fn refusal(&self, kind: Kind) -> Error {
        let full = |drive: &Arc<dyn Drive>| drive.status() == Status::Full;
        if kind == Kind::Object && self.drives.iter().any(full) {
            Error::Full
        } else {
            Error::Unavailable("too few drives take writes")
        }
    }

    /// How many drives answer nothing.
    pub(crate) fn away(&self) -> usize {
        let away = |drive: &&Arc<dyn Drive>| matches!(drive.status(), Status::Offline(_));
        self.drives.iter().filter(away).count()
    }

    /// The codec of a geometry.
    pub(crate) fn codec(&self, geometry: Geometry) -> Codec {
        let mut codecs = self.codecs.lock();
        if let Some(codec) = codecs.iter().find(|codec| codec.geometry() == geometry) {
            return codec.clone();
        }
        let codec = Codec::new(geometry);
        codecs.push(codec.clone());
        codec
    }

    /// Notes what a drive acknowledged.
    pub(crate) fn acknowledged(&self, place: usize, position: u64) {
        if let Some(known) = self.positions.get(place) {
            known.fetch_max(position, Ordering::Relaxed);
        }
    }

    /// Notes what the drives remember of each other: the one that remembers may be the next to go.
    pub(crate) fn remember_peers(&self) {
        for (place, position) in self.drives.iter().flat_map(|drive| drive.positions().1) {
            self.acknowledged(usize::from(place), position);
        }
    }

    /// What is known of every drive's log, by place.
    pub(crate) fn positions(&self) -> Vec<(u8, u64)> {
        let known = self
            .positions
            .iter()
            .map(|known| known.load(Ordering::Relaxed));
        known
            .enumerate()
            .filter_map(|(place, at)| Some((u8::try_from(place).ok()?, at)))
            .collect()
    }

    /// Asks drives for rows, `first` of them at once and in the order of `places`, then one more
    /// whenever one fails, stalls, or all have answered and `decide` still wants more.
    pub(crate) async fn ask<T>(
        &self,
        request: &RowsRequest,
        places: &[usize],
        first: usize,
        mut decide: impl FnMut(&Asked) -> Option<T>,
    ) -> Result<(T, Asked), Error> {
        let mut asked = Asked {
            ballot: Ballot::new(self.len()),
            rows: (0..self.len()).map(|_| None).collect(),
        };
        let mut order = places.to_vec();
        self.laggards.put_last(&mut order);
        let mut waiting = order.iter().copied();
        let mut running = FuturesUnordered::new();
        // Those that had been asked when the first more was.
        let mut hedged = Places::NONE;
        let ask_one = |place| self.ask_one(request, place);
        running.extend(waiting.by_ref().take(first).map(ask_one));
        loop {
            let next = if waiting.len() == 0 {
                running.next().await
            } else {
                match tokio::time::timeout(HEDGE_AFTER, running.next()).await {
                    Ok(next) => next,
                    Err(_) => {
                        if hedged.is_empty() {
                            let due = order.len() - waiting.len();
                            hedged = order.iter().take(due).copied().collect();
                        }
                        running.extend(waiting.by_ref().take(1).map(ask_one));
                        continue;
                    }
                }
            };
            match next {
                Some((place, voice, Ok(rows))) => {
                    self.count(request, &mut asked, (place, voice), rows);
                }
                Some((_, _, Err(drive::Error::Fenced { .. }))) => return Err(FENCED),
                Some((place, _, Err(error))) => {
                    tracing::debug!(place, %error, "drive did not answer");
                    if matches!(error, drive::Error::Corrupt(_)) {
                        self.counters.bad_shard();
                        self.hints
                            .note(&request.register, request.slot, Depth::Shards);
                    }
                    asked.ballot.failed(place);
                    running.extend(waiting.by_ref().take(1).map(ask_one));
                }
                None => return Err(Error::Unavailable("too few drives answer")),
            }
            if let Some(decided) = decide(&asked) {
                self.laggards.note(hedged.and(asked.ballot.pending()));
                return Ok((decided, asked));
            }
            if running.is_empty() {
                running.extend(waiting.by_ref().take(1).map(ask_one));
            }
        }
    }

    /// Asks one drive, and notes what its answer is worth at that time.
    async fn ask_one(
        &self,
        request: &RowsRequest,
        place: usize,
    ) -> (usize, Voice, Result<Rows, drive::Error>) {
        let voice = self.voice(place);
        let rows = match self.drives.get(place) {
            Some(drive) => drive.rows(request.clone()).await,
            None => Err(drive::Error::Missing),
        };
        (place, voice, rows)
    }

    /// The copies of a row, as drives answer: all are asked at once, so that none holds up the
    /// rest. A drive without one says whether that is sure.
    pub(crate) fn copies(
        &self,
        register: &Arc<Register>,
        slot: Slot,
        head: &Head,
    ) -> impl Stream<Item = (usize, Result<RowAnswer, Shard>)> + Unpin + Send {
        let (head, want) = (*head, Want::Exact(head.born, head.order));
        let ask = |(place, drive): (usize, &Arc<dyn Drive>)| {
            let reply = drive.rows(RowsRequest {
                raise: None,
                slot,
                register: Arc::clone(register),
                want,
            });
            async move { (place, reply.await) }
        };
        let replies: FuturesUnordered<_> = self.drives.iter().enumerate().map(ask).collect();
        replies.map(move |(place, reply)| {
            let rows = reply.map_err(|error| state_of(&error));
            let copy = |rows: Rows| rows.into_iter().find(|answer| answer.head == head);
            (place, rows.and_then(|rows| copy(rows).ok_or(Shard::Bad)))
        })
    }

    /// What an answer would be worth that is asked for now. A seat that is empty may be taken before it
    /// is asked, by a drive that joins.
    pub(crate) fn voice(&self, place: usize) -> Voice {
        match self.drives.get(place).map(|drive| drive.status()) {
            Some(Status::Joining | Status::Offline(_)) => Voice::Joins,
            _ => Voice::Votes,
        }
    }

    /// Counts one answer, and with it what it was worth when it was asked for: a drive that was rebuilt
    /// since may have given it before. What the holder knows to be settled is settled at any epoch.
    pub(crate) fn count(
        &self,
        request: &RowsRequest,
        asked: &mut Asked,
        (place, voice): (usize, Voice),
        rows: Rows,
    ) {
        let sightings = self.sightings(request.slot, &rows);
        let drive = self.drives.get(place);
        let joins = drive.is_some_and(|drive| drive.status() == Status::Joining);
        match voice {
            Voice::Votes if !joins => asked.ballot.voted(place, sightings),
            _ => asked.ballot.joining(place, sightings),
        }
        if let Some(slot) = asked.rows.get_mut(place) {
            *slot = Some(rows);
        }
    }

    /// Rows as the commit rules see them.
    pub(crate) fn sightings(&self, slot: types::Slot, rows: &Rows) -> Vec<Sighting> {
        let sighting = |answer: &drive::RowAnswer| Sighting {
            head: answer.head,
            settled: answer.settled || self.holder.knows_settled(slot, answer.head.order),
        };
        rows.iter().map(sighting).collect()
    }
}

//! Reading the bytes of an extent back from whatever good shards there are.

use std::sync::Arc;

use bytes::Bytes;
use drive::{Register, ShardRead, ShardReader};
use erasure::{Codec, FRAME_HEAD_LEN, FrameId, Layout, ShardKey, StripeSpan};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quorum::{Places, Shard};
use types::{DataId, Geometry, Slot};

use crate::error::Error;
use crate::heal::Depth;
use crate::set::{ErasureSet, HEDGE_AFTER};

/// The shards of one run of bytes: where they are and how they are checked.
#[derive(Clone)]
pub(crate) struct Shards {
    pub(crate) set: Arc<ErasureSet>,
    pub(crate) readers: Readers,
    pub(crate) register: Arc<Register>,
    pub(crate) slot: Slot,
    pub(crate) data: DataId,
    pub(crate) geometry: Geometry,
    pub(crate) rotation: u8,
    pub(crate) layout: Layout,
    pub(crate) key: ShardKey,
}

/// Who reads an object's shard files, by place. The files stay as long as this does.
pub(crate) type Readers = Arc<[Box<dyn ShardReader>]>;

/// A stripe's shards as far as they were read and found good, by shard index.
type Found = Vec<Option<Bytes>>;

impl Shards {
    /// The place in the set that holds a shard.
    pub(crate) fn place_of(&self, shard: usize) -> usize {
        placement::drive_of(u16::from(self.rotation), shard, self.geometry.drives())
    }

    /// The bytes of a span, in order, in pieces.
    pub(crate) async fn read(&self, span: &StripeSpan) -> Result<Vec<Bytes>, Error> {
        let wanted: Vec<usize> = span.shards().collect();
        let has = |found: &Found, shard: &usize| found.get(*shard).is_some_and(Option::is_some);
        let whole = |found: &Found| wanted.iter().all(|shard| has(found, shard));
        let mut found = self.fetch(span.stripe, &self.quick(&wanted), whole).await?;
        self.complete(span.stripe, &mut found, &wanted)?;
        let piece = |shard: &usize| {
            let bytes = found
                .get(*shard)
                .and_then(Option::as_ref)
                .ok_or(Error::Damaged)?;
            Ok(bytes.slice(span.of_shard(*shard)))
        };
        wanted.iter().map(piece).collect()
    }

    /// Every shard of a stripe named by `wanted`, rebuilt from any k, of `sources` if they do.
    pub(crate) async fn stripe(
        &self,
        stripe: u64,
        sources: &[usize],
        wanted: &[usize],
    ) -> Result<Vec<Bytes>, Error> {
        let first = sources.get(..self.geometry.data()).unwrap_or(sources);
        let mut found = self.fetch(stripe, first, |_| false).await?;
        self.complete(stripe, &mut found, wanted)?;
        wanted
            .iter()
            .map(|shard| found.get(*shard).cloned().flatten().ok_or(Error::Damaged))
            .collect()
    }

    /// Whether a drive's shard file is there and as long as it should be.
    pub(crate) async fn present(&self, place: usize) -> Shard {
        let Some(reader) = self.readers.get(place) else {
            return Shard::Unknown;
        };
        let Some(offset) = self.layout.file_len().checked_sub(1) else {
            return Shard::Good;
        };
        let read = ShardRead {
            data: self.data,
            offset,
            len: 1,
        };
        match reader.read(read).await {
            Ok(_) => Shard::Good,
            Err(error) => state_of(&error),
        }
    }

    /// Whether a drive's whole shard file is there and good.
    pub(crate) async fn verify(&self, place: usize) -> Shard {
        let shard = placement::shard_on(u16::from(self.rotation), place, self.geometry.drives());
        for stripe in 0..self.layout.stripes() {
            if let Err(state) = self.probe(stripe, shard).await {
                return state;
            }
        }
        Shard::Good
    }

    /// What to read first for these: themselves, or any k where the drives of some are slow and
    /// those of k others are not.
    fn quick(&self, wanted: &[usize]) -> Vec<usize> {
        let slow = |shard: &usize| self.set.laggards.is_slow(self.place_of(*shard));
        if !wanted.iter().any(slow) {
            return wanted.to_vec();
        }
        let others = (0..self.geometry.drives()).filter(|shard| !wanted.contains(shard));
        let quick = wanted.iter().copied().chain(others);
        let quick = quick.filter(|shard| !slow(shard));
        let quick: Vec<usize> = quick.take(self.geometry.data()).collect();
        if quick.len() < self.geometry.data() {
            return wanted.to_vec();
        }
        quick
    }

    /// Reads shards side by side, `first` ones and one more for each that is bad or stalls, until
    /// `enough` or any k are there.
    async fn fetch(
        &self,
        stripe: u64,
        first: &[usize],
        enough: impl Fn(&Found) -> bool,
    ) -> Result<Found, Error> {
        let mut found: Found = vec![None; self.geometry.drives()];
        let read = |shard: usize| async move { (shard, self.frame(stripe, shard).await) };
        let mut reads: FuturesUnordered<_> = first.iter().copied().map(read).collect();
        let mut more = (0..self.geometry.drives()).filter(|shard| !first.contains(shard));
        let done =
            |found: &Found| enough(found) || found.iter().flatten().count() >= self.geometry.data();
        let mut unknown = false;
        let mut pending: Places = first.iter().map(|shard| self.place_of(*shard)).collect();
        let mut overtaken = Places::NONE;
        while !done(&found) {
            // Some of `first` may be all that is wanted, and still too few to rebuild from.
            let lack = self.geometry.data() - found.iter().flatten().count();
            match tokio::time::timeout(HEDGE_AFTER, reads.next()).await {
                Ok(Some((shard, Ok(bytes)))) => {
                    pending.remove(self.place_of(shard));
                    if let Some(slot) = found.get_mut(shard) {
                        *slot = Some(bytes);
                    }
                }
                Ok(Some((shard, Err(state)))) => {
                    pending.remove(self.place_of(shard));
                    unknown |= state == Shard::Unknown;
                    let lack = lack.saturating_sub(reads.len()).max(1);
                    reads.extend(more.by_ref().take(lack).map(read));
                }
                Err(_) => {
                    overtaken = pending;
                    let lack = lack.saturating_sub(reads.len()).max(1);
                    reads.extend(more.by_ref().take(lack).map(read));
                }
                Ok(None) => return Err(too_few(unknown)),
            }
        }
        self.set.laggards.note(overtaken.and(pending));
        Ok(found)
    }

    /// One good shard. A bad one is counted and noted for heal.
    async fn frame(&self, stripe: u64, shard: usize) -> Result<Bytes, Shard> {
        let found = self.probe(stripe, shard).await;
        if matches!(found, Err(Shard::Bad)) {
            self.set.counters.bad_shard();
            let hints = &self.set.hints;
            hints.note(&self.register, self.slot, Depth::Shards);
        }
        found
    }

    /// One good shard, or what is known of it instead.
    async fn probe(&self, stripe: u64, shard: usize) -> Result<Bytes, Shard> {
        let reader = self.readers.get(self.place_of(shard));
        let reader = reader.ok_or(Shard::Unknown)?;
        let read = ShardRead {
            data: self.data,
            offset: self.layout.frame_offset(stripe),
            len: self.layout.frame_len(stripe),
        };
        let frame = reader.read(read).await.map_err(|error| {
            tracing::debug!(%error, shard, "shard not read");
            state_of(&error)
        })?;
        self.open(stripe, shard, &frame).ok_or(Shard::Bad)
    }

    /// The shard in a frame, if that is the right one and good. Checked here and now: the bytes
    /// were just read, and handing them to another thread costs more than hashing them.
    fn open(&self, stripe: u64, shard: usize, frame: &Bytes) -> Option<Bytes> {
        let id = FrameId {
            stripe,
            shard: u8::try_from(shard).ok()?,
            geometry: self.geometry,
        };
        self.key
            .open_frame(id, self.layout.shard_len(stripe), frame)?;
        Some(frame.slice(FRAME_HEAD_LEN..))
    }

    /// Adds those of the wanted shards that were not found.
    fn complete(&self, stripe: u64, found: &mut Found, wanted: &[usize]) -> Result<(), Error> {
        let lost: Vec<usize> = wanted
            .iter()
            .copied()
            .filter(|shard| found.get(*shard).is_some_and(Option::is_none))
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        let codec = self.set.codec(self.geometry);
        rebuild(&codec, self.layout.shard_len(stripe), found, &lost)
    }
}

/// Fills in shards that are lost, from any k that are there.
pub(crate) fn rebuild(
    codec: &Codec,
    shard_len: usize,
    shards: &mut [Option<Bytes>],
    lost: &[usize],
) -> Result<(), Error> {
    let present: Vec<Option<&[u8]>> = shards.iter().map(|shard| shard.as_deref()).collect();
    let mut made: Vec<Vec<u8>> = lost.iter().map(|_| vec![0; shard_len]).collect();
    let mut out: Vec<&mut [u8]> = made.iter_mut().map(Vec::as_mut_slice).collect();
    codec
        .rebuild(&present, lost, &mut out)
        .map_err(|_| Error::Damaged)?;
    for (shard, bytes) in lost.iter().zip(made) {
        if let Some(slot) = shards.get_mut(*shard) {
            *slot = Some(bytes.into());
        }
    }
    Ok(())
}

/// What a failed read says of the shard: only what is positively not there is bad.
pub(crate) fn state_of(error: &drive::Error) -> Shard {
    match error {
        drive::Error::Missing | drive::Error::Corrupt(_) => Shard::Bad,
        _ => Shard::Unknown,
    }
}

/// Why bytes cannot be had from too few good shards: where a drive did not answer, they are not
/// known to be lost.
pub(crate) fn too_few(unknown: bool) -> Error {
    if unknown {
        Error::Unavailable("too few drives answer")
    } else {
        Error::Damaged
    }
}

//! Reading an object: rows from a read quorum, then k good shards.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use drive::{Drive, Register, Row, RowsRequest, Want};
use erasure::{Layout, ShardKey};
use futures_util::stream::{self, Stream, StreamExt};
use quorum::ReadDecision;
use types::{ByteRange, DataId, Head, Kind, Placed, Slot, VersionId};

use crate::apart::apart;
use crate::decide::{decide, scope};
use crate::error::Error;
use crate::inline;
use crate::place::Spot;
use crate::properties::{Extent, Properties};
use crate::rewrite::find_row;
use crate::set::{Asked, ErasureSet};
use crate::shards::{Readers, Shards};

/// Stripes read at once for a client, the one it waits for among them.
const READ_AHEAD: usize = 2;
/// With more bodies than this on their way each reads only what it sends: the others keep the
/// drives busy, and memory stays bounded.
const AHEAD_BODIES_MAX: usize = 16;
/// Bodies read by threads of their own, at most: each holds some ten blocks.
const APART_BODIES_MAX: usize = 8;
/// Shorter ranges are sent before a thread of their own has begun to read.
const APART_LEN_MIN: u64 = 4 << 20;

/// A version that was found, and the way to its bytes.
pub struct Found {
    /// Its head.
    pub head: Head,
    /// Everything else.
    pub properties: Properties,
    set: Arc<ErasureSet>,
    register: Arc<Register>,
    slot: Slot,
    /// The frames of an inline object, by place, as far as they came with the answers.
    frames: Vec<Option<Bytes>>,
}

/// Where a read decision leads.
enum Lead {
    Return(Option<Head>),
    Reask(usize),
    Holder,
    Widen,
}

impl ErasureSet {
    /// Finds a version: the current one, or the one named. Delete markers are errors here.
    pub(crate) async fn find(
        self: &Arc<Self>,
        spot: &Spot,
        version: Option<VersionId>,
    ) -> Result<Found, Error> {
        let want = want_of(version);
        let mut lost = None;
        let (head, asked, row) = loop {
            let found = self.look(spot, want).await?;
            let (head, asked) = found.ok_or_else(|| missing(version))?;
            if head.kind == Kind::Marker {
                return Err(Error::DeleteMarker {
                    version: head.version,
                    modified: head.modified,
                });
            }
            match self.row(spot, &head, &asked).await {
                // Replaced after it was found, it has lost its row and not damaged it.
                Err(Error::Damaged) if lost != Some(head.order) => lost = Some(head.order),
                row => break (head, asked, row?),
            }
        };
        let properties = Properties::decode(&row.tail).map_err(|_| Error::Damaged)?;
        Ok(Found {
            head,
            properties,
            set: Arc::clone(self),
            register: Arc::clone(&spot.register),
            slot: spot.slot,
            frames: frames_of(&head, &asked),
        })
    }

    /// The decided row of what is wanted, by rule 7, with the holder's help where it is needed.
    pub(crate) async fn look(
        self: &Arc<Self>,
        spot: &Spot,
        want: Want,
    ) -> Result<Option<(Head, Asked)>, Error> {
        let mut want = want;
        loop {
            let request = RowsRequest {
                raise: None,
                slot: spot.slot,
                register: Arc::clone(&spot.register),
                want,
            };
            let first = self.standard.read_quorum().max(self.standard.data());
            let lead = |asked: &Asked| match quorum::read(&asked.ballot, scope(want)) {
                ReadDecision::Return(decided) => Some(Lead::Return(decided.map(|row| row.head))),
                ReadDecision::Reask { place } => Some(Lead::Reask(place)),
                ReadDecision::Widen => Some(Lead::Widen),
                ReadDecision::AskHolder if asked.ballot.pending().is_empty() => Some(Lead::Holder),
                ReadDecision::AskHolder | ReadDecision::Wait => None,
            };
            let places = spot.places(self.standard);
            let (lead, asked) = self.ask(&request, &places, first, lead).await?;
            match lead {
                Lead::Return(head) => return Ok(head.map(|head| (head, asked))),
                Lead::Widen => want = Want::All,
                Lead::Reask(place) => {
                    if let Some(head) = self.ask_again(&request, place, &asked).await {
                        return Ok(head.map(|head| (head, asked)));
                    }
                    return self.ask_holder(spot, want).await;
                }
                Lead::Holder => return self.ask_holder(spot, want).await,
            }
        }
    }

    /// Asks one drive once more. `None` if that does not decide.
    async fn ask_again(
        &self,
        request: &RowsRequest,
        place: usize,
        asked: &Asked,
    ) -> Option<Option<Head>> {
        let rows = self.drives.get(place)?.rows(request.clone()).await.ok()?;
        let sightings = self.sightings(request.slot, &rows);
        match quorum::reasked(&asked.ballot, scope(request.want), &sightings) {
            ReadDecision::Return(decided) => Some(decided.map(|row| row.head)),
            _ => None,
        }
    }

    /// What the holder, under its fence, finds to be true (rule 5).
    async fn ask_holder(
        self: &Arc<Self>,
        spot: &Spot,
        want: Want,
    ) -> Result<Option<(Head, Asked)>, Error> {
        let pass = self.holder.enter(&spot.register).await?;
        let decided = decide(self, &pass, &spot.register, spot.slot, want).await?;
        let current = decided.history.current().map(|current| current.head);
        Ok(current.map(|head| (head, decided.asked)))
    }

    /// The whole row of a head that was decided.
    pub(crate) async fn row(
        self: &Arc<Self>,
        spot: &Spot,
        head: &Head,
        asked: &Asked,
    ) -> Result<Arc<Row>, Error> {
        let has = |answer: &drive::RowAnswer| answer.head == *head;
        let answers = asked.rows.iter().flatten().flatten();
        if let Some(row) = answers
            .filter(|answer| has(answer))
            .find_map(|answer| answer.row.clone())
        {
            return Ok(row);
        }
        find_row(self, &spot.register, spot.slot, head).await
    }

    /// Begins to read shard files: they stay as long as they are read.
    fn readers(&self, files: &Arc<[DataId]>) -> Readers {
        let begin = |drive: &Arc<dyn Drive>| drive.read_shards(Arc::clone(files));
        self.drives.iter().map(begin).collect()
    }

    /// The way to an extent's shard files.
    pub(crate) fn shards(
        self: &Arc<Self>,
        register: &Arc<Register>,
        slot: Slot,
        extent: &Extent,
    ) -> Shards {
        let readers = self.readers(&[extent.data].into());
        self.shards_of(readers, register, slot, extent)
    }

    fn shards_of(
        self: &Arc<Self>,
        readers: Readers,
        register: &Arc<Register>,
        slot: Slot,
        extent: &Extent,
    ) -> Shards {
        Shards {
            set: Arc::clone(self),
            readers,
            register: Arc::clone(register),
            slot,
            data: extent.data,
            geometry: extent.geometry,
            rotation: extent.rotation,
            layout: Layout::new(extent.geometry, extent.size),
            key: ShardKey::new(self.deployment, extent.data, u32::from(extent.number)),
        }
    }
}

/// What it is when the version that was asked for is not there.
pub(crate) fn missing(version: Option<VersionId>) -> Error {
    match version {
        None => Error::NoSuchKey,
        Some(_) => Error::NoSuchVersion,
    }
}

/// The rows that decide a version.
pub(crate) fn want_of(version: Option<VersionId>) -> Want {
    match version {
        None => Want::Latest,
        Some(VersionId::Null) => Want::Null,
        Some(VersionId::Born(born)) => Want::Born(born),
    }
}

/// The inline frames that came with the answers, by place.
pub(crate) fn frames_of(head: &Head, asked: &Asked) -> Vec<Option<Bytes>> {
    let frame = |rows: &Option<drive::Rows>| {
        let row = rows.as_ref()?.iter().find(|answer| answer.head == *head)?;
        row.inline.clone()
    };
    asked.rows.iter().map(frame).collect()
}

impl Found {
    /// The bytes of a range, streamed. What was found is read to its end, even if it is replaced or
    /// deleted meanwhile. An error ends the stream: the body is then short.
    pub fn stream(self, range: ByteRange) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        let mut start = 0;
        let mut jobs = Vec::new();
        for extent in self.properties.extents.clone() {
            let end = start + extent.size;
            let within = ByteRange {
                start: range.start.clamp(start, end) - start,
                end: range.end.clamp(start, end) - start,
            };
            start = end;
            if !within.is_empty() {
                jobs.push((extent, within));
            }
        }
        let in_files = jobs.iter().map(|(extent, _)| extent);
        let in_files = in_files.filter(|extent| extent.placed == Placed::File);
        let files: Arc<[DataId]> = in_files.map(|extent| extent.data).collect();
        let readers = match files.is_empty() {
            true => [].into(),
            false => self.set.readers(&files),
        };
        let found = Arc::new(self);
        stream::iter(jobs).flat_map(move |(extent, within)| {
            Arc::clone(&found).extent(Arc::clone(&readers), extent, within)
        })
    }

    /// The bytes of a range within one extent.
    fn extent(
        self: Arc<Self>,
        readers: Readers,
        extent: Extent,
        range: ByteRange,
    ) -> stream::BoxStream<'static, Result<Bytes, Error>> {
        if extent.placed == Placed::Inline {
            let read = async move {
                inline::read(&self.set, &self.place(), &extent, &self.head, &self.frames).await
            };
            let cut = move |whole: Result<Vec<Bytes>, Error>| {
                stream::iter(match whole {
                    Ok(pieces) => slice(pieces, range).into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                })
            };
            return stream::once(read).map(cut).flatten().boxed();
        }
        let set = &self.set;
        let shards = set.shards_of(readers, &self.register, self.slot, &extent);
        let whole = range == ByteRange::whole(extent.size);
        let sending = Sending::begin(&self.set);
        let ahead = sending.ahead();
        // A body that is short needs not ask the system for its cores.
        let alone = range.len() >= APART_LEN_MIN && sending.has_a_core();
        let spans: Vec<_> = shards.layout.spans(range).collect();
        let blocks = stream::iter(spans)
            .map(move |span| {
                let shards = shards.clone();
                async move { shards.read(&span).await }
            })
            .buffered(ahead);
        let mut check =
            whole.then(|| (crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme), 0));
        let pieces = blocks.map(move |block| {
            let (_sending, pieces) = (&sending, block?);
            if let Some((crc, seen)) = &mut check {
                for piece in &pieces {
                    crc.update(piece);
                    *seen += u64::try_from(piece.len()).unwrap_or(u64::MAX);
                }
                // The last block is held back if the whole does not add up.
                if *seen == extent.size && crc.finalize() != extent.crc {
                    tracing::error!(data = %extent.data, "frames are good but the object's checksum is not");
                    return Err(Error::Damaged);
                }
            }
            Ok(pieces)
        });
        let flat = |block: Result<Vec<Bytes>, Error>| {
            stream::iter(match block {
                Ok(pieces) => pieces.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        };
        match alone {
            true => apart(pieces).map(flat).flatten().boxed(),
            false => pieces.map(flat).flatten().boxed(),
        }
    }

    fn place(&self) -> inline::Whose {
        inline::Whose {
            register: Arc::clone(&self.register),
            slot: self.slot,
        }
    }
}

/// A body on its way, counted until it is sent or given up.
struct Sending(Arc<ErasureSet>);

impl Sending {
    fn begin(set: &Arc<ErasureSet>) -> Self {
        set.sending.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(set))
    }

    /// How many stripes to read at once.
    fn ahead(&self) -> usize {
        match self.0.sending.load(Ordering::Relaxed) {
            ..=AHEAD_BODIES_MAX => READ_AHEAD,
            _ => 1,
        }
    }

    /// Whether there is a core for each body: else it is not faster to read apart, but dearer.
    fn has_a_core(&self) -> bool {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let bodies = self.0.sending.load(Ordering::Relaxed);
        bodies < cores && bodies <= APART_BODIES_MAX
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.sending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The part of some pieces that a range covers.
fn slice(pieces: Vec<Bytes>, range: ByteRange) -> Vec<Bytes> {
    let mut start = 0;
    let mut out = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let end = start + u64::try_from(piece.len()).unwrap_or(u64::MAX);
        let from = range.start.clamp(start, end) - start;
        let to = range.end.clamp(start, end) - start;
        if let (Ok(from), Ok(to)) = (usize::try_from(from), usize::try_from(to))
            && from < to
        {
            out.push(piece.slice(from..to));
        }
        start = end;
    }
    out
}

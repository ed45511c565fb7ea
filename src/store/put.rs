//! Writing an object: stage or carry along, then order, then commit.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use drive::{Register, Row, Stage, Want};
use erasure::{Layout, ShardKey};
use quorum::Places;
use types::{
    DataId, Etag, Geometry, Head, Kind, Order, Placed, StorageClass, Timestamp, VersionId,
};

use crate::block::{Block, Plan, SealedBlock};
use crate::buffers::Buffer;
use crate::commit::Parcel;
use crate::decide::decide;
use crate::digest::Digests;
use crate::error::{Error, WriteError};
use crate::expect::Expect;
use crate::gates::Pass;
use crate::holder::{GONE, Lease};
use crate::laggards::Patience;
use crate::place::Spot;
use crate::properties::{Checksum, Extent, Properties};
use crate::set::ErasureSet;

/// Objects up to this many bytes ride in the commit itself.
pub const INLINE_MAX: u64 = 128 << 10;

/// The bytes of one write, and what becomes of them.
pub trait Body: Send {
    /// Why a body breaks off.
    type Error: Send;

    /// The next bytes, or `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Self::Error>> + Send;

    /// Called after the last byte: checks what was announced (digests, signatures, trailers) and
    /// says what the version keeps. Extents are filled in by the store.
    fn finish(&mut self, md5: [u8; 16]) -> Result<Properties, Self::Error>;
}

/// All of it at hand, and nothing announced.
impl Body for Bytes {
    type Error = Infallible;

    async fn next(&mut self) -> Result<Option<Bytes>, Infallible> {
        let rest = std::mem::take(self);
        Ok(Some(rest).filter(|rest| !rest.is_empty()))
    }

    fn finish(&mut self, _: [u8; 16]) -> Result<Properties, Infallible> {
        Ok(Properties::default())
    }
}

/// A bucket's versioning, as far as a write minds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// Never switched on: a write replaces everything older.
    Off,
    /// Each write makes a version.
    Enabled,
    /// A write replaces the null version.
    Suspended,
}

/// A write.
pub struct Put {
    /// The bucket's versioning.
    pub versioning: Versioning,
    /// What must hold of the current version.
    pub expect: Expect,
    /// The announced length.
    pub size: u64,
    /// The storage class.
    pub class: StorageClass,
    /// Now, for people.
    pub now: Timestamp,
}

/// What a write made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The version.
    pub version: VersionId,
    /// Its entity tag.
    pub etag: Etag,
    /// Its order.
    pub order: Order,
    /// Its checksums.
    pub checksums: Vec<Checksum>,
}

/// Bytes that are safe on drives, or in hand, and not yet visible.
pub(crate) struct Content {
    pub(crate) placed: Placed,
    pub(crate) md5: [u8; 16],
    /// The frames of an inline object, by shard.
    pub(crate) frames: Option<SealedBlock>,
    /// Which places have the shard file.
    pub(crate) ready: Places,
}

impl ErasureSet {
    /// Takes in a body: encodes it, and stages its shards unless they ride along.
    pub(crate) async fn take_in<B: Body>(
        self: &Arc<Self>,
        spot: &Spot,
        size: u64,
        class: StorageClass,
        body: &mut B,
    ) -> Result<(Content, Properties), WriteError<B::Error>> {
        let geometry = self.geometry(class);
        let data = DataId::from_bytes(crate::random::bytes()?);
        let mut extent = Extent {
            number: spot.part,
            size,
            data,
            geometry,
            rotation: spot.rotation(geometry),
            placed: Placed::Nowhere,
            crc: 0,
            md5: [0; 16],
            checksum: None,
        };
        let key = ShardKey::new(self.deployment, data, u32::from(spot.part));
        let (frames, ready) = if size == 0 {
            expect_end(body, 0, 0).await?;
            extent.md5 = Digests::small(&[]).0;
            (None, Places::all(self.len()))
        } else if size <= INLINE_MAX && spot.part == 0 {
            extent.placed = Placed::Inline;
            let (sealed, md5, crc) = self.take_in_small(geometry, &key, size, body).await?;
            (extent.md5, extent.crc) = (md5, crc);
            (Some(sealed), Places::all(self.len()))
        } else {
            extent.placed = Placed::File;
            let (ready, md5, crc) = self.take_in_large(spot, &extent, &key, body).await?;
            (extent.md5, extent.crc) = (md5, crc);
            (None, ready)
        };
        let mut properties = body.finish(extent.md5).map_err(WriteError::Body)?;
        let content = Content {
            placed: extent.placed,
            md5: extent.md5,
            frames,
            ready,
        };
        properties.extents.clear();
        // An empty part is a part all the same.
        properties
            .extents
            .extend((size > 0 || spot.part > 0).then_some(extent));
        Ok((content, properties))
    }

    async fn take_in_small<B: Body>(
        &self,
        geometry: Geometry,
        key: &ShardKey,
        size: u64,
        body: &mut B,
    ) -> Result<(SealedBlock, [u8; 16], u64), WriteError<B::Error>> {
        let len = usize::try_from(size).map_err(|_| Error::BodyLength { got: 0, want: size })?;
        let plan = Plan::dense(geometry, len);
        let mut block = Block::new(Buffer::small(plan.buffer_len()), plan);
        let mut pieces = Vec::with_capacity(1);
        let mut left_over = Bytes::new();
        fill(&mut block, body, &mut left_over, size, &mut pieces).await?;
        if !left_over.is_empty() {
            return Err(Error::BodyLength {
                got: size + 1,
                want: size,
            }
            .into());
        }
        expect_end(body, size, size).await?;
        let (md5, crc) = Digests::small(&pieces);
        Ok((block.seal(&self.codec(geometry), key, 0), md5, crc))
    }

    async fn take_in_large<B: Body>(
        self: &Arc<Self>,
        spot: &Spot,
        extent: &Extent,
        key: &ShardKey,
        body: &mut B,
    ) -> Result<(Places, [u8; 16], u64), WriteError<B::Error>> {
        let geometry = extent.geometry;
        let layout = Layout::new(geometry, extent.size);
        let codec = self.codec(geometry);
        let mut stages = Stages::open(self, spot, extent).await?;
        let mut digests = Digests::new(&self.md5);
        let mut left_over = Bytes::new();
        for stripe in 0..layout.stripes() {
            let (len, offset) = (layout.block_len(stripe), layout.frame_offset(stripe));
            let plan = Plan::aligned(geometry, len, offset);
            let buffer = self.buffers.take(plan.buffer_len()).await?;
            let mut block = Block::new(buffer, plan);
            fill(
                &mut block,
                body,
                &mut left_over,
                extent.size,
                &mut Vec::new(),
            )
            .await?;
            // Here and now: the block is in this core's cache, and handing it to another thread
            // costs more than coding it.
            let sealed = block.seal(&codec, key, stripe);
            stages.append(sealed, &mut digests).await?;
        }
        if !left_over.is_empty() {
            let got = extent.size + 1;
            return Err(Error::BodyLength {
                got,
                want: extent.size,
            }
            .into());
        }
        expect_end(body, extent.size, extent.size).await?;
        let (ready, digests) = tokio::join!(stages.finish(), digests.finish());
        let (md5, crc) = digests?;
        Ok((ready?, md5, crc))
    }

    /// Orders a row and commits it: the only way in which a client's change becomes visible.
    pub(crate) async fn order(
        self: &Arc<Self>,
        spot: &Spot,
        change: Change<'_>,
        content: Content,
    ) -> Result<Written, Error> {
        let pass = self.holder.enter(&spot.register).await?;
        let lease = self.holder.lease(spot.slot)?;
        self.order_by(spot, pass, lease, change, content).await
    }

    /// The same for whoever has the right to change the register, by this lease and no other.
    pub(crate) async fn order_by(
        self: &Arc<Self>,
        spot: &Spot,
        pass: Pass,
        lease: Lease,
        change: Change<'_>,
        content: Content,
    ) -> Result<Written, Error> {
        let register = &spot.register;
        let blind =
            change.versioning == Versioning::Off && matches!(change.expect, Expect::Anything);
        let mut prev = Order::ZERO;
        if !blind {
            let want = if change.versioning == Versioning::Off {
                Want::Null
            } else {
                Want::Latest
            };
            let decided = decide(self, &pass, register, spot.slot, want).await?;
            if decided.lease != lease {
                return Err(GONE);
            }
            let history = decided.history;
            change
                .expect
                .check(history.current().map(|current| &current.head))?;
            prev = history.prev().unwrap_or(Order::ZERO);
        }
        let head = self.head(spot, &change, content.placed, prev);
        let row = Arc::new(Row {
            head,
            files: change.properties.files().collect(),
            tail: change.properties.encode(),
        });
        let parcel = Parcel {
            register: Arc::clone(register),
            row,
            inline: self.inline_by_place(&head, content.frames.as_ref()),
            ready: content.ready,
        };
        let head = self.commit(pass, lease, parcel).await?;
        Ok(Written {
            version: head.version,
            etag: head.etag,
            order: head.order,
            checksums: change.properties.checksums.clone(),
        })
    }

    /// The head of a new version, before it is ordered.
    fn head(&self, spot: &Spot, change: &Change<'_>, placed: Placed, prev: Order) -> Head {
        let extents = &change.properties.extents;
        let extent = extents.first();
        let geometry = extent.map_or(self.standard, |extent| extent.geometry);
        Head {
            kind: Kind::Object,
            version: match change.versioning {
                Versioning::Enabled => VersionId::Born(Order::ZERO),
                Versioning::Off | Versioning::Suspended => VersionId::Null,
            },
            born: Order::ZERO,
            order: Order::ZERO,
            prev,
            size: extents.iter().map(|extent| extent.size).sum(),
            modified: change.now,
            etag: change.etag,
            geometry,
            rotation: spot.rotation(geometry),
            class: change.class,
            placed,
            data: extent.map_or(DataId::from_bytes([0; 16]), |extent| extent.data),
        }
    }

    /// The frame for each place of the set.
    pub(crate) fn inline_by_place(
        &self,
        head: &Head,
        frames: Option<&SealedBlock>,
    ) -> Vec<Option<Bytes>> {
        let frame = |place: usize| {
            let shard = placement::shard_on(u16::from(head.rotation), place, self.len());
            frames.map(|frames| frames.frame(shard))
        };
        (0..self.len()).map(frame).collect()
    }
}

/// What a write changes besides the bytes.
pub(crate) struct Change<'a> {
    pub(crate) versioning: Versioning,
    pub(crate) expect: &'a Expect,
    pub(crate) etag: Etag,
    pub(crate) class: StorageClass,
    pub(crate) now: Timestamp,
    pub(crate) properties: &'a Properties,
}

/// Fills a block from a body. `left_over` keeps what a piece had beyond the block.
async fn fill<B: Body>(
    block: &mut Block,
    body: &mut B,
    left_over: &mut Bytes,
    size: u64,
    pieces: &mut Vec<Bytes>,
) -> Result<(), WriteError<B::Error>> {
    let mut got = 0;
    loop {
        let before = left_over.clone();
        block.fill(left_over);
        let taken = before.len() - left_over.len();
        if taken > 0 {
            got += u64::try_from(taken).unwrap_or(u64::MAX);
            pieces.push(before.slice(..taken));
        }
        if block.is_full() {
            return Ok(());
        }
        match body.next().await.map_err(WriteError::Body)? {
            Some(bytes) => *left_over = bytes,
            None => return Err(Error::BodyLength { got, want: size }.into()),
        }
    }
}

async fn expect_end<B: Body>(
    body: &mut B,
    got: u64,
    want: u64,
) -> Result<(), WriteError<B::Error>> {
    while let Some(bytes) = body.next().await.map_err(WriteError::Body)? {
        if !bytes.is_empty() {
            return Err(Error::BodyLength { got: got + 1, want }.into());
        }
    }
    Ok(())
}

/// The shard files of one extent, being written on every place that can.
struct Stages {
    stages: Vec<Option<Box<dyn Stage>>>,
    shards: Vec<usize>,
    needed: usize,
    set: Arc<ErasureSet>,
    patience: Patience,
    /// Whether a drive turned out full. Its status tells so a moment later.
    full: AtomicBool,
}

impl Stages {
    async fn open(set: &Arc<ErasureSet>, spot: &Spot, extent: &Extent) -> Result<Self, Error> {
        let register: Arc<Register> = Arc::clone(&spot.register);
        let needed = extent.geometry.write_quorum();
        let mut opened: Vec<Option<Box<dyn Stage>>> = set.drives.iter().map(|_| None).collect();
        let mut patience = Patience::new();
        let begun = |drive: &Arc<dyn drive::Drive>| drive.stage(extent.data, Arc::clone(&register));
        let begun = set.drives.iter().map(begun);
        let works = begun.zip(&mut opened).map(|(begun, opened)| async move {
            *opened = begun.await.ok();
            opened.is_some()
        });
        patience.wait(&set.laggards, works, needed).await;
        let shard = |place| placement::shard_on(u16::from(extent.rotation), place, set.len());
        let stages = Self {
            stages: opened,
            shards: (0..set.len()).map(shard).collect(),
            needed,
            set: Arc::clone(set),
            patience,
            full: AtomicBool::new(false),
        };
        if stages.living() < stages.needed {
            Err(set.refusal(Kind::Object))
        } else {
            Ok(stages)
        }
    }

    fn living(&self) -> usize {
        self.stages.iter().flatten().count()
    }

    /// Appends a stripe's frames. A drive that fails, or keeps the others waiting, is cut; the
    /// rest must suffice.
    async fn append(&mut self, sealed: SealedBlock, digests: &mut Digests) -> Result<(), Error> {
        digests.update(sealed.data().collect()).await?;
        let frames = self.shards.iter().map(|shard| sealed.frame(*shard));
        let works = self.stages.iter_mut().zip(frames);
        let full = &self.full;
        let works = works.map(|(stage, frame)| append(stage, frame, full));
        let (laggards, needed) = (&self.set.laggards, self.needed);
        let done = self.patience.wait(laggards, works, needed).await;
        for (place, stage) in self.stages.iter_mut().enumerate() {
            if !done.contains(place) {
                *stage = None;
            }
        }
        self.enough()
    }

    fn enough(&self) -> Result<(), Error> {
        if self.living() < self.needed {
            return Err(refusal(&self.full));
        }
        Ok(())
    }

    /// Syncs all files. Says which places have theirs.
    async fn finish(mut self) -> Result<Places, Error> {
        let full = &self.full;
        let finish = |stage: Option<Box<dyn Stage>>| async move {
            match stage {
                Some(stage) => done(stage.finish().await, full),
                None => false,
            }
        };
        let works = std::mem::take(&mut self.stages).into_iter().map(finish);
        let (laggards, needed) = (&self.set.laggards, self.needed);
        let ready = self.patience.wait(laggards, works, needed).await;
        if ready.len() < self.needed {
            return Err(refusal(full));
        }
        Ok(ready)
    }
}

/// Appends to one drive's file, unless that was cut out of the upload.
async fn append(stage: &mut Option<Box<dyn Stage>>, frame: Bytes, full: &AtomicBool) -> bool {
    match stage {
        Some(writer) => done(writer.append(frame).await, full),
        None => false,
    }
}

/// Whether a drive did its part; else it is cut.
fn done<T>(result: Result<T, drive::Error>, full: &AtomicBool) -> bool {
    if let Err(error) = &result {
        tracing::warn!(%error, "a drive is cut out of an upload");
        full.fetch_or(*error == drive::Error::Full, Ordering::Relaxed);
    }
    result.is_ok()
}

/// Why too few drives took the bytes.
fn refusal(full: &AtomicBool) -> Error {
    match full.load(Ordering::Relaxed) {
        true => Error::Full,
        false => Error::Unavailable("too few drives took the bytes"),
    }
}

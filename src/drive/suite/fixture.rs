//! Rows, names and requests of which the checks are made.

use std::sync::Arc;

use bytes::Bytes;
use types::{
    BucketId, DataId, DeploymentId, DriveId, Epoch, Etag, Geometry, Head, Kind, ObjectKey, Order,
    Placed, Slot, StorageClass, Timestamp, VersionId,
};

use crate::contract::{
    Commit, Committed, Discard, Drive, Error, Fence, Identity, Row, RowAnswer, RowsRequest, Scan,
    ScanPage, SettleMark, Settles, ShardRead, ShardReader, Want,
};
use crate::register::{Register, Space};

/// The epoch in which most things happen.
pub(super) const EPOCH: u64 = 10;
/// The slot of every register but the barrier's.
pub(super) const SLOT: u16 = 7;
const BARRIER_SLOT: u16 = 900;

pub(super) fn identity() -> Identity {
    Identity {
        deployment: DeploymentId::from_bytes([1; 16]),
        drive: DriveId::from_bytes([2; 16]),
        pool: 0,
        set: 0,
        place: 0,
    }
}

pub(super) fn bucket() -> BucketId {
    BucketId::from_u64(0x0102_2f03_0405_2f06)
}

pub(super) fn object_key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).expect("the suite's keys are legal")
}

pub(super) fn object(text: &str) -> Arc<Register> {
    Arc::new(Register::object(bucket(), &object_key(text)))
}

pub(super) fn data(number: u64) -> DataId {
    let mut bytes = [0xd0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    DataId::from_bytes(bytes)
}

/// The order of that sequence in [`EPOCH`].
pub(super) fn at(sequence: u64) -> Order {
    Order::new(Epoch::new(1, EPOCH), sequence)
}

pub(super) fn fence(index: u64) -> Fence {
    Fence {
        slot: Slot::new(SLOT),
        epoch: Epoch::new(1, index),
    }
}

/// A row in the making. Its bytes follow from its order, so that no two rows are alike.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) head: Head,
    pub(super) files: Vec<DataId>,
    pub(super) inline: Option<Bytes>,
}

impl Draft {
    /// An empty object of the version that was born then.
    pub(super) fn born(born: Order, order: Order) -> Self {
        let mut etag = [0; 16];
        etag[8..].copy_from_slice(&order.sequence.to_le_bytes());
        let head = Head {
            kind: Kind::Object,
            version: VersionId::Born(born),
            born,
            order,
            prev: Order::ZERO,
            size: 0,
            modified: Timestamp::from_millis(1_700_000_000_000 + order.sequence),
            etag: Etag::Md5(etag),
            geometry: Geometry::new(2, 1).expect("2+1 is a geometry"),
            rotation: 1,
            class: StorageClass::Standard,
            placed: Placed::Nowhere,
            data: data(order.sequence),
        };
        Self {
            head,
            files: Vec::new(),
            inline: None,
        }
    }

    /// An empty object, created by that sequence.
    pub(super) fn new(sequence: u64) -> Self {
        Self::born(at(sequence), at(sequence))
    }

    pub(super) fn null(mut self) -> Self {
        self.head.version = VersionId::Null;
        self
    }

    pub(super) fn kind(mut self, kind: Kind) -> Self {
        self.head.kind = kind;
        self
    }

    /// With a frame beside it.
    pub(super) fn inline(mut self, len: usize) -> Self {
        self.head.placed = Placed::Inline;
        self.head.size = len as u64;
        let byte = self.head.order.to_bytes()[15];
        self.inline = Some(vec![byte; 32 + len].into());
        self
    }

    /// With one shard file.
    pub(super) fn file(mut self, data: DataId) -> Self {
        self.head.placed = Placed::File;
        self.head.data = data;
        self.files = vec![data];
        self
    }

    /// Made of parts.
    pub(super) fn parts(mut self, parts: &[DataId]) -> Self {
        self.head.placed = Placed::Parts;
        self.files = parts.to_vec();
        self
    }

    pub(super) fn row(&self) -> Arc<Row> {
        let tail = format!("tail of {:?}", self.head.order).into();
        Arc::new(Row {
            head: self.head,
            files: self.files.clone().into(),
            tail,
        })
    }
}

/// A drive with the suite's ways of asking.
pub(super) struct Hand {
    pub(super) drive: Arc<dyn Drive>,
}

impl Hand {
    pub(super) fn new(drive: Arc<dyn Drive>) -> Self {
        Self { drive }
    }

    pub(super) async fn commit_under(
        &self,
        fence: Fence,
        register: &Arc<Register>,
        draft: &Draft,
    ) -> Result<Committed, Error> {
        let (register, inline) = (Arc::clone(register), draft.inline.clone());
        self.drive
            .commit(Commit {
                fence,
                register,
                row: draft.row(),
                inline,
            })
            .await
    }

    pub(super) async fn try_commit(
        &self,
        register: &Arc<Register>,
        draft: &Draft,
    ) -> Result<Committed, Error> {
        self.commit_under(fence(EPOCH), register, draft).await
    }

    pub(super) async fn commit(&self, register: &Arc<Register>, draft: &Draft) -> Committed {
        let committed = self.try_commit(register, draft).await;
        committed.unwrap_or_else(|error| panic!("commit of {:?}: {error}", draft.head.order))
    }

    pub(super) async fn try_rows(
        &self,
        register: &Arc<Register>,
        want: Want,
    ) -> Result<Vec<RowAnswer>, Error> {
        self.ask(register, want, None).await
    }

    pub(super) async fn raise(
        &self,
        register: &Arc<Register>,
        fence: Fence,
    ) -> Result<Vec<RowAnswer>, Error> {
        self.ask(register, Want::Latest, Some(fence)).await
    }

    async fn ask(
        &self,
        register: &Arc<Register>,
        want: Want,
        raise: Option<Fence>,
    ) -> Result<Vec<RowAnswer>, Error> {
        let (slot, register) = (Slot::new(SLOT), Arc::clone(register));
        self.drive
            .rows(RowsRequest {
                raise,
                slot,
                register,
                want,
            })
            .await
    }

    pub(super) async fn rows(&self, register: &Arc<Register>, want: Want) -> Vec<RowAnswer> {
        let rows = self.try_rows(register, want).await;
        rows.unwrap_or_else(|error| panic!("rows of {register:?}, {want:?}: {error}"))
    }

    /// `(sequence of birth, sequence, settled)` of each row.
    pub(super) async fn summary(
        &self,
        register: &Arc<Register>,
        want: Want,
    ) -> Vec<(u64, u64, bool)> {
        let rows = self.rows(register, want).await;
        let line = |row: &RowAnswer| (row.head.born.sequence, row.head.order.sequence, row.settled);
        rows.iter().map(line).collect()
    }

    /// All of [`EPOCH`] up to that sequence is settled, and that is in force.
    pub(super) async fn settle(&self, settled: u64) {
        self.settle_all(Settles {
            marks: vec![mark(EPOCH, settled)],
            ..Settles::default()
        })
        .await;
    }

    pub(super) async fn settle_all(&self, settles: Settles) {
        self.drive.settle(settles);
        self.barrier().await;
    }

    /// After this, what was told before is in force.
    pub(super) async fn barrier(&self) {
        // Positions grow with every commit, so no barrier is a repetition.
        let sequence = self.drive.positions().0 + 1;
        let fence = Fence {
            slot: Slot::new(BARRIER_SLOT),
            epoch: Epoch::new(1, EPOCH),
        };
        let elsewhere = BucketId::from_u64(u64::MAX);
        let register = Arc::new(Register::object(elsewhere, &object_key("barrier")));
        let draft = Draft::new(sequence).null();
        let committed = self.commit_under(fence, &register, &draft).await;
        committed.unwrap_or_else(|error| panic!("commit of a barrier: {error}"));
    }

    pub(super) async fn discard(
        &self,
        register: &Arc<Register>,
        rows: &[(Order, Order)],
        keep: &[DataId],
    ) -> Result<(), Error> {
        let (register, fence) = (Arc::clone(register), fence(EPOCH));
        let discard = Discard {
            fence,
            register,
            rows: rows.to_vec(),
            keep: keep.into(),
        };
        self.drive.discard(discard).await
    }

    /// Stages a whole file.
    pub(super) async fn stage(&self, data: DataId, register: &Arc<Register>, bytes: &[u8]) {
        let staged = async {
            let mut stage = self.drive.stage(data, Arc::clone(register)).await?;
            for frames in bytes.chunks(1000) {
                stage.append(Bytes::copy_from_slice(frames)).await?;
            }
            stage.finish().await
        };
        let staged = staged
            .await
            .unwrap_or_else(|error| panic!("staging {data}: {error}"));
        assert_eq!(
            (staged.data, staged.len),
            (data, bytes.len() as u64),
            "what was staged"
        );
    }

    pub(super) async fn read(&self, data: DataId, offset: u64, len: usize) -> Result<Bytes, Error> {
        self.reader(data)
            .read(ShardRead { data, offset, len })
            .await
    }

    pub(super) fn reader(&self, data: DataId) -> Box<dyn ShardReader> {
        self.drive.read_shards([data].into())
    }

    pub(super) async fn page(&self, scan: Scan) -> ScanPage {
        let page = self.drive.scan(scan.clone()).await;
        page.unwrap_or_else(|error| panic!("scan of {scan:?}: {error}"))
    }

    /// All pages of a scan: `(key, sequence, settled)` of each row.
    pub(super) async fn scan(&self, mut scan: Scan) -> Vec<(String, u64, bool)> {
        let mut found = Vec::new();
        loop {
            let page = self.page(scan.clone()).await;
            let start = scan.start.as_slice().max(&scan.prefix).to_vec();
            for row in &page.rows {
                let register = scanned(&page, row.register.clone());
                assert!(
                    register.as_bytes() >= start.as_slice(),
                    "{register:?} is below the start"
                );
                assert!(
                    register.as_bytes().starts_with(&scan.prefix),
                    "{register:?} is outside"
                );
                let key = String::from_utf8_lossy(register.key()).into_owned();
                found.push((key, row.head.order.sequence, row.settled));
            }
            match page.next {
                Some(next) => {
                    assert!(next > start, "a page that does not get on");
                    scan.start = next;
                }
                None => return found,
            }
        }
    }
}

/// A scanned row's register.
pub(super) fn scanned(page: &ScanPage, range: std::ops::Range<u32>) -> Register {
    let range = usize::try_from(range.start)
        .ok()
        .zip(usize::try_from(range.end).ok());
    let bytes = range.and_then(|(from, to)| page.names.get(from..to));
    bytes
        .and_then(Register::from_bytes)
        .expect("a scanned row names a register of its page")
}

pub(super) fn mark(index: u64, settled: u64) -> SettleMark {
    let (slot, epoch) = (Slot::new(SLOT), Epoch::new(1, index));
    SettleMark {
        slot,
        epoch,
        settled,
        complete: 0,
    }
}

/// A scan of the suite's objects.
pub(super) fn scan_of(prefix: &str) -> Scan {
    let prefix = Register::prefix(bucket(), Space::Objects, prefix);
    Scan {
        start: prefix.clone(),
        prefix,
        delimiter: None,
        want: Want::Latest,
        rows_max: 1000,
    }
}

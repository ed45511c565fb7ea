//! A store on twins, and short words for what the tests do with it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use drive::{Drive, Identity, Register, RowsRequest, Twin, Want};
use futures_util::StreamExt;
use store::{
    Body, Delete, Deleted, Error, Expect, Found, ListPage, ListRequest, Properties, Put, SetConfig,
    Store, Tags, Versioning, WriteError, Written,
};
use types::{
    BucketId, ByteRange, DataId, DeploymentId, DriveId, Epoch, Geometry, Head, ObjectKey, Order,
    Slot, StorageClass, Timestamp, VersionId,
};

pub(crate) fn deployment() -> DeploymentId {
    DeploymentId::from_bytes([7; 16])
}

/// The identity of the drive of that number at a place.
pub(crate) fn drive_at(place: u8, number: u8) -> Identity {
    Identity {
        deployment: deployment(),
        drive: DriveId::from_bytes([number; 16]),
        pool: 0,
        set: 0,
        place,
    }
}

pub(crate) fn bucket() -> BucketId {
    BucketId::from_u64(5)
}

pub(crate) fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

/// Bytes that differ from place to place and from seed to seed.
pub(crate) fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A body in pieces, which may never come to its end.
pub(crate) struct Pieces {
    bytes: Bytes,
    piece: usize,
    /// After so many bytes, nothing more comes, ever.
    stall_after: usize,
    given: usize,
}

impl Pieces {
    pub(crate) fn new(bytes: &[u8], piece: usize) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(bytes),
            piece,
            stall_after: usize::MAX,
            given: 0,
        }
    }

    pub(crate) fn stalling(bytes: &[u8], stall_after: usize) -> Self {
        Self {
            stall_after,
            ..Self::new(bytes, 70_001)
        }
    }
}

impl Body for Pieces {
    type Error = &'static str;

    async fn next(&mut self) -> Result<Option<Bytes>, Self::Error> {
        if self.given >= self.stall_after {
            std::future::pending::<()>().await;
        }
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let piece = self.bytes.split_to(self.piece.min(self.bytes.len()));
        self.given += piece.len();
        Ok(Some(piece))
    }

    fn finish(&mut self, _: [u8; 16]) -> Result<Properties, Self::Error> {
        let user = vec![("colour".to_owned(), "grey".to_owned())];
        Ok(Properties {
            user,
            ..Properties::default()
        })
    }
}

/// Twins of one set. Stores come and go on them.
pub(crate) struct Rig {
    pub(crate) twins: Vec<Twin>,
    pub(crate) geometry: Geometry,
}

impl Rig {
    pub(crate) fn new(data: u8, parity: u8) -> Self {
        let twin = |place| Twin::new(drive_at(place, place), u64::from(place) + 1);
        Self {
            twins: (0..data + parity).map(twin).collect(),
            geometry: Geometry::new(data, parity).unwrap(),
        }
    }

    /// A new process with a lease of this epoch on every slot.
    pub(crate) fn store(&self, epoch: u64) -> Arc<Store> {
        let drives = self.twins.iter().cloned();
        let store = Store::new(
            deployment(),
            vec![SetConfig {
                deployment: deployment(),
                drives: drives
                    .map(|twin| Arc::new(twin) as Arc<dyn Drive>)
                    .collect(),
                standard: self.geometry,
                reduced: self.geometry,
                membership: Epoch::default(),
            }],
        );
        grant(&store, epoch);
        Arc::new(store)
    }

    pub(crate) fn crash(&self) {
        self.twins.iter().for_each(Twin::crash);
    }
}

pub(crate) fn grant(store: &Store, epoch: u64) {
    for slot in 0..Slot::COUNT {
        store.grant(Slot::new(slot), Epoch::new(0, epoch));
    }
}

pub(crate) fn put_of(size: usize) -> Put {
    Put {
        versioning: Versioning::Off,
        expect: Expect::Anything,
        size: size as u64,
        class: StorageClass::Standard,
        now: Timestamp::from_millis(1_700_000_000_000),
    }
}

pub(crate) async fn try_put(
    store: &Store,
    name: &str,
    put: &Put,
    bytes: &[u8],
) -> Result<Written, Error> {
    let mut body = Pieces::new(bytes, 70_001);
    let done = store.put(bucket(), &key(name), put, &mut body).await;
    done.map_err(|error| match error {
        WriteError::Store(error) => error,
        WriteError::Body(error) => panic!("{error}"),
    })
}

pub(crate) async fn put(store: &Store, name: &str, bytes: &[u8]) -> Written {
    let done = try_put(store, name, &put_of(bytes.len()), bytes).await;
    done.unwrap_or_else(|error| panic!("put {name}: {error}"))
}

/// Writes if there is nothing.
pub(crate) async fn put_new(store: &Store, name: &str, bytes: &[u8]) -> Result<Written, Error> {
    let put = Put {
        expect: Expect::NoneMatch(Tags::Any),
        ..put_of(bytes.len())
    };
    try_put(store, name, &put, bytes).await
}

pub(crate) async fn find(store: &Store, name: &str) -> Result<Found, Error> {
    store.find(bucket(), &key(name), None).await
}

pub(crate) async fn bytes_of(found: Found, range: ByteRange) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let mut pieces = std::pin::pin!(found.stream(range));
    while let Some(piece) = pieces.next().await {
        out.extend_from_slice(&piece?);
    }
    Ok(out)
}

/// The whole object.
pub(crate) async fn get(store: &Store, name: &str) -> Result<Vec<u8>, Error> {
    version(store, name, None).await
}

pub(crate) async fn version(
    store: &Store,
    name: &str,
    version: Option<VersionId>,
) -> Result<Vec<u8>, Error> {
    let found = store.find(bucket(), &key(name), version).await?;
    let range = ByteRange::whole(found.head.size);
    bytes_of(found, range).await
}

pub(crate) async fn delete(store: &Store, name: &str) -> Result<Deleted, Error> {
    delete_version(store, name, Versioning::Off, None).await
}

pub(crate) async fn delete_version(
    store: &Store,
    name: &str,
    versioning: Versioning,
    version: Option<VersionId>,
) -> Result<Deleted, Error> {
    let delete = Delete {
        versioning,
        version,
        expect: Expect::Anything,
        now: Timestamp::from_millis(1_700_000_000_001),
    };
    store.delete(bucket(), &key(name), &delete).await
}

pub(crate) fn list_of(prefix: &str, delimiter: Option<&str>, entries_max: usize) -> ListRequest {
    ListRequest {
        bucket: bucket(),
        prefix: prefix.to_owned(),
        after: None,
        delimiter: delimiter.map(str::to_owned),
        entries_max,
    }
}

/// All names, in one page.
pub(crate) async fn names(store: &Store) -> Vec<String> {
    let page: ListPage = store.list(&list_of("", None, 10_000)).await.unwrap();
    let names = page.entries.iter().map(|entry| entry.name().to_owned());
    names.collect()
}

/// Runs a property's case as `start_paused` does for a test.
pub(crate) fn in_paused_time(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(case);
}

/// Long enough for every settle and late answer.
pub(crate) async fn calm() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

pub(crate) fn register(name: &str) -> Arc<Register> {
    Arc::new(Register::object(bucket(), &key(name)))
}

pub(crate) fn slot_of(name: &str) -> Slot {
    placement::locate(deployment(), bucket(), &key(name), 1).slot
}

/// The rows of a key on one drive.
pub(crate) async fn heads(twin: &Twin, name: &str) -> Vec<Head> {
    let request = RowsRequest {
        raise: None,
        slot: slot_of(name),
        register: register(name),
        want: Want::All,
    };
    let rows = twin.rows(request).await.unwrap();
    rows.iter().map(|row| row.head).collect()
}

/// Flips a bit of what a drive holds of a key's bytes. `false` if it holds none.
pub(crate) fn flip(
    twin: &Twin,
    name: &str,
    (born, order, data): (Order, Order, DataId),
    at: usize,
) -> bool {
    twin.flip_inline(&register(name), born, order, at) || twin.flip_shard(data, at)
}

pub(crate) async fn identity(store: &Store, name: &str) -> (Order, Order, DataId) {
    let head = find(store, name).await.unwrap().head;
    (head.born, head.order, head.data)
}

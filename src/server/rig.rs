//! A server on temporary drives, with a little of everything stored.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use drive::{Drive, Register, Row, RowsRequest, Scan, Status, Want};
use futures_util::StreamExt;
use ledger::{ClusterSecret, Command, Ledger, LedgerConfig};
use store::{
    Census, Complete, Delete, Depth, Expect, ListRequest, ListedUpload, NewUpload, Part,
    Properties, Put, PutPart, Store, UploadsRequest, Versioning,
};
use types::{BucketId, ByteRange, Etag, ObjectKey, Order, Slot, StorageClass, Timestamp};

use crate::assemble::open_store;
use crate::config::{Environment, load};
use crate::form::{Formed, form};
use crate::intent::{joining, seat_drives};
use crate::rebuild::{activate, admit, store_seat};

/// Drives of the server.
pub(crate) const DRIVES: usize = 4;

fn all_rows() -> Scan {
    Scan {
        start: Vec::new(),
        prefix: Vec::new(),
        delimiter: None,
        want: Want::All,
        rows_max: 1_000,
    }
}

/// An environment that takes any file system.
struct Tests;

impl Environment for Tests {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "SARSEN_DEV").then(|| "on".to_owned())
    }

    fn names(&self) -> Vec<String> {
        vec!["SARSEN_DEV".to_owned()]
    }
}

/// Recounts and scrubs until all is whole: two that repair, and one that finds nothing to do.
const ROUNDS_MAX: usize = 4;

/// A server without its doors.
pub(crate) struct Node {
    pub(crate) formed: Arc<Formed>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) store: Arc<Store>,
}

pub(crate) fn content(size: usize, seed: usize) -> Vec<u8> {
    (0..size)
        .map(|at| (at * 31 + at / 251 + seed) as u8)
        .collect()
}

pub(crate) fn bucket() -> BucketId {
    BucketId::from_u64(9)
}

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey::parse(name).unwrap()
}

/// What is stored: inline and in files, of odd lengths. One more is made of parts.
const OBJECTS: [(&str, usize); 4] = [
    ("empty", 0),
    ("inline", 501),
    ("file", 131_073),
    ("again", 777),
];
const PARTS: [usize; 2] = [2_001, 333];
/// Shard files that each drive holds of all that: of the large object, and of the parts of an
/// object and of an upload.
pub(crate) const FILES: usize = 1 + 2 * PARTS.len();

impl Node {
    pub(crate) async fn start(home: &Path) -> Self {
        let drives = (0..DRIVES).map(|place| home.join(format!("{place}")).into_os_string());
        let command = ["sarsen", "server"].map(OsString::from);
        let config = load(command.into_iter().chain(drives), &Tests).unwrap();
        let formed = tokio::task::spawn_blocking(move || form(&config)).await;
        let formed = formed.unwrap().unwrap();
        let secret = ClusterSecret::from_bytes([7; 32]);
        let config = LedgerConfig {
            drives: formed.drives(),
            secret,
            node: 1,
        };
        let ledger = Ledger::open(config).await.unwrap();
        seat_drives(&ledger, &formed).await.unwrap();
        let grant = Command::Grant { node: 1, start: 1 };
        ledger.propose(grant).await.unwrap();
        let store = Arc::new(open_store(&formed, &ledger));
        Self {
            formed: Arc::new(formed),
            ledger: Arc::new(ledger),
            store,
        }
    }

    pub(crate) async fn put(&self, name: &str, bytes: Vec<u8>, versioning: Versioning) {
        let put = Put {
            versioning,
            expect: Expect::Anything,
            size: bytes.len() as u64,
            class: StorageClass::Standard,
            now: Timestamp::from_millis(1),
        };
        let mut body = Bytes::from(bytes);
        let done = self.store.put(bucket(), &key(name), &put, &mut body).await;
        done.unwrap();
    }

    async fn delete(&self, name: &str, versioning: Versioning) {
        let delete = Delete {
            versioning,
            version: None,
            expect: Expect::Anything,
            now: Timestamp::from_millis(2),
        };
        let done = self.store.delete(bucket(), &key(name), &delete).await;
        done.unwrap();
    }

    async fn part(&self, name: &str, upload: Order, number: u16, bytes: Vec<u8>) -> Part {
        let put = PutPart {
            number,
            size: bytes.len() as u64,
            class: StorageClass::Standard,
            now: Timestamp::from_millis(4),
        };
        let (key, mut body) = (key(name), Bytes::from(bytes));
        let done = self.store.put_part(bucket(), &key, upload, &put, &mut body);
        done.await.unwrap()
    }

    /// Begins an upload and sends its parts, the last of them twice.
    async fn upload(&self, name: &str) -> (Order, Vec<Part>) {
        let new = NewUpload {
            properties: Properties::default(),
            class: StorageClass::Standard,
            now: Timestamp::from_millis(3),
        };
        let id = self.store.create_upload(bucket(), &key(name), &new).await;
        let (id, mut parts) = (id.unwrap(), Vec::new());
        self.part(name, id, 2, content(100, 3)).await;
        for (number, size) in (1..).zip(PARTS) {
            let bytes = content(size, usize::from(number));
            parts.push(self.part(name, id, number, bytes).await);
        }
        (id, parts)
    }

    async fn complete(&self, name: &str, upload: Order, parts: Vec<Part>) {
        let complete = Complete {
            versioning: Versioning::Off,
            expect: Expect::Anything,
            etag: Etag::Parts([6; 16], 2),
            checksum: None,
            parts,
            now: Timestamp::from_millis(5),
        };
        let done = self
            .store
            .complete(bucket(), &key(name), upload, &complete)
            .await;
        done.unwrap();
    }

    pub(crate) async fn fill(&self) {
        self.put("again", content(900, 1), Versioning::Off).await;
        for (seed, (name, size)) in OBJECTS.iter().enumerate() {
            self.put(name, content(*size, seed), Versioning::Off).await;
        }
        self.put("versions", content(300, 50), Versioning::Enabled)
            .await;
        self.put("versions", content(301, 51), Versioning::Enabled)
            .await;
        self.delete("versions", Versioning::Enabled).await;
        self.put("gone", content(10, 60), Versioning::Off).await;
        self.delete("gone", Versioning::Off).await;
        let (id, parts) = self.upload("parts").await;
        self.complete("parts", id, parts).await;
        self.upload("open").await;
        let bucket = Command::CreateBucket {
            name: "bucket".into(),
            created_ms: 1,
        };
        self.ledger.propose(bucket).await.unwrap();
    }

    pub(crate) async fn read(&self, what: &str, name: &str, want: &[u8]) {
        let found = self.store.find(bucket(), &key(name), None).await;
        let found = found.unwrap_or_else(|error| panic!("{what}: {name}: {error}"));
        let range = ByteRange::whole(found.head.size);
        let mut pieces = Box::pin(found.stream(range));
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece.unwrap_or_else(|error| panic!("{what}: {name}: {error}"));
            bytes.extend_from_slice(&piece);
        }
        assert!(bytes == want, "{what}: {name} has wrong bytes");
    }

    pub(crate) async fn check(&self, what: &str) {
        for (seed, (name, size)) in OBJECTS.iter().enumerate() {
            self.read(what, name, &content(*size, seed)).await;
        }
        let parts = (1..).zip(PARTS).map(|(seed, size)| content(size, seed));
        let parts: Vec<Vec<u8>> = parts.collect();
        self.read(what, "parts", &parts.concat()).await;
        let marked = self.store.find(bucket(), &key("versions"), None).await;
        let marked = marked.err();
        assert!(
            matches!(marked, Some(store::Error::DeleteMarker { .. })),
            "{what}: {marked:?}"
        );
        let gone = self.store.find(bucket(), &key("gone"), None).await.err();
        assert_eq!(gone, Some(store::Error::NoSuchKey), "{what}");
        self.check_lists(what).await;
        assert!(self.ledger.view().buckets.contains_key("bucket"), "{what}");
    }

    async fn check_lists(&self, what: &str) {
        let list = ListRequest {
            bucket: bucket(),
            prefix: String::new(),
            after: None,
            delimiter: None,
            entries_max: 100,
        };
        let page = self.store.list(&list).await;
        let page = page.unwrap_or_else(|error| panic!("{what}: {error}"));
        let names: Vec<&str> = page.entries.iter().map(|entry| entry.name()).collect();
        let want = ["again", "empty", "file", "inline", "parts"];
        assert_eq!(names, want, "{what}");
        let uploads = UploadsRequest {
            bucket: bucket(),
            prefix: String::new(),
            after: None,
            delimiter: None,
            entries_max: 100,
        };
        let page = self.store.list_uploads(&uploads).await;
        let page = page.unwrap_or_else(|error| panic!("{what}: {error}"));
        let [ListedUpload::Upload(name, id, _)] = page.entries.as_slice() else {
            panic!("{what}: {:?}", page.entries);
        };
        let parts = self.store.parts(bucket(), &key(name), *id, 0, 100).await;
        let parts = parts.unwrap_or_else(|error| panic!("{what}: {error}"));
        let sizes: Vec<u64> = parts.iter().map(|part| part.extent.size).collect();
        let want = PARTS.map(|size| size as u64);
        assert_eq!(
            (name.as_str(), sizes.as_slice()),
            ("open", &want[..]),
            "{what}"
        );
    }

    /// Reads every shard, and repairs what is damaged.
    pub(crate) async fn scrub(&self) -> Census {
        let mut scrub = self.store.walk(Depth::Shards, None);
        while scrub.step().await {}
        scrub.census()
    }

    /// Recounts and scrubs as upkeep does, until everything is whole and every drive votes.
    pub(crate) async fn make_whole(&self, what: &str) {
        let mut found = Vec::new();
        for _ in 0..ROUNDS_MAX {
            admit(&self.formed, &self.ledger, &self.store).await;
            let mut recount = self.store.walk(Depth::Rows, None);
            while recount.step().await {}
            for drive in joining(&self.formed) {
                if recount.sound().contains(&store_seat(&drive, &self.ledger)) {
                    activate(&self.ledger, &drive).await;
                }
            }
            let scrub = self.scrub().await;
            found.push((recount.census(), scrub));
            let whole = recount.census().is_healed() && scrub.is_healed();
            let seats = self.formed.seats();
            let votes = seats.filter(|seat| seat.status() == Status::Online).count();
            if whole && votes == DRIVES {
                return self.compare_rows(what).await;
            }
        }
        let status: Vec<Status> = self.formed.sets[0]
            .iter()
            .map(|drive| drive.status())
            .collect();
        panic!("{what}: not repaired: {status:?} {found:?}");
    }

    /// Every drive has the same of each row: the store asks as few of them as it can.
    async fn compare_rows(&self, what: &str) {
        let mut copies: HashMap<(Vec<u8>, Order), Arc<Row>> = HashMap::new();
        for drive in self.formed.local() {
            let page = drive.scan(all_rows()).await.unwrap();
            let names = page.rows.iter().map(|row| row.register.clone());
            let mut names: Vec<_> = names.collect();
            names.dedup();
            for name in names {
                let register = &page.names[name.start as usize..name.end as usize];
                let request = RowsRequest {
                    raise: None,
                    slot: Slot::new(0),
                    register: Arc::new(Register::from_bytes(register).unwrap()),
                    want: Want::All,
                };
                for answer in drive.rows(request).await.unwrap() {
                    let row = answer.row.unwrap_or_else(|| panic!("{what}: no row"));
                    let first = copies
                        .entry((register.to_vec(), answer.head.order))
                        .or_insert_with(|| Arc::clone(&row));
                    assert_eq!(*first, row, "{what}");
                }
            }
        }
    }

    pub(crate) async fn stop(self) {
        self.ledger.close().await;
        let close = move || self.formed.local().iter().for_each(|drive| drive.close());
        tokio::task::spawn_blocking(close).await.unwrap();
    }
}

//! The room `drive` as a candidate: one row of a register is one value, in the row's tail.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use drive::{
    Commit, Drive, Fence, Identity, LocalDrive, Options, Register, RowsRequest, Scan, SettleMark,
    Settles, Space, Want, format,
};
use tokio::runtime::{Builder, Runtime};
use types::{
    BucketId, DataId, DeploymentId, DriveId, Epoch, Etag, Geometry, Head, Kind, ObjectKey, Placed,
    Slot, StorageClass, Timestamp, VersionId,
};

use crate::engine::{Engine, Row};

/// Settle marks are sent after so many orders, as a holder does.
const SETTLE_EVERY: u64 = 256;
/// Rows of a page of a listing.
const PAGE: usize = 1000;

/// A drive, and the holder's side of it: orders and what is in flight.
pub struct Own {
    runtime: Runtime,
    drive: LocalDrive,
    bucket: BucketId,
    fence: Fence,
    geometry: Geometry,
    next: AtomicU64,
    flying: Mutex<BTreeSet<u64>>,
}

impl Own {
    /// Opens a drive; formats the directory if it holds none.
    pub fn open(directory: &Path) -> Result<Self> {
        let identity = Identity {
            deployment: DeploymentId::from_bytes([1; 16]),
            drive: DriveId::from_bytes([2; 16]),
            pool: 0,
            set: 0,
            place: 0,
        };
        let geometry = Geometry::new(2, 2)?;
        if !directory.join("sarsen.json").exists() {
            std::fs::create_dir_all(directory)?;
            format(directory, &identity, geometry).map_err(|error| anyhow!("{error:?}"))?;
            File::open(directory.parent().context("a parent")?)?.sync_all()?;
        }
        let drive = LocalDrive::open(directory, &identity, &Options::default())?;
        // An epoch of its own for each start, and all that an older one left is settled: this
        // drive alone is the set.
        let millis = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let fence = Fence {
            slot: Slot::new(7),
            epoch: Epoch::new(1, u64::try_from(millis)?),
        };
        drive.settle(Settles {
            floors: vec![(fence.slot, fence.epoch)],
            ..Settles::default()
        });
        Ok(Self {
            runtime: Builder::new_multi_thread()
                .worker_threads(1)
                .enable_time()
                .build()?,
            drive,
            bucket: BucketId::new(Epoch::new(1, 1)),
            fence,
            geometry,
            next: AtomicU64::new(1),
            flying: Mutex::default(),
        })
    }

    /// The register of a key: its text lies between the bucket and the first NUL.
    fn register(&self, key: &[u8]) -> Result<Arc<Register>> {
        let text = key
            .get(8..)
            .unwrap_or_default()
            .split(|byte| *byte == 0)
            .next();
        let key = ObjectKey::parse(std::str::from_utf8(text.unwrap_or_default())?)?;
        Ok(Arc::new(Register::object(self.bucket, &key)))
    }

    fn commitment(&self, sequence: u64, key: &[u8], value: &[u8]) -> Result<Commit> {
        let order = types::Order::new(self.fence.epoch, sequence);
        let head = Head {
            kind: Kind::Object,
            version: VersionId::Null,
            born: order,
            order,
            prev: types::Order::ZERO,
            size: 0,
            modified: Timestamp::from_millis(sequence),
            etag: Etag::Md5([0; 16]),
            geometry: self.geometry,
            rotation: 0,
            class: StorageClass::Standard,
            placed: Placed::Nowhere,
            data: DataId::from_bytes(order.to_bytes()),
        };
        let row = drive::Row {
            head,
            files: Arc::from([]),
            tail: bytes::Bytes::copy_from_slice(value),
        };
        Ok(Commit {
            fence: self.fence,
            register: self.register(key)?,
            row: Arc::new(row),
            inline: None,
        })
    }

    fn flying(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.flying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn landed(&self, first: u64, count: u64) {
        let mut flying = self.flying();
        for sequence in first..first + count {
            flying.remove(&sequence);
        }
        let next = self.next.load(Ordering::Relaxed);
        let settled = flying.first().copied().unwrap_or(next) - 1;
        drop(flying);
        if first / SETTLE_EVERY != (first + count) / SETTLE_EVERY {
            let mark = SettleMark {
                slot: self.fence.slot,
                epoch: self.fence.epoch,
                settled,
                complete: settled,
            };
            self.drive.settle(Settles {
                marks: vec![mark],
                ..Settles::default()
            });
        }
    }

    /// Walks a listing page by page.
    fn pages(&self, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let prefix = Register::prefix(self.bucket, Space::Objects, "");
        let mut start = Some(prefix.clone());
        while let Some(from) = start {
            let scan = Scan {
                start: from,
                prefix: prefix.clone(),
                delimiter: None,
                want: Want::Latest,
                rows_max: PAGE,
            };
            // The reply needs the runtime from the start.
            let page = self
                .runtime
                .block_on(async { self.drive.scan(scan).await })?;
            let mut last = None;
            for row in &page.rows {
                // A register may have older rows yet.
                if last.replace(row.register.clone()) == Some(row.register.clone()) {
                    continue;
                }
                let range = row.register.start as usize..row.register.end as usize;
                visit(page.names.get(range).context("a register")?)?;
            }
            start = page.next;
        }
        Ok(())
    }

    fn latest(&self, register: Arc<Register>) -> Result<Option<Vec<u8>>> {
        let request = RowsRequest {
            raise: None,
            slot: self.fence.slot,
            register,
            want: Want::Latest,
        };
        let rows = self
            .runtime
            .block_on(async { self.drive.rows(request).await })?;
        let row = rows.first().and_then(|answer| answer.row.as_ref());
        Ok(row.map(|row| row.tail.to_vec()))
    }
}

impl Engine for Own {
    fn commit(&self, rows: &[Row]) -> Result<()> {
        let count = rows.len() as u64;
        let first = {
            let mut flying = self.flying();
            let first = self.next.fetch_add(count, Ordering::Relaxed);
            flying.extend(first..first + count);
            first
        };
        let outcome = self.runtime.block_on(async {
            let mut replies = Vec::with_capacity(rows.len());
            for (sequence, (key, value)) in (first..).zip(rows) {
                replies.push(self.drive.commit(self.commitment(sequence, key, value)?));
            }
            for reply in replies {
                reply.await?;
            }
            Ok(())
        });
        if outcome.is_ok() {
            self.landed(first, count);
        }
        outcome
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.latest(self.register(key)?)
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        self.pages(&mut |name| {
            let register = Register::from_bytes(name).context("a register")?;
            let value = self.latest(Arc::new(register))?.context("a listed row")?;
            visit(name, &value);
            Ok(())
        })
    }

    /// A listing needs the heads alone.
    fn list(&self) -> Result<u64> {
        let mut count = 0;
        self.pages(&mut |_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }
}

//! The place of a drive that is not there: it answers nothing, and says why.

use std::sync::Arc;

use bytes::Bytes;
use drive::{
    Commit, Committed, Discard, Drive, Error, Identity, MetaWrite, Register, Reply, Rows,
    RowsRequest, Scan, ScanPage, Settles, ShardRead, ShardReader, Stage, Status,
};
use types::DataId;

/// What sits where no drive does.
pub(crate) struct OfflineDrive {
    identity: Identity,
    why: Arc<str>,
}

impl OfflineDrive {
    /// The drive of this seat, which cannot be used because of `why`.
    pub(crate) fn new(identity: Identity, why: &str) -> Self {
        Self {
            identity,
            why: why.into(),
        }
    }

    fn refuse<T>(&self) -> Reply<T> {
        refuse(&self.why)
    }
}

fn refuse<T>(why: &Arc<str>) -> Reply<T> {
    let error = Error::Offline(Arc::clone(why));
    Box::pin(async move { Err(error) })
}

/// Who reads nothing from it.
struct Refusal(Arc<str>);

impl ShardReader for Refusal {
    fn read(&self, _read: ShardRead) -> Reply<Bytes> {
        refuse(&self.0)
    }
}

impl Drive for OfflineDrive {
    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn status(&self) -> Status {
        Status::Offline(Arc::clone(&self.why))
    }

    fn commit(&self, _commit: Commit) -> Reply<Committed> {
        self.refuse()
    }

    fn rows(&self, _request: RowsRequest) -> Reply<Rows> {
        self.refuse()
    }

    fn scan(&self, _scan: Scan) -> Reply<ScanPage> {
        self.refuse()
    }

    fn settle(&self, _settles: Settles) {}

    fn discard(&self, _discard: Discard) -> Reply<()> {
        self.refuse()
    }

    fn stage(&self, _data: DataId, _register: Arc<Register>) -> Reply<Box<dyn Stage>> {
        self.refuse()
    }

    fn read_shards(&self, _files: Arc<[DataId]>) -> Box<dyn ShardReader> {
        Box::new(Refusal(Arc::clone(&self.why)))
    }

    fn meta_write(&self, _writes: Vec<MetaWrite>) -> Reply<()> {
        self.refuse()
    }

    fn meta_scan(&self, _prefix: Bytes) -> Reply<Vec<(Bytes, Bytes)>> {
        self.refuse()
    }

    fn positions(&self) -> (u64, Vec<(u8, u64)>) {
        (0, Vec::new())
    }
}

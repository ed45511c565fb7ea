//! The engine as a whole, on a directory.

use std::path::Path;
use std::sync::Arc;

use types::{DeploymentId, DriveId, Geometry};

use super::{LocalDrive, Options};
use crate::contract::{Drive, Identity};
use crate::files::{Scratch, format};
use crate::suite::{Subject, conformance};

pub(super) fn identity() -> Identity {
    Identity {
        deployment: DeploymentId::from_bytes([1; 16]),
        drive: DriveId::from_bytes([2; 16]),
        pool: 0,
        set: 0,
        place: 0,
    }
}

/// A directory with a drive in it.
pub(super) fn formatted() -> Scratch {
    let scratch = Scratch::new();
    let geometry = Geometry::new(2, 2).unwrap();
    format(scratch.path(), &identity(), geometry).unwrap();
    scratch
}

pub(super) fn opened(path: &Path) -> LocalDrive {
    LocalDrive::open(path, &identity(), &Options::default()).unwrap()
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

struct Directories(Vec<Scratch>);

impl Subject for Directories {
    async fn make(&mut self) -> Arc<dyn Drive> {
        self.0.push(formatted());
        Arc::new(opened(self.0.last().unwrap().path()))
    }

    async fn reopen(&mut self, drive: Arc<dyn Drive>) -> Arc<dyn Drive> {
        drop(drive);
        Arc::new(opened(self.0.last().unwrap().path()))
    }
}

#[test]
fn the_engine_keeps_every_promise() {
    runtime().block_on(conformance(&mut Directories(Vec::new())));
}

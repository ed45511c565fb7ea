//! Deleting: a marker in a versioned bucket, a tombstone for a version that is to be gone.

use std::sync::Arc;

use drive::Want;
use quorum::Places;
use types::{DataId, Etag, Head, Kind, Order, Placed, StorageClass, Timestamp, VersionId};

use crate::decide::{Decided, Voices, decide, decide_with};
use crate::error::Error;
use crate::expect::Expect;
use crate::gates::Pass;
use crate::holder::Lease;
use crate::place::Spot;
use crate::properties::Properties;
use crate::put::Versioning;
use crate::rewrite::bare_parcel;
use crate::set::ErasureSet;

/// A deletion.
pub struct Delete {
    /// The bucket's versioning.
    pub versioning: Versioning,
    /// The version to be gone; without one, what deleting means in that bucket.
    pub version: Option<VersionId>,
    /// What must hold of the version it meets.
    pub expect: Expect,
    /// Now, for people.
    pub now: Timestamp,
}

/// What a deletion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// The version that was made (a marker) or taken away.
    pub version: Option<VersionId>,
    /// Whether that is, or was, a delete marker.
    pub marker: bool,
}

impl ErasureSet {
    /// Deletes an object or one version of it. Deleting what is not there succeeds, as in S3, and
    /// nothing that was begun before shows itself afterwards.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        spot: &Spot,
        delete: &Delete,
    ) -> Result<Deleted, Error> {
        let pass = self.holder.enter(&spot.register).await?;
        let want = match (delete.version, delete.versioning) {
            (Some(VersionId::Born(born)), _) => Want::Born(born),
            (Some(VersionId::Null), _) | (None, Versioning::Off) => Want::Null,
            (None, _) => Want::Latest,
        };
        let mut decided = decide(self, &pass, &spot.register, spot.slot, want).await?;
        let mut sure = true;
        if want == Want::Null && decided.history.current().is_none() {
            (decided, sure) = self.hear_all(&pass, spot, delete, decided).await?;
        }
        let Decided { lease, history, .. } = decided;
        let current = history.current().map(|current| current.head);
        delete.expect.check(current.as_ref())?;
        let head = match (delete.version, delete.versioning, current) {
            (None, Versioning::Enabled | Versioning::Suspended, _) => {
                self.marker(delete, history.prev().unwrap_or(Order::ZERO))
            }
            (_, _, Some(current)) => self.tombstone(&current, delete.now),
            (_, _, None) if !sure => {
                let (version, prev) = (VersionId::Null, history.prev().unwrap_or(Order::ZERO));
                self.bare(Kind::Tombstone, version, Order::ZERO, prev, delete.now)
            }
            (version, _, None) => {
                return Ok(Deleted {
                    version,
                    marker: false,
                });
            }
        };
        let was_marker = current.is_some_and(|current| current.kind == Kind::Marker);
        let nothing = Properties::default();
        let head = self.put_row(spot, pass, lease, head, &nothing).await?;
        Ok(match head.kind {
            Kind::Marker => Deleted {
                version: Some(head.version),
                marker: true,
            },
            _ => Deleted {
                version: delete.version,
                marker: was_marker,
            },
        })
    }

    /// What all drives have of a null version that a read quorum has not. Nothing newer may be
    /// written that a put which was cut off would be older than: it may be on drives that no read
    /// quorum met, and be finished by a later touch. `false` if not all answer; then what is decided
    /// tells where in the history a tombstone has its place.
    async fn hear_all(
        self: &Arc<Self>,
        pass: &Pass,
        spot: &Spot,
        delete: &Delete,
        decided: Decided,
    ) -> Result<(Decided, bool), Error> {
        let (register, slot) = (&spot.register, spot.slot);
        let heard = decide_with(self, pass, register, slot, Want::Null, Voices::All).await;
        if let Ok(heard) = heard {
            return Ok((heard, true));
        }
        if delete.versioning == Versioning::Off {
            return Ok((decided, false));
        }
        let mut decided = decide(self, pass, register, slot, Want::All).await?;
        let null = |version: &quorum::Decided| version.head.version == VersionId::Null;
        decided.history.versions.retain(null);
        Ok((decided, false))
    }

    /// Orders and commits a row without bytes.
    pub(crate) async fn put_row(
        self: &Arc<Self>,
        spot: &Spot,
        pass: Pass,
        lease: Lease,
        head: Head,
        properties: &Properties,
    ) -> Result<Head, Error> {
        let parcel = bare_parcel(
            self,
            &spot.register,
            head,
            properties,
            Places::all(self.len()),
        );
        self.commit(pass, lease, parcel).await
    }

    fn marker(&self, delete: &Delete, prev: Order) -> Head {
        let version = match delete.versioning {
            Versioning::Enabled => VersionId::Born(Order::ZERO),
            Versioning::Off | Versioning::Suspended => VersionId::Null,
        };
        self.bare(Kind::Marker, version, Order::ZERO, prev, delete.now)
    }

    /// What takes a version away.
    pub(crate) fn tombstone(&self, of: &Head, now: Timestamp) -> Head {
        self.bare(Kind::Tombstone, of.version, of.born, of.prev, now)
    }

    /// A head without bytes. A birth of zero means: born by this row.
    pub(crate) fn bare(
        &self,
        kind: Kind,
        version: VersionId,
        born: Order,
        prev: Order,
        now: Timestamp,
    ) -> Head {
        Head {
            kind,
            version,
            born,
            order: Order::ZERO,
            prev,
            size: 0,
            modified: now,
            etag: Etag::Md5([0; 16]),
            geometry: self.standard,
            rotation: 0,
            class: StorageClass::Standard,
            placed: Placed::Nowhere,
            data: DataId::from_bytes([0; 16]),
        }
    }
}

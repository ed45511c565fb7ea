//! Multipart uploads: their beginning, their end, and whether they are still open.
//!
//! An upload is a row of its own register until it is completed or aborted; then it is a tombstone.
//! Everything about it, its parts too, changes under the right to change that register. It goes
//! like this, and a crash may come between any two steps:
//!
//! 1. Parts are committed, each at its own W, while the upload is open.
//! 2. The upload's row is marked: its completion was begun. From here on whoever finds it looks
//!    at the object first, for the version that carries the upload's id.
//! 3. The object's row is committed. It refers to the parts' files.
//! 4. The upload's row becomes a tombstone, and the client is told.
//! 5. The rows of all parts are discarded, with the files that the object does not refer to.
//!
//! To abort an upload whose completion was begun and cut off, all drives are asked for the object:
//! its row may be on one that no read quorum meets, and be finished by a later touch. With a drive
//! away that is not known, and such an upload stays until the drive is back or replaced.

use std::sync::Arc;

use drive::Want;
use quorum::Places;
use types::{BucketId, Head, Kind, ObjectKey, Order, StorageClass, Timestamp, VersionId};

use crate::decide::{Voices, decide, decide_with};
use crate::error::Error;
use crate::gates::Pass;
use crate::holder::Lease;
use crate::place::UploadSpot;
use crate::properties::Properties;
use crate::set::ErasureSet;
use crate::store::Store;
use crate::sweep::{Listed, sweep};

/// The beginning of an upload.
pub struct NewUpload {
    /// What the object keeps: headers, metadata, tags, and the checksum that parts bring.
    pub properties: Properties,
    /// The object's storage class.
    pub class: StorageClass,
    /// Now, for people.
    pub now: Timestamp,
}

/// An upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its head: when it began, and its storage class.
    pub head: Head,
    /// What was said when it began.
    pub properties: Properties,
}

/// How an upload stands, as its holder finds it.
pub(crate) enum Standing {
    /// It takes parts.
    Open(Touched),
    /// It became an object; only its end was not noted.
    Completed(Touched),
    /// There is none, or none any more.
    Gone,
}

/// An upload that was found, and by what right. All that follows from its standing is done by the
/// same: in between it could be given up.
#[derive(Clone)]
pub(crate) struct Touched {
    pub(crate) upload: Upload,
    pub(crate) lease: Lease,
}

impl Store {
    pub(crate) fn upload_spot(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: Order,
    ) -> Result<(UploadSpot, &Arc<ErasureSet>), Error> {
        let location = placement::locate(self.deployment, bucket, key, self.sets.len());
        let set = self.sets.get(location.set);
        let set = set.ok_or(Error::Unavailable("no such set"))?;
        Ok((UploadSpot::new(bucket, key, location, id), set))
    }

    /// Begins an upload. Its id is the order of its creation.
    pub async fn create_upload(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        new: &NewUpload,
    ) -> Result<Order, Error> {
        let (nowhere, set) = self.upload_spot(bucket, key, Order::ZERO)?;
        let lease = set.holder.lease(nowhere.upload.slot)?;
        let (object, null, none) = (Kind::Object, VersionId::Null, Order::ZERO);
        let mut head = set.bare(object, null, none, none, new.now);
        head.class = new.class;
        // An order that is issued and never sent would hold back all settle marks of its slot.
        set.may_begin(&head, Places::all(set.len()))?;
        let id = set.holder.issue(lease)?;
        (head.born, head.order) = (id, id);
        let (at, _) = self.upload_spot(bucket, key, id)?;
        let pass = set.holder.enter(&at.upload.register).await?;
        let properties = &new.properties;
        set.put_row(&at.upload, pass, lease, head, properties)
            .await?;
        Ok(id)
    }

    /// An upload, as any node sees it.
    pub async fn upload(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: Order,
    ) -> Result<Upload, Error> {
        let (at, set) = self.upload_spot(bucket, key, id)?;
        let found = set.look(&at.upload, Want::Latest).await?;
        let (head, asked) = found.ok_or(Error::NoSuchUpload)?;
        let row = set.row(&at.upload, &head, &asked).await?;
        let properties = Properties::decode(&row.tail).map_err(|_| Error::Damaged)?;
        Ok(Upload { head, properties })
    }

    /// Gives an upload up. Its parts are gone soon after.
    pub async fn abort(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: Order,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (at, set) = self.upload_spot(bucket, key, id)?;
        set.give_up(&at, now).await
    }
}

impl Upload {
    /// What an object may list of its parts: nothing, unless its completion was ever begun.
    fn listed(&self) -> Listed {
        match self.properties.upload {
            None => Listed::These([].into()),
            Some(_) => Listed::Ask,
        }
    }
}

impl ErasureSet {
    /// Gives an upload up.
    pub(crate) async fn give_up(
        self: &Arc<Self>,
        at: &UploadSpot,
        now: Timestamp,
    ) -> Result<(), Error> {
        let pass = self.holder.enter(&at.upload.register).await?;
        match self.standing_with(at, &pass, Voices::All).await? {
            Standing::Gone => Err(Error::NoSuchUpload),
            Standing::Completed(touched) => {
                end(self, at, pass, &touched, Listed::Ask, now).await?;
                Err(Error::NoSuchUpload)
            }
            Standing::Open(touched) => {
                let listed = touched.upload.listed();
                end(self, at, pass, &touched, listed, now).await
            }
        }
    }

    /// How an upload stands. `pass` is the right to change it.
    pub(crate) async fn standing(
        self: &Arc<Self>,
        at: &UploadSpot,
        pass: &Pass,
    ) -> Result<Standing, Error> {
        self.standing_with(at, pass, Voices::Quorum).await
    }

    /// The same, with what these voices say of the object if its completion was begun.
    async fn standing_with(
        self: &Arc<Self>,
        at: &UploadSpot,
        pass: &Pass,
        voices: Voices,
    ) -> Result<Standing, Error> {
        let spot = &at.upload;
        let decided = decide(self, pass, &spot.register, spot.slot, Want::Latest).await?;
        let Some(head) = decided.history.current().map(|current| current.head) else {
            return Ok(Standing::Gone);
        };
        let row = self.row(spot, &head, &decided.asked).await?;
        let properties = Properties::decode(&row.tail).map_err(|_| Error::Damaged)?;
        let marked = properties.upload.is_some();
        let touched = Touched {
            upload: Upload { head, properties },
            lease: decided.lease,
        };
        if marked && self.completed(at, voices).await?.is_some() {
            return Ok(Standing::Completed(touched));
        }
        Ok(Standing::Open(touched))
    }

    /// The version that an upload became.
    pub(crate) async fn completed(
        self: &Arc<Self>,
        at: &UploadSpot,
        voices: Voices,
    ) -> Result<Option<(Head, Properties)>, Error> {
        let spot = &at.object;
        let pass = self.holder.enter(&spot.register).await?;
        let (register, want) = (&spot.register, Want::All);
        let decided = decide_with(self, &pass, register, spot.slot, want, voices).await?;
        for version in &decided.history.versions {
            if version.head.kind != Kind::Object {
                continue;
            }
            let row = self.row(spot, &version.head, &decided.asked).await?;
            let properties = Properties::decode(&row.tail).map_err(|_| Error::Damaged)?;
            if properties.upload == Some(at.id) {
                return Ok(Some((version.head, properties)));
            }
        }
        Ok(None)
    }
}

/// Ends an upload: nobody adds to it any more, and then its parts are swept away.
pub(crate) async fn end(
    set: &Arc<ErasureSet>,
    at: &UploadSpot,
    pass: Pass,
    touched: &Touched,
    listed: Listed,
    now: Timestamp,
) -> Result<(), Error> {
    let tombstone = set.tombstone(&touched.upload.head, now);
    let (lease, nothing) = (touched.lease, Properties::default());
    set.put_row(&at.upload, pass.clone(), lease, tombstone, &nothing)
        .await?;
    tokio::spawn(sweep(Arc::clone(set), at.clone(), pass, listed));
    Ok(())
}

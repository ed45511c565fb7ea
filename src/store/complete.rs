//! The completion of an upload: its parts become an object.

use std::collections::HashMap;
use std::sync::Arc;

use quorum::Places;
use types::{BucketId, DataId, Etag, Head, ObjectKey, Order, Placed, Timestamp};

use crate::decide::Voices;
use crate::error::Error;
use crate::expect::Expect;
use crate::gates::Pass;
use crate::parts::Part;
use crate::place::UploadSpot;
use crate::properties::{Checksum, Properties};
use crate::put::{Change, Content, Versioning, Written};
use crate::set::ErasureSet;
use crate::store::Store;
use crate::sweep::Listed;
use crate::upload::{Standing, Touched, Upload, end};

/// The completion of an upload.
pub struct Complete {
    /// The bucket's versioning.
    pub versioning: Versioning,
    /// What must hold of the current version.
    pub expect: Expect,
    /// The parts, in order, as they were found. The others go.
    pub parts: Vec<Part>,
    /// The object's entity tag.
    pub etag: Etag,
    /// The object's checksum.
    pub checksum: Option<Checksum>,
    /// Now, for people.
    pub now: Timestamp,
}

impl Store {
    /// Completes an upload.
    pub async fn complete(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        upload: Order,
        complete: &Complete,
    ) -> Result<Written, Error> {
        let (at, set) = self.upload_spot(bucket, key, upload)?;
        let pass = set.holder.enter(&at.upload.register).await?;
        let touched = match set.standing(&at, &pass).await? {
            Standing::Open(touched) => touched,
            // It became an object, and a crash came before its end was noted. Whoever asks for
            // what became of it finds it so.
            Standing::Completed(touched) => {
                end(set, &at, pass, &touched, Listed::Ask, complete.now).await?;
                return Err(Error::NoSuchUpload);
            }
            Standing::Gone => return Err(Error::NoSuchUpload),
        };
        set.check_parts(&at, &complete.parts).await?;
        let touched = set.mark(&at, &pass, touched).await?;
        let written = set.assemble(&at, &pass, &touched, complete).await?;
        let files: Vec<DataId> = complete.parts.iter().map(|part| part.extent.data).collect();
        let listed = Listed::These(files.into());
        if let Err(error) = end(set, &at, pass, &touched, listed, complete.now).await {
            // The object is there. Whoever finds the upload finds it completed.
            tracing::warn!(%error, "the end of an upload could not be noted");
        }
        Ok(written)
    }

    /// What became of an upload that is no longer open: the version with this tag, if it was
    /// completed so. For a client that did not hear the answer and asks again.
    pub async fn completed(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        upload: Order,
        etag: Etag,
        now: Timestamp,
    ) -> Result<Written, Error> {
        let (at, set) = self.upload_spot(bucket, key, upload)?;
        let pass = set.holder.enter(&at.upload.register).await?;
        if let Standing::Completed(touched) = set.standing(&at, &pass).await? {
            end(set, &at, pass, &touched, Listed::Ask, now).await?;
        }
        let found = set.completed(&at, Voices::Quorum).await?;
        let found = found.filter(|(head, _)| head.etag == etag);
        let (head, properties) = found.ok_or(Error::NoSuchUpload)?;
        Ok(Written {
            version: head.version,
            etag: head.etag,
            order: head.order,
            checksums: properties.checksums,
        })
    }
}

impl ErasureSet {
    /// Whether the parts are those that are there now: one may have been written anew since.
    async fn check_parts(self: &Arc<Self>, at: &UploadSpot, parts: &[Part]) -> Result<(), Error> {
        let heads: HashMap<u16, Head> = self
            .part_heads(at, 0, usize::MAX)
            .await?
            .into_iter()
            .collect();
        for part in parts {
            let number = part.extent.number;
            let head = heads.get(&number).ok_or(Error::InvalidPart(number))?;
            if head.data != part.extent.data {
                return Err(Error::InvalidPart(number));
            }
        }
        Ok(())
    }

    /// Marks the upload: from now on there may be a version that was completed from it.
    async fn mark(
        self: &Arc<Self>,
        at: &UploadSpot,
        pass: &Pass,
        mut touched: Touched,
    ) -> Result<Touched, Error> {
        let Upload { head, properties } = &mut touched.upload;
        if properties.upload.is_none() {
            properties.upload = Some(at.id);
            head.order = Order::ZERO;
            *head = self
                .put_row(&at.upload, pass.clone(), touched.lease, *head, properties)
                .await?;
        }
        Ok(touched)
    }

    /// Commits the object. Its commit holds the upload until it is decided, client or not.
    async fn assemble(
        self: &Arc<Self>,
        at: &UploadSpot,
        pass: &Pass,
        touched: &Touched,
        complete: &Complete,
    ) -> Result<Written, Error> {
        let upload = &touched.upload;
        let extents = complete.parts.iter().map(|part| part.extent.clone());
        let properties = Properties {
            checksums: complete.checksum.iter().cloned().collect(),
            extents: extents.collect(),
            wanted: None,
            ..upload.properties.clone()
        };
        let change = Change {
            versioning: complete.versioning,
            expect: &complete.expect,
            etag: complete.etag,
            class: upload.head.class,
            now: complete.now,
            properties: &properties,
        };
        let content = Content {
            placed: Placed::Parts,
            md5: [0; 16],
            frames: None,
            ready: Places::all(self.len()),
        };
        let object = self.holder.enter(&at.object.register).await?;
        let (pass, lease) = (object.within(pass), touched.lease);
        self.order_by(&at.object, pass, lease, change, content)
            .await
    }
}

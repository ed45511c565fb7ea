//! The parts of an upload.

use std::sync::Arc;

use drive::{Scan, Want};
use futures_util::stream::{self, StreamExt};
use quorum::Listing;
use types::{BucketId, Etag, Head, ObjectKey, Order, StorageClass, Timestamp};

use crate::error::{Error, WriteError};
use crate::expect::Expect;
use crate::list::{Current, SetScan};
use crate::place::UploadSpot;
use crate::properties::{Extent, Properties};
use crate::put::{Body, Change, Versioning};
use crate::rewrite::find_row;
use crate::set::ErasureSet;
use crate::store::Store;
use crate::upload::Standing;

/// Rows of a page of a scan.
const SCAN_ROWS: usize = 1_000;
/// Rows that are read side by side.
const ROWS_AT_ONCE: usize = 16;

/// The writing of a part.
pub struct PutPart {
    /// Its number.
    pub number: u16,
    /// The announced length.
    pub size: u64,
    /// The upload's storage class.
    pub class: StorageClass,
    /// Now, for people.
    pub now: Timestamp,
}

/// A part that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// When it was written.
    pub modified: Timestamp,
    /// Its number, its bytes, and what is known of them.
    pub extent: Extent,
}

impl Part {
    /// Its entity tag.
    pub fn etag(&self) -> Etag {
        Etag::Md5(self.extent.md5)
    }
}

impl Store {
    /// Writes a part, or writes it anew: the last one that was acknowledged counts.
    pub async fn put_part<B: Body>(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        upload: Order,
        put: &PutPart,
        body: &mut B,
    ) -> Result<Part, WriteError<B::Error>> {
        let (at, set) = self.upload_spot(bucket, key, upload)?;
        let spot = at.part(put.number);
        let (content, mut properties) = set.take_in(&spot, put.size, put.class, body).await?;
        let checksum = properties.checksums.pop();
        let extent = properties.extents.first_mut().ok_or(Error::Damaged)?;
        extent.checksum = checksum;
        let part = Part {
            modified: put.now,
            extent: extent.clone(),
        };
        let pass = set.holder.enter(&at.upload.register).await?;
        let Standing::Open(touched) = set.standing(&at, &pass).await? else {
            return Err(Error::NoSuchUpload.into());
        };
        let change = Change {
            versioning: Versioning::Off,
            expect: &Expect::Anything,
            etag: part.etag(),
            class: put.class,
            now: put.now,
            properties: &properties,
        };
        set.order_by(&spot, pass, touched.lease, change, content)
            .await?;
        Ok(part)
    }

    /// The parts of an upload behind a number, at most so many.
    pub async fn parts(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        upload: Order,
        after: u16,
        parts_max: usize,
    ) -> Result<Vec<Part>, Error> {
        let (at, set) = self.upload_spot(bucket, key, upload)?;
        let heads = set.part_heads(&at, after, parts_max).await?;
        let read = |(number, head): (u16, Head)| {
            let (set, spot) = (Arc::clone(set), at.part(number));
            async move {
                let row = find_row(&set, &spot.register, spot.slot, &head).await?;
                let properties = Properties::decode(&row.tail).map_err(|_| Error::Damaged)?;
                let extent = properties.extents.into_iter().next();
                Ok(Part {
                    modified: head.modified,
                    extent: extent.ok_or(Error::Damaged)?,
                })
            }
        };
        let parts = stream::iter(heads).map(read).buffered(ROWS_AT_ONCE);
        let parts: Vec<Result<Part, Error>> = parts.collect().await;
        parts.into_iter().collect()
    }
}

impl ErasureSet {
    /// The heads of the parts behind a number, by number.
    pub(crate) async fn part_heads(
        self: &Arc<Self>,
        at: &UploadSpot,
        after: u16,
        parts_max: usize,
    ) -> Result<Vec<(u16, Head)>, Error> {
        let prefix = at.parts();
        let from = after.saturating_add(1).to_be_bytes();
        let scan = Scan {
            start: [prefix.as_slice(), &from].concat(),
            prefix,
            delimiter: None,
            want: Want::Latest,
            rows_max: parts_max.min(SCAN_ROWS),
        };
        let mut scan = SetScan::begin(self, scan).await?;
        let mut heads = Vec::new();
        while heads.len() < parts_max
            && let Some(entry) = scan.next::<Current>().await?
        {
            let number = entry.register.last_chunk().ok_or(Error::Damaged)?;
            let number = u16::from_be_bytes(*number);
            let head = match entry.listing {
                Listing::Show(head) => Some(head),
                Listing::Hide => None,
                Listing::Ask => self
                    .look(&at.part(number), Want::Latest)
                    .await?
                    .map(|(head, _)| head),
            };
            heads.extend(head.map(|head| (number, head)));
        }
        Ok(heads)
    }
}

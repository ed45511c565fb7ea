//! Lists of uploads, and the end of those that nobody ends.

use std::sync::Arc;

use drive::{Register, Scan, Space, Want};
use futures_util::stream::{self, StreamExt};
use quorum::Listing;
use types::{BucketId, Head, Order, Timestamp};

use crate::error::Error;
use crate::list::{Current, SetScan, past};
use crate::place::UploadSpot;
use crate::properties::Properties;
use crate::rewrite::find_row;
use crate::set::ErasureSet;
use crate::store::Store;
use crate::upload::Upload;

/// Rows that are read, and uploads that are ended, side by side.
const AT_ONCE: usize = 16;
/// Uploads that are looked for before they are ended.
const FOUND_MAX: usize = 1_000;

/// What uploads to list.
#[derive(Debug, Clone)]
pub struct UploadsRequest {
    /// The bucket.
    pub bucket: BucketId,
    /// Only keys that begin with this.
    pub prefix: String,
    /// Only uploads behind this key or, if it is given, behind this upload of it.
    pub after: Option<(String, Option<Order>)>,
    /// Common prefixes end with this.
    pub delimiter: Option<String>,
    /// At most so many uploads and common prefixes.
    pub entries_max: usize,
}

/// One thing in a list of uploads: by key, then by when it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedUpload {
    /// An upload to a key.
    Upload(String, Order, Box<Upload>),
    /// A common prefix.
    Prefix(String),
}

/// A page of a list of uploads.
#[derive(Debug, Clone, Default)]
pub struct UploadsPage {
    /// What there is, in order.
    pub entries: Vec<ListedUpload>,
    /// Whether there is more.
    pub truncated: bool,
}

/// A common prefix, or an upload that some set has.
type Found = (String, Option<(Head, UploadSpot, Arc<ErasureSet>)>);

impl Store {
    /// Lists uploads.
    pub async fn list_uploads(&self, request: &UploadsRequest) -> Result<UploadsPage, Error> {
        let mut found = Vec::new();
        for set in &self.sets {
            found.extend(self.uploads_in(set, request).await?);
        }
        let id = |found: &Found| found.1.as_ref().map(|(_, at, _)| at.id);
        found.sort_by(|left, right| (&left.0, id(left)).cmp(&(&right.0, id(right))));
        found.dedup_by(|left, right| left.1.is_none() && right.1.is_none() && left.0 == right.0);
        let truncated = found.len() > request.entries_max;
        found.truncate(request.entries_max);
        let entries = stream::iter(found).map(read).buffered(AT_ONCE);
        let entries: Vec<Result<ListedUpload, Error>> = entries.collect().await;
        Ok(UploadsPage {
            entries: entries.into_iter().collect::<Result<_, _>>()?,
            truncated,
        })
    }

    /// What one set has for a page: one entry more than fits, if there are as many.
    async fn uploads_in(
        &self,
        set: &Arc<ErasureSet>,
        request: &UploadsRequest,
    ) -> Result<Vec<Found>, Error> {
        let wanted = request.entries_max + 1;
        let mut scan = SetScan::begin(set, scan_of(request, wanted)).await?;
        let mut found: Vec<Found> = Vec::new();
        while found.len() < wanted
            && let Some((at, head)) = self.next_upload(set, &mut scan).await?
        {
            let Some(prefix) = common_prefix(request, at.key.as_str()) else {
                let key = at.key.as_str().to_owned();
                found.push((key, Some((head, at, Arc::clone(set)))));
                continue;
            };
            if !request.shows_before(prefix) {
                found.push((prefix.to_owned(), None));
            }
            let start = past(Register::prefix(request.bucket, Space::Uploads, prefix));
            scan.seek(&start).await?;
        }
        Ok(found)
    }

    /// The next upload of a scan that is neither completed nor aborted.
    async fn next_upload(
        &self,
        set: &Arc<ErasureSet>,
        scan: &mut SetScan,
    ) -> Result<Option<(UploadSpot, Head)>, Error> {
        while let Some(entry) = scan.next::<Current>().await? {
            let register = Register::from_bytes(&entry.register).ok_or(Error::Damaged)?;
            let at = UploadSpot::of(self.deployment, &register, self.sets.len());
            let at = at.ok_or(Error::Damaged)?;
            let head = match entry.listing {
                Listing::Show(head) => Some(head),
                Listing::Hide => None,
                Listing::Ask => set
                    .look(&at.upload, Want::Latest)
                    .await?
                    .map(|found| found.0),
            };
            if let Some(head) = head {
                return Ok(Some((at, head)));
            }
        }
        Ok(None)
    }

    /// Gives up all uploads that began before then, in whatever bucket, even one that is gone.
    /// Says how many.
    pub async fn expire_uploads(&self, before: Timestamp, now: Timestamp) -> Result<u64, Error> {
        let mut ended = 0;
        for set in &self.sets {
            let mut from = Some(0);
            while let Some(bucket) = next_bucket(set, from).await? {
                ended += self.end_uploads(set, bucket, before, now).await?;
                from = bucket.as_u64().checked_add(1);
            }
        }
        Ok(ended)
    }

    /// Gives up all uploads of a bucket that takes no new ones. Says how many.
    pub async fn abort_uploads(&self, bucket: BucketId, now: Timestamp) -> Result<u64, Error> {
        let mut ended = 0;
        for set in &self.sets {
            let all = Timestamp::from_millis(u64::MAX);
            ended += self.end_uploads(set, bucket, all, now).await?;
        }
        Ok(ended)
    }

    async fn end_uploads(
        &self,
        set: &Arc<ErasureSet>,
        bucket: BucketId,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, Error> {
        let prefix = Register::prefix(bucket, Space::Uploads, "");
        let scan = Scan {
            start: prefix.clone(),
            prefix,
            delimiter: None,
            want: Want::Latest,
            rows_max: FOUND_MAX,
        };
        let mut scan = SetScan::begin(set, scan).await?;
        let (mut ended, mut failed) = (0, None);
        loop {
            let mut due = Vec::new();
            while due.len() < FOUND_MAX
                && let Some((at, head)) = self.next_upload(set, &mut scan).await?
            {
                due.extend((head.modified < before).then_some(at));
            }
            if due.is_empty() {
                return failed.map_or(Ok(ended), Err);
            }
            let ends = stream::iter(due).map(|at| async move { set.give_up(&at, now).await });
            let mut ends = ends.buffer_unordered(AT_ONCE);
            while let Some(done) = ends.next().await {
                match done {
                    Ok(()) => ended += 1,
                    // Somebody else ended it meanwhile.
                    Err(Error::NoSuchUpload) => {}
                    // The others are no worse for it.
                    Err(error) => failed = Some(error),
                }
            }
        }
    }
}

impl UploadsRequest {
    /// Whether a common prefix was shown on an earlier page.
    fn shows_before(&self, prefix: &str) -> bool {
        let after = self.after.as_ref();
        after.is_some_and(|(after, _)| after.starts_with(prefix) || after.as_str() >= prefix)
    }
}

fn scan_of(request: &UploadsRequest, rows_max: usize) -> Scan {
    let prefix = Register::prefix(request.bucket, Space::Uploads, &request.prefix);
    let start = request.after.as_ref().map(|(key, upload)| {
        let mut start = Register::prefix(request.bucket, Space::Uploads, key);
        match upload {
            Some(upload) => {
                start.push(0);
                start.extend(upload.to_bytes());
                // Above each of the register's row keys, and below every other register.
                start.extend([u8::MAX; Register::ROW_LEN + 1]);
            }
            // The registers of the key's uploads go on with NUL, so this is just past them.
            None => start.push(1),
        }
        start
    });
    Scan {
        start: start.unwrap_or_default().max(prefix.clone()),
        prefix,
        delimiter: None,
        want: Want::Latest,
        rows_max,
    }
}

fn common_prefix<'a>(request: &UploadsRequest, key: &'a str) -> Option<&'a str> {
    let delimiter = request.delimiter.as_deref()?;
    let rest = key.get(request.prefix.len()..)?;
    let end = request.prefix.len() + rest.find(delimiter)? + delimiter.len();
    key.get(..end)
}

async fn read((name, upload): Found) -> Result<ListedUpload, Error> {
    let Some((head, at, set)) = upload else {
        return Ok(ListedUpload::Prefix(name));
    };
    let row = find_row(&set, &at.upload.register, at.upload.slot, &head).await?;
    let properties = Properties::decode(&row.tail).map_err(|_| Error::Damaged)?;
    let upload = Box::new(Upload { head, properties });
    Ok(ListedUpload::Upload(name, at.id, upload))
}

/// The first bucket from this number on of which a set has anything.
async fn next_bucket(set: &Arc<ErasureSet>, from: Option<u64>) -> Result<Option<BucketId>, Error> {
    let Some(from) = from else { return Ok(None) };
    let scan = Scan {
        start: from.to_be_bytes().to_vec(),
        prefix: Vec::new(),
        delimiter: None,
        want: Want::Latest,
        rows_max: 1,
    };
    let entry = SetScan::begin(set, scan).await?.next::<Current>().await?;
    let bytes = entry
        .as_ref()
        .and_then(|entry| entry.register.first_chunk());
    Ok(bytes.map(|bytes| BucketId::from_u64(u64::from_be_bytes(*bytes))))
}

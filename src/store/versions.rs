//! Histories: every version of a key, and lists of them.

use std::sync::Arc;

use drive::{RowsRequest, Want};
use quorum::{Listing, VersionsDecision};
use types::{Head, Kind, VersionId};

use crate::decide::decide;
use crate::error::Error;
use crate::list::{Begin, ListRequest, Merge, Next, SlotOf, View};
use crate::place::Spot;
use crate::set::ErasureSet;

/// What to list of the versions of a bucket.
#[derive(Debug, Clone)]
pub struct VersionsRequest {
    /// Which keys, and how many versions, delete markers and common prefixes at most.
    pub keys: ListRequest,
    /// Go on within the key after which the list begins, behind this version of it.
    pub after_version: Option<VersionId>,
}

/// One thing in a list of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedVersion {
    /// A version or a delete marker.
    Version {
        /// Its key.
        key: Arc<str>,
        /// Its head.
        head: Head,
        /// Whether it is the current one.
        latest: bool,
    },
    /// A common prefix.
    Prefix(String),
}

/// A page of a list of versions.
#[derive(Debug, Clone, Default)]
pub struct VersionsPage {
    /// What there is: by key, and the newest born first.
    pub entries: Vec<ListedVersion>,
    /// Whether there is more.
    pub truncated: bool,
}

/// Every version of a key that there is, delete markers among them.
struct All;

impl View for All {
    type Shown = Vec<Head>;
    const WANT: Want = Want::All;

    fn decide<'a, I>(drives: usize, answers: &[Option<I>]) -> Listing<Vec<Head>>
    where
        I: Iterator<Item = (&'a Head, bool)> + Clone,
    {
        quorum::list_versions(drives, answers)
    }

    async fn ask(set: &Arc<ErasureSet>, spot: &Spot) -> Result<Option<Vec<Head>>, Error> {
        let versions = set.versions(spot).await?;
        Ok((!versions.is_empty()).then_some(versions))
    }
}

impl ErasureSet {
    /// The whole history of a key by rule 7, with the holder's help where it is needed: the newest
    /// born first, without what is gone.
    pub(crate) async fn versions(self: &Arc<Self>, spot: &Spot) -> Result<Vec<Head>, Error> {
        let request = RowsRequest {
            raise: None,
            slot: spot.slot,
            register: Arc::clone(&spot.register),
            want: Want::All,
        };
        let places: Vec<usize> = (0..self.len()).collect();
        let first = self.standard.read_quorum();
        let (found, _) = self
            .ask(
                &request,
                &places,
                first,
                |asked| match quorum::read_versions(&asked.ballot) {
                    VersionsDecision::Return(found) => Some(Some(found)),
                    VersionsDecision::AskHolder if asked.ballot.pending().is_empty() => Some(None),
                    VersionsDecision::AskHolder | VersionsDecision::Wait => None,
                },
            )
            .await?;
        let mut found = match found {
            Some(found) => found,
            None => {
                let pass = self.holder.enter(&spot.register).await?;
                let decided = decide(self, &pass, &spot.register, spot.slot, Want::All).await?;
                decided.history.versions
            }
        };
        found.retain(|version| !version.is_tombstone());
        Ok(found.iter().map(|version| version.head).collect())
    }
}

/// The versions behind the marker. One that is gone by now and does not tell when it was born
/// leaves all of them: better twice than not at all.
fn behind(versions: &[Head], marker: VersionId) -> usize {
    let at = versions.iter().position(|head| head.version == marker);
    match (at, marker) {
        (Some(at), _) => at + 1,
        (None, VersionId::Born(born)) => versions.partition_point(|head| head.born >= born),
        (None, VersionId::Null) => 0,
    }
}

/// Lists versions over all sets.
pub(crate) async fn list_versions(
    sets: &[Arc<ErasureSet>],
    slot_of: &SlotOf,
    request: &VersionsRequest,
) -> Result<VersionsPage, Error> {
    let mut page = VersionsPage::default();
    let keys = &request.keys;
    if keys.entries_max == 0 {
        return Ok(page);
    }
    let begin = match request.after_version {
        Some(_) => Begin::Within,
        None => Begin::Behind,
    };
    let mut merge = Merge::<All>::begin(sets, slot_of, keys, begin).await?;
    while let Some(next) = merge.next().await? {
        let (key, versions) = match next {
            Next::Prefix(prefix) => {
                if page.entries.len() == keys.entries_max {
                    page.truncated = true;
                    return Ok(page);
                }
                page.entries.push(ListedVersion::Prefix(prefix));
                continue;
            }
            Next::Key(key, versions) => (key, versions),
        };
        let from = match request.after_version {
            Some(marker) if keys.after.as_deref() == Some(key.as_str()) => {
                behind(&versions, marker)
            }
            _ => 0,
        };
        let key: Arc<str> = key.into();
        for (at, head) in versions.into_iter().enumerate().skip(from) {
            if page.entries.len() == keys.entries_max {
                page.truncated = true;
                return Ok(page);
            }
            page.entries.push(ListedVersion::Version {
                key: Arc::clone(&key),
                head,
                latest: at == 0,
            });
        }
    }
    Ok(page)
}

impl ListedVersion {
    /// Whether it is a delete marker.
    pub fn is_marker(&self) -> bool {
        matches!(self, Self::Version { head, .. } if head.kind == Kind::Marker)
    }
}

#[cfg(test)]
mod tests {
    use types::{DataId, Epoch, Etag, Geometry, Order, Placed, StorageClass, Timestamp};

    use super::*;

    fn version(sequence: u64, null: bool) -> Head {
        let born = Order::new(Epoch::new(0, 1), sequence);
        Head {
            kind: Kind::Object,
            version: if null {
                VersionId::Null
            } else {
                VersionId::Born(born)
            },
            born,
            order: born,
            prev: Order::ZERO,
            size: 0,
            modified: Timestamp::from_millis(0),
            etag: Etag::Md5([0; 16]),
            geometry: Geometry::new(1, 1).unwrap(),
            rotation: 0,
            class: StorageClass::Standard,
            placed: Placed::Nowhere,
            data: DataId::from_bytes([0; 16]),
        }
    }

    #[test]
    fn a_page_begins_behind_its_marker_even_if_that_is_gone() {
        let all = [
            version(9, false),
            version(7, true),
            version(5, false),
            version(3, false),
        ];
        let born = |sequence| version(sequence, false).version;
        for (marker, at) in [(9, 1), (8, 1), (5, 3), (4, 3), (3, 4), (1, 4), (99, 0)] {
            assert_eq!(behind(&all, born(marker)), at, "{marker}");
        }
        assert_eq!(behind(&all, VersionId::Null), 2);
        assert_eq!(behind(&all[2..], VersionId::Null), 0, "better twice");
    }
}

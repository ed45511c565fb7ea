//! Changing what a version says of itself, its bytes untouched: a new order of the same birth and
//! the same data (design 3).

use std::sync::Arc;

use drive::Row;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quorum::{Places, Shard};
use types::{Head, Kind, Order, Placed, VersionId};

use crate::commit::Parcel;
use crate::decide::{Decided, decide};
use crate::error::Error;
use crate::get::{missing, want_of};
use crate::inline::Whose;
use crate::place::Spot;
use crate::properties::Properties;
use crate::rewrite::write_again;
use crate::set::{ErasureSet, HEDGE_AFTER};

impl ErasureSet {
    /// Replaces the tags of the current version, or of the one named. Says which it was.
    pub(crate) async fn set_tags(
        self: &Arc<Self>,
        spot: &Spot,
        version: Option<VersionId>,
        tags: Vec<(String, String)>,
    ) -> Result<VersionId, Error> {
        let pass = self.holder.enter(&spot.register).await?;
        let want = want_of(version);
        let Decided {
            lease,
            history,
            asked,
        } = decide(self, &pass, &spot.register, spot.slot, want).await?;
        let head = history.current().map(|current| current.head);
        let head = head.ok_or_else(|| missing(version))?;
        if head.kind == Kind::Marker {
            return Err(Error::DeleteMarker {
                version: head.version,
                modified: head.modified,
            });
        }
        let row = self.row(spot, &head, &asked).await?;
        let mut properties = Properties::decode(&row.tail).map_err(|_| Error::Damaged)?;
        let mut parcel = self.same_bytes(spot, &row, &properties).await?;
        properties.tags = tags;
        parcel.row = Arc::new(Row {
            head: Head {
                order: Order::ZERO,
                ..head
            },
            files: Arc::clone(&row.files),
            tail: properties.encode(),
        });
        self.commit(pass, lease, parcel).await?;
        Ok(head.version)
    }

    /// A row to be committed again with the bytes that drives have. Where too few have their
    /// shard, those that lack it get it first: a commit that has begun must be able to end.
    async fn same_bytes(
        self: &Arc<Self>,
        spot: &Spot,
        row: &Arc<Row>,
        properties: &Properties,
    ) -> Result<Parcel, Error> {
        let head = &row.head;
        let whose = Whose {
            register: Arc::clone(&spot.register),
            slot: spot.slot,
        };
        let all = Places::all(self.len());
        let good = match head.placed {
            Placed::Inline => Places::NONE,
            Placed::File => self.with_files(&whose, head, properties).await,
            // There are none, or a drive takes the row without waiting for its files.
            Placed::Nowhere | Placed::Parts => all,
        };
        if good.len() >= head.write_quorum() {
            return Ok(Parcel {
                register: whose.register,
                row: Arc::clone(row),
                inline: vec![None; self.len()],
                ready: good,
            });
        }
        self.may_begin(head, all)?;
        let stale = all.without(good);
        let mut parcel = write_again(self, &whose, head, good, stale).await?;
        parcel.ready = parcel.ready.or(good);
        Ok(parcel)
    }

    /// The places that have their shard file. Once W have, the rest is not waited for.
    async fn with_files(
        self: &Arc<Self>,
        whose: &Whose,
        head: &Head,
        properties: &Properties,
    ) -> Places {
        let Some(extent) = properties.extents.first() else {
            return Places::NONE;
        };
        let shards = self.shards(&whose.register, whose.slot, extent);
        let shards = &shards;
        let ask = |place| async move { (place, shards.present(place).await) };
        let mut answers: FuturesUnordered<_> = (0..self.len()).map(ask).collect();
        let mut good = Places::NONE;
        loop {
            let answer = if good.len() < head.write_quorum() {
                answers.next().await
            } else {
                let next = tokio::time::timeout(HEDGE_AFTER, answers.next());
                next.await.ok().flatten()
            };
            match answer {
                Some((place, Shard::Good)) => good.insert(place),
                Some(_) => {}
                None => return good,
            }
        }
    }
}

//! Making a register whole again: the holder's commit of the same order (commit rule 11), and
//! taking away what the rules let go (rules 6 and 8).

use std::sync::Arc;

use drive::{Discard, Fence, Register, Rows, RowsRequest, Space, Want};
use futures_util::future::join_all;
use quorum::{Ballot, Decided, HealPlan, History, Places, Shard, Touch};
use types::{Head, Kind, Order, Placed, Slot};

use crate::commit::InFlight;
use crate::decide::decide;
use crate::error::Error;
use crate::gates::Pass;
use crate::holder::Lease;
use crate::inline::{self, Whose};
use crate::properties::{Extent, Properties};
use crate::rewrite::{bare_parcel, extent_of, find_row, recommit, write_again};
use crate::set::{Asked, ErasureSet, FENCED};
use crate::sweep::sweep_stray;

/// How closely heal looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Every drive has the row, and a file of its name.
    Rows,
    /// Every shard is read and verified.
    Shards,
}

/// What heal found of one register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Healed {
    /// Versions, tombstones among them, when last counted.
    pub rows: u64,
    /// Those of them that were on all drives, and good.
    pub whole: u64,
    /// Those of them with fewer good shards than needed, all drives having answered.
    pub lost: u64,
    /// Copies written again.
    pub repaired: u64,
    /// Tombstones collected from all drives.
    pub collected: u64,
    /// Void and replaced rows taken away, by drive.
    pub discarded: u64,
    /// The drives that are not known to hold every version, or what is left of it.
    pub lacking: Places,
    /// Whether every drive answered, every version is whole, and nothing that was never
    /// committed is left on any drive.
    pub clean: bool,
}

impl Healed {
    /// Nothing is known yet of a register on so many drives.
    fn unknown(drives: usize) -> Self {
        Self {
            rows: 0,
            whole: 0,
            lost: 0,
            repaired: 0,
            collected: 0,
            discarded: 0,
            lacking: Places::all(drives),
            clean: false,
        }
    }
}

/// Each round does one kind of thing; the last one only counts.
const ROUNDS_MAX: usize = 6;

/// A register and the right to change it.
pub(crate) struct Patient<'a> {
    pub(crate) set: &'a Arc<ErasureSet>,
    pub(crate) pass: &'a Pass,
    pub(crate) whose: Whose,
    depth: Depth,
}

/// Looks at all of a register on all drives, writes again what some drive lacks, takes away what
/// may go, and counts again.
pub(crate) async fn heal(
    set: &Arc<ErasureSet>,
    register: &Arc<Register>,
    slot: Slot,
    depth: Depth,
) -> Result<Healed, Error> {
    let pass = set.holder.enter(register).await?;
    if let Some(upload) = register.upload_of_part() {
        let decided = decide(set, &pass, &Arc::new(upload), slot, Want::Latest).await?;
        if decided.history.current().is_none() {
            // Its upload is over: it is a leftover, and not to be healed.
            let mut healed = Healed::unknown(set.len());
            if sweep_stray(set, register, slot).await? {
                (healed.lacking, healed.clean) = (Places::NONE, true);
            }
            return Ok(healed);
        }
    }
    let whose = Whose {
        register: Arc::clone(register),
        slot,
    };
    let patient = Patient {
        set,
        pass: &pass,
        whose,
        depth,
    };
    let mut healed = Healed::unknown(set.len());
    for _ in 0..ROUNDS_MAX {
        if !patient.round(&mut healed).await? {
            break;
        }
    }
    if healed.lost > 0 {
        set.counters.lost();
        tracing::error!(?register, "too few good shards are left");
    }
    Ok(healed)
}

/// Whether a drive could read all that it holds of a register.
fn is_whole(rows: &Rows) -> bool {
    rows.iter().all(|answer| answer.row.is_some())
}

impl Patient<'_> {
    /// Looks, and does what is most urgent. Says whether something was done.
    async fn round(&self, healed: &mut Healed) -> Result<bool, Error> {
        let slot = self.whose.slot;
        let lease = self.set.holder.lease(slot)?;
        let mut asked = self.ask_all(lease).await?;
        let history = match quorum::first_touch(&asked.ballot, quorum::Want::All) {
            Touch::Decided(history) => history,
            Touch::Finish { head, holders } => {
                let register = &self.whose.register;
                recommit(self.set, self.pass, lease, register, &head, holders).await?;
                return Ok(true);
            }
            Touch::Conflict(order) => {
                tracing::error!(?order, register = ?self.whose.register, "two holders share an epoch");
                return Err(Error::Unavailable("two rows carry one order"));
            }
            Touch::Wait | Touch::Widen => {
                return Err(Error::Unavailable("too few drives answer"));
            }
        };
        let told = asked.ballot.clone();
        self.leave_out_damaged(&mut asked);
        if self.repair(lease, &asked, &history, healed).await? {
            return Ok(true);
        }
        self.discard(lease, &told, &history, healed).await
    }

    /// Takes out of the answers the rows of which a drive has no more than the head: it told that
    /// they were committed there, and lacks them all the same.
    fn leave_out_damaged(&self, asked: &mut Asked) {
        for (place, rows) in asked.rows.iter().enumerate() {
            let Some(rows) = rows.as_ref().filter(|rows| !is_whole(rows)) else {
                continue;
            };
            let register = &self.whose.register;
            tracing::warn!(place, ?register, "damaged row");
            let whole = rows.iter().filter(|answer| answer.row.is_some());
            let whole = whole.cloned().collect();
            let sightings = self.set.sightings(self.whose.slot, &whole);
            asked.ballot.joining(place, sightings);
        }
    }

    /// Raises and reads everything on every drive.
    async fn ask_all(&self, lease: Lease) -> Result<Asked, Error> {
        let set = self.set;
        let request = RowsRequest {
            raise: Some(lease.fence),
            slot: self.whose.slot,
            register: Arc::clone(&self.whose.register),
            want: Want::All,
        };
        let voices: Vec<_> = (0..set.len()).map(|place| set.voice(place)).collect();
        let answers = join_all(set.drives.iter().map(|drive| drive.rows(request.clone()))).await;
        let mut asked = Asked {
            ballot: Ballot::new(set.len()),
            rows: vec![None; set.len()],
        };
        let places = voices.into_iter().enumerate();
        for ((place, voice), answer) in places.zip(answers) {
            match answer {
                Ok(rows) => set.count(&request, &mut asked, (place, voice), rows),
                Err(drive::Error::Fenced { .. }) => {
                    set.holder.refused(lease);
                    return Err(FENCED);
                }
                // It has nothing to read there: that is no vote, but it gets a copy again.
                Err(drive::Error::Corrupt(why)) => {
                    tracing::warn!(place, why, register = ?self.whose.register, "damaged row");
                    asked.ballot.joining(place, Vec::new());
                }
                Err(_) => asked.ballot.failed(place),
            }
        }
        Ok(asked)
    }

    /// Counts the versions, and writes again what some drive lacks of them. Each success counts
    /// for itself.
    async fn repair(
        &self,
        lease: Lease,
        asked: &Asked,
        history: &History,
        healed: &mut Healed,
    ) -> Result<bool, Error> {
        (healed.rows, healed.whole, healed.lost) = (0, 0, 0);
        let read = |place: &usize| asked.rows.get(*place).is_some_and(Option::is_some);
        let readable: Places = asked.ballot.answered().iter().filter(read).collect();
        healed.lacking = Places::all(self.set.len()).without(readable);
        let mut repaired = 0;
        for version in &history.versions {
            healed.rows += 1;
            if version.head.placed == Placed::Parts {
                let mended = self.mend_parts(lease, asked, version).await?;
                healed.whole += u64::from(mended.whole);
                healed.lost += u64::from(mended.lost);
                repaired += mended.repaired;
                healed.lacking = healed.lacking.or(mended.lacking);
                continue;
            }
            let shards = self.shards(&version.head, asked).await?;
            match quorum::heal(&asked.ballot, version, &shards) {
                HealPlan::Whole => {
                    healed.whole += 1;
                    let order = version.head.order;
                    self.set.holder.complete(self.whose.slot, order);
                }
                HealPlan::Repair { sources, stale } => {
                    healed.lacking = healed.lacking.or(stale);
                    let head = &version.head;
                    // A file whose row is gone is nothing that a drive lets a row refer to.
                    let sources = sources.without(stale);
                    let parcel = write_again(self.set, &self.whose, head, sources, stale).await?;
                    let flight = InFlight::send(self.set, self.pass.clone(), lease, parcel);
                    repaired += flight.answered().await;
                }
                // All copies are damaged, and what counts of a tombstone is in its head.
                HealPlan::Unrecoverable { lacking } if version.is_tombstone() => {
                    healed.lacking = healed.lacking.or(lacking);
                    let (register, nothing) = (&self.whose.register, Properties::default());
                    let parcel = bare_parcel(self.set, register, version.head, &nothing, lacking);
                    let flight = InFlight::send(self.set, self.pass.clone(), lease, parcel);
                    repaired += flight.answered().await;
                }
                HealPlan::Unrecoverable { .. } => {
                    healed.lost += 1;
                    // Whoever has the row says truly that there is such a version.
                    let has = |place: &usize| {
                        let rows = asked.ballot.rows_of(*place);
                        rows.iter().any(|row| row.head == version.head)
                    };
                    let holders: Places = readable.iter().filter(has).collect();
                    healed.lacking = healed.lacking.or(readable.without(holders));
                }
                HealPlan::Wait { unknown } => healed.lacking = healed.lacking.or(unknown),
            }
        }
        healed.repaired += repaired;
        (0..repaired).for_each(|_| self.set.counters.repair());
        let heard = asked.ballot.answered().len() == self.set.len();
        let all_read = asked
            .rows
            .iter()
            .all(|rows| rows.as_ref().is_some_and(is_whole));
        healed.clean = heard && all_read && healed.whole == healed.rows && history.void.is_empty();
        Ok(repaired > 0)
    }

    /// Takes away collectable tombstones, then void and replaced rows.
    async fn discard(
        &self,
        lease: Lease,
        told: &Ballot,
        history: &History,
        healed: &mut Healed,
    ) -> Result<bool, Error> {
        // The bytes of parts may live on in an object: who completes or aborts removes parts.
        if self.whose.register.space() != Space::Parts {
            let all: Vec<usize> = (0..self.set.len()).collect();
            let collectable = |version: &Decided| quorum::may_collect(told, version, lease.epoch);
            let gone: Vec<_> = history.versions.iter().filter_map(collectable).collect();
            if !gone.is_empty() {
                let done = self.discard_on(lease.fence, &all, &gone.concat()).await == all.len();
                let count = if done { gone.len() } else { 0 };
                healed.collected += u64::try_from(count).unwrap_or(0);
                return Ok(done);
            }
        }
        let mut discarded = 0;
        for it in quorum::discardable(told, history) {
            let done = self.discard_on(lease.fence, &[it.place], &it.rows).await;
            discarded += done * it.rows.len();
        }
        healed.discarded += u64::try_from(discarded).unwrap_or(0);
        Ok(discarded > 0)
    }

    /// Discards rows on some drives, in one entry each. Says how many did.
    async fn discard_on(&self, fence: Fence, places: &[usize], rows: &[(Order, Order)]) -> usize {
        let discard = |place: &usize| {
            let reply = self.set.drives.get(*place).map(|drive| {
                drive.discard(Discard {
                    fence,
                    register: Arc::clone(&self.whose.register),
                    rows: rows.to_vec(),
                    keep: [].into(),
                })
            });
            async move {
                match reply {
                    Some(reply) => reply.await.is_ok(),
                    None => false,
                }
            }
        };
        let done = join_all(places.iter().map(discard)).await;
        done.into_iter().filter(|done| *done).count()
    }

    /// The state of a row's shards, by place; empty for rows without any.
    async fn shards(&self, head: &Head, asked: &Asked) -> Result<Vec<Shard>, Error> {
        if head.kind != Kind::Object || head.placed == Placed::Nowhere {
            return Ok(Vec::new());
        }
        let row = find_row(self.set, &self.whose.register, self.whose.slot, head).await?;
        let extent = extent_of(&row)?;
        if extent.placed == Placed::File {
            return Ok(self.file_shards(&extent, asked).await);
        }
        let state = |place: usize| match asked.ballot.answered().contains(place) {
            true => self.inline_shard(&extent, head, asked, place),
            false => Shard::Unknown,
        };
        Ok((0..self.set.len()).map(state).collect())
    }

    /// The state of the shard files of an extent, by place.
    pub(crate) async fn file_shards(&self, extent: &Extent, asked: &Asked) -> Vec<Shard> {
        let whose = &self.whose;
        let shards = &self.set.shards(&whose.register, whose.slot, extent);
        let state = |place: usize| async move {
            match (asked.ballot.answered().contains(place), self.depth) {
                (false, _) => Shard::Unknown,
                (true, Depth::Shards) => shards.verify(place).await,
                (true, Depth::Rows) => shards.present(place).await,
            }
        };
        join_all((0..self.set.len()).map(state)).await
    }

    fn inline_shard(&self, extent: &Extent, head: &Head, asked: &Asked, place: usize) -> Shard {
        let frames = crate::get::frames_of(head, asked);
        let mut one = vec![None; self.set.len()];
        if let (Some(slot), Some(frame)) = (one.get_mut(place), frames.get(place)) {
            slot.clone_from(frame);
        }
        let mut shards = vec![None; self.set.len()];
        inline::open(self.set, extent, &one, &mut shards);
        if shards.iter().any(Option::is_some) {
            Shard::Good
        } else {
            Shard::Bad
        }
    }
}

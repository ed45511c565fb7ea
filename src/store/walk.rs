//! A walk over everything that is stored: recount and scrub.
//!
//! A recount looks at the rows of every register on all drives. Where all hold the same, nothing
//! is asked further; everything else is healed. When all drives were heard to the end, drives
//! are told from which epoch on there is anything to settle: what is older is whole everywhere.

use std::collections::HashSet;
use std::sync::Arc;

use drive::{Register, Settles, Space, Status};
use futures_util::future::join_all;
use quorum::Places;
use types::{BucketId, DeploymentId, Epoch, Kind, ObjectKey, Slot};

use crate::error::Error;
use crate::heal::{Depth, Healed, heal};
use crate::holder::Lease;
use crate::seats::{RAISED_MAX, raise};
use crate::set::ErasureSet;
use crate::union::{Group, Union};

/// Registers that are looked at in one step while all drives agree.
const AGREED_MAX: usize = 512;
/// Registers that are healed side by side: their commits share the drives' batches.
const HEALED_MAX: usize = 16;

/// What a walk has found so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Registers seen.
    pub registers: u64,
    /// Those of them that were looked at on all drives, because drives differ or shards are read.
    pub examined: u64,
    /// Copies written again.
    pub repaired: u64,
    /// Tombstones collected.
    pub collected: u64,
    /// Void and replaced rows taken away.
    pub discarded: u64,
    /// Versions with fewer good shards than needed, all drives having answered.
    pub lost: u64,
    /// Registers that are not whole on all drives after all, the lost ones among them.
    pub unhealed: u64,
    /// Whether the walk began at the beginning, came to the end, and heard all drives throughout.
    pub complete: bool,
}

impl Census {
    /// Whether everything is whole: counted to the end, and nothing was found to repair. A walk
    /// that repaired something is followed by another one before anybody says "healed".
    pub fn is_healed(&self) -> bool {
        self.complete && self.repaired == 0 && self.unhealed == 0
    }

    fn count(&mut self, healed: &Healed) {
        self.repaired += healed.repaired;
        self.collected += healed.collected;
        self.discarded += healed.discarded;
        self.lost += healed.lost;
        self.unhealed += u64::from(!healed.clean);
    }
}

/// A drive's place among all sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// The set, from 0.
    pub set: usize,
    /// The place in the set, from 0.
    pub place: usize,
    /// The set's membership index that the walk began with: what it found is true of the drives that
    /// were admitted by then.
    pub membership: Epoch,
}

/// A walk over all sets.
pub struct Walk {
    deployment: DeploymentId,
    sets: Vec<Arc<ErasureSet>>,
    depth: Depth,
    /// The set at hand.
    set: usize,
    stage: Option<Stage>,
    census: Census,
    sound: Vec<Seat>,
    /// Whether all went well so far.
    whole: bool,
    begin: Vec<u8>,
}

/// The walk over one set.
struct Stage {
    union: Union,
    /// The leases under which the walk began; all drives refuse what is older.
    leases: Vec<Lease>,
    membership: Epoch,
    /// The drives that refuse whatever is older than the leases of all slots.
    raised: Places,
    /// The drives that are not known to hold everything seen so far.
    lacking: Places,
    /// Slots with registers that are not clean.
    unclean: HashSet<Slot>,
    from_start: bool,
}

impl Walk {
    /// A walk from the beginning, or from a [`Walk::position`] of an earlier one.
    pub(crate) fn new(
        deployment: DeploymentId,
        sets: &[Arc<ErasureSet>],
        depth: Depth,
        position: Option<&[u8]>,
    ) -> Self {
        let split = position.and_then(|position| position.split_first_chunk::<2>());
        let (set, begin) = match split {
            Some((set, begin)) => (usize::from(u16::from_be_bytes(*set)), begin.to_vec()),
            None => (0, Vec::new()),
        };
        Self {
            deployment,
            sets: sets.to_vec(),
            depth,
            set,
            stage: None,
            census: Census::default(),
            sound: Vec::new(),
            whole: set == 0 && begin.is_empty(),
            begin,
        }
    }

    /// What was found so far.
    pub fn census(&self) -> Census {
        self.census
    }

    /// The drives that hold everything a read quorum knows of: after a recount from the beginning,
    /// one that joins may vote (commit rule 10). What cannot be decided, or not be put on a
    /// drive, keeps it out.
    pub fn sound(&self) -> &[Seat] {
        &self.sound
    }

    /// Where to go on after a restart; opaque.
    pub fn position(&self) -> Vec<u8> {
        let set = u16::try_from(self.set).unwrap_or(u16::MAX).to_be_bytes();
        let at = self
            .stage
            .as_ref()
            .map_or(self.begin.as_slice(), |stage| stage.union.at());
        [set.as_slice(), at].concat()
    }

    /// Looks at a few more registers. `false` at the end.
    pub async fn step(&mut self) -> bool {
        let Some(set) = self.sets.get(self.set).cloned() else {
            self.census.complete = self.whole;
            return false;
        };
        let mut stage = match self.stage.take() {
            Some(stage) => stage,
            None => self.enter(&set).await,
        };
        let mut suspects = Vec::new();
        let mut ended = false;
        for _ in 0..AGREED_MAX {
            let Some(group) = stage.union.next().await else {
                ended = true;
                break;
            };
            self.census.registers += 1;
            if self.suspicious(&set, &group) {
                suspects.push(group.register);
            }
            if suspects.len() == HEALED_MAX {
                break;
            }
        }
        let heals = suspects.iter().map(|register| self.examine(&set, register));
        for (slot, healed) in join_all(heals).await {
            self.census.examined += 1;
            match healed {
                Ok(healed) => {
                    self.census.count(&healed);
                    stage.lacking = stage.lacking.or(healed.lacking);
                    if !healed.clean {
                        stage.unclean.extend(slot);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a key could not be healed");
                    stage.lacking = Places::all(set.len());
                    self.census.unhealed += 1;
                    stage.unclean.extend(slot);
                }
            }
            self.whole &= slot.is_some();
        }
        if ended {
            self.leave(&set, &stage);
        } else {
            self.stage = Some(stage);
        }
        true
    }

    async fn enter(&mut self, set: &Arc<ErasureSet>) -> Stage {
        let begin = std::mem::take(&mut self.begin);
        let from_start = begin.is_empty();
        let membership = set.holder.membership();
        let (leases, raised) = match self.depth {
            Depth::Rows => raise_all(set).await,
            Depth::Shards => (Vec::new(), Places::NONE),
        };
        Stage {
            union: Union::new(set, begin),
            leases,
            membership,
            raised,
            lacking: Places::NONE,
            unclean: HashSet::new(),
            from_start,
        }
    }

    /// The end of a set: what was found whole is settled.
    fn leave(&mut self, set: &Arc<ErasureSet>, stage: &Stage) {
        self.set += 1;
        let whole = stage.union.whole() && stage.from_start;
        self.whole &= whole;
        let same = |lease: &Lease| set.holder.lease(lease.fence.slot) == Ok(*lease);
        if stage.from_start && stage.leases.iter().all(same) {
            self.note_sound(set, stage);
        }
        let floors = stage.leases.iter();
        let floors = floors.filter(|it| !stage.unclean.contains(&it.fence.slot) && same(it));
        let floors: Vec<_> = floors.map(|it| (it.fence.slot, it.epoch)).collect();
        if !whole || self.depth != Depth::Rows || floors.is_empty() {
            return;
        }
        let settles = Settles {
            marks: Vec::new(),
            floors,
            peers: set.positions(),
        };
        for drive in &set.drives {
            drive.settle(settles.clone());
        }
    }

    /// Notes the drives that hold everything, if enough that vote were heard to the end.
    fn note_sound(&mut self, set: &ErasureSet, stage: &Stage) {
        let heard = stage.union.heard().and(stage.raised);
        let votes = |place: &usize| {
            let drive = set.drives.get(*place);
            drive.is_some_and(|drive| drive.status() != Status::Joining)
        };
        if heard.iter().filter(votes).count() >= set.standard.read_quorum() {
            let seat = |place| Seat {
                set: self.set - 1,
                place,
                membership: stage.membership,
            };
            self.sound
                .extend(heard.without(stage.lacking).iter().map(seat));
        }
    }

    /// Whether a register needs a look of all drives at once.
    fn suspicious(&self, set: &ErasureSet, group: &Group) -> bool {
        if self.depth == Depth::Shards || !group.agrees() {
            return true;
        }
        // Its upload may be over.
        let space = group.register.get(Register::HEAD_LEN - 1);
        if space == Some(&Space::Parts.code()) {
            return true;
        }
        let mut tombstones = group.heads().filter(|head| head.kind == Kind::Tombstone);
        let slot = self.home(&group.register).map(|(_, slot)| slot);
        let lease = slot.and_then(|slot| set.holder.lease(slot).ok());
        tombstones.any(|head| lease.is_none_or(|lease| head.order.epoch < lease.epoch))
    }

    async fn examine(
        &self,
        set: &Arc<ErasureSet>,
        register: &[u8],
    ) -> (Option<Slot>, Result<Healed, Error>) {
        let Some((register, slot)) = self.home(register) else {
            return (None, Err(Error::Damaged));
        };
        (Some(slot), heal(set, &register, slot, self.depth).await)
    }

    fn home(&self, register: &[u8]) -> Option<(Arc<Register>, Slot)> {
        let bucket = BucketId::from_u64(u64::from_be_bytes(*register.first_chunk()?));
        let register = Register::from_bytes(register)?;
        let key = ObjectKey::parse(std::str::from_utf8(register.key()).ok()?).ok()?;
        let location = placement::locate(self.deployment, bucket, &key, self.sets.len());
        Some((Arc::new(register), location.slot))
    }
}

/// Raises the fence of every slot that is held, on every drive. The leases whose fence all drives
/// have: no message of an older holder can bring anything there any more. And the drives that
/// have the fences of all slots.
async fn raise_all(set: &Arc<ErasureSet>) -> (Vec<Lease>, Places) {
    let slots = (0..Slot::COUNT).map(Slot::new);
    let held: Vec<Lease> = slots
        .filter_map(|slot| set.holder.lease(slot).ok())
        .collect();
    let all = Places::all(set.len());
    let mut everywhere = Vec::with_capacity(held.len());
    let mut raised = match held.len() == usize::from(Slot::COUNT) {
        true => all,
        false => Places::NONE,
    };
    for some in held.chunks(RAISED_MAX) {
        let raise = |lease: &Lease| {
            let request = raise(lease.fence);
            let replies = join_all(set.drives.iter().map(|drive| drive.rows(request.clone())));
            let lease = *lease;
            async move { (lease, replies.await) }
        };
        for (lease, replies) in join_all(some.iter().map(raise)).await {
            let replies = replies.iter().enumerate();
            let done: Places = replies
                .filter(|(_, reply)| reply.is_ok())
                .map(|(at, _)| at)
                .collect();
            raised = raised.and(done);
            if done == all {
                everywhere.push(lease);
            }
        }
    }
    (everywhere, raised)
}

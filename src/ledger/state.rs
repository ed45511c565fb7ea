//! The state that the log adds up to. Deterministic: no clock, no randomness, ordered maps only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::{BucketId, Epoch, Slot};

use crate::command::Command;

/// A credential. The secret is kept recoverable, since SigV4 needs it; entries and snapshots
/// are sealed as a whole.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The access key.
    pub access_key: String,
    /// The secret key.
    pub secret_key: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// A drive's place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DriveSeat {
    /// The pool, from 0.
    pub pool: u16,
    /// The set within the pool.
    pub set: u16,
    /// The place within the set.
    pub place: u8,
    /// The drive's id, in UUID form.
    pub drive: String,
}

/// A seat as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The drive's id, in UUID form.
    pub drive: String,
    /// The entry that admitted it, packed: the set's membership index is the highest of its
    /// seats' (commit rule 10).
    pub admitted: u64,
    /// Whether it votes, or is still being rebuilt.
    pub votes: bool,
}

/// A bucket's versioning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Versioning {
    /// Never switched on.
    Off,
    /// Every write makes a version.
    Enabled,
    /// Writes replace the null version; older versions stay.
    Suspended,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its incarnation, packed.
    id: u64,
    /// When it was made, in milliseconds.
    pub created_ms: u64,
    /// Its versioning.
    pub versioning: Versioning,
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// Whether it is being looked through before its deletion: no new object begins.
    pub deleting: bool,
}

impl Bucket {
    /// Its incarnation.
    pub fn id(&self) -> BucketId {
        BucketId::from_u64(self.id)
    }
}

/// Who holds a slot, and since which entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The node.
    pub node: u64,
    /// The process's start.
    pub start: u64,
    /// The grant, packed.
    grant: u64,
}

impl Lease {
    /// The epoch of the grant.
    pub fn epoch(&self) -> Epoch {
        Epoch::from_u64(self.grant)
    }
}

/// How the application of a command ended. Deterministic, like the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// A deployment is formed once.
    #[error("already formed")]
    AlreadyFormed,
    /// There is a bucket of that name.
    #[error("the bucket exists")]
    BucketExists,
    /// There is no bucket of that name (and incarnation).
    #[error("no such bucket")]
    NoSuchBucket,
    /// The bucket is being deleted.
    #[error("the bucket is being deleted")]
    BucketDeleting,
    /// The environment's credential was superseded earlier.
    #[error("the credential was superseded")]
    Superseded,
    /// Another drive sits there, or the drive sits elsewhere.
    #[error("the seat is another drive's")]
    SeatTaken,
}

/// Seats as a list of pairs: JSON knows text alone as the key of a map.
mod seats {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::Seat;

    type Seats = BTreeMap<(u16, u16, u8), Seat>;

    pub(super) fn serialize<S: Serializer>(seats: &Seats, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(seats)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Seats, D::Error> {
        let pairs = Vec::<((u16, u16, u8), Seat)>::deserialize(from)?;
        Ok(pairs.into_iter().collect())
    }
}

/// All intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct State {
    /// The deployment's id; empty before it is formed.
    pub deployment: String,
    /// The ledger's generation: grows when a ledger is restored or begun anew.
    pub generation: u16,
    /// Every seat, by pool, set and place.
    #[serde(with = "seats")]
    pub seats: BTreeMap<(u16, u16, u8), Seat>,
    /// The root credential.
    pub root: Option<Credential>,
    /// Hashes of credentials of the environment that were superseded.
    pub superseded: Vec<Credential>,
    /// The buckets, by name.
    pub buckets: BTreeMap<String, Bucket>,
    /// The lease of each slot; empty before the first grant.
    pub leases: Vec<Lease>,
}

impl State {
    /// Applies the entry at `index`.
    pub fn apply(&mut self, index: u64, command: &Command) -> Result<(), Refusal> {
        let epoch = Epoch::new(self.generation, index);
        match command {
            Command::Form { deployment, drives } => self.form(epoch, deployment, drives),
            Command::Grant { node, start } => {
                let lease = Lease {
                    node: *node,
                    start: *start,
                    grant: epoch.as_u64(),
                };
                self.leases = vec![lease; usize::from(Slot::COUNT)];
                Ok(())
            }
            Command::Admit { seat } => self.admit(epoch, seat),
            Command::Activate { seat } => self.activate(seat),
            Command::SetRoot {
                credential,
                from_environment,
            } => self.change_root(credential, *from_environment),
            Command::CreateBucket { name, created_ms } => {
                self.create_bucket(epoch, name, *created_ms)
            }
            Command::BeginDeleteBucket { name, id } => {
                self.incarnation(name, *id)?.deleting = true;
                Ok(())
            }
            Command::EndDeleteBucket { name, id, empty } => {
                self.incarnation(name, *id)?.deleting = false;
                if *empty {
                    self.buckets.remove(name);
                }
                Ok(())
            }
            Command::SetVersioning { name, versioning } => {
                self.living_bucket(name)?.versioning = *versioning;
                Ok(())
            }
            Command::SetBucketTags { name, tags } => {
                self.living_bucket(name)?.tags.clone_from(tags);
                Ok(())
            }
        }
    }

    /// The membership index of a set: the highest admission among its seats.
    pub fn membership(&self, pool: u16, set: u16) -> Epoch {
        let seats = self.seats.range((pool, set, 0)..=(pool, set, u8::MAX));
        Epoch::from_u64(seats.map(|(_, seat)| seat.admitted).max().unwrap_or(0))
    }

    fn form(
        &mut self,
        epoch: Epoch,
        deployment: &str,
        drives: &[DriveSeat],
    ) -> Result<(), Refusal> {
        if !self.deployment.is_empty() {
            return Err(Refusal::AlreadyFormed);
        }
        deployment.clone_into(&mut self.deployment);
        for seat in drives {
            let kept = Seat {
                drive: seat.drive.clone(),
                admitted: epoch.as_u64(),
                votes: true,
            };
            self.seats.insert((seat.pool, seat.set, seat.place), kept);
        }
        Ok(())
    }

    fn admit(&mut self, epoch: Epoch, seat: &DriveSeat) -> Result<(), Refusal> {
        let place = (seat.pool, seat.set, seat.place);
        let elsewhere =
            |(at, kept): (&(u16, u16, u8), &Seat)| *at != place && kept.drive == seat.drive;
        if self.seats.iter().any(elsewhere) {
            return Err(Refusal::SeatTaken);
        }
        let kept = Seat {
            drive: seat.drive.clone(),
            admitted: epoch.as_u64(),
            votes: false,
        };
        self.seats.insert(place, kept);
        Ok(())
    }

    fn activate(&mut self, seat: &DriveSeat) -> Result<(), Refusal> {
        let kept = self.seats.get_mut(&(seat.pool, seat.set, seat.place));
        let kept = kept
            .filter(|kept| kept.drive == seat.drive)
            .ok_or(Refusal::SeatTaken)?;
        kept.votes = true;
        Ok(())
    }

    fn change_root(
        &mut self,
        credential: &Credential,
        from_environment: bool,
    ) -> Result<(), Refusal> {
        if self.root.as_ref() == Some(credential) {
            return Ok(());
        }
        if from_environment && self.superseded.contains(credential) {
            return Err(Refusal::Superseded);
        }
        self.superseded.retain(|old| old != credential);
        self.superseded
            .extend(self.root.replace(credential.clone()));
        Ok(())
    }

    fn create_bucket(&mut self, epoch: Epoch, name: &str, created_ms: u64) -> Result<(), Refusal> {
        if self.buckets.contains_key(name) {
            return Err(Refusal::BucketExists);
        }
        let bucket = Bucket {
            id: epoch.as_u64(),
            created_ms,
            versioning: Versioning::Off,
            tags: Vec::new(),
            deleting: false,
        };
        self.buckets.insert(name.to_owned(), bucket);
        Ok(())
    }

    fn incarnation(&mut self, name: &str, id: u64) -> Result<&mut Bucket, Refusal> {
        self.buckets
            .get_mut(name)
            .filter(|bucket| bucket.id == id)
            .ok_or(Refusal::NoSuchBucket)
    }

    fn living_bucket(&mut self, name: &str) -> Result<&mut Bucket, Refusal> {
        let bucket = self.buckets.get_mut(name).ok_or(Refusal::NoSuchBucket)?;
        if bucket.deleting {
            Err(Refusal::BucketDeleting)
        } else {
            Ok(bucket)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(name: &str) -> Command {
        Command::CreateBucket {
            name: name.into(),
            created_ms: 1,
        }
    }

    /// Without it no snapshot can be written, and after enough entries no server starts.
    #[test]
    fn a_state_with_seats_survives_its_snapshot() {
        let mut state = State::default();
        let seat = Seat {
            drive: "a".to_owned(),
            admitted: 7,
            votes: true,
        };
        state.seats.insert((0, 1, 2), seat);
        let image = serde_json::to_vec(&state).unwrap();
        assert_eq!(serde_json::from_slice::<State>(&image).unwrap(), state);
    }

    #[test]
    fn a_bucket_made_again_is_another_one() {
        let mut state = State::default();
        state.apply(5, &create("abc")).unwrap();
        let id = state.buckets["abc"].id();
        assert_eq!(state.apply(6, &create("abc")), Err(Refusal::BucketExists));
        let id_packed = id.as_u64();
        state
            .apply(
                7,
                &Command::BeginDeleteBucket {
                    name: "abc".into(),
                    id: id_packed,
                },
            )
            .unwrap();
        let tags = Command::SetBucketTags {
            name: "abc".into(),
            tags: Vec::new(),
        };
        assert_eq!(state.apply(8, &tags), Err(Refusal::BucketDeleting));
        let end = Command::EndDeleteBucket {
            name: "abc".into(),
            id: id_packed,
            empty: true,
        };
        state.apply(9, &end).unwrap();
        assert_eq!(state.apply(10, &end), Err(Refusal::NoSuchBucket));
        state.apply(11, &create("abc")).unwrap();
        assert_ne!(state.buckets["abc"].id(), id);
    }

    #[test]
    fn a_superseded_environment_never_flaps_back() {
        let credential = |secret: &str| Credential {
            access_key: "root".into(),
            secret_key: secret.into(),
        };
        let set = |secret: &str, from_environment| Command::SetRoot {
            credential: credential(secret),
            from_environment,
        };
        let mut state = State::default();
        state.apply(1, &set("one", true)).unwrap();
        state.apply(2, &set("two", true)).unwrap();
        assert_eq!(state.apply(3, &set("one", true)), Err(Refusal::Superseded));
        assert_eq!(state.root, Some(credential("two")));
        state.apply(4, &set("one", false)).unwrap();
        assert_eq!(
            state.root,
            Some(credential("one")),
            "an operator's word counts"
        );
    }

    #[test]
    fn an_admission_raises_the_membership_of_its_set_alone() {
        let seat = |set, place, drive: &str| DriveSeat {
            pool: 0,
            set,
            place,
            drive: drive.into(),
        };
        let drives = vec![seat(0, 0, "a"), seat(0, 1, "b"), seat(1, 0, "c")];
        let mut state = State::default();
        state
            .apply(
                1,
                &Command::Form {
                    deployment: "d".into(),
                    drives,
                },
            )
            .unwrap();
        state
            .apply(
                9,
                &Command::Admit {
                    seat: seat(0, 1, "e"),
                },
            )
            .unwrap();
        assert_eq!(state.membership(0, 0), Epoch::new(0, 9));
        assert_eq!(state.membership(0, 1), Epoch::new(0, 1));
        assert!(!state.seats[&(0, 0, 1)].votes);
        assert_eq!(
            state.apply(
                10,
                &Command::Admit {
                    seat: seat(0, 0, "c")
                }
            ),
            Err(Refusal::SeatTaken)
        );
        state
            .apply(
                11,
                &Command::Activate {
                    seat: seat(0, 1, "e"),
                },
            )
            .unwrap();
        assert!(state.seats[&(0, 0, 1)].votes);
        assert_eq!(
            state.apply(
                12,
                &Command::Activate {
                    seat: seat(0, 1, "b")
                }
            ),
            Err(Refusal::SeatTaken)
        );
    }
}

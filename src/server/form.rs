//! From directories to drives: what is at each path, what may be formatted, what is offline.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use drive::{Drive, Formatted, Found, Identity, LocalDrive, Options, Standing, inspect};
use placement::Classes;
use types::{DeploymentId, DriveId, Geometry};

use crate::config::Pool;
use crate::offline::OfflineDrive;

/// Why no drives can be had. One line for an operator; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// A path holds something that is no drive, and no drive of a deployment is there either.
    #[error("{}: {found}", path.display())]
    Unusable {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// Too few drives of a set can be read.
    #[error(
        "set {set}: {usable} of {drives} drives can be used, and reading needs {needed} ({why})"
    )]
    TooFew {
        /// The set, from 0.
        set: usize,
        /// Drives that can be used.
        usable: usize,
        /// Drives of the set.
        drives: usize,
        /// Drives needed.
        needed: usize,
        /// What is wrong with the first that cannot.
        why: String,
    },
    /// Several pools in one start.
    #[error("several pools are not implemented: name the drives in one argument")]
    Pools,
    /// A directory cannot be formatted.
    #[error(transparent)]
    Format(#[from] drive::FormatError),
    /// The operating system gives no randomness.
    #[error("no randomness to be had")]
    Randomness,
    /// A thread ended before its work.
    #[error("a drive could not be opened")]
    Interrupted,
}

/// A seat and what was found for it.
struct Seat {
    path: PathBuf,
    set: usize,
    place: usize,
    found: Found,
}

/// The drives of a start.
pub(crate) struct Formed {
    /// The deployment.
    pub(crate) deployment: DeploymentId,
    /// The drives of each set, by place; a missing one is offline.
    pub(crate) sets: Vec<Vec<Arc<dyn Drive>>>,
    /// Those that are on this node and open, to be closed at the end.
    pub(crate) local: Vec<Arc<LocalDrive>>,
    /// The path of each drive, by set and place.
    pub(crate) paths: Vec<Vec<PathBuf>>,
    /// Whether the deployment is new: no ledger may be expected.
    pub(crate) fresh: bool,
    /// The codes of the storage classes.
    pub(crate) classes: Classes,
}

/// Looks at every path, formats what may be formatted, and opens what can be opened. Blocks.
pub(crate) fn form(pools: &[Pool]) -> Result<Formed, FormError> {
    let [pool] = pools else {
        return Err(FormError::Pools);
    };
    let mut seats = look(pool);
    let fresh = !seats.iter().any(|seat| formatted(&seat.found).is_some());
    let deployment = if fresh {
        refuse_unusable(&seats)?;
        DeploymentId::from_bytes(random()?)
    } else {
        majority(&seats)
    };
    let geometry = pool.classes.standard;
    if !fresh {
        check_enough(&seats, deployment, geometry)?;
    }
    let mounted_elsewhere = seats
        .iter()
        .any(|seat| formatted(&seat.found).is_some_and(|drive| drive.mounted));
    for seat in &mut seats {
        let empty = match seat.found {
            Found::Empty { mounted } => fresh || mounted || !mounted_elsewhere,
            Found::Missing => fresh,
            _ => false,
        };
        if empty {
            let identity = seat_identity(seat, deployment, DriveId::from_bytes(random()?));
            seat.found = Found::Formatted(drive::format(&seat.path, &identity, geometry)?);
        }
    }
    open_all(pool, seats, deployment, fresh)
}

fn look(pool: &Pool) -> Vec<Seat> {
    let mut seats = Vec::new();
    for (set, paths) in pool.sets.iter().enumerate() {
        for (place, path) in paths.iter().enumerate() {
            let found = inspect(path);
            seats.push(Seat {
                path: path.clone(),
                set,
                place,
                found,
            });
        }
    }
    seats
}

fn formatted(found: &Found) -> Option<&Formatted> {
    match found {
        Found::Formatted(drive) | Found::ReadOnly(drive) => Some(drive),
        _ => None,
    }
}

/// A new deployment is made only where every directory may be formatted.
fn refuse_unusable(seats: &[Seat]) -> Result<(), FormError> {
    for seat in seats {
        if !matches!(seat.found, Found::Empty { .. } | Found::Missing) {
            return Err(FormError::Unusable {
                path: seat.path.clone(),
                found: seat.found.to_string(),
            });
        }
    }
    Ok(())
}

/// The deployment that most of the drives belong to.
fn majority(seats: &[Seat]) -> DeploymentId {
    let ids = || {
        seats
            .iter()
            .filter_map(|seat| formatted(&seat.found))
            .map(|d| d.identity.deployment)
    };
    let count = |id: &DeploymentId| ids().filter(|other| other == id).count();
    ids()
        .max_by_key(|id| (count(id), *id))
        .unwrap_or(DeploymentId::from_bytes([0; 16]))
}

fn check_enough(
    seats: &[Seat],
    deployment: DeploymentId,
    geometry: Geometry,
) -> Result<(), FormError> {
    let needed = geometry.read_quorum().max(geometry.data());
    let sets: BTreeSet<usize> = seats.iter().map(|seat| seat.set).collect();
    for set in sets {
        let members = || seats.iter().filter(move |seat| seat.set == set);
        let usable = |seat: &&Seat| {
            formatted(&seat.found).is_some_and(|drive| drive.identity.deployment == deployment)
        };
        let count = members().filter(usable).count();
        if count < needed {
            let why = members().find(|seat| !usable(seat));
            return Err(FormError::TooFew {
                set,
                usable: count,
                drives: members().count(),
                needed,
                why: why.map_or_else(String::new, |seat| {
                    format!("{}: {}", seat.path.display(), seat.found)
                }),
            });
        }
    }
    Ok(())
}

fn seat_identity(seat: &Seat, deployment: DeploymentId, drive: DriveId) -> Identity {
    Identity {
        deployment,
        drive,
        pool: 0,
        set: u16::try_from(seat.set).unwrap_or(u16::MAX),
        place: u8::try_from(seat.place).unwrap_or(u8::MAX),
    }
}

/// Opens all drives side by side: each reads the tail of its log.
fn open_all(
    pool: &Pool,
    seats: Vec<Seat>,
    deployment: DeploymentId,
    fresh: bool,
) -> Result<Formed, FormError> {
    let mut formed = Formed {
        deployment,
        sets: pool
            .sets
            .iter()
            .map(|paths| offline_set(paths.len()))
            .collect(),
        local: Vec::new(),
        paths: pool.sets.clone(),
        fresh,
        classes: pool.classes,
    };
    let options = Options {
        fresh: if fresh {
            Standing::Voting
        } else {
            Standing::Joining
        },
        failpoints: drive::Failpoints::from_env(),
        ..Options::default()
    };
    let opening: Vec<_> = seats
        .into_iter()
        .map(|seat| (seat, options.clone()))
        .map(|(seat, options)| thread::spawn(move || open_one(&seat, deployment, &options)))
        .collect();
    let mut taken = BTreeSet::new();
    for opened in opening {
        let (identity, path, opened) = opened.join().map_err(|_| FormError::Interrupted)?;
        let (set, place) = (usize::from(identity.set), usize::from(identity.place));
        let Some(slot) = formed.sets.get_mut(set).and_then(|set| set.get_mut(place)) else {
            tracing::error!(path = %path.display(), "offline: its seat is not in this set");
            continue;
        };
        match opened {
            Ok(_) if !taken.insert((set, place)) => {
                tracing::error!(path = %path.display(), "offline: another path holds the same drive");
            }
            Ok(drive) => {
                let drive = Arc::new(drive);
                *slot = Arc::clone(&drive) as Arc<dyn Drive>;
                formed.local.push(drive);
            }
            Err(why) => {
                tracing::error!(path = %path.display(), why, "a drive is offline");
                if !taken.contains(&(set, place)) {
                    *slot = Arc::new(OfflineDrive::new(identity, &why));
                }
            }
        }
    }
    Ok(formed)
}

/// A set of which nothing is known yet.
fn offline_set(drives: usize) -> Vec<Arc<dyn Drive>> {
    let offline = |place: usize| {
        let identity = Identity {
            deployment: DeploymentId::from_bytes([0; 16]),
            drive: DriveId::from_bytes([0; 16]),
            pool: 0,
            set: 0,
            place: u8::try_from(place).unwrap_or(u8::MAX),
        };
        Arc::new(OfflineDrive::new(identity, "not found")) as Arc<dyn Drive>
    };
    (0..drives).map(offline).collect()
}

/// Opens the drive at one path. A drive is taken at whatever path of its set it is found.
fn open_one(
    seat: &Seat,
    deployment: DeploymentId,
    options: &Options,
) -> (Identity, PathBuf, Result<LocalDrive, String>) {
    let nobody = seat_identity(seat, deployment, DriveId::from_bytes([0; 16]));
    let path = seat.path.clone();
    let Some(drive) = formatted(&seat.found) else {
        return (nobody, path, Err(seat.found.to_string()));
    };
    let identity = drive.identity.clone();
    if identity.deployment != deployment {
        return (
            nobody,
            path,
            Err("it belongs to another deployment".to_owned()),
        );
    }
    let opened = LocalDrive::open(Path::new(&path), &identity, options);
    (identity, path, opened.map_err(|error| error.to_string()))
}

/// Random bytes for an identity.
pub(crate) fn random<const LEN: usize>() -> Result<[u8; LEN], FormError> {
    let mut bytes = [0; LEN];
    getrandom::fill(&mut bytes).map_err(|_| FormError::Randomness)?;
    Ok(bytes)
}

/// Finds drives that know less than their peers remember of them: restored from a copy, or
/// rolled back by what lies below them. Such a drive is treated as empty: it does not vote.
pub(crate) async fn find_rolled_back(formed: &Formed) -> Result<(), drive::Error> {
    for drive in &formed.local {
        let identity = drive.identity();
        let peers = formed
            .local
            .iter()
            .filter(|peer| peer.identity().set == identity.set);
        let remembered = peers
            .filter(|peer| peer.identity().place != identity.place)
            .flat_map(|peer| peer.positions().1)
            .filter(|(place, _)| *place == identity.place)
            .map(|(_, position)| position)
            .max()
            .unwrap_or(0);
        let own = drive.positions().0;
        if own < remembered {
            tracing::error!(drive = %identity.drive, own, remembered, "rolled back: it does not vote until it is rebuilt");
            drive.set_standing(Standing::Joining).await?;
        }
    }
    Ok(())
}

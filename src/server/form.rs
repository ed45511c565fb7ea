//! From directories to drives: what is at each path, what may be formatted, what is offline.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use drive::{Drive, Formatted, Found, Identity, LocalDrive, Options, Standing, Status, inspect};
use placement::Classes;
use types::{DeploymentId, DriveId, Geometry};

use crate::config::{Config, Pool};
use crate::seat::{NOBODY, Seat, identity_at};
use crate::terrain::unfit;

/// How long a drive may take to show what it holds: the start does not wait for one that hangs.
const LOOK_WAIT: Duration = Duration::from_secs(10);
/// How long a drive may take to read the tail of its log.
const OPEN_WAIT: Duration = Duration::from_secs(20);

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
    /// The drives are those of sets of another size.
    #[error("{}: its set was formatted with {formatted} drives, and {named} are named", path.display())]
    SetSize {
        /// The path of one of them.
        path: PathBuf,
        /// Drives of its set.
        formatted: usize,
        /// Drives of a set as named.
        named: usize,
    },
    /// A path lies on a file system that cannot carry a drive.
    #[error("{}: {why}", path.display())]
    FileSystem {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
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

/// A seat as it was named, and what was found for it.
struct NamedSeat {
    path: PathBuf,
    set: usize,
    place: usize,
    found: Found,
    /// What is wrong with the file system below it, if anything.
    unfit: Option<&'static str>,
    /// Why what was found is not used.
    refused: Option<String>,
}

impl NamedSeat {
    fn refuse(&mut self, why: impl Into<String>) {
        self.refused.get_or_insert(why.into());
    }
}

/// The drives of this node.
pub(crate) struct Formed {
    /// The deployment.
    pub(crate) deployment: DeploymentId,
    /// The seats of each set, by place.
    pub(crate) sets: Vec<Vec<Arc<Seat>>>,
    /// Whether the deployment is new: no ledger may be expected.
    pub(crate) fresh: bool,
    /// The codes of the storage classes.
    pub(crate) classes: Classes,
    /// What a directory must be to be used.
    pub(crate) terms: Terms,
    /// How drives are opened.
    pub(crate) options: Options,
}

/// What a directory must be to be used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Whether drives are mounts: then an empty directory that is none lacks its mount.
    pub(crate) mounts: bool,
    /// Whether any file system will do.
    pub(crate) dev: bool,
}

impl Formed {
    /// All seats, set by set.
    pub(crate) fn seats(&self) -> impl Iterator<Item = &Arc<Seat>> {
        self.sets.iter().flatten()
    }

    /// All seats, as other rooms know them.
    pub(crate) fn drives(&self) -> Vec<Arc<dyn Drive>> {
        let drive = |seat: &Arc<Seat>| Arc::clone(seat) as Arc<dyn Drive>;
        self.seats().map(drive).collect()
    }

    /// The drives that are on this node and open. Not to be kept: what is kept is not closed.
    pub(crate) fn local(&self) -> Vec<Arc<LocalDrive>> {
        self.seats().filter_map(|seat| seat.local()).collect()
    }
}

/// Looks at every path, formats what may be formatted, and opens what can be opened. Blocks, but
/// not for a drive that hangs.
pub(crate) fn form(config: &Config) -> Result<Formed, FormError> {
    let [pool] = config.pools.as_slice() else {
        return Err(FormError::Pools);
    };
    let mut seats = look(pool);
    check_file_systems(&seats, config.dev)?;
    let fresh = !seats.iter().any(|seat| formatted(&seat.found).is_some());
    let deployment = if fresh {
        refuse_unusable(&seats)?;
        DeploymentId::from_bytes(random()?)
    } else {
        majority(&seats)
    };
    let geometry = pool.classes.standard;
    if !fresh {
        check_sizes(&seats, deployment, geometry)?;
        judge(&mut seats, deployment);
        check_enough(&seats, geometry)?;
    }
    for seat in seats.iter_mut().filter(|seat| seat.refused.is_none()) {
        if matches!(seat.found, Found::Empty { .. } | Found::Missing) {
            let drive = DriveId::from_bytes(random()?);
            let identity = identity_at(deployment, seat.set, seat.place, drive);
            seat.found = Found::Formatted(drive::format(&seat.path, &identity, geometry)?);
        }
    }
    let options = Options {
        fresh: if fresh {
            Standing::Voting
        } else {
            Standing::Joining
        },
        failpoints: drive::Failpoints::from_env(),
        ..Options::default()
    };
    let mounted = |seat: &NamedSeat| formatted(&seat.found).is_some_and(|drive| drive.mounted);
    let terms = Terms {
        mounts: seats.iter().any(mounted),
        dev: config.dev,
    };
    let mut formed = open_all(pool, seats, deployment, terms, options)?;
    reopen_rolled_back(&formed);
    // From now on an empty drive is a replacement.
    formed.options.fresh = Standing::Joining;
    Ok(formed)
}

/// Works on all seats side by side; `None` for those that take longer than `wait`.
fn side_by_side<T: Send + 'static>(
    works: Vec<impl FnOnce() -> T + Send + 'static>,
    wait: Duration,
) -> Vec<Option<T>> {
    let deadline = Instant::now() + wait;
    let mut running = Vec::new();
    for work in works {
        let (done, result) = mpsc::sync_channel(1);
        // Nobody takes it once the deadline is over; then it is dropped, and so closed.
        thread::spawn(move || done.send(work()));
        running.push(result);
    }
    let left = || deadline.saturating_duration_since(Instant::now());
    running
        .into_iter()
        .map(|result| result.recv_timeout(left()).ok())
        .collect()
}

fn look(pool: &Pool) -> Vec<NamedSeat> {
    let named: Vec<(usize, usize, &PathBuf)> = (0..)
        .zip(&pool.sets)
        .flat_map(|(set, paths)| {
            (0..)
                .zip(paths)
                .map(move |(place, path)| (set, place, path))
        })
        .collect();
    let look_at = |(_, _, path): &(usize, usize, &PathBuf)| {
        let path = (*path).clone();
        move || (inspect(&path), unfit(&path))
    };
    let seen = side_by_side(named.iter().map(look_at).collect(), LOOK_WAIT);
    let seat = |((set, place, path), seen): ((usize, usize, &PathBuf), Option<_>)| {
        let (found, unfit) = seen.unwrap_or((Found::Unreadable(ErrorKind::TimedOut), None));
        NamedSeat {
            path: path.clone(),
            set,
            place,
            found,
            unfit,
            refused: None,
        }
    };
    named.into_iter().zip(seen).map(seat).collect()
}

/// A drive must keep what it was told to sync; tests may do without.
fn check_file_systems(seats: &[NamedSeat], dev: bool) -> Result<(), FormError> {
    for seat in seats {
        match seat.unfit {
            Some(why) if dev => {
                tracing::warn!(path = %seat.path.display(), why, "fit for tests only")
            }
            Some(why) => {
                return Err(FormError::FileSystem {
                    path: seat.path.clone(),
                    why,
                });
            }
            None => {}
        }
    }
    Ok(())
}

fn formatted(found: &Found) -> Option<&Formatted> {
    match found {
        Found::Formatted(drive) | Found::ReadOnly(drive) => Some(drive),
        _ => None,
    }
}

/// A new deployment is made only where every directory may be formatted.
fn refuse_unusable(seats: &[NamedSeat]) -> Result<(), FormError> {
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
fn majority(seats: &[NamedSeat]) -> DeploymentId {
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

/// Sets keep their size: with other quorums, what was acknowledged might not be found.
fn check_sizes(
    seats: &[NamedSeat],
    deployment: DeploymentId,
    geometry: Geometry,
) -> Result<(), FormError> {
    let named = geometry.drives();
    for seat in seats {
        let drive = formatted(&seat.found).filter(|d| d.identity.deployment == deployment);
        match drive.map(|drive| drive.geometry.drives()) {
            Some(formatted) if formatted != named => {
                return Err(FormError::SetSize {
                    path: seat.path.clone(),
                    formatted,
                    named,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Why an empty directory is left alone.
pub(crate) const MOUNT_MISSING: &str =
    "its mount is missing: the directory is empty, and the other drives are mounts";

/// Says of each seat of a deployment that exists whether what was found there is used: a drive
/// of this deployment, at whatever path of its pool it is found, but once; or an empty directory,
/// which takes its seat anew.
fn judge(seats: &mut [NamedSeat], deployment: DeploymentId) {
    let mounts = seats
        .iter()
        .any(|seat| formatted(&seat.found).is_some_and(|drive| drive.mounted));
    let sets = seats.iter().map(|seat| seat.set + 1).max().unwrap_or(0);
    // Of two copies of a drive, the one counts that is where the drive belongs.
    let mut order: Vec<&mut NamedSeat> = seats.iter_mut().collect();
    order.sort_by_key(|seat| formatted(&seat.found).map(seat_of) != Some((seat.set, seat.place)));
    let mut taken: BTreeMap<(usize, usize), PathBuf> = BTreeMap::new();
    for seat in &mut order {
        let Some(drive) = formatted(&seat.found) else {
            continue;
        };
        let (deployed, place) = (drive.identity.deployment, seat_of(drive));
        if deployed != deployment {
            seat.refuse("it belongs to another deployment");
        } else if place.0 >= sets {
            seat.refuse("its set is not among those that are named");
        } else if let Some(other) = taken.get(&place) {
            seat.refuse(held(other));
        } else {
            taken.insert(place, seat.path.clone());
        }
    }
    for seat in order {
        match (&seat.found, taken.get(&(seat.set, seat.place))) {
            (Found::Formatted(_) | Found::ReadOnly(_), _) => {}
            (Found::Empty { .. }, Some(other)) => seat.refuse(held(other)),
            (Found::Empty { mounted: false }, _) if mounts => seat.refuse(MOUNT_MISSING),
            (Found::Empty { .. }, None) => {}
            (other, _) => seat.refuse(other.to_string()),
        }
    }
}

/// Why a seat takes no second drive.
fn held(other: &Path) -> String {
    format!("{} holds the drive of its seat", other.display())
}

/// The set and place that a drive says are its.
fn seat_of(drive: &Formatted) -> (usize, usize) {
    let identity = &drive.identity;
    (usize::from(identity.set), usize::from(identity.place))
}

fn check_enough(seats: &[NamedSeat], geometry: Geometry) -> Result<(), FormError> {
    let needed = geometry.read_quorum().max(geometry.data());
    let sets = seats.iter().map(|seat| seat.set + 1).max().unwrap_or(0);
    for set in 0..sets {
        let usable = |seat: &&NamedSeat| {
            seat.refused.is_none() && formatted(&seat.found).is_some_and(|d| seat_of(d).0 == set)
        };
        let count = seats.iter().filter(usable).count();
        if count < needed {
            let why = |seat: &NamedSeat| {
                let found = || seat.found.to_string();
                let why = seat.refused.clone().unwrap_or_else(found);
                format!("{}: {why}", seat.path.display())
            };
            let members = || seats.iter().filter(|seat| seat.set == set);
            return Err(FormError::TooFew {
                set,
                usable: count,
                drives: members().count(),
                needed,
                why: members()
                    .find(|seat| !usable(seat))
                    .map_or_else(String::new, why),
            });
        }
    }
    Ok(())
}

/// Opens all drives side by side: each reads the tail of its log.
fn open_all(
    pool: &Pool,
    mut seats: Vec<NamedSeat>,
    deployment: DeploymentId,
    terms: Terms,
    options: Options,
) -> Result<Formed, FormError> {
    let sets = pool.sets.iter().enumerate();
    let sets = sets.map(|(set, paths)| empty_set(deployment, set, paths));
    let mut formed = Formed {
        deployment,
        sets: sets.collect(),
        fresh: options.fresh == Standing::Voting,
        classes: pool.classes,
        terms,
        options,
    };
    let options = &formed.options;
    let work = |seat: &NamedSeat| {
        let (path, options) = (seat.path.clone(), options.clone());
        let identity = formatted(&seat.found).map(|drive| drive.identity.clone());
        let identity = identity.filter(|_| seat.refused.is_none());
        move || identity.map(|identity| (open_one(&path, &identity, &options), identity))
    };
    let opened = side_by_side(seats.iter().map(work).collect(), OPEN_WAIT);
    for (seat, opened) in seats.iter_mut().zip(opened) {
        match opened {
            Some(Some((Ok(drive), identity))) => seat_drive(&mut formed, seat, drive, &identity),
            Some(Some((Err(why), _))) => seat.refuse(why),
            Some(None) => {}
            None => seat.refuse("it does not answer"),
        }
    }
    check_enough(&seats, pool.classes.standard)?;
    for seat in &seats {
        let Some(why) = &seat.refused else { continue };
        tracing::error!(path = %seat.path.display(), why, "a drive is offline");
        let ours = |drive: &&Formatted| drive.identity.deployment == deployment;
        let ours = formatted(&seat.found).filter(ours);
        let (set, place) = ours.map_or((seat.set, seat.place), seat_of);
        let slot = formed.sets.get(set).and_then(|set| set.get(place));
        if let Some(slot) = slot.filter(|slot| slot.local().is_none()) {
            slot.leave(why);
        }
    }
    Ok(formed)
}

/// Puts a drive into its seat.
fn seat_drive(formed: &mut Formed, seat: &NamedSeat, drive: LocalDrive, identity: &Identity) {
    let (set, place) = (usize::from(identity.set), usize::from(identity.place));
    if drive.status() == Status::ReadOnly {
        tracing::error!(path = %seat.path.display(), "a drive is read-only: it serves reads alone");
    }
    if let Some(slot) = formed.sets.get_mut(set).and_then(|set| set.get_mut(place)) {
        *slot = Arc::new(Seat::taken(seat.path.clone(), drive));
    }
}

/// A set of whose drives nothing is known yet.
fn empty_set(deployment: DeploymentId, set: usize, paths: &[PathBuf]) -> Vec<Arc<Seat>> {
    let empty = |(place, path): (usize, &PathBuf)| {
        let identity = identity_at(deployment, set, place, NOBODY);
        Arc::new(Seat::empty(path.clone(), identity, "not found"))
    };
    paths.iter().enumerate().map(empty).collect()
}

/// Opens the drive at a path; says why it cannot be had.
pub(crate) fn open_one(
    path: &Path,
    identity: &Identity,
    options: &Options,
) -> Result<LocalDrive, String> {
    LocalDrive::open(path, identity, options).map_err(|error| {
        let why = match error {
            drive::Error::Offline(why) => why.to_string(),
            other => other.to_string(),
        };
        // Whoever says it names the path.
        let path = format!("{}: ", path.display());
        why.strip_prefix(&path).unwrap_or(&why).to_owned()
    })
}

/// Random bytes for an identity.
pub(crate) fn random<const LEN: usize>() -> Result<[u8; LEN], FormError> {
    let mut bytes = [0; LEN];
    getrandom::fill(&mut bytes).map_err(|_| FormError::Randomness)?;
    Ok(bytes)
}

/// Finds drives that know less than their peers remember of their seats: restored from a copy,
/// rolled back by what lies below them, or new. They are opened again as empty ones: they do not
/// vote, and their log goes on behind what was remembered.
fn reopen_rolled_back(formed: &Formed) {
    for seat in formed.seats() {
        let Some(drive) = seat.local() else { continue };
        let identity = drive.identity();
        let remembered = remembered(formed, &identity);
        if drive.positions().0 >= remembered {
            continue;
        }
        drop(drive);
        // Here nobody waits for anything but this.
        drop(seat.leave("being opened again"));
        let options = Options {
            position: remembered,
            ..formed.options.clone()
        };
        match open_one(seat.path(), &identity, &options) {
            Ok(drive) => seat.take(drive),
            Err(error) => {
                tracing::error!(path = %seat.path().display(), error, "a drive is offline");
                seat.leave(&error);
            }
        }
    }
}

/// The highest position of a seat that its peers know of.
fn remembered(formed: &Formed, identity: &Identity) -> u64 {
    let peers = formed.sets.get(usize::from(identity.set));
    let peers = peers.into_iter().flatten();
    let peers = peers.filter(|peer| peer.identity().place != identity.place);
    let known = peers.flat_map(|peer| peer.positions().1);
    let known = known.filter(|(place, _)| *place == identity.place);
    known.map(|(_, position)| position).max().unwrap_or(0)
}

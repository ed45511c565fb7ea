//! The start of intent: the cluster secret, the ledger, the root credential and the leases.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use drive::{Drive, Identity, LocalDrive, Standing, Status};
use ledger::{ClusterSecret, Command, DriveSeat, Ledger, LedgerConfig, ProposeError, Refusal};

use crate::config::Config;
use crate::form::{FormError, Formed, random};

/// This node's number, as long as there is one.
const NODE: u64 = 1;
const SECRET_FILE: &str = "cluster-secret";

/// Why there is no ledger.
#[derive(Debug, thiserror::Error)]
pub enum IntentError {
    /// The ledger's own reason.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// A change of intent that a start needs was not made.
    #[error("a start needs a change of intent: {0}")]
    Propose(#[from] ProposeError),
    /// Keys are spread over the sets: without one, a part of them would be gone.
    #[error("this deployment has {known} sets of drives, and those that are named form {named}")]
    Sets {
        /// Sets of the deployment.
        known: usize,
        /// Sets that are named.
        named: usize,
    },
    /// The deployment was formed, and its cluster secret is nowhere.
    #[error("the cluster secret of this deployment is neither given nor on its drives")]
    NoSecret,
    /// The state directory cannot be used.
    #[error("{path}: {source}")]
    StateDirectory {
        /// The path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A drive does not take what a start must write.
    #[error("a drive failed at the start: {0}")]
    Drive(#[from] drive::Error),
    /// The operating system gives no randomness.
    #[error(transparent)]
    Form(#[from] FormError),
}

/// A root password that was made just now.
pub(crate) struct Made {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

/// Intent as a start needs it.
pub(crate) struct Begun {
    pub(crate) ledger: Ledger,
    /// The root password, if it was made just now.
    pub(crate) made: Option<Made>,
    /// The cluster secret, if the drives keep it: one that is replaced needs its share.
    pub(crate) shared: Option<ClusterSecret>,
}

/// Opens the ledger and brings it to where a start needs it.
pub(crate) async fn begin(config: &Config, formed: &Formed) -> Result<Begun, IntentError> {
    let drives = formed.drives();
    let secret = secret(config, &drives, formed.fresh).await?;
    let elsewhere = config.cluster_secret.is_some() || config.state_dir.is_some();
    let shared = (!elsewhere).then(|| secret.clone());
    let ledger = Ledger::open(LedgerConfig {
        drives,
        secret,
        node: NODE,
    })
    .await?;
    seat_drives(&ledger, formed).await?;
    let made = root(config, &ledger).await?;
    let start = u64::from_be_bytes(random()?);
    ledger.propose(Command::Grant { node: NODE, start }).await?;
    Ok(Begun {
        ledger,
        made,
        shared,
    })
}

/// The cluster secret: given, or in the state directory, or in shares on the drives, or new.
async fn secret(
    config: &Config,
    drives: &[Arc<dyn Drive>],
    fresh: bool,
) -> Result<ClusterSecret, IntentError> {
    if let Some(given) = &config.cluster_secret {
        return Ok(ClusterSecret::from_bytes(*given.expose()));
    }
    if let Some(directory) = &config.state_dir {
        return in_directory(directory, fresh);
    }
    if let Some(found) = ClusterSecret::recover(drives).await? {
        return Ok(found);
    }
    if !fresh && !ledger::is_empty(drives).await? {
        return Err(IntentError::NoSecret);
    }
    let made = ClusterSecret::make()?;
    made.store(drives).await?;
    if ClusterSecret::threshold(drives.len()) == 1 {
        tracing::warn!(
            "the cluster secret lies whole on each drive: name a SARSEN_STATE_DIR to keep it elsewhere"
        );
    }
    Ok(made)
}

fn in_directory(directory: &Path, fresh: bool) -> Result<ClusterSecret, IntentError> {
    let path = directory.join(SECRET_FILE);
    let failed = |source: io::Error| IntentError::StateDirectory {
        path: path.display().to_string(),
        source,
    };
    match fs::read_to_string(&path) {
        Ok(text) => ClusterSecret::parse(&text).ok_or_else(|| {
            failed(io::Error::new(
                io::ErrorKind::InvalidData,
                "not 64 hexadecimal digits",
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound && fresh => {
            let made = ClusterSecret::make()?;
            fs::create_dir_all(directory).map_err(failed)?;
            let open = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            let mut file = open.map_err(failed)?;
            file.write_all(made.to_hex().as_bytes()).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            fs::File::open(directory)
                .and_then(|d| d.sync_all())
                .map_err(failed)?;
            Ok(made)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Forms the deployment, or admits the drives that must be rebuilt.
pub(crate) async fn seat_drives(ledger: &Ledger, formed: &Formed) -> Result<(), IntentError> {
    let state = ledger.view();
    if state.deployment.is_empty() {
        let drives = formed.local();
        ledger
            .propose(Command::Form {
                deployment: formed.deployment.to_string(),
                drives: drives
                    .iter()
                    .map(|drive| seat_of(&drive.identity()))
                    .collect(),
            })
            .await?;
        // An earlier start was cut short while it formed the deployment: nothing was ever stored.
        for drive in joining(formed) {
            drive.set_standing(Standing::Voting).await?;
        }
        return Ok(());
    }
    let sets = state.seats.keys().map(|(_, set, _)| usize::from(*set) + 1);
    let (known, named) = (sets.max().unwrap_or(0), formed.sets.len());
    if known != named {
        return Err(IntentError::Sets { known, named });
    }
    // One that joins once more may have lost fences that it stored: its set's members are
    // counted from a new entry on.
    for drive in joining(formed) {
        let seat = seat_of(&drive.identity());
        tracing::warn!(
            drive = seat.drive,
            place = seat.place,
            "a drive takes a seat: it is rebuilt before it votes"
        );
        ledger.propose(Command::Admit { seat }).await?;
    }
    Ok(())
}

/// The drives that do not vote yet.
pub(crate) fn joining(formed: &Formed) -> Vec<Arc<LocalDrive>> {
    let mut local = formed.local();
    local.retain(|drive| drive.status() == Status::Joining);
    local
}

/// A drive's seat in the ledger's words.
pub(crate) fn seat_of(identity: &Identity) -> DriveSeat {
    DriveSeat {
        pool: identity.pool,
        set: identity.set,
        place: identity.place,
        drive: identity.drive.to_string(),
    }
}

/// The root credential: what the environment gives, what is kept, or a new one.
async fn root(config: &Config, ledger: &Ledger) -> Result<Option<Made>, IntentError> {
    let kept = ledger.view().root.clone();
    let set = |access_key: &str, secret_key: &str, from_environment| Command::SetRoot {
        credential: ledger::Credential {
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
        },
        from_environment,
    };
    if let Some(given) = &config.root {
        let command = set(&given.access_key, given.secret_key.expose(), true);
        return match ledger.propose(command).await {
            Ok(_) => Ok(None),
            Err(ProposeError::Refused(Refusal::Superseded)) => {
                tracing::warn!(
                    "the root credential of the environment was superseded earlier and is ignored"
                );
                Ok(None)
            }
            Err(error) => Err(error.into()),
        };
    }
    if kept.is_some() {
        return Ok(None);
    }
    let made = Made {
        access_key: text::<20>(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")?,
        secret_key: text::<40>(
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-",
        )?,
    };
    ledger
        .propose(set(&made.access_key, &made.secret_key, false))
        .await?;
    Ok(Some(made))
}

/// Random text over an alphabet whose size is a power of two, so that each letter is as likely.
fn text<const LEN: usize>(alphabet: &[u8]) -> Result<String, IntentError> {
    let bytes: [u8; LEN] = random()?;
    let letter = |byte: &u8| {
        alphabet
            .get(usize::from(*byte) % alphabet.len())
            .copied()
            .unwrap_or(b'A')
    };
    Ok(bytes.iter().map(|byte| char::from(letter(byte))).collect())
}

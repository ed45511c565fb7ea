//! Shard files that no row refers to: what crashes, lost commits and failed removals leave.

use std::time::Duration;

use types::{DataId, Placed};

use super::entry::Standing;
use super::shared::{Part, Shared};
use crate::contract::Error;
use crate::index::Access;
use crate::register::Register;

/// A staged file that waited this long for its commit is given up.
pub(super) const STAGED_MAX: Duration = Duration::from_secs(3600);
/// A file younger than this may belong to a commit under way: longer than it can wait for one.
pub(super) const YOUNG: Duration = Duration::from_secs(2 * 3600);
/// The pause after each file looked at, so that a walk goes unnoticed.
const PAUSE: Duration = Duration::from_millis(2);

/// Removes published files, at least `age` old, that the row of no register lists; says how many.
/// Stops early when the drive closes.
pub(super) fn remove_orphans(shared: &Shared, age: Duration) -> Result<usize, Error> {
    let mut removed = 0;
    for walked in shared.shards.walk() {
        let walked = walked?;
        // A drive that lost rows must not take its files for orphans.
        if shared.health.standing() == Standing::Joining {
            return Ok(removed);
        }
        if let Ok(header) = &walked.header
            && header.age >= age
            && !shared.held.holds(walked.data)
            && is_orphan(shared, walked.data, walked.generation, &header.register)?
        {
            tracing::info!(data = %walked.data, generation = walked.generation, "an orphan is removed");
            shared.shards.remove(walked.data, walked.generation)?;
            shared
                .doomed
                .lock()
                .remove(&(walked.data, walked.generation));
            removed += 1;
        }
        shared.chores.wait(Some(PAUSE), |chores| chores.stop);
        if shared.chores.look(|chores| chores.stop) {
            break;
        }
    }
    Ok(removed)
}

fn is_orphan(
    shared: &Shared,
    data: DataId,
    generation: u32,
    register: &Register,
) -> Result<bool, Error> {
    if shared.generation(data, Access::Point)? != generation {
        return Ok(true);
    }
    if lists(shared, register, data)? {
        return Ok(false);
    }
    match register.object_of_upload() {
        Some(object) => lists(shared, &object, data).map(|listed| !listed),
        None => Ok(true),
    }
}

/// Whether a row of the register lists the file.
fn lists(shared: &Shared, register: &Register, data: DataId) -> Result<bool, Error> {
    let bytes = register.as_bytes();
    let mut parts = Vec::new();
    let mut listed = false;
    shared.tree().rows(
        bytes,
        shared.seal.register_hash(bytes),
        Access::Point,
        |_, value| {
            match value.head.placed {
                Placed::File => listed |= value.head.data == data,
                Placed::Parts => parts.push(value.at),
                Placed::Nowhere | Placed::Inline => {}
            }
            !listed
        },
    )?;
    for at in parts {
        let row = shared.read_log(at, Part::Row)?;
        listed |= row
            .row(&shared.row_key)?
            .file_ids()
            .any(|file| file == data);
    }
    Ok(listed)
}

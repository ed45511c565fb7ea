//! What is crashed, and where.

use std::fmt::{self, Display, Formatter};

use super::multipart::PART_MIN;
use super::process::DRIVES;

/// Bodies that ride in the log, and those that have files.
const SMALL: u64 = 5_000;
const LARGE: u64 = 300_000;

/// The places of the drive's engine where shard files are written, in the order of a write, and
/// those of its log.
const FILE_PLACES: [&str; 4] = [
    "stage.before-sync",
    "stage.after-sync",
    "publish.before-sync",
    "publish.after-sync",
];
const LOG_PLACES: [&str; 5] = [
    "commit.before-write",
    "commit.before-sync",
    "commit.after-sync",
    "commit.visible",
    "commit.acknowledged",
];

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Writes so many bytes.
    Put(u64),
    Delete,
    /// Copies an object of so many bytes.
    Copy(u64),
    /// Completes an upload of parts of these sizes.
    Complete(&'static [u64]),
    /// Aborts it.
    Abort(&'static [u64]),
    /// Changes the tags.
    Tag,
}

/// One kind of change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    /// Bytes of what the key holds before it, if anything.
    pub(super) before: Option<u64>,
    pub(super) change: Change,
    /// How often each drive's log is written: each commit, and what is settled after the last.
    batches: u64,
}

const fn operation(
    name: &'static str,
    before: Option<u64>,
    change: Change,
    batches: u64,
) -> Operation {
    Operation {
        name,
        before,
        change,
        batches,
    }
}

const OPERATIONS: [Operation; 14] = [
    operation("put-inline", None, Change::Put(SMALL), 2),
    operation("put-file", None, Change::Put(LARGE), 2),
    operation("overwrite-inline", Some(LARGE), Change::Put(SMALL), 2),
    operation("overwrite-file", Some(SMALL), Change::Put(LARGE), 2),
    operation("delete-inline", Some(SMALL), Change::Delete, 2),
    operation("delete-file", Some(LARGE), Change::Delete, 2),
    operation("copy-inline", None, Change::Copy(SMALL), 2),
    operation("copy-file", None, Change::Copy(LARGE), 2),
    operation("copy-over", Some(LARGE), Change::Copy(LARGE), 2),
    operation("tag-inline", Some(SMALL), Change::Tag, 2),
    operation("tag-file", Some(LARGE), Change::Tag, 2),
    // The mark, the object, the upload's end, the parts' rows, and what is settled.
    operation("complete", None, Change::Complete(&[PART_MIN, SMALL]), 5),
    operation("complete-over", Some(LARGE), Change::Complete(&[LARGE]), 5),
    operation("abort", Some(SMALL), Change::Abort(&[LARGE]), 3),
];

/// One crash: at a place, as it is passed for so manyeth time, with so many drives done.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub(super) operation: Operation,
    pub(super) place: &'static str,
    pub(super) pass: u64,
    pub(super) drives: usize,
}

impl Case {
    /// The key that it is about, of its own.
    pub(super) fn key(&self) -> String {
        self.to_string()
    }
}

impl Display for Case {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            operation,
            place,
            pass,
            drives,
        } = self;
        write!(formatter, "{}/{place}/{pass}/{drives}", operation.name)
    }
}

impl Operation {
    fn cases(self) -> Vec<Case> {
        let files = match self.change {
            Change::Put(size) | Change::Copy(size) if size == LARGE => &FILE_PLACES[..],
            _ => &[],
        };
        let files = files.iter().map(|place| (*place, 1));
        let log = (1..=self.batches).flat_map(|pass| LOG_PLACES.map(|place| (place, pass)));
        let at = |(place, pass)| {
            (0..DRIVES).map(move |drives| Case {
                operation: self,
                place,
                pass,
                drives,
            })
        };
        files.chain(log).flat_map(at).collect()
    }
}

/// All cases, or one in `every`, beginning by chance.
pub fn cases(every: usize, chance: u64) -> Vec<Case> {
    let every = every.max(1);
    let skipped = usize::try_from(chance % every as u64).unwrap_or(0);
    let all = OPERATIONS.into_iter().flat_map(Operation::cases);
    all.skip(skipped).step_by(every).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Case, OPERATIONS, cases};

    #[test]
    fn the_slices_of_all_chances_are_all_cases() {
        let keys = |cases: Vec<Case>| cases.iter().map(Case::key).collect::<Vec<_>>();
        let all: BTreeSet<_> = keys(cases(1, 9)).into_iter().collect();
        let slices = (0..7).flat_map(|chance| keys(cases(7, chance)));
        let slices: Vec<_> = slices.collect();
        assert_eq!(slices.len(), all.len());
        assert_eq!(slices.into_iter().collect::<BTreeSet<_>>(), all);
        assert!(all.contains("complete/commit.after-sync/3/2"));
        assert!(all.contains("copy-file/stage.after-sync/1/0"));
        assert!(!all.contains("put-inline/stage.after-sync/1/0"));
        for operation in OPERATIONS {
            assert!(all.iter().any(|key| key.starts_with(operation.name)));
        }
    }
}

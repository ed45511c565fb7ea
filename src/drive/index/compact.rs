//! Fewer, larger runs: which to merge, and merging them.

use std::ops::{Bound, Range};
use std::sync::Arc;

use super::merge::Merge;
use super::meta::RunMeta;
use super::run::{Access, Piece, Run};
use super::writer::RunWriter;
use crate::contract::Error;

/// Runs of about one size are merged once there are this many of them.
const FAN_OUT: usize = 8;
/// Runs up to this size count as the smallest, whatever their size.
const SMALL_BYTES: u64 = 4 * 1024 * 1024;
/// With more runs than this, the cheapest merge is done though no size has enough of them.
const RUNS_MAX: usize = 20;
/// Marks in this part of all entries (and no fewer than `MARKS_MIN`) call for a merge of all.
const MARKS_PART: u64 = 3;
const MARKS_MIN: u64 = 10_000;

/// Which adjacent runs to merge next, if any; `runs` come newest first.
pub(crate) fn pick(runs: &[RunMeta]) -> Option<Range<usize>> {
    let tiers: Vec<u32> = runs.iter().map(|run| tier(run.bytes)).collect();
    let top = tiers.iter().max().copied().unwrap_or(0);
    let by_size = (0..=top).find_map(|tier| stretch(&tiers, tier));
    by_size
        .or_else(|| full_of_marks(runs))
        .or_else(|| cheapest(runs))
}

fn tier(bytes: u64) -> u32 {
    (bytes / SMALL_BYTES)
        .checked_ilog(FAN_OUT as u64)
        .map_or(0, |log| log + 1)
}

/// Neighbours of which enough are of that tier and none is above it; smaller ones go along.
fn stretch(tiers: &[u32], tier: u32) -> Option<Range<usize>> {
    let mut from = 0;
    let ends = (0..=tiers.len()).filter(|at| tiers.get(*at).is_none_or(|one| *one > tier));
    ends.map(|end| std::mem::replace(&mut from, end + 1)..end)
        .find(|range| {
            let stretch = tiers.get(range.clone()).unwrap_or_default();
            stretch.iter().filter(|one| **one == tier).count() >= FAN_OUT
        })
}

fn full_of_marks(runs: &[RunMeta]) -> Option<Range<usize>> {
    let marks: u64 = runs.iter().map(|run| run.marks).sum();
    let entries: u64 = runs.iter().map(|run| run.entries).sum();
    (marks >= MARKS_MIN && marks >= entries / MARKS_PART).then_some(0..runs.len())
}

/// With too many runs: the neighbours whose merge writes the fewest bytes for each run saved.
fn cheapest(runs: &[RunMeta]) -> Option<Range<usize>> {
    if runs.len() <= RUNS_MAX {
        return None;
    }
    let windows = (0..runs.len()).flat_map(|from| (from + 2..=runs.len()).map(move |to| from..to));
    windows.min_by_key(|range| {
        let bytes: u64 = runs
            .get(range.clone())
            .unwrap_or_default()
            .iter()
            .map(|run| run.bytes)
            .sum();
        bytes / (range.len() as u64 - 1)
    })
}

/// What lies below the runs that are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Nothing: the oldest run is among them, so marks have nothing left to hide.
    Bottom,
    /// Older runs, in which marks still hide something.
    Above,
}

/// What becomes of a row in a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It stays.
    Keep,
    /// It is gone: no reader wants it any more.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "the engine's rows leave through the log, with their files"
        )
    )]
    Drop,
}

/// Merges adjacent runs, newest first, into one. `filter` is asked for every living row; its
/// error stops the merge. Where older runs lie below, a dropped row becomes a mark, since one
/// with the same key may lie there.
pub(crate) fn compact(
    inputs: &[Arc<Run>],
    depth: Depth,
    mut writer: RunWriter,
    mut filter: impl FnMut(&[u8], &[u8]) -> Result<Verdict, Error>,
) -> Result<RunMeta, Error> {
    let mut merge = Merge::new([], inputs, &[], Access::Scan)?;
    while let Some((key, value)) = merge.next_entry()? {
        let kept = match value {
            Some(value) if filter(key, value)? == Verdict::Keep => Some(value),
            _ => None,
        };
        if kept.is_some() || depth == Depth::Above {
            writer.add(key, kept)?;
        }
    }
    writer.finish()
}

/// Copies what still reads well of a damaged run. A block that does not may have held marks: what
/// the runs below, newest first, have of its keys is hidden, lest it come back.
pub(crate) fn salvage(
    run: &Run,
    below: &[Arc<Run>],
    mut writer: RunWriter,
) -> Result<RunMeta, Error> {
    run.pieces(|piece| match piece {
        Piece::Entry(key, value) => writer.add(key, value),
        Piece::Gap(from, end) => hide(below, from, end, &mut writer),
    })?;
    writer.finish()
}

fn hide(
    runs: &[Arc<Run>],
    from: &[u8],
    end: Bound<&[u8]>,
    writer: &mut RunWriter,
) -> Result<(), Error> {
    let mut merge = Merge::new([], runs, from, Access::Scan)?;
    while let Some((key, _)) = merge.next()? {
        let beyond = match end {
            Bound::Included(last) => key > last,
            Bound::Excluded(end) => key >= end,
            Bound::Unbounded => false,
        };
        if beyond {
            break;
        }
        writer.add(key, None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::seal::RunId;

    fn runs(sizes: &[u64]) -> Vec<RunMeta> {
        let run = |bytes: &u64| RunMeta {
            id: RunId(0),
            entries: bytes / 150,
            marks: 0,
            bytes: *bytes,
            first: [].into(),
            last: [].into(),
        };
        sizes.iter().map(run).collect()
    }

    #[test]
    fn eight_of_a_size_are_merged_and_fewer_are_left() {
        const MIB: u64 = 1 << 20;
        assert_eq!(pick(&runs(&[])), None);
        assert_eq!(pick(&runs(&[MIB; 7])), None);
        assert_eq!(pick(&runs(&[MIB; 8])), Some(0..8));
        let mut sizes = vec![3 * MIB; 8];
        sizes.extend([900 * MIB, 9000 * MIB]);
        assert_eq!(pick(&runs(&sizes)), Some(0..8));
        let mut sizes = vec![3 * MIB; 5];
        sizes.extend([40 * MIB; 8]);
        assert_eq!(
            pick(&runs(&sizes)),
            Some(0..13),
            "small ones in front go along"
        );
        let sizes = [9000, 1, 1, 1, 1, 1, 1, 1, 1, 700].map(|size| size * MIB);
        assert_eq!(pick(&runs(&sizes)), Some(1..9), "never across a larger one");
    }

    #[test]
    fn marks_that_pile_up_are_merged_away() {
        let mut some = runs(&[900 << 20, 1 << 30]);
        some[0].marks = 2_000_000;
        assert_eq!(pick(&some), None);
        some[0].marks = 6_000_000;
        assert_eq!(pick(&some), Some(0..2));
    }

    #[test]
    fn flushing_for_ever_keeps_few_runs_and_writes_each_byte_a_few_times() {
        let flush = 8u64 << 20;
        let (mut sizes, mut written, mut most) = (Vec::new(), 0u64, 0);
        for _ in 0..4000 {
            sizes.insert(0, flush);
            while let Some(range) = pick(&runs(&sizes)) {
                assert!(range.len() >= 2);
                let merged: u64 = sizes[range.clone()].iter().sum();
                written += merged;
                sizes.splice(range, [merged]);
            }
            most = most.max(sizes.len());
        }
        assert!(most <= RUNS_MAX, "{most} runs");
        let factor = written as f64 / (4000 * flush) as f64;
        assert!(factor < 6.0, "each byte was merged {factor} times");
    }
}

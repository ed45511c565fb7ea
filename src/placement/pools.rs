//! From the arguments of the command line to pools, sets and drives.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use crate::ellipses::Pattern;
use crate::error::Error;

/// The set sizes to choose from.
const SET_DRIVES: RangeInclusive<usize> = 2..=16;

/// Drives that were added together, in sets of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The sets in order; each names its drives in order. Never empty, all of one size.
    pub sets: Vec<Vec<String>>,
}

impl Pool {
    /// The drives of each set: 1 to 16.
    pub fn set_drives(&self) -> usize {
        self.sets.first().map_or(0, Vec::len)
    }
}

/// Reads drive arguments. Each argument with ellipses is one pool; arguments without are
/// together one pool. `set_drives` overrides the choice of the set size.
pub fn pools(arguments: &[String], set_drives: Option<usize>) -> Result<Vec<Pool>, Error> {
    if arguments.is_empty() {
        return Err(Error::NoDrives);
    }
    if arguments.iter().any(|argument| argument.trim().is_empty()) {
        return Err(Error::EmptyArgument);
    }
    let meant = arguments
        .iter()
        .filter(|argument| Pattern::is_meant(argument))
        .count();
    let pools = if meant == 0 {
        let size = set_size(&arguments.join(" "), arguments.len(), None, set_drives)?;
        vec![pool(arguments.to_vec(), size)]
    } else if meant == arguments.len() {
        arguments
            .iter()
            .map(|argument| patterned(argument, set_drives))
            .collect::<Result<_, _>>()?
    } else {
        return Err(Error::MixedArguments);
    };
    let mut seen = HashSet::new();
    for drive in pools.iter().flat_map(|pool| pool.sets.iter().flatten()) {
        if !seen.insert(drive.as_str()) {
            return Err(Error::Duplicate {
                drive: drive.clone(),
            });
        }
    }
    Ok(pools)
}

fn patterned(argument: &str, set_drives: Option<usize>) -> Result<Pool, Error> {
    let pattern = Pattern::parse(argument)?;
    let size = set_size(
        argument,
        pattern.drives(),
        Some(pattern.leftmost()),
        set_drives,
    )?;
    Ok(pool(pattern.expand(), size))
}

fn pool(drives: Vec<String>, set_drives: usize) -> Pool {
    Pool {
        sets: drives.chunks(set_drives).map(<[String]>::to_vec).collect(),
    }
}

/// The largest size that divides the drives and is symmetric to the left-most range, so that
/// every host gives the same number of drives to a set. One drive is a set by itself.
fn set_size(
    argument: &str,
    drives: usize,
    leftmost: Option<usize>,
    wanted: Option<usize>,
) -> Result<usize, Error> {
    if let Some(wanted) = wanted {
        let alone = wanted == 1 && drives == 1;
        if alone || (SET_DRIVES.contains(&wanted) && drives.is_multiple_of(wanted)) {
            return Ok(wanted);
        }
        let argument = argument.to_owned();
        return Err(Error::SetSize {
            argument,
            drives,
            set_drives: wanted,
        });
    }
    if drives == 1 {
        return Ok(1);
    }
    let symmetric = |size: &usize| match leftmost {
        None => true,
        Some(hosts) if hosts > *size => hosts.is_multiple_of(*size),
        Some(hosts) => size.is_multiple_of(hosts),
    };
    SET_DRIVES
        .rev()
        .filter(|size| drives.is_multiple_of(*size))
        .find(symmetric)
        .ok_or_else(|| Error::NoSetSize {
            argument: argument.to_owned(),
            drives,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, set_drives: Option<usize>) -> Result<Vec<Pool>, Error> {
        let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        pools(&arguments, set_drives)
    }

    fn shape(line: &str, set_drives: Option<usize>) -> Vec<(usize, usize)> {
        let shape = |pool: &Pool| (pool.sets.len(), pool.set_drives());
        read(line, set_drives).unwrap().iter().map(shape).collect()
    }

    #[test]
    fn what_forms_no_pools_is_refused_in_one_line() {
        let table = [
            ("", None, "no drives: name at least one directory"),
            (
                "/a /b{1...4}",
                None,
                "either all drive arguments have ellipses (each is a pool) or none has",
            ),
            ("/a /b /a", None, "drive \"/a\" is named twice"),
            ("/a{1...4} /a{4...7}", None, "drive \"/a4\" is named twice"),
            (
                "/d{1...17}",
                None,
                "17 drives of \"/d{1...17}\" form no equal sets of 2 to 16 drives: change their number",
            ),
            (
                "h{1...17}/d{1...52}",
                None,
                "884 drives of \"h{1...17}/d{1...52}\" form no equal sets of 2 to 16 drives: change their number",
            ),
            (
                "/d{1...8}",
                Some(3),
                "8 drives of \"/d{1...8}\" cannot form sets of 3 drives",
            ),
            (
                "/d{1...32}",
                Some(32),
                "32 drives of \"/d{1...32}\" cannot form sets of 32 drives",
            ),
            (
                "/d{1...8}",
                Some(0),
                "8 drives of \"/d{1...8}\" cannot form sets of 0 drives",
            ),
            (
                "/d{1...8}",
                Some(1),
                "8 drives of \"/d{1...8}\" cannot form sets of 1 drives",
            ),
            (
                "/d1 /d{1...",
                None,
                "either all drive arguments have ellipses (each is a pool) or none has",
            ),
            (
                "/d{1...",
                None,
                "invalid ellipsis in \"/d{1...\": write {first...last}, decimal or hexadecimal",
            ),
        ];
        for (line, set_drives, message) in table {
            assert_eq!(
                read(line, set_drives).unwrap_err().to_string(),
                message,
                "{line}"
            );
        }
        assert_eq!(pools(&[" ".to_owned()], None), Err(Error::EmptyArgument));
    }

    #[test]
    fn set_sizes_are_those_of_existing_command_lines() {
        // (arguments, sets, drives of each)
        let table = [
            ("/d{1...27}", 3, 9),
            ("/d{1...24}", 2, 12),
            ("h{1...3}/d{1...180}", 36, 15),
            ("h{1...2}/d{1...180}", 30, 12),
            ("h{1...11}/d{1...8}", 8, 11),
            ("/d{1...64}", 4, 16),
            ("h{1...4}/d{1...4}", 1, 16),
            ("h{1...3}/d{1...4}", 1, 12),
            ("h{1...5}/d{1...4}", 2, 10),
            ("h{1...7}/d{1...4}", 2, 14),
            ("h{1...10}/d{1...12}", 12, 10),
            ("h{1...12}/d{1...8}", 8, 12),
            ("/d{1...20}", 2, 10),
            ("/d{1...18}", 2, 9),
            ("/d{1...6}", 1, 6),
            ("/d{1...4}", 1, 4),
            ("/d{1...2}", 1, 2),
            ("/d{1...1}", 1, 1),
            ("/d", 1, 1),
            ("/a /b", 1, 2),
            ("/a /b /c /d /e", 1, 5),
        ];
        for (line, sets, drives) in table {
            assert_eq!(shape(line, None), [(sets, drives)], "{line}");
        }
    }

    #[test]
    fn the_set_size_can_be_chosen() {
        assert_eq!(shape("/d{1...16}", Some(4)), [(4, 4)]);
        assert_eq!(
            shape("h{1...3}/d{1...4}", Some(2)),
            [(6, 2)],
            "symmetry is not asked for"
        );
        assert_eq!(shape("/d", Some(1)), [(1, 1)]);
    }

    #[test]
    fn every_argument_with_ellipses_is_a_pool() {
        assert_eq!(
            shape("/a{1...4} /b{1...16} /c{1...32}", None),
            [(1, 4), (1, 16), (2, 16)]
        );
    }

    #[test]
    fn sets_take_neighbours_in_the_expanded_order() {
        let pools = read("h{1...2}/d{1...4}", Some(4)).unwrap();
        assert_eq!(
            pools[0].sets,
            [
                ["h1/d1", "h2/d1", "h1/d2", "h2/d2"],
                ["h1/d3", "h2/d3", "h1/d4", "h2/d4"]
            ]
        );
    }
}

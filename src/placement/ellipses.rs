//! `{first...last}`: the short form of many drives.

use crate::error::Error;

/// The most drives that one command line may name: bounds what a slip of the finger allocates.
pub(crate) const DRIVES_MAX: usize = 65_536;

/// An argument taken apart: literal text and ranges in turn.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// The text before each range.
    heads: Vec<String>,
    /// What each range stands for, in order; as many as `heads`.
    ranges: Vec<Vec<String>>,
    /// The text after the last range.
    tail: String,
}

impl Pattern {
    /// Whether an argument is to be read as a pattern at all. A stray brace counts, so that a
    /// mistyped ellipsis is refused and never becomes a directory of that name.
    pub(crate) fn is_meant(argument: &str) -> bool {
        argument.contains(['{', '}']) || argument.contains("...")
    }

    /// Takes an argument apart; every brace must belong to an ellipsis.
    pub(crate) fn parse(argument: &str) -> Result<Self, Error> {
        let wrong = || Error::Ellipsis {
            argument: argument.to_owned(),
        };
        let mut heads = Vec::new();
        let mut ranges = Vec::new();
        let mut rest = argument;
        let mut drives = 1usize;
        while let Some((head, after)) = rest.split_once('{') {
            let (body, next) = after.split_once('}').ok_or_else(wrong)?;
            let values = expand_range(argument, body)?;
            drives = drives.saturating_mul(values.len());
            if drives > DRIVES_MAX {
                return Err(too_many(argument));
            }
            heads.push(head.to_owned());
            ranges.push(values);
            rest = next;
        }
        let literal = heads.iter().map(String::as_str).chain([rest]);
        if ranges.is_empty() || literal.into_iter().any(Self::is_meant) {
            return Err(wrong());
        }
        Ok(Self {
            heads,
            ranges,
            tail: rest.to_owned(),
        })
    }

    /// How many drives the pattern names.
    pub(crate) fn drives(&self) -> usize {
        self.ranges.iter().map(Vec::len).product()
    }

    /// How many values the left-most range has: what set sizes must be symmetric to.
    pub(crate) fn leftmost(&self) -> usize {
        self.ranges.first().map_or(1, Vec::len)
    }

    /// All drives, the left-most range varying fastest: with `host{1...2}/d{1...2}` neighbours
    /// lie on different hosts. The order decides who shares a set.
    pub(crate) fn expand(&self) -> Vec<String> {
        (0..self.drives()).map(|number| self.name(number)).collect()
    }

    fn name(&self, mut number: usize) -> String {
        let mut name = String::new();
        for (head, values) in self.heads.iter().zip(&self.ranges) {
            name.push_str(head);
            name.extend(values.get(number % values.len()).map(String::as_str));
            number /= values.len();
        }
        name.push_str(&self.tail);
        name
    }
}

fn too_many(argument: &str) -> Error {
    Error::TooManyDrives {
        argument: argument.to_owned(),
        max: DRIVES_MAX,
    }
}

/// `1...4` to its values. Both bounds are read as hexadecimal if one of them is no decimal
/// number. Padded to the width of `last` if `last`, or a `first` of several digits, starts with
/// zero: `{0...15}` names the pods of a stateful set, which are not padded.
fn expand_range(argument: &str, body: &str) -> Result<Vec<String>, Error> {
    let wrong = || Error::Ellipsis {
        argument: argument.to_owned(),
    };
    let (first, last) = body.split_once("...").ok_or_else(wrong)?;
    let both = |radix| Some((number(first, radix)?, number(last, radix)?));
    let (hexadecimal, (from, to)) = match both(10) {
        Some(bounds) => (false, bounds),
        None => (true, both(16).ok_or_else(wrong)?),
    };
    if from > to {
        return Err(Error::EllipsisBackwards {
            argument: argument.to_owned(),
            first: first.to_owned(),
            last: last.to_owned(),
        });
    }
    if to - from >= DRIVES_MAX as u64 {
        return Err(too_many(argument));
    }
    let padded = last.starts_with('0') || (first.len() > 1 && first.starts_with('0'));
    let width = if padded { last.len() } else { 1 };
    let value = |number: u64| {
        if hexadecimal {
            format!("{number:0width$x}")
        } else {
            format!("{number:0width$}")
        }
    };
    Ok((from..=to).map(value).collect())
}

/// A bound: digits only (`+1` would pass the parser of the standard library), lower-case
/// hexadecimal as it is written out again.
fn number(text: &str, radix: u32) -> Option<u64> {
    let legal = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    if text.bytes().all(legal) {
        u64::from_str_radix(text, radix).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(argument: &str) -> Vec<String> {
        Pattern::parse(argument).unwrap().expand()
    }

    #[test]
    fn malformed_ellipses_are_refused() {
        let table = [
            "{1...",
            "1...4}",
            "{1..4}",
            "{...}",
            "{1...}",
            "{...4}",
            "{a...z}",
            "{1...4...5}",
            "{+1...4}",
            "{-1...4}",
            "{1...4",
            "d{1...4}}",
            "{{1...4}",
            "d{}",
            "d}{",
            "d...e",
            "{1...2}/x...y",
            "{A...F}",
            "{ 1...4}",
            "{99999999999999999999...99999999999999999999}",
        ];
        for argument in table {
            let error = Pattern::parse(argument).map(|pattern| pattern.expand());
            assert_eq!(
                error,
                Err(Error::Ellipsis {
                    argument: argument.to_owned()
                }),
                "{argument}"
            );
        }
    }

    #[test]
    fn a_range_does_not_run_backwards_nor_without_bound() {
        let backwards = Pattern::parse("d{4...1}").map(|pattern| pattern.expand());
        let error = backwards.unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid ellipsis in \"d{4...1}\": 4 is after 1"
        );
        for argument in [
            "d{0...65536}",
            "d{1...18446744073709551615}",
            "{1...300}{1...300}",
        ] {
            let error = Pattern::parse(argument)
                .map(|pattern| pattern.expand())
                .unwrap_err();
            assert_eq!(error, too_many(argument), "{argument}");
        }
    }

    #[test]
    fn the_leftmost_range_varies_fastest() {
        let names = expand("http://node{1...2}/d{1...3}");
        let expected = [
            "node1/d1", "node2/d1", "node1/d2", "node2/d2", "node1/d3", "node2/d3",
        ];
        assert_eq!(names, expected.map(|name| format!("http://{name}")));
        assert_eq!(
            expand("{1...2}{1...2}/{1...2}x"),
            [
                "11/1x", "21/1x", "12/1x", "22/1x", "11/2x", "21/2x", "12/2x", "22/2x"
            ]
        );
    }

    #[test]
    fn values_are_decimal_or_hexadecimal_and_padded_by_their_zeroes() {
        let table: [(&str, &[&str]); 9] = [
            ("d{1...3}", &["d1", "d2", "d3"]),
            ("d{8...11}", &["d8", "d9", "d10", "d11"]),
            ("d{08...11}", &["d08", "d09", "d10", "d11"]),
            (
                "d{0...10}",
                &[
                    "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9", "d10",
                ],
            ),
            ("d{1...03}", &["d01", "d02", "d03"]),
            ("d{001...2}", &["d1", "d2"]),
            ("d{8...b}", &["d8", "d9", "da", "db"]),
            ("d{0e...11f}", &[]),
            ("d{5...5}/x", &["d5/x"]),
        ];
        for (argument, expected) in table {
            if expected.is_empty() {
                let names = expand(argument);
                assert_eq!(names.first().map(String::as_str), Some("d00e"));
                assert_eq!(names.last().map(String::as_str), Some("d11f"));
            } else {
                assert_eq!(expand(argument), expected, "{argument}");
            }
        }
    }
}

//! Where variables come from: the process, a file, or a test's map.

use std::collections::BTreeMap;

/// A source of variables.
pub trait Environment {
    /// The value of `name`, if it is set and is text.
    fn variable(&self, name: &str) -> Option<String>;

    /// The names of all variables, in any order.
    fn names(&self) -> Vec<String>;
}

/// The environment of this process.
#[derive(Debug, Clone, Copy)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .collect()
    }
}

impl Environment for BTreeMap<String, String> {
    fn variable(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

/// Variables of a file over those of another source.
pub(crate) struct Layered<'a> {
    pub(crate) over: BTreeMap<String, String>,
    pub(crate) under: &'a dyn Environment,
}

impl Environment for Layered<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.over
            .get(name)
            .cloned()
            .or_else(|| self.under.variable(name))
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.under.names();
        names.extend(
            self.over
                .keys()
                .filter(|name| self.under.variable(name).is_none())
                .cloned(),
        );
        names
    }
}

/// Reads a file of `KEY=VALUE` lines as shells and systemd write it: `#` comments, an optional
/// `export`, one pair of quotes around the value. On failure, the number of the bad line.
pub(crate) fn parse_file(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut variables = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let (name, value) = line.split_once('=').ok_or(number)?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(legal) {
            return Err(number);
        }
        variables.insert(name.to_owned(), unquote(value.trim()).to_owned());
    }
    Ok(variables)
}

fn unquote(value: &str) -> &str {
    let inside = |quote| {
        value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
    };
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_of_a_file_is_named() {
        for (text, line) in [("A=1\nB\n", 2), ("=1", 1), ("\n# c\nA B=1", 3)] {
            assert_eq!(parse_file(text), Err(line), "{text}");
        }
    }

    #[test]
    fn files_are_read_as_shells_write_them() {
        let text = "# comment\n\nA=1\nexport B=\"two words\"\r\nC='a=b'\n  D = \nE=\"\n";
        assert_eq!(parse_file(text), Err(6), "a name has no blank");
        let variables = parse_file(&text.replace("D = ", "D=")).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "a=b"),
            ("D", ""),
            ("E", "\""),
        ];
        assert!(
            variables
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .eq(expected)
        );
    }

    #[test]
    fn a_layer_hides_what_is_under_it_once() {
        let under = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        let over = parse_file("A=2\nB=3").unwrap();
        let both = Layered {
            over,
            under: &under,
        };
        assert_eq!(both.variable("A").as_deref(), Some("2"));
        assert_eq!(both.names(), ["A", "B"]);
    }
}

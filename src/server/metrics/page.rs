//! Prometheus text, format 0.0.4.

use std::fmt::{Display, Write};

/// A page of metrics that grows family by family. Every sample names the server.
#[derive(Debug)]
pub(crate) struct Page {
    text: String,
    server: String,
}

/// The kinds of families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Page {
    pub(crate) fn new(server: &str) -> Self {
        Self {
            text: String::new(),
            server: server.to_owned(),
        }
    }

    /// Begins a family; its samples must follow.
    pub(crate) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.text
            .push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// Adds a sample with labels beside the server's.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        let mut mark = '{';
        for (label, text) in labels
            .iter()
            .copied()
            .chain([("server", self.server.as_str())])
        {
            self.text.push(mark);
            mark = ',';
            self.text.push_str(label);
            self.text.push_str("=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        writeln!(self.text, "}} {value}").expect("a string takes all that is written to it");
    }

    /// A family of one sample.
    pub(crate) fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::new("a:1");
        page.family("x_total", Kind::Counter, "Help.");
        page.sample("x_total", &[("drive", "/a\"\\\n")], 3);
        let expected = "# HELP x_total Help.\n# TYPE x_total counter\n\
                        x_total{drive=\"/a\\\"\\\\\\n\",server=\"a:1\"} 3\n";
        assert_eq!(page.into_text(), expected);
    }
}

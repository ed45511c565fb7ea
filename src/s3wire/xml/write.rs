//! A writer of small documents into one string.

/// The namespace of S3's documents.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// A document under construction. Elements are written in the order of the calls.
pub(crate) struct Document {
    out: String,
    root: &'static str,
}

impl Document {
    /// A document in S3's namespace.
    pub(crate) fn new(root: &'static str) -> Self {
        let mut document = Self::with_capacity(root, 256);
        document.out.push_str(" xmlns=\"");
        document.out.push_str(NAMESPACE);
        document.out.push_str("\">");
        document
    }

    /// A document without a namespace, as errors are.
    pub(crate) fn bare(root: &'static str) -> Self {
        let mut document = Self::with_capacity(root, 256);
        document.out.push('>');
        document
    }

    fn with_capacity(root: &'static str, capacity: usize) -> Self {
        let mut out = String::with_capacity(capacity);
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<");
        out.push_str(root);
        Self { out, root }
    }

    /// Makes room for `bytes` more, so that a long list is not moved while it grows.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    pub(crate) fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    pub(crate) fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// `<name>value</name>`, escaped.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.open(name);
        escape_into(&mut self.out, value);
        self.close(name);
    }

    /// The element, if there is a value.
    pub(crate) fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    pub(crate) fn number(&mut self, name: &str, value: u64) {
        self.text(name, &value.to_string());
    }

    pub(crate) fn flag(&mut self, name: &str, value: bool) {
        self.text(name, if value { "true" } else { "false" });
    }

    /// `<ETag>"tag"</ETag>`; the quotes are escaped, as AWS does.
    pub(crate) fn etag(&mut self, etag: &str) {
        self.open("ETag");
        self.out.push_str("&quot;");
        escape_into(&mut self.out, etag);
        self.out.push_str("&quot;");
        self.close("ETag");
    }

    /// Writes between two tags what `write` writes.
    pub(crate) fn within(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.open(name);
        write(self);
        self.close(name);
    }

    /// Attributes and all, as they are: the caller vouches that they need no escape.
    pub(crate) fn raw(&mut self, markup: &str) {
        self.out.push_str(markup);
    }

    pub(crate) fn finish(mut self) -> String {
        let root = self.root;
        self.close(root);
        self.out
    }
}

/// Escapes markup and what XML 1.0 cannot hold as it is. Control characters become references,
/// as AWS writes them; strict parsers refuse those, and clients ask for `encoding-type=url`.
fn escape_into(out: &mut String, text: &str) {
    let mut plain = 0;
    for (at, symbol) in text.char_indices() {
        let reference = match symbol {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\n' | '\t' => continue,
            c if c < ' ' || matches!(c, '\u{7f}' | '\u{fffe}' | '\u{ffff}') => "",
            _ => continue,
        };
        out.push_str(text.get(plain..at).unwrap_or_default());
        if reference.is_empty() {
            out.push_str(&format!("&#x{:x};", u32::from(symbol)));
        } else {
            out.push_str(reference);
        }
        plain = at + symbol.len_utf8();
    }
    out.push_str(text.get(plain..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_out_of_its_element() {
        let mut document = Document::bare("A");
        document.text("Key", "</Key>&\"ü\r\u{1}");
        let expected = "<A><Key>&lt;/Key&gt;&amp;&quot;ü&#xd;&#x1;</Key></A>";
        assert!(document.finish().ends_with(expected));
    }
}

//! A writer of documents into one string.

use std::fmt::{self, Write};

use types::{Etag, Timestamp};

use crate::op::Encoding;
use crate::percent::encode_into;
use crate::time::push_iso8601;

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
        let mut document = Self::begun(root);
        document.out.push_str(" xmlns=\"");
        document.out.push_str(NAMESPACE);
        document.out.push_str("\">");
        document
    }

    /// A document without a namespace, as errors are.
    pub(crate) fn bare(root: &'static str) -> Self {
        let mut document = Self::begun(root);
        document.out.push('>');
        document
    }

    fn begun(root: &'static str) -> Self {
        let mut out = String::with_capacity(256);
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<");
        out.push_str(root);
        Self { out, root }
    }

    /// Makes room for `bytes` more, so that a long list is not moved while it grows.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    fn close(&mut self, name: &str) {
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

    /// Text of the open element itself, escaped.
    pub(crate) fn body(&mut self, value: &str) {
        escape_into(&mut self.out, value);
    }

    /// The element, if there is a value.
    pub(crate) fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A key or a part of one, in the encoding that the client asked for.
    pub(crate) fn key(&mut self, name: &str, value: &str, encoding: Encoding) {
        self.open(name);
        match encoding {
            Encoding::Plain => escape_into(&mut self.out, value),
            Encoding::Url => encode_into(&mut self.out, value),
        }
        self.close(name);
    }

    /// `EncodingType`, if the client asked for one.
    pub(crate) fn encoding(&mut self, encoding: Encoding) {
        if encoding == Encoding::Url {
            self.text("EncodingType", "url");
        }
    }

    /// A number, a flag, an id: what shows itself without markup.
    pub(crate) fn shown(&mut self, name: &str, value: impl fmt::Display) {
        self.open(name);
        write!(self.out, "{value}").expect("a string takes all text");
        self.close(name);
    }

    pub(crate) fn time(&mut self, name: &str, at: Timestamp) {
        self.open(name);
        push_iso8601(&mut self.out, at);
        self.close(name);
    }

    /// `<ETag>"tag"</ETag>`; the quotes are escaped, as AWS does.
    pub(crate) fn etag(&mut self, etag: Etag) {
        self.open("ETag");
        self.out.push_str("&quot;");
        let (Etag::Md5(sum) | Etag::Parts(sum, _)) = etag;
        // Not by Display: a page of a list holds a thousand of them.
        for digit in sum.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
            self.out
                .push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
        if let Etag::Parts(_, parts) = etag {
            write!(self.out, "-{parts}").expect("a string takes all text");
        }
        self.out.push_str("&quot;");
        self.close("ETag");
    }

    /// Writes between two tags what `write` writes.
    pub(crate) fn within(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        self.open(name);
        write(self);
        self.close(name);
    }

    /// The same with attributes, as they are: nothing of a client may be in them.
    pub(crate) fn within_attributed(
        &mut self,
        name: &str,
        attributes: &'static str,
        write: impl FnOnce(&mut Self),
    ) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push(' ');
        self.out.push_str(attributes);
        self.out.push('>');
        write(self);
        self.close(name);
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
    // Most text is plain, and bytes are faster to look at than characters. 0xef begins the two
    // non-characters, among others.
    let odd = |b: u8| b < b' ' || matches!(b, b'&' | b'<' | b'>' | b'"' | 0x7f | 0xef);
    if !text.bytes().any(odd) {
        out.push_str(text);
        return;
    }
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
            write!(out, "&#x{:x};", u32::from(symbol)).expect("a string takes all text");
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

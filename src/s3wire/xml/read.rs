//! A reader of small documents, which trusts nothing.

use quick_xml::Reader;
use quick_xml::events::Event;

use crate::error::{ErrorCode, S3Error};

/// No document of S3 nests deeper than four.
const DEPTH_MAX: usize = 8;
/// Ten thousand parts with all their fields fit; a body of nothing but tags does not.
const ELEMENTS_MAX: usize = 100_000;

/// An element: its name without prefix, its text without the children's, its children. Attributes
/// and namespaces are ignored.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// Parses a document with this root element. Text that is not UTF-8, a DOCTYPE, an entity
    /// that is not one of XML's five, and anything cut off or left over is `MalformedXML`; nothing
    /// at all is `MissingRequestBodyError`, more than `len_max` bytes `MaxMessageLengthExceeded`.
    pub(super) fn parse(body: &[u8], root: &str, len_max: usize) -> Result<Self, S3Error> {
        if body.len() > len_max {
            return Err(ErrorCode::MaxMessageLengthExceeded.into());
        }
        if body.trim_ascii().is_empty() {
            return Err(ErrorCode::MissingRequestBodyError.into());
        }
        let document = document(body).ok_or(ErrorCode::MalformedXML)?;
        if document.name == root {
            Ok(document)
        } else {
            Err(ErrorCode::MalformedXML.into())
        }
    }

    /// The element's text, without the white space around it; `MalformedXML` if it has children.
    pub(super) fn trimmed(&self) -> Result<&str, S3Error> {
        self.exact().map(str::trim)
    }

    /// The element's text as it is: keys may begin and end with white space.
    pub(super) fn exact(&self) -> Result<&str, S3Error> {
        if self.children.is_empty() {
            Ok(&self.text)
        } else {
            Err(ErrorCode::MalformedXML.into())
        }
    }

    /// The only child of this name, or `None`; `MalformedXML` if there are several.
    pub(super) fn child(&self, name: &str) -> Result<Option<&Element>, S3Error> {
        let mut found = self.children.iter().filter(|child| child.name == name);
        match (found.next(), found.next()) {
            (child, None) => Ok(child),
            (_, Some(_)) => Err(ErrorCode::MalformedXML.into()),
        }
    }

    /// The only child of this name; `MalformedXML` if there is none.
    pub(super) fn needed(&self, name: &str) -> Result<&Element, S3Error> {
        self.child(name)?
            .ok_or_else(|| ErrorCode::MalformedXML.into())
    }

    /// Fails with `MalformedXML` if a child has another name than these.
    pub(super) fn only(&self, names: &[&str]) -> Result<(), S3Error> {
        match self
            .children
            .iter()
            .all(|c| names.contains(&c.name.as_str()))
        {
            true => Ok(()),
            false => Err(ErrorCode::MalformedXML.into()),
        }
    }
}

fn document(body: &[u8]) -> Option<Element> {
    let text = std::str::from_utf8(body).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader::from_str(text);
    // The top is a holder of the root element, so that every element has a parent.
    let mut open = vec![Element::default()];
    let mut count = 0;
    loop {
        match reader.read_event().ok()? {
            Event::Eof => break,
            Event::Decl(_) | Event::Comment(_) => {}
            Event::DocType(_) | Event::PI(_) => return None,
            Event::Start(start) => {
                count += 1;
                if open.len() > DEPTH_MAX || count > ELEMENTS_MAX {
                    return None;
                }
                open.push(named(start.local_name().into_inner()));
            }
            Event::Empty(start) => {
                count += 1;
                if count > ELEMENTS_MAX {
                    return None;
                }
                let element = named(start.local_name().into_inner());
                open.last_mut()?.children.push(element);
            }
            Event::End(_) => {
                let element = open.pop()?;
                open.last_mut()?.children.push(element);
            }
            Event::Text(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
            Event::CData(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                let symbol = match &*reference {
                    "amp" => '&',
                    "lt" => '<',
                    "gt" => '>',
                    "quot" => '"',
                    "apos" => '\'',
                    _ => reference.resolve_char_ref().ok()??,
                };
                open.last_mut()?.text.push(symbol);
            }
        }
    }
    let mut holder = open.pop()?;
    let alone = open.is_empty() && holder.children.len() == 1 && holder.text.trim().is_empty();
    alone.then(|| holder.children.pop())?
}

fn named(name: &str) -> Element {
    Element {
        name: name.to_owned(),
        ..Element::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    use super::*;

    fn code(body: &[u8]) -> Option<ErrorCode> {
        Element::parse(body, "A", 1 << 20).err().map(|e| e.code)
    }

    #[test]
    fn what_is_not_one_plain_document_is_refused() {
        let deep = ["<A>".repeat(10_000), "</A>".repeat(10_000)].concat();
        let wide = format!("<A>{}</A>", "<B/>".repeat(ELEMENTS_MAX));
        let table: [&[u8]; 15] = [
            b"text",
            b"<A>",
            b"<A></B>",
            b"<B/>",
            b"<A/><A/>",
            b"<A/>x",
            b"<A>&unknown;</A>",
            b"<A>&#0;</A>",
            b"<A>&#xd800;</A>",
            b"<A>\xff</A>",
            b"<!DOCTYPE A [<!ENTITY x \"y\">]><A>&x;</A>",
            b"<!DOCTYPE A SYSTEM \"file:///etc/passwd\"><A/>",
            b"<?pi x?><A/>",
            deep.as_bytes(),
            wide.as_bytes(),
        ];
        for body in table {
            let shown = String::from_utf8_lossy(body.get(..40).unwrap_or(body));
            assert_eq!(code(body), Some(ErrorCode::MalformedXML), "{shown}");
        }
        let long = vec![b' '; (1 << 20) + 1];
        assert_eq!(code(&long), Some(ErrorCode::MaxMessageLengthExceeded));
        for nothing in [b"".as_slice(), b" \r\n"] {
            assert_eq!(code(nothing), Some(ErrorCode::MissingRequestBodyError));
        }
    }

    #[test]
    fn text_is_unescaped_once_and_names_lose_their_prefix() {
        let body = "\u{feff}<?xml version=\"1.0\"?><!-- c --><s3:A xmlns:s3=\"x\">\n <K> a&amp;lt;\
                    <![CDATA[<b>]]>&#xfc; </K><E/></s3:A>";
        let root = Element::parse(body.as_bytes(), "A", 1 << 20).unwrap();
        assert_eq!(root.needed("K").unwrap().exact(), Ok(" a&lt;<b>ü "));
        assert_eq!(root.needed("E").unwrap().trimmed(), Ok(""));
        assert!(root.trimmed().is_err(), "it has children");
        assert!(root.needed("X").is_err() && root.only(&["K"]).is_err());
    }

    proptest! {
        #[test]
        fn no_body_panics(bytes in vec(any::<u8>(), 0..200), text in "[<>/A&;#x\\[\\]!?\"= -]{0,80}") {
            let _ = code(&bytes);
            let _ = code(text.as_bytes());
        }
    }
}

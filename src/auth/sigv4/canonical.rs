//! The canonical request: one text for all ways to write one request.

use std::borrow::Cow;

use http::{HeaderMap, Method};

use crate::sigv4::hex;

/// The head of a request, as it was sent. `path` and `query` are still encoded; `headers` hold
/// `host`, also where the protocol sends it elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, starting with `/`.
    pub path: &'a str,
    /// The query without `?`; empty if there is none.
    pub query: &'a str,
    /// All header fields.
    pub headers: &'a HeaderMap,
}

/// What a canonical request consists of besides the request itself.
pub(super) struct Parts<'a> {
    pub(super) path: &'a str,
    /// Sorted and encoded.
    pub(super) query: &'a str,
    /// Names in lower case, in the order of the signature.
    pub(super) signed_headers: &'a [String],
    pub(super) payload: &'a str,
}

/// The canonical request (S3 API Reference, "Signature calculations for the Authorization
/// header", task 1), in bytes, since header values need not be UTF-8. A signed header that is
/// missing counts as empty.
pub(super) fn request(view: &RequestView<'_>, parts: &Parts<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    for line in [view.method.as_str(), parts.path, parts.query] {
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    for name in parts.signed_headers {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        for (at, value) in view.headers.get_all(name.as_str()).iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            push_trimmed(&mut out, value.as_bytes());
        }
        out.push(b'\n');
    }
    out.push(b'\n');
    out.extend_from_slice(parts.signed_headers.join(";").as_bytes());
    out.push(b'\n');
    out.extend_from_slice(parts.payload.as_bytes());
    out
}

/// Spaces at both ends go, and runs of spaces become one.
fn push_trimmed(out: &mut Vec<u8>, value: &[u8]) {
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let words = value.split(blank).filter(|word| !word.is_empty());
    for (at, word) in words.enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

/// The path with every byte encoded that S3 wants encoded, once: what is escaped already stays
/// so, `//` and `..` stay, and an escaped slash stays another thing than a slash.
pub(super) fn path(raw: &str) -> Cow<'_, str> {
    if raw.bytes().all(|b| unreserved(b) || b == b'/') {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len() + 16);
    let mut rest = raw.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if let Some((escaped, after)) = escape(rest) {
            push_encoded(&mut out, escaped);
            rest = after;
            continue;
        }
        if *byte == b'/' {
            out.push('/');
        } else {
            push_encoded(&mut out, *byte);
        }
        rest = after;
    }
    Cow::Owned(out)
}

/// The query, decoded, encoded again and sorted, without the parameter `without`.
pub(super) fn query(raw: &str, without: Option<&str>) -> String {
    if raw.is_empty() {
        return String::new();
    }
    let mut pairs: Vec<(String, String)> = raw
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (recode(name), recode(value)))
        .filter(|(name, _)| Some(name.as_str()) != without)
        .collect();
    pairs.sort();
    let mut out = String::with_capacity(raw.len() + 8);
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(&name);
        out.push('=');
        out.push_str(&value);
    }
    out
}

fn recode(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if let Some((escaped, after)) = escape(rest) {
            push_encoded(&mut out, escaped);
            rest = after;
            continue;
        }
        push_encoded(&mut out, if *byte == b'+' { b' ' } else { *byte });
        rest = after;
    }
    out
}

/// Decodes a name or value of a query, `+` being a space. `None` if it is not UTF-8.
pub(super) fn decoded(raw: &str) -> Option<String> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if let Some((escaped, after)) = escape(rest) {
            out.push(escaped);
            rest = after;
            continue;
        }
        out.push(if *byte == b'+' { b' ' } else { *byte });
        rest = after;
    }
    String::from_utf8(out).ok()
}

/// The byte behind an escape at the front, and what follows it.
fn escape(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (escape, after) = bytes.split_first_chunk::<3>()?;
    let [b'%', high, low] = escape else {
        return None;
    };
    Some(((hex::digit(*high)? << 4) | hex::digit(*low)?, after))
}

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
}

fn push_encoded(out: &mut String, byte: u8) {
    if unreserved(byte) {
        out.push(char::from(byte));
        return;
    }
    out.push('%');
    for nibble in [byte >> 4, byte & 15] {
        let digit = char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        out.push(digit.to_ascii_uppercase());
    }
}

/// Encodes a name or value for a query that is about to be signed.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        push_encoded(&mut out, byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn paths_are_encoded_once_and_never_normalised() {
        let table = [
            ("/", "/"),
            ("/a//b/../c/", "/a//b/../c/"),
            ("/test$file.text", "/test%24file.text"),
            ("/test%24file", "/test%24file"),
            ("/a%2fb%252F", "/a%2Fb%252F"),
            ("/%41+ü", "/A%2B%C3%BC"),
            ("/100%", "/100%25"),
            ("/%zz", "/%25zz"),
        ];
        for (raw, canonical) in table {
            assert_eq!(path(raw), canonical, "{raw}");
        }
    }

    #[test]
    fn queries_are_sorted_and_encoded() {
        let table = [
            ("", ""),
            ("lifecycle", "lifecycle="),
            ("prefix=J&max-keys=2", "max-keys=2&prefix=J"),
            ("b=2&a=z&a=%2F&&a=+", "a=%20&a=%2F&a=z&b=2"),
            ("delimiter=/&a%2Db=c=d", "a-b=c%3Dd&delimiter=%2F"),
        ];
        for (raw, canonical) in table {
            assert_eq!(query(raw, None), canonical, "{raw}");
        }
        assert_eq!(
            query("X-Amz-Signature=1&a=2", Some("X-Amz-Signature")),
            "a=2"
        );
    }

    proptest! {
        #[test]
        fn canonical_forms_are_their_own(text in any::<String>()) {
            let once = path(&text).into_owned();
            assert_eq!(path(&once), once);
            let once = query(&text, None);
            assert_eq!(query(&once, None), once);
            assert_eq!(decoded(&encoded(&text)), Some(text));
        }
    }
}

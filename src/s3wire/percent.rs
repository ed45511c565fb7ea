//! Percent-encoding as S3 uses it (RFC 3986, section 2.1).

use crate::error::{ErrorCode, S3Error};

/// What `+` means where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plus {
    /// A plus: paths, copy sources.
    Plain,
    /// A space: query strings, the tagging header.
    Space,
}

/// Decodes once. A broken escape or bytes that are not UTF-8 are `InvalidURI`.
pub(crate) fn decode(raw: &str, plus: Plus) -> Result<String, S3Error> {
    let bad = || S3Error::from(ErrorCode::InvalidURI);
    if !raw
        .bytes()
        .any(|b| b == b'%' || (b == b'+' && plus == Plus::Space))
    {
        return Ok(raw.to_owned());
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let high = rest.next().and_then(digit).ok_or_else(bad)?;
                let low = rest.next().and_then(digit).ok_or_else(bad)?;
                bytes.push((high << 4) | low);
            }
            b'+' if plus == Plus::Space => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|d| u8::try_from(d).ok())
}

/// Appends `text` as `encoding-type=url` wants it: all but unreserved characters and `/` become
/// upper-case escapes. AWS writes a space as `+` there, and clients read both.
pub(crate) fn encode_into(out: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'*' | b'/');
    if text.bytes().all(plain) {
        out.push_str(text);
        return;
    }
    for byte in text.bytes() {
        match byte {
            byte if plain(byte) => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => {
                out.push('%');
                for nibble in [other >> 4, other & 15] {
                    let symbol = HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                    out.push(char::from(symbol));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn broken_escapes_and_bad_utf8_are_refused() {
        for bad in ["%", "%4", "%zz", "%ff", "a%c3", "%c3%28"] {
            let code = decode(bad, Plus::Plain).map_err(|e| e.code);
            assert_eq!(code, Err(ErrorCode::InvalidURI), "{bad}");
        }
    }

    #[test]
    fn decoding_happens_once() {
        assert_eq!(decode("%252F", Plus::Plain).unwrap(), "%2F");
        assert_eq!(decode("a+b%20c", Plus::Plain).unwrap(), "a+b c");
        assert_eq!(decode("a+b%2Bc", Plus::Space).unwrap(), "a b+c");
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(text in any::<String>()) {
            let mut encoded = String::new();
            encode_into(&mut encoded, &text);
            assert!(encoded.is_ascii());
            assert_eq!(decode(&encoded, Plus::Space).unwrap(), text);
        }
    }
}

//! Lower-case hexadecimal, as signatures use it.

/// Appends two digits per byte.
pub(super) fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.extend(DIGITS.get(usize::from(nibble)));
        }
    }
}

/// Two digits per byte.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    push(&mut out, bytes);
    String::from_utf8(out).unwrap_or_default()
}

/// Exactly 64 digits, of either case.
pub(super) fn decode32(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(bytes)
}

pub(super) fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_digits_are_a_hash() {
        let text = encode(&[0xa5; 32]);
        assert_eq!(decode32(&text), Some([0xa5; 32]));
        for bad in [
            "",
            "a5",
            &text[1..],
            &format!("{text}a5"),
            &text.replace('a', "g"),
        ] {
            assert_eq!(decode32(bad), None, "{bad}");
        }
    }
}

//! Lower-case hexadecimal, as signatures use it.

/// Two digits per byte.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for digit in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        out.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
    }
    out
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

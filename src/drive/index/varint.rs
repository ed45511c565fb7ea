//! Lengths in one byte where they are small: LEB128, at most five bytes, 32 bits.

/// Appends `number`.
pub(super) fn put(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or(0));
}

/// Reads a number at `at`: it and where the next byte is. `None` if the bytes end too early or
/// hold more than 32 bits.
#[inline]
pub(super) fn take(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let first = *bytes.get(at)?;
    if first < 0x80 {
        return Some((u32::from(first), at + 1));
    }
    take_long(bytes, at)
}

fn take_long(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let mut number = 0u64;
    for (index, byte) in bytes.get(at..)?.iter().take(5).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(number).ok()?, at + index + 1));
        }
    }
    None
}

/// Reads a length at `at` and that many bytes after it: they and where the next byte is.
pub(super) fn take_bytes(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let (len, at) = take(bytes, at)?;
    let end = at.checked_add(usize::try_from(len).ok()?)?;
    Some((bytes.get(at..end)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_junk_is_refused() {
        for number in [0, 1, 127, 128, 300, 16_383, 16_384, 1 << 30, u32::MAX] {
            let mut bytes = vec![9];
            put(&mut bytes, number);
            assert_eq!(take(&bytes, 1), Some((number, bytes.len())));
            for short in 1..bytes.len() {
                assert_eq!(take(&bytes[..short], 1), None);
            }
        }
        assert_eq!(take(&[0xff; 9], 0), None, "no end");
        assert_eq!(take(&[0xff, 0xff, 0xff, 0xff, 0x1f], 0), None, "33 bits");
        assert_eq!(take_bytes(&[3, 1, 2], 0), None);
        assert_eq!(take_bytes(&[2, 1, 2], 0), Some((&[1u8, 2][..], 3)));
    }
}

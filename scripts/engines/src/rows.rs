//! The rows that are put: keys like an index's, values of 500 bytes that prove themselves.

/// Bytes of a value.
const VALUE: usize = 500;

/// The key of row `number`: a bucket, a path, and 32 bytes of orders, 72 in all.
pub fn key(number: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(72);
    key.extend_from_slice(&7_u64.to_be_bytes());
    key.extend_from_slice(format!("photos/{:08}/{:014}", number / 1000, number).as_bytes());
    key.push(0);
    key.resize(40, b'-');
    key.extend_from_slice(&[0xff; 32]);
    key
}

/// The value of row `number` in its `version`: both, then bytes that follow from them.
pub fn value(number: u64, version: u64) -> Vec<u8> {
    let mut value = Vec::with_capacity(VALUE + 8);
    value.extend_from_slice(&number.to_be_bytes());
    value.extend_from_slice(&version.to_be_bytes());
    let mut state = number ^ version.rotate_left(32);
    while value.len() < VALUE {
        value.extend_from_slice(&splitmix(&mut state).to_be_bytes());
    }
    value.truncate(VALUE);
    value
}

/// The number and version of a value, or `None` if a byte is wrong.
pub fn proven(bytes: &[u8]) -> Option<(u64, u64)> {
    let (number, rest) = bytes.split_first_chunk()?;
    let (version, _) = rest.split_first_chunk()?;
    let (number, version) = (u64::from_be_bytes(*number), u64::from_be_bytes(*version));
    (value(number, version) == bytes).then_some((number, version))
}

/// Vigna's splitmix64.
pub fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

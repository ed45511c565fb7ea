//! Randomness for identities.

use crate::error::Error;

/// Bytes from the operating system.
pub(crate) fn bytes<const LEN: usize>() -> Result<[u8; LEN], Error> {
    let mut bytes = [0; LEN];
    getrandom::fill(&mut bytes).map_err(|_| Error::Unavailable("no randomness to be had"))?;
    Ok(bytes)
}

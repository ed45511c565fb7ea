//! The cluster secret: 32 random bytes from which the ledger's sealing key derives, kept on a
//! node's drives in shares (Shamir, "How to share a secret", 1979, over GF(2^8)), so that fewer
//! drives than a majority reveal nothing.

use bytes::Bytes;
use drive::{Drive, MetaWrite};
use zeroize::Zeroizing;

use crate::error::Error;

const SHARE_KEY: &[u8] = b"secret/share";
const FORMAT: u8 = 1;
const LEN: usize = 32;

/// The cluster secret. Wiped when dropped; never shown.
#[derive(Clone)]
pub struct ClusterSecret(Zeroizing<[u8; LEN]>);

impl ClusterSecret {
    /// A new one, from the operating system's randomness.
    pub fn make() -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; LEN]);
        getrandom::fill(&mut *bytes).map_err(|_| Error::Randomness)?;
        Ok(Self(bytes))
    }

    /// The secret of these bytes.
    pub fn from_bytes(bytes: [u8; LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// 64 hexadecimal digits: for the file that keeps it, never for logs.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text
            .trim()
            .chars()
            .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
            .collect::<Option<_>>()?;
        let mut bytes = Zeroizing::new([0; LEN]);
        if digits.len() != 2 * LEN {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |high, low| (high << 4) | low);
        }
        Some(Self(bytes))
    }

    /// A key for one purpose.
    pub(crate) fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key(purpose, &*self.0))
    }

    /// Tells one secret from another without revealing it.
    fn check(&self) -> [u8; 16] {
        let derived = self.derive("sarsen 2026-11-23 cluster secret check v1");
        let mut check = [0; 16];
        check.copy_from_slice(derived.split_at(16).0);
        check
    }

    /// Puts the secret together again from the shares on these drives, and gives the drives that
    /// lack theirs, because they were replaced, what they had. `None` if no drive has
    /// one: then it was never stored. With fewer shares than needed it is an error, not `None`.
    pub async fn recover(drives: &[std::sync::Arc<dyn Drive>]) -> Result<Option<Self>, Error> {
        let mut shares = Vec::new();
        let mut silent = 0;
        let mut lacking = Vec::new();
        for (place, drive) in (1..).zip(drives) {
            match drive.meta_scan(Bytes::from_static(SHARE_KEY)).await {
                Ok(found) => match found.iter().find_map(|(_, value)| Share::decode(value)) {
                    Some(share) => shares.push(share),
                    None => lacking.push((place, drive)),
                },
                Err(_) => silent += 1,
            }
        }
        if shares.is_empty() {
            let majority = drives.len() / 2 + 1;
            return if drives.len() - silent >= majority {
                Ok(None)
            } else {
                Err(Error::TooFewDrives)
            };
        }
        let (secret, chosen) = combine(&shares).ok_or(Error::TooFewShares)?;
        for (place, drive) in lacking {
            let share = secret.share(&chosen, place);
            if store_share(drive, &share).await.is_ok() {
                tracing::warn!(drive = %drive.identity().drive, "made its share of the secret good");
            }
        }
        Ok(Some(secret))
    }

    /// The share at a place, from as many others as the secret takes.
    fn share(&self, chosen: &[Share], x: u8) -> Share {
        Share {
            threshold: u8::try_from(chosen.len()).unwrap_or(u8::MAX),
            x,
            check: self.check(),
            y: *interpolate(chosen, x),
        }
    }

    /// Stores one share on each drive, any majority of which gives the secret back. Durable on a
    /// majority on return.
    pub async fn store(&self, drives: &[std::sync::Arc<dyn Drive>]) -> Result<(), Error> {
        let shares = split(self, drives.len(), drives.len() / 2 + 1)?;
        let mut stored = 0;
        for (drive, share) in drives.iter().zip(shares) {
            stored += usize::from(store_share(drive, &share).await.is_ok());
        }
        if stored > drives.len() / 2 {
            Ok(())
        } else {
            Err(Error::TooFewDrives)
        }
    }
}

async fn store_share(drive: &std::sync::Arc<dyn Drive>, share: &Share) -> Result<(), drive::Error> {
    let write = MetaWrite {
        key: Bytes::from_static(SHARE_KEY),
        value: Some(share.encode().into()),
    };
    drive.meta_write(vec![write]).await
}

/// One point of the polynomials.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Share {
    threshold: u8,
    x: u8,
    check: [u8; 16],
    y: [u8; LEN],
}

impl Share {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT, self.threshold, self.x];
        bytes.extend_from_slice(&self.check);
        bytes.extend_from_slice(&self.y);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let ([FORMAT, threshold, x], rest) = bytes.split_first_chunk()? else {
            return None;
        };
        let (check, y) = rest.split_first_chunk()?;
        Some(Self {
            threshold: *threshold,
            x: *x,
            check: *check,
            y: y.try_into().ok()?,
        })
    }
}

/// Multiplication in GF(2^8) modulo x^8+x^4+x^3+x^2+1, without branches on secret bits.
fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut product) = (a, 0);
    for bit in 0..8 {
        product ^= a & 0u8.wrapping_sub((b >> bit) & 1);
        a = (a << 1) ^ (0x1d & 0u8.wrapping_sub(a >> 7));
    }
    product
}

/// a^254, the inverse of every a but zero.
fn inverse(a: u8) -> u8 {
    (0..6).fold(multiply(a, a), |power, _| {
        multiply(multiply(power, power), multiply(a, a))
    })
}

fn split(secret: &ClusterSecret, count: usize, threshold: usize) -> Result<Vec<Share>, Error> {
    let mut coefficients = vec![Zeroizing::new(*secret.0)];
    for _ in 1..threshold {
        let mut random = Zeroizing::new([0; LEN]);
        getrandom::fill(&mut *random).map_err(|_| Error::Randomness)?;
        coefficients.push(random);
    }
    let threshold = u8::try_from(threshold).map_err(|_| Error::TooFewDrives)?;
    let count = u8::try_from(count).map_err(|_| Error::TooFewDrives)?;
    let share = |x: u8| {
        let mut y = [0; LEN];
        for row in coefficients.iter().rev() {
            for (y, coefficient) in y.iter_mut().zip(row.iter()) {
                *y = multiply(*y, x) ^ coefficient;
            }
        }
        Share {
            threshold,
            x,
            check: secret.check(),
            y,
        }
    };
    Ok((1..=count).map(share).collect())
}

/// Interpolates at zero from shares of one secret, which are told with it. `None` if they are too
/// few or do not agree.
fn combine(shares: &[Share]) -> Option<(ClusterSecret, Vec<Share>)> {
    for first in shares {
        let mut chosen: Vec<&Share> = Vec::new();
        for share in shares
            .iter()
            .filter(|s| s.check == first.check && s.threshold == first.threshold)
        {
            if chosen.iter().all(|known| known.x != share.x)
                && chosen.len() < usize::from(first.threshold)
            {
                chosen.push(share);
            }
        }
        if chosen.len() < usize::from(first.threshold) {
            continue;
        }
        let chosen: Vec<Share> = chosen.into_iter().cloned().collect();
        let secret = ClusterSecret(interpolate(&chosen, 0));
        if secret.check() == first.check {
            return Some((secret, chosen));
        }
    }
    None
}

/// The polynomials' values at `x`, from their values at the shares' places.
fn interpolate(shares: &[Share], x: u8) -> Zeroizing<[u8; LEN]> {
    let mut bytes = Zeroizing::new([0; LEN]);
    for share in shares {
        let others = shares.iter().filter(|other| other.x != share.x);
        let weight = others.fold(1, |weight, other| {
            multiply(weight, multiply(other.x ^ x, inverse(other.x ^ share.x)))
        });
        for (byte, y) in bytes.iter_mut().zip(share.y) {
            *byte ^= multiply(weight, y);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverses_are_inverses() {
        for a in 1..=255 {
            assert_eq!(multiply(a, inverse(a)), 1, "{a}");
        }
    }

    #[test]
    fn any_majority_gives_the_secret_back_and_fewer_give_nothing() {
        let secret = ClusterSecret::make().unwrap();
        for count in 1..=5 {
            let threshold = count / 2 + 1;
            let shares = split(&secret, count, threshold).unwrap();
            for mask in 0u32..1 << count {
                let some: Vec<Share> = shares
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| mask & (1 << at) != 0)
                    .map(|(_, share)| Share::decode(&share.encode()).unwrap())
                    .collect();
                let got = combine(&some);
                let enough = some.len() >= threshold;
                let bytes = got.as_ref().map(|(secret, _)| *secret.0);
                assert_eq!(bytes, enough.then_some(*secret.0), "{count} {mask:b}");
                // A drive that was replaced gets the share that it had, and no other.
                for share in &shares {
                    let again = got
                        .as_ref()
                        .map(|(secret, chosen)| secret.share(chosen, share.x));
                    assert!(again.is_none_or(|again| again == *share));
                }
            }
        }
    }

    #[test]
    fn a_flipped_share_is_not_believed() {
        let secret = ClusterSecret::make().unwrap();
        let mut shares = split(&secret, 3, 2).unwrap();
        shares.truncate(2);
        shares[0].y[5] ^= 1;
        assert!(combine(&shares).is_none());
    }

    #[test]
    fn secrets_are_read_from_hexadecimal_digits() {
        assert!(ClusterSecret::parse(&"0f".repeat(32)).is_some());
        for bad in ["", "0f", &"0g".repeat(32), &"0f".repeat(33)] {
            assert!(ClusterSecret::parse(bad).is_none());
        }
    }
}

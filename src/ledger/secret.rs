//! The cluster secret: 32 random bytes from which the ledger's sealing key derives, kept on a
//! node's drives in shares (Shamir, "How to share a secret", 1979, over GF(2^8)), so that fewer
//! than half of the drives reveal nothing. Half of them suffice to read every object.
//!
//! A share is `form (1) ‖ threshold (1) ‖ place from 1 (1) ‖ check (16) ‖ value (32)`. In the first
//! form it took a majority, and the polynomials were random. In the second they derive from the
//! secret, so that a place's share is always the same: it can be made again on any drive, at any time.

use std::sync::Arc;

use bytes::Bytes;
use drive::{Drive, MetaWrite};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::mirror::{Stored, scan_all};

/// Where shares of the first form are, and how the names of all begin.
const FIRST_KEY: &[u8] = b"secret/share";
const SHARE_KEY: &[u8] = b"secret/share/2";
const FIRST_FORM: u8 = 1;
const FORM: u8 = 2;
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
    pub async fn recover(drives: &[Arc<dyn Drive>]) -> Result<Option<Self>, Error> {
        let shares_of = |stored: &Vec<Stored>| {
            let shares = stored.iter().filter_map(|(_, share)| Share::decode(share));
            shares.collect()
        };
        let scans = scan_all(drives, FIRST_KEY).await;
        let scans = scans.iter().map(|scan| scan.as_ref().ok());
        let held: Vec<Option<Vec<Share>>> = scans.map(|scan| scan.map(shares_of)).collect();
        let shares: Vec<&Share> = held.iter().flatten().flatten().collect();
        if shares.is_empty() {
            let answered = held.iter().flatten().count();
            return if answered > drives.len() / 2 {
                Ok(None)
            } else {
                Err(Error::TooFewDrives)
            };
        }
        let secret = combine(&shares).ok_or(Error::TooFewShares)?;
        secret.make_good(drives, &held).await?;
        Ok(Some(secret))
    }

    /// Gives every drive the share of its place. Those of the first form go once all have theirs:
    /// until then either form gives the secret back.
    async fn make_good(
        &self,
        drives: &[Arc<dyn Drive>],
        held: &[Option<Vec<Share>>],
    ) -> Result<(), Error> {
        let seats = || drives.iter().zip(held);
        let mut lacking = 0;
        for ((drive, held), share) in seats().zip(self.split(drives.len())?) {
            if held.as_ref().is_some_and(|held| held.contains(&share)) {
                continue;
            }
            match write(&**drive, SHARE_KEY, Some(share.encode())).await {
                Ok(()) => {
                    tracing::warn!(drive = %drive.identity().drive, "made its share of the secret good");
                }
                Err(_) => lacking += 1,
            }
        }
        let is_first = |share: &Share| share.form == FIRST_FORM;
        for (drive, held) in seats().filter(|_| lacking == 0) {
            if held.iter().flatten().any(is_first) {
                // One that stays is removed after the next start.
                let _ = write(&**drive, FIRST_KEY, None).await;
            }
        }
        Ok(())
    }

    /// Stores one share on each drive, any half of which gives the secret back. Durable on a
    /// majority on return.
    pub async fn store(&self, drives: &[Arc<dyn Drive>]) -> Result<(), Error> {
        let mut stored = 0;
        for (drive, share) in drives.iter().zip(self.split(drives.len())?) {
            let written = write(&**drive, SHARE_KEY, Some(share.encode())).await;
            stored += usize::from(written.is_ok());
        }
        if stored > drives.len() / 2 {
            Ok(())
        } else {
            Err(Error::TooFewDrives)
        }
    }

    /// Gives one of so many drives, which was replaced, the share of its place. Durable on return.
    pub async fn give(&self, drive: &dyn Drive, place: usize, drives: usize) -> Result<(), Error> {
        let share = self.split(drives)?.into_iter().nth(place);
        let share = share.ok_or(Error::TooFewDrives)?;
        let given = write(drive, SHARE_KEY, Some(share.encode())).await;
        given.map_err(|_| Error::TooFewDrives)
    }

    /// How many of the drives give it back: half of them, which read every object whatever the
    /// parity is.
    pub fn threshold(drives: usize) -> usize {
        drives.div_ceil(2)
    }

    /// The shares of that many drives.
    fn split(&self, drives: usize) -> Result<Vec<Share>, Error> {
        let count = u8::try_from(drives).map_err(|_| Error::TooFewDrives)?;
        let threshold = u8::try_from(Self::threshold(drives)).map_err(|_| Error::TooFewDrives)?;
        let key = self.derive("sarsen 2026-11-25 cluster secret share coefficients v2");
        let derived = |power: u8| {
            let hash = blake3::keyed_hash(&key, &[threshold, power]);
            Zeroizing::new(*hash.as_bytes())
        };
        let coefficients: Vec<_> = std::iter::once(self.0.clone())
            .chain((1..threshold).map(derived))
            .collect();
        let share = |x| Share {
            form: FORM,
            threshold,
            x,
            check: self.check(),
            y: evaluate(&coefficients, x),
        };
        Ok((1..=count).map(share).collect())
    }
}

async fn write(
    drive: &dyn Drive,
    key: &'static [u8],
    value: Option<Vec<u8>>,
) -> Result<(), drive::Error> {
    let write = MetaWrite {
        key: Bytes::from_static(key),
        value: value.map(Bytes::from),
    };
    drive.meta_write(vec![write]).await
}

/// One point of the polynomials.
#[derive(Clone, PartialEq, Eq)]
struct Share {
    form: u8,
    threshold: u8,
    x: u8,
    check: [u8; 16],
    y: [u8; LEN],
}

impl Share {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.form, self.threshold, self.x];
        bytes.extend_from_slice(&self.check);
        bytes.extend_from_slice(&self.y);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let ([form @ (FIRST_FORM | FORM), threshold, x], rest) = bytes.split_first_chunk()? else {
            return None;
        };
        let (check, y) = rest.split_first_chunk()?;
        Some(Self {
            form: *form,
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

/// The polynomials' values at `x`.
fn evaluate(coefficients: &[Zeroizing<[u8; LEN]>], x: u8) -> [u8; LEN] {
    let mut y = [0; LEN];
    for row in coefficients.iter().rev() {
        for (y, coefficient) in y.iter_mut().zip(row.iter()) {
            *y = multiply(*y, x) ^ coefficient;
        }
    }
    y
}

/// The secret of which these are shares. `None` if they are too few or do not agree.
fn combine(shares: &[&Share]) -> Option<ClusterSecret> {
    for first in shares {
        let kin = |share: &Share| (share.form, share.threshold, share.check);
        let mut chosen: Vec<&Share> = Vec::new();
        for share in shares.iter().filter(|share| kin(share) == kin(first)) {
            if chosen.iter().all(|known| known.x != share.x)
                && chosen.len() < usize::from(first.threshold)
            {
                chosen.push(share);
            }
        }
        if chosen.len() < usize::from(first.threshold) {
            continue;
        }
        let secret = ClusterSecret(interpolate(&chosen));
        if secret.check() == first.check {
            return Some(secret);
        }
    }
    None
}

/// The polynomials' values at zero, from their values at the shares' places.
fn interpolate(shares: &[&Share]) -> Zeroizing<[u8; LEN]> {
    let mut bytes = Zeroizing::new([0; LEN]);
    for share in shares {
        let others = shares.iter().filter(|other| other.x != share.x);
        let weight = others.fold(1, |weight, other| {
            multiply(weight, multiply(other.x, inverse(other.x ^ share.x)))
        });
        for (byte, y) in bytes.iter_mut().zip(share.y) {
            *byte ^= multiply(weight, y);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use drive::{Fault, Identity, Twin};
    use types::{DeploymentId, DriveId};

    use super::*;

    #[test]
    fn inverses_are_inverses() {
        for a in 1..=255 {
            assert_eq!(multiply(a, inverse(a)), 1, "{a}");
        }
    }

    #[test]
    fn any_half_gives_the_secret_back_and_fewer_give_nothing() {
        let secret = ClusterSecret::make().unwrap();
        for count in 1..=6 {
            let shares = secret.split(count).unwrap();
            assert!(shares == secret.split(count).unwrap(), "always the same");
            for mask in 0u32..1 << count {
                let some: Vec<&Share> = shares
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| mask & (1 << at) != 0)
                    .map(|(_, share)| share)
                    .collect();
                let enough = 2 * some.len() >= count && !some.is_empty();
                let found = combine(&some).map(|found| *found.0);
                assert_eq!(found, enough.then_some(*secret.0), "{count} {mask:b}");
            }
        }
    }

    #[test]
    fn what_a_share_holds_is_read_back() {
        for share in ClusterSecret::make().unwrap().split(3).unwrap() {
            let mut bytes = share.encode();
            assert!(Share::decode(&bytes) == Some(share));
            bytes[0] = 3;
            assert!(Share::decode(&bytes).is_none(), "a form of later");
        }
    }

    #[test]
    fn a_flipped_share_is_not_believed() {
        let secret = ClusterSecret::make().unwrap();
        let mut shares = secret.split(3).unwrap();
        shares.truncate(2);
        shares[0].y[5] ^= 1;
        assert!(combine(&[&shares[0], &shares[1]]).is_none());
    }

    /// Shares of a majority of four drives, from before, on drives in memory.
    async fn first_shares(secret: &ClusterSecret) -> Vec<Arc<Twin>> {
        let twin = |place: u8| {
            let identity = Identity {
                deployment: DeploymentId::from_bytes([7; 16]),
                drive: DriveId::from_bytes([place; 16]),
                pool: 0,
                set: 0,
                place,
            };
            Arc::new(Twin::new(identity, u64::from(place)))
        };
        let twins: Vec<_> = (0..4).map(twin).collect();
        let random = || ClusterSecret::make().unwrap().0;
        let coefficients = [secret.0.clone(), random(), random()];
        for (x, drive) in (1..).zip(&twins) {
            let share = Share {
                form: FIRST_FORM,
                threshold: 3,
                x,
                check: secret.check(),
                y: evaluate(&coefficients, x),
            };
            let written = write(&**drive, FIRST_KEY, Some(share.encode())).await;
            written.unwrap();
        }
        twins
    }

    /// Fails if shares of both forms are mixed, or the first ones go too early.
    #[tokio::test]
    async fn shares_of_the_first_form_are_replaced_however_often_that_is_cut_off() {
        let secret = ClusterSecret::make().unwrap();
        for written in 0..=4 {
            let twins = first_shares(&secret).await;
            let drives: Vec<Arc<dyn Drive>> =
                twins.iter().map(|twin| Arc::clone(twin) as _).collect();
            for (drive, share) in drives.iter().zip(secret.split(4).unwrap()).take(written) {
                let written = write(&**drive, SHARE_KEY, Some(share.encode())).await;
                written.unwrap();
            }
            // One that takes its share while others do not must keep the one it had.
            twins[1..]
                .iter()
                .for_each(|twin| twin.fail(Fault::ReadOnly));
            ClusterSecret::recover(&drives).await.unwrap().unwrap();
            twins[1..]
                .iter()
                .for_each(|twin| twin.mend(Fault::ReadOnly));
            twins[written % 4].fail(Fault::Offline);
            for _ in 0..2 {
                let found = ClusterSecret::recover(&drives).await.unwrap().unwrap();
                assert_eq!(*found.0, *secret.0, "{written} were written");
            }
            twins[written % 4].mend(Fault::Offline);
            ClusterSecret::recover(&drives).await.unwrap().unwrap();
            for drive in &drives {
                let left = drive.meta_scan(Bytes::from_static(FIRST_KEY)).await;
                let names: Vec<Bytes> = left.unwrap().into_iter().map(|(name, _)| name).collect();
                assert_eq!(names, [SHARE_KEY], "{written} were written");
            }
            for away in &twins[..2] {
                away.fail(Fault::Offline);
            }
            let found = ClusterSecret::recover(&drives).await.unwrap().unwrap();
            assert_eq!(*found.0, *secret.0);
        }
    }

    #[test]
    fn secrets_are_read_from_hexadecimal_digits() {
        assert!(ClusterSecret::parse(&"0f".repeat(32)).is_some());
        for bad in ["", "0f", &"0g".repeat(32), &"0f".repeat(33)] {
            assert!(ClusterSecret::parse(bad).is_none());
        }
    }
}

//! The shape of an erasure code, and every quorum size that follows from it.

/// A geometry that no set can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{data} data and {parity} parity shards: need 1 to 16 drives, and parity at most half of them, rounded up"
)]
pub struct GeometryError {
    data: u8,
    parity: u8,
}

/// `k` data and `m` parity shards on `N = k + m` drives. The only place where quorum sizes are
/// derived (design, section 4; commit rules).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    data: u8,
    parity: u8,
}

impl Geometry {
    /// The largest set.
    pub const DRIVES_MAX: usize = 16;

    /// A legal geometry: 1 ≤ N ≤ 16, k ≥ 1, m ≤ ⌈N/2⌉.
    pub fn new(data: u8, parity: u8) -> Result<Self, GeometryError> {
        let drives = usize::from(data) + usize::from(parity);
        if data == 0 || usize::from(parity) > drives.div_ceil(2) || drives > Self::DRIVES_MAX {
            return Err(GeometryError { data, parity });
        }
        Ok(Self { data, parity })
    }

    /// `k`.
    pub fn data(self) -> usize {
        usize::from(self.data)
    }

    /// `m`.
    pub fn parity(self) -> usize {
        usize::from(self.parity)
    }

    /// `N = k + m`.
    pub fn drives(self) -> usize {
        self.data() + self.parity()
    }

    /// `Wmin = ⌊N/2⌋ + 1`: what a marker or tombstone needs, whatever its object's geometry.
    pub fn write_quorum_min(self) -> usize {
        self.drives() / 2 + 1
    }

    /// `W = max(k + 1, Wmin)`, and `N` without parity.
    pub fn write_quorum(self) -> usize {
        if self.parity == 0 {
            self.drives()
        } else {
            (self.data() + 1).max(self.write_quorum_min())
        }
    }

    /// `R = N − Wmin + 1`: any R drives share one with any Wmin.
    pub fn read_quorum(self) -> usize {
        self.drives() - self.write_quorum_min() + 1
    }

    /// The bytes of one shard of a block of `len` bytes: `⌈len / k⌉`.
    pub fn shard_len(self, len: usize) -> usize {
        len.div_ceil(self.data())
    }

    /// The geometry for a write while `down` drives of the set are away: parity grows by that
    /// many, up to half of the set rounded up, so that W can still be met.
    pub fn degraded(self, down: usize) -> Self {
        if self.parity == 0 || down == 0 {
            return self;
        }
        let drives = self.parity + self.data;
        let down = u8::try_from(down).unwrap_or(u8::MAX);
        let parity = self.parity.saturating_add(down).min(drives.div_ceil(2));
        Self {
            data: drives - parity,
            parity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorums_are_those_of_the_commit_rules() {
        // (k, m, W, Wmin, R)
        let table = [
            (1, 0, 1, 1, 1),
            (1, 1, 2, 2, 1),
            (1, 2, 2, 2, 2),
            (2, 3, 3, 3, 3),
            (2, 1, 3, 2, 2),
            (2, 2, 3, 3, 2),
            (3, 2, 4, 3, 3),
            (12, 4, 13, 9, 8),
            (8, 8, 9, 9, 8),
            (4, 0, 4, 3, 2),
        ];
        for (k, m, w, wmin, r) in table {
            let g = Geometry::new(k, m).unwrap();
            assert_eq!(
                (g.write_quorum(), g.write_quorum_min(), g.read_quorum()),
                (w, wmin, r),
                "{k}+{m}"
            );
        }
    }

    #[test]
    fn every_write_quorum_meets_every_read_quorum() {
        for k in 1..=16u8 {
            for m in 0..=k + 1 {
                let Ok(g) = Geometry::new(k, m) else { continue };
                assert!(g.write_quorum_min() + g.read_quorum() > g.drives());
                assert!(g.write_quorum() >= g.write_quorum_min());
                assert!(g.write_quorum() > g.data() || m == 0);
            }
        }
    }

    #[test]
    fn parity_grows_while_drives_are_down() {
        let g = Geometry::new(12, 4).unwrap();
        assert_eq!(g.degraded(4), Geometry::new(8, 8).unwrap());
        assert_eq!(g.degraded(9), Geometry::new(8, 8).unwrap());
        let three = Geometry::new(2, 1).unwrap();
        assert_eq!(three.degraded(1), Geometry::new(1, 2).unwrap());
        assert_eq!(
            three.degraded(1).write_quorum(),
            2,
            "three drives write with one away"
        );
        assert_eq!(
            Geometry::new(1, 1).unwrap().degraded(1),
            Geometry::new(1, 1).unwrap()
        );
        assert!(Geometry::new(1, 3).is_err());
        assert!(Geometry::new(0, 0).is_err());
        assert!(Geometry::new(9, 8).is_err());
    }
}

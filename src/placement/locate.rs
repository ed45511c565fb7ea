//! From a key to its slot, its set and the order of its shards.

use types::{BucketId, DeploymentId, ObjectKey, Slot};

/// The second half of the hash key: says what the hash is for.
const PURPOSE: &[u8; 16] = b"sarsen placement";

/// Where a key lives. Fixed for the life of a deployment, for a given number of sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// Whose holder orders the key's changes.
    pub slot: Slot,
    /// The number of the set, below the `sets` that [`locate`] was given.
    pub set: usize,
    /// By how much the shards are turned against the drives: see [`shard_on`].
    pub rotation: u16,
}

/// Finds the home of a key among `sets` sets (at least one): one blake3 hash of bucket and key,
/// keyed with the deployment, so that no client can aim many keys at one drive without knowing it.
/// Slot, set and rotation come from separate bytes of it and so are independent.
pub fn locate(
    deployment: DeploymentId,
    bucket: BucketId,
    key: &ObjectKey,
    sets: usize,
) -> Location {
    let mut hash_key = [0; 32];
    let (identity, purpose) = hash_key.split_at_mut(16);
    identity.copy_from_slice(&deployment.to_bytes());
    purpose.copy_from_slice(PURPOSE);
    let mut hasher = blake3::Hasher::new_keyed(&hash_key);
    hasher.update(&bucket.as_u64().to_be_bytes());
    hasher.update(key.as_str().as_bytes());
    let hash = hasher.finalize();
    let [s0, s1, t0, t1, t2, t3, t4, t5, t6, t7, r0, r1, ..] = *hash.as_bytes();
    let set = u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]) % (sets.max(1) as u64);
    Location {
        slot: Slot::new(u16::from_be_bytes([s0, s1])),
        set: usize::try_from(set).expect("less than a usize"),
        rotation: u16::from_be_bytes([r0, r1]),
    }
}

/// The shard that the drive at place `drive` of a set of `drives` holds, so that parity, which
/// costs nothing to read, is spread evenly over the drives.
pub fn shard_on(rotation: u16, drive: usize, drives: usize) -> usize {
    (drive + usize::from(rotation)) % drives
}

/// The inverse of [`shard_on`]: the place of the drive that holds `shard`.
pub fn drive_of(rotation: u16, shard: usize, drives: usize) -> usize {
    (shard + drives - usize::from(rotation) % drives) % drives
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Epoch;

    fn home(deployment: u8, bucket: u64, key: &str, sets: usize) -> Location {
        let deployment = DeploymentId::from_bytes([deployment; 16]);
        let bucket = BucketId::new(Epoch::from_u64(bucket));
        locate(deployment, bucket, &ObjectKey::parse(key).unwrap(), sets)
    }

    #[test]
    fn homes_never_move() {
        // A change of these values would lose every object of every deployment.
        let table = [
            (0, 0, "a", 1, (453, 0, 46855)),
            (0, 0, "a", 7, (453, 1, 46855)),
            (7, 12, "photos/2026/ünï.jpg", 7, (642, 6, 8728)),
            (255, u64::MAX, "//", 1000, (2, 159, 53254)),
        ];
        for (deployment, bucket, key, sets, expected) in table {
            let home = home(deployment, bucket, key, sets);
            assert_eq!(
                (home.slot.number(), home.set, home.rotation),
                expected,
                "{key}"
            );
        }
    }

    #[test]
    fn deployment_bucket_and_key_all_count() {
        let base = home(1, 1, "k", 1 << 40);
        assert_ne!(base.set, home(2, 1, "k", 1 << 40).set);
        assert_ne!(base.set, home(1, 2, "k", 1 << 40).set);
        assert_ne!(base.set, home(1, 1, "l", 1 << 40).set);
    }

    #[test]
    fn keys_spread_evenly_over_slots_sets_and_rotations() {
        let keys = 102_400usize;
        let mut slots = vec![0usize; usize::from(Slot::COUNT)];
        let mut sets = vec![0usize; 6];
        let mut shards = vec![0usize; 16];
        for number in 0..keys {
            let home = home(3, 9, &format!("log/{number}"), sets.len());
            slots[home.slot.index()] += 1;
            sets[home.set] += 1;
            shards[shard_on(home.rotation, 0, 16)] += 1;
        }
        // Five standard deviations of a binomial count, and six for the thousand slots.
        let even = |counts: &[usize], deviations: f64| {
            let mean = keys as f64 / counts.len() as f64;
            counts
                .iter()
                .all(|count| (*count as f64 - mean).abs() < deviations * mean.sqrt())
        };
        assert!(even(&slots, 6.0));
        assert!(even(&sets, 5.0));
        assert!(even(&shards, 5.0));
    }

    #[test]
    fn every_drive_holds_one_shard_and_the_inverse_finds_it() {
        for drives in 1..=16 {
            for rotation in [0, 1, 5, 15, 16, 17, 4096, u16::MAX] {
                let mut seen = vec![false; drives];
                for drive in 0..drives {
                    let shard = shard_on(rotation, drive, drives);
                    assert_eq!(drive_of(rotation, shard, drives), drive);
                    assert!(!std::mem::replace(&mut seen[shard], true));
                }
            }
        }
    }
}

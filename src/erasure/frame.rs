//! Frames: a shard behind a hash that is keyed with the shard's identity, so that a right shard
//! in the wrong place fails just as a flipped bit does.
//!
//! # The exact bytes
//!
//! A frame is 32 bytes of hash, then the shard's bytes. All integers are little-endian, all ids
//! are their 16 bytes in the order in which they are written in hexadecimal. With BLAKE3's three
//! modes named as in its specification:
//!
//! ```text
//! part_key  = derive_key("sarsen 2026-11-23 shard frames v1",
//!                        deployment id (16) ‖ data id (16) ‖ part number (u32))
//! frame_key = keyed_hash(part_key,
//!                        stripe (u64) ‖ shard length (u32) ‖ shard index (u8) ‖ k (u8) ‖ m (u8))
//! hash      = keyed_hash(frame_key, shard)
//! ```
//!
//! In Python, with the `blake3` package and `struct`:
//!
//! ```text
//! part_key  = blake3(deployment + data + pack("<I", part),
//!                    derive_key_context="sarsen 2026-11-23 shard frames v1").digest()
//! frame_key = blake3(pack("<QIBBB", stripe, len(shard), index, k, m), key=part_key).digest()
//! hash      = blake3(shard, key=frame_key).digest()
//! ```
//!
//! The key of a part is derived once per part, the key of a frame costs one compression, and the
//! shard is then hashed in one call: a small shard costs little more than its own bytes. The keys
//! are no secret; they bind a shard to its place, they do not authenticate a writer.

use types::{DataId, DeploymentId, Geometry};

const CONTEXT: &str = "sarsen 2026-11-23 shard frames v1";

/// The bytes of a frame before the shard's own: its hash.
pub const FRAME_HEAD_LEN: usize = 32;

/// Where a shard belongs within its part. The shard's length completes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameId {
    /// The stripe, from 0.
    pub stripe: u64,
    /// The shard's index in the stripe: data shards are `0..k`, parity shards `k..k+m`.
    pub shard: u8,
    /// The code of the stripe.
    pub geometry: Geometry,
}

/// Seals and checks the shards of one part of one object's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardKey([u8; 32]);

impl ShardKey {
    /// The key of part `part` of the data `data` in `deployment`. Data that was not uploaded in
    /// parts is one part; its number is the caller's to fix.
    pub fn new(deployment: DeploymentId, data: DataId, part: u32) -> Self {
        let mut material = [0u8; 36];
        let fields = deployment.to_bytes().into_iter().chain(data.to_bytes());
        for (place, byte) in material.iter_mut().zip(fields.chain(part.to_le_bytes())) {
            *place = byte;
        }
        Self(blake3::derive_key(CONTEXT, &material))
    }

    /// The hash that goes before `shard` in its frame.
    pub fn seal(&self, id: FrameId, shard: &[u8]) -> [u8; FRAME_HEAD_LEN] {
        *self.hash(id, shard).as_bytes()
    }

    /// Whether `head` is the hash of `shard` at this place.
    #[must_use]
    pub fn verify(&self, id: FrameId, head: &[u8; FRAME_HEAD_LEN], shard: &[u8]) -> bool {
        self.hash(id, shard) == *head
    }

    /// Appends the frame of `shard` to `out`.
    pub fn write_frame(&self, id: FrameId, shard: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seal(id, shard));
        out.extend_from_slice(shard);
    }

    /// The shard within a whole frame, if it is the one of this place and its length is the
    /// expected one: a frame that is cut short or runs on is as wrong as a flipped bit.
    pub fn open_frame<'a>(
        &self,
        id: FrameId,
        shard_len: usize,
        frame: &'a [u8],
    ) -> Option<&'a [u8]> {
        let (head, shard) = frame.split_first_chunk::<FRAME_HEAD_LEN>()?;
        (shard.len() == shard_len && self.verify(id, head, shard)).then_some(shard)
    }

    fn hash(&self, id: FrameId, shard: &[u8]) -> blake3::Hash {
        // A shard is at most one block. Should one ever not fit 32 bits, its length still counts:
        // the hash covers every byte and ends where the shard does.
        let len = u32::try_from(shard.len()).unwrap_or(u32::MAX);
        let count = |shards: usize| u8::try_from(shards).expect("a set has at most 16 drives");
        let place = [
            id.shard,
            count(id.geometry.data()),
            count(id.geometry.parity()),
        ];
        let mut fields = [0u8; 15];
        let values = id.stripe.to_le_bytes().into_iter().chain(len.to_le_bytes());
        for (slot, byte) in fields.iter_mut().zip(values.chain(place)) {
            *slot = byte;
        }
        let frame_key = blake3::keyed_hash(&self.0, &fields);
        blake3::keyed_hash(frame_key.as_bytes(), shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(k: u8, m: u8) -> Geometry {
        Geometry::new(k, m).unwrap()
    }

    fn key(deployment: u8, data: u8, part: u32) -> ShardKey {
        ShardKey::new(
            DeploymentId::from_bytes([deployment; 16]),
            DataId::from_bytes([data; 16]),
            part,
        )
    }

    fn place() -> FrameId {
        FrameId {
            stripe: 5,
            shard: 1,
            geometry: geometry(2, 2),
        }
    }

    #[test]
    fn a_right_shard_in_any_other_place_fails() {
        let shard = [9u8; 100];
        let head = key(1, 2, 3).seal(place(), &shard);
        assert!(key(1, 2, 3).verify(place(), &head, &shard));
        for other in [key(0, 2, 3), key(1, 0, 3), key(1, 2, 0), key(2, 1, 3)] {
            assert!(!other.verify(place(), &head, &shard));
        }
        let elsewhere = [
            FrameId {
                stripe: 6,
                ..place()
            },
            FrameId {
                stripe: 5 << 32,
                ..place()
            },
            FrameId {
                shard: 0,
                ..place()
            },
            FrameId {
                geometry: geometry(3, 2),
                ..place()
            },
            FrameId {
                geometry: geometry(2, 1),
                ..place()
            },
        ];
        for id in elsewhere {
            assert!(!key(1, 2, 3).verify(id, &head, &shard), "{id:?}");
        }
    }

    #[test]
    fn every_flipped_bit_fails() {
        let key = key(1, 2, 3);
        let mut frame = Vec::new();
        key.write_frame(place(), &[0xc3; 70], &mut frame);
        assert_eq!(key.open_frame(place(), 70, &frame), Some(&[0xc3; 70][..]));
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open_frame(place(), 70, &flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn short_and_long_frames_fail_whatever_length_is_expected() {
        let key = key(1, 2, 3);
        let mut frame = Vec::new();
        key.write_frame(place(), &[0; 70], &mut frame);
        frame.push(0);
        assert_eq!(key.open_frame(place(), 70, &frame), None);
        assert_eq!(key.open_frame(place(), 71, &frame), None);
        for cut in 0..102 {
            assert_eq!(
                key.open_frame(place(), 70, &frame[..cut]),
                None,
                "cut to {cut}"
            );
            assert_eq!(
                key.open_frame(place(), cut.saturating_sub(32), &frame[..cut]),
                None,
                "cut to {cut}"
            );
        }
        assert!(key.open_frame(place(), 70, &frame[..102]).is_some());
    }

    #[test]
    fn an_empty_shard_has_a_frame_of_its_own() {
        let key = key(1, 2, 3);
        let mut frame = Vec::new();
        key.write_frame(place(), &[], &mut frame);
        assert_eq!(frame.len(), FRAME_HEAD_LEN);
        assert_eq!(key.open_frame(place(), 0, &frame), Some(&[][..]));
        assert_eq!(
            key.open_frame(
                FrameId {
                    stripe: 0,
                    ..place()
                },
                0,
                &frame
            ),
            None
        );
    }

    #[test]
    fn the_hash_is_what_the_documentation_says() {
        let mut material = vec![1u8; 16];
        material.extend([2; 16]);
        material.extend(3u32.to_le_bytes());
        let part_key = blake3::derive_key("sarsen 2026-11-23 shard frames v1", &material);
        let fields = [5, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 2, 2];
        let frame_key = blake3::keyed_hash(&part_key, &fields);
        let hash = blake3::keyed_hash(frame_key.as_bytes(), b"abcd");
        assert_eq!(key(1, 2, 3).seal(place(), b"abcd"), *hash.as_bytes());
    }
}

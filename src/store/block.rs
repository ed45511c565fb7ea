//! One block of an object on its way into shards.
//!
//! The block's bytes are copied once, from the socket's buffer to the place in which their frame
//! is written; parity and hashes are computed around them while they are in cache.

use bytes::Bytes;
use erasure::{Codec, FRAME_HEAD_LEN, FrameId, ShardKey};
use types::Geometry;

use crate::buffers::Buffer;

/// Room for the frames of one stripe, being filled with its data.
pub(crate) struct Block {
    buffer: Buffer,
    geometry: Geometry,
    len: usize,
    shard_len: usize,
    filled: usize,
}

impl Block {
    /// How many bytes of buffer a block of `len` bytes needs.
    pub(crate) fn buffer_len(geometry: Geometry, len: usize) -> usize {
        geometry.drives() * (FRAME_HEAD_LEN + geometry.shard_len(len))
    }

    /// An empty block of `len` bytes in a buffer of [`Block::buffer_len`].
    pub(crate) fn new(buffer: Buffer, geometry: Geometry, len: usize) -> Self {
        Self {
            buffer,
            geometry,
            len,
            shard_len: geometry.shard_len(len),
            filled: 0,
        }
    }

    /// Moves as many bytes as fit from the front of `bytes` into the block.
    pub(crate) fn fill(&mut self, bytes: &mut Bytes) {
        while self.filled < self.len && !bytes.is_empty() {
            let (shard, within) = (self.filled / self.shard_len, self.filled % self.shard_len);
            let count = bytes
                .len()
                .min(self.shard_len - within)
                .min(self.len - self.filled);
            let at = shard * (FRAME_HEAD_LEN + self.shard_len) + FRAME_HEAD_LEN + within;
            let piece = bytes.split_to(count);
            if let Some(place) = self.buffer.as_mut().get_mut(at..at + count) {
                place.copy_from_slice(&piece);
            }
            self.filled += count;
        }
    }

    /// Whether all bytes of the block are there.
    pub(crate) fn is_full(&self) -> bool {
        self.filled == self.len
    }

    /// Computes parity and hashes.
    pub(crate) fn seal(mut self, codec: &Codec, key: &ShardKey, stripe: u64) -> SealedBlock {
        self.pad();
        let (geometry, shard_len, len) = (self.geometry, self.shard_len, self.len);
        let frame_len = FRAME_HEAD_LEN + shard_len;
        {
            let mut heads = Vec::with_capacity(geometry.drives());
            let mut shards = Vec::with_capacity(geometry.drives());
            for frame in self.buffer.as_mut().chunks_exact_mut(frame_len) {
                let (head, shard) = frame.split_at_mut(FRAME_HEAD_LEN);
                heads.push(head);
                shards.push(shard);
            }
            let (data, parity) = shards.split_at_mut(geometry.data());
            let data: Vec<&[u8]> = data.iter().map(|shard| &**shard).collect();
            codec
                .encode(&data, parity)
                .expect("shards were cut to one length");
            for (index, (head, shard)) in heads.iter_mut().zip(&shards).enumerate() {
                let shard_index = u8::try_from(index).expect("a set has at most 16 drives");
                let id = FrameId {
                    stripe,
                    shard: shard_index,
                    geometry,
                };
                head.copy_from_slice(&key.seal(id, shard));
            }
        }
        SealedBlock {
            bytes: self.buffer.freeze(),
            frame_len,
            data: geometry.data(),
            len,
        }
    }

    /// The last data shards are padded with zeroes to the common length.
    fn pad(&mut self) {
        let frame_len = FRAME_HEAD_LEN + self.shard_len;
        for at in self.len..self.geometry.data() * self.shard_len {
            let place = at / self.shard_len * frame_len + FRAME_HEAD_LEN + at % self.shard_len;
            if let Some(byte) = self.buffer.as_mut().get_mut(place) {
                *byte = 0;
            }
        }
    }
}

/// The frames of one stripe.
#[derive(Clone)]
pub(crate) struct SealedBlock {
    bytes: Bytes,
    frame_len: usize,
    data: usize,
    len: usize,
}

impl SealedBlock {
    /// The frame of one shard.
    pub(crate) fn frame(&self, shard: usize) -> Bytes {
        self.bytes
            .slice(shard * self.frame_len..(shard + 1) * self.frame_len)
    }

    /// The block's own bytes, in order, in pieces.
    pub(crate) fn data(&self) -> impl Iterator<Item = Bytes> + '_ {
        let shard_len = self.frame_len - FRAME_HEAD_LEN;
        (0..self.data).map_while(move |shard| {
            let left = self
                .len
                .checked_sub(shard * shard_len)
                .filter(|left| *left > 0)?;
            let at = shard * self.frame_len + FRAME_HEAD_LEN;
            Some(self.bytes.slice(at..at + left.min(shard_len)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{DataId, DeploymentId};

    #[test]
    fn a_block_becomes_frames_that_rebuild_it() {
        let key = ShardKey::new(
            DeploymentId::from_bytes([1; 16]),
            DataId::from_bytes([2; 16]),
            0,
        );
        for (k, m, len) in [
            (2, 2, 4096),
            (2, 2, 1),
            (3, 2, 100),
            (1, 0, 7),
            (12, 4, 1000),
            (4, 4, 5),
        ] {
            let geometry = Geometry::new(k, m).unwrap();
            let codec = Codec::new(geometry);
            let body: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let buffer = Buffer::small(Block::buffer_len(geometry, len));
            let mut block = Block::new(buffer, geometry, len);
            for piece in body.chunks(3) {
                let mut bytes = Bytes::copy_from_slice(piece);
                block.fill(&mut bytes);
                assert!(bytes.is_empty());
            }
            assert!(block.is_full());
            let sealed = block.seal(&codec, &key, 9);
            assert_eq!(sealed.data().flatten().collect::<Vec<u8>>(), body);
            let shard_len = geometry.shard_len(len);
            let shards: Vec<Vec<u8>> = (0..geometry.drives())
                .map(|index| {
                    let id = FrameId {
                        stripe: 9,
                        shard: u8::try_from(index).unwrap(),
                        geometry,
                    };
                    key.open_frame(id, shard_len, &sealed.frame(index))
                        .unwrap()
                        .to_vec()
                })
                .collect();
            let joined: Vec<u8> = shards[..geometry.data()].concat();
            assert_eq!(&joined[..len], &body);
            assert!(joined[len..].iter().all(|byte| *byte == 0));
        }
    }
}

//! One block of an object on its way into shards.
//!
//! The block's bytes are copied once, from the socket's buffer to the place in which their frame
//! is written; parity and hashes are computed around them while they are in cache.

use bytes::Bytes;
use erasure::{Codec, FRAME_HEAD_LEN, FrameId, ShardKey};
use types::Geometry;

use crate::buffers::{ALIGNMENT, Buffer};

/// Where the frames of one stripe lie in its buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    geometry: Geometry,
    /// Bytes of data.
    len: usize,
    shard_len: usize,
    /// From one frame to the next.
    stride: usize,
    /// What lies before the first.
    lead: usize,
}

impl Plan {
    /// Frames one right after another.
    pub(crate) fn dense(geometry: Geometry, len: usize) -> Self {
        let shard_len = geometry.shard_len(len);
        Self {
            geometry,
            len,
            shard_len,
            stride: FRAME_HEAD_LEN + shard_len,
            lead: 0,
        }
    }

    /// Frames that lie in memory as in a file in which they begin at `offset`: a whole block of
    /// the disk is then one of memory too, and a drive writes it without a copy.
    pub(crate) fn aligned(geometry: Geometry, len: usize, offset: u64) -> Self {
        let dense = Self::dense(geometry, len);
        let lead = usize::try_from(offset % ALIGNMENT as u64).unwrap_or(0);
        Self {
            stride: (lead + dense.stride).next_multiple_of(ALIGNMENT),
            lead,
            ..dense
        }
    }

    /// How many bytes of buffer that takes.
    pub(crate) fn buffer_len(&self) -> usize {
        self.geometry.drives() * self.stride
    }

    /// Where a shard's frame begins.
    fn frame_at(&self, shard: usize) -> usize {
        shard * self.stride + self.lead
    }

    /// Where a byte of the data, or of its padding, lies.
    fn place_of(&self, at: usize) -> usize {
        self.frame_at(at / self.shard_len) + FRAME_HEAD_LEN + at % self.shard_len
    }
}

/// Room for the frames of one stripe, being filled with its data.
pub(crate) struct Block {
    buffer: Buffer,
    plan: Plan,
    filled: usize,
}

impl Block {
    /// An empty block in a buffer of [`Plan::buffer_len`].
    pub(crate) fn new(buffer: Buffer, plan: Plan) -> Self {
        Self {
            buffer,
            plan,
            filled: 0,
        }
    }

    /// Moves as many bytes as fit from the front of `bytes` into the block.
    pub(crate) fn fill(&mut self, bytes: &mut Bytes) {
        let Plan { len, shard_len, .. } = self.plan;
        while self.filled < len && !bytes.is_empty() {
            let count = bytes
                .len()
                .min(shard_len - self.filled % shard_len)
                .min(len - self.filled);
            let at = self.plan.place_of(self.filled);
            let piece = bytes.split_to(count);
            if let Some(place) = self.buffer.as_mut().get_mut(at..at + count) {
                place.copy_from_slice(&piece);
            }
            self.filled += count;
        }
    }

    /// Whether all bytes of the block are there.
    pub(crate) fn is_full(&self) -> bool {
        self.filled == self.plan.len
    }

    /// Computes parity and hashes.
    pub(crate) fn seal(mut self, codec: &Codec, key: &ShardKey, stripe: u64) -> SealedBlock {
        self.pad();
        let plan = self.plan;
        let geometry = plan.geometry;
        {
            let mut heads = Vec::with_capacity(geometry.drives());
            let mut shards = Vec::with_capacity(geometry.drives());
            for place in self.buffer.as_mut().chunks_exact_mut(plan.stride) {
                let frame = place.split_at_mut(plan.lead).1;
                let (head, shard) = frame.split_at_mut(FRAME_HEAD_LEN);
                heads.push(head);
                shards.push(shard.split_at_mut(plan.shard_len).0);
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
            plan,
        }
    }

    /// The last data shards are padded with zeroes to the common length.
    fn pad(&mut self) {
        let plan = self.plan;
        for at in plan.len..plan.geometry.data() * plan.shard_len {
            if let Some(byte) = self.buffer.as_mut().get_mut(plan.place_of(at)) {
                *byte = 0;
            }
        }
    }
}

/// The frames of one stripe.
#[derive(Clone)]
pub(crate) struct SealedBlock {
    bytes: Bytes,
    plan: Plan,
}

impl SealedBlock {
    /// The frame of one shard.
    pub(crate) fn frame(&self, shard: usize) -> Bytes {
        let at = self.plan.frame_at(shard);
        self.bytes
            .slice(at..at + FRAME_HEAD_LEN + self.plan.shard_len)
    }

    /// The block's own bytes, in order, in pieces.
    pub(crate) fn data(&self) -> impl Iterator<Item = Bytes> + '_ {
        let Plan { len, shard_len, .. } = self.plan;
        (0..self.plan.geometry.data()).map_while(move |shard| {
            let left = len
                .checked_sub(shard * shard_len)
                .filter(|left| *left > 0)?;
            let at = self.plan.frame_at(shard) + FRAME_HEAD_LEN;
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
        for (k, m, len) in [
            (2, 2, 4096),
            (2, 2, 1),
            (3, 2, 100),
            (1, 0, 7),
            (12, 4, 1000),
            (4, 4, 5),
        ] {
            let geometry = Geometry::new(k, m).unwrap();
            let body: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
            check(Plan::dense(geometry, len), &body);
            check(Plan::aligned(geometry, len, 5 * 4128), &body);
        }
    }

    fn check(plan: Plan, body: &[u8]) {
        let (geometry, len) = (plan.geometry, plan.len);
        let codec = Codec::new(geometry);
        let key = ShardKey::new(
            DeploymentId::from_bytes([1; 16]),
            DataId::from_bytes([2; 16]),
            0,
        );
        let buffer = Buffer::small(plan.buffer_len());
        let mut block = Block::new(buffer, plan);
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
        assert_eq!(&joined[..len], body);
        assert!(joined[len..].iter().all(|byte| *byte == 0));
    }

    #[tokio::test]
    async fn frames_lie_in_memory_as_in_their_file() {
        let (geometry, offset) = (Geometry::new(2, 2).unwrap(), 7 * 524_320);
        let plan = Plan::aligned(geometry, 1 << 20, offset);
        let pool = crate::buffers::BufferPool::new();
        let buffer = pool.take(plan.buffer_len()).await.unwrap();
        let block = Block::new(buffer, plan);
        let key = ShardKey::new(
            DeploymentId::from_bytes([1; 16]),
            DataId::from_bytes([2; 16]),
            0,
        );
        let sealed = block.seal(&Codec::new(geometry), &key, 7);
        for shard in 0..4 {
            let address = sealed.frame(shard).as_ptr().addr();
            assert_eq!(address % ALIGNMENT, 7 * 524_320 % ALIGNMENT, "{shard}");
        }
    }
}

//! Bytes to shards and back: Reed–Solomon coding, the arithmetic of stripes, and the frames that
//! give every shard its identity.
//!
//! The room takes slices and returns slices. It must not know what a drive, a file, a socket, a
//! clock or an object's name is; it allocates nothing on the paths that touch object bytes.

mod codec;
mod error;
mod frame;
mod galois;
mod kernel;
mod matrix;
mod selftest;
mod stripe;

pub use codec::Codec;
pub use error::Error;
pub use frame::{FRAME_HEAD_LEN, FrameId, ShardKey};
pub use kernel::Kernel;
pub use selftest::self_test;
pub use stripe::{BLOCK_LEN, Layout, StripeSpan};

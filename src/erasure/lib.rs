//! Bytes to shards and back: Reed–Solomon coding, the arithmetic of stripes, and the frames that
//! give every shard its identity. MD5 lives here too: S3's ETags ask for it over the same bytes, and
//! it gains from the same kind of kernel.
//!
//! The room takes slices and returns slices. It must not know what a drive, a file, a socket, a
//! clock or an object's name is.
//!
//! `unsafe` is in two files, `kernel/x86.rs` and `md5/x86.rs`: the vector instructions.

mod codec;
mod error;
mod frame;
mod galois;
mod kernel;
mod matrix;
mod md5;
mod selftest;
mod stripe;

pub use codec::Codec;
pub use error::Error;
pub use frame::{FRAME_HEAD_LEN, FrameId, ShardKey};
pub use kernel::Kernel;
pub use md5::Md5;
pub use selftest::self_test;
pub use stripe::{BLOCK_LEN, Layout, StripeSpan};

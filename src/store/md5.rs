//! MD5 of many uploads at once.

use bytes::Bytes;
use md5::Digest;

/// One MD5 under way.
#[derive(Clone)]
pub(crate) struct Md5(md5::Md5);

impl Md5 {
    pub(crate) fn new() -> Self {
        Self(md5::Md5::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> [u8; 16] {
        self.0.finalize().into()
    }
}

/// Where long bodies are hashed, off the async threads.
pub(crate) struct Md5Lanes;

impl Md5Lanes {
    pub(crate) fn new() -> Self {
        Self
    }

    /// Takes in more bytes. `None` when the process stops.
    pub(crate) async fn update(&self, mut state: Md5, pieces: Vec<Bytes>) -> Option<Md5> {
        let work = move || {
            for piece in pieces {
                state.update(&piece);
            }
            state
        };
        tokio::task::spawn_blocking(work).await.ok()
    }
}

//! Buffers that frames are read into, used again.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// Buffers kept while nobody needs them: about as many as one long body has on its way.
const KEPT_MAX: usize = 8;
/// Shorter ones are not worth a turn in the pool.
const LEN_MIN: usize = 64 << 10;

/// Buffers that were read into before. Fresh memory of that size costs a twelfth of a long read: it
/// is zeroed, and its pages are found one by one.
#[derive(Debug, Clone, Default)]
pub(super) struct FrameBuffers(Arc<Mutex<VecDeque<Vec<u8>>>>);

impl FrameBuffers {
    /// `len` bytes as `read` leaves them, if it fills them.
    pub(super) fn read(
        &self,
        len: usize,
        read: impl FnOnce(&mut [u8]) -> Option<()>,
    ) -> Option<Bytes> {
        if len < LEN_MIN {
            let mut bytes = vec![0; len];
            read(&mut bytes)?;
            return Some(bytes.into());
        }
        let mut lent = Lent {
            bytes: self.take(len),
            len,
            home: self.clone(),
        };
        read(lent.bytes.get_mut(..len)?)?;
        Some(Bytes::from_owner(lent))
    }

    /// The buffer that was used last, since it is in a core's cache, if it is long enough and not
    /// much too long.
    fn take(&self, len: usize) -> Vec<u8> {
        let mut kept = self.0.lock();
        let fits = |bytes: &Vec<u8>| (len..=2 * len).contains(&bytes.len());
        let found = kept.iter().rposition(fits);
        let found = found.and_then(|place| kept.remove(place));
        drop(kept);
        found.unwrap_or_else(|| vec![0; len])
    }
}

/// A buffer on loan; it goes home when the last view of it is gone.
struct Lent {
    bytes: Vec<u8>,
    /// What was asked for: the buffer may be longer.
    len: usize,
    home: FrameBuffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut kept = self.home.0.lock();
        kept.push_back(std::mem::take(&mut self.bytes));
        // What was not used for longest goes: frames may be of other lengths now.
        let too_much = (kept.len() > KEPT_MAX).then(|| kept.pop_front());
        drop(kept);
        drop(too_much);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(buffers: &FrameBuffers, len: usize, with: u8) -> Bytes {
        let fill = |bytes: &mut [u8]| {
            bytes.fill(with);
            Some(())
        };
        buffers.read(len, fill).unwrap()
    }

    #[test]
    fn a_buffer_is_used_again_once_nobody_sees_it() {
        let buffers = FrameBuffers::default();
        let first = filled(&buffers, LEN_MIN, 1);
        let view = first.slice(5..6);
        drop(first);
        let second = filled(&buffers, LEN_MIN, 2);
        assert_eq!(&view[..], [1], "it is still seen");
        let at = second.as_ptr();
        drop(second);
        let shorter = filled(&buffers, LEN_MIN, 3);
        assert_eq!(shorter.as_ptr(), at);
        assert_eq!(shorter.len(), LEN_MIN);
        drop((view, shorter));
        let third = filled(&buffers, 3 * LEN_MIN, 4);
        assert_eq!(third, vec![4; 3 * LEN_MIN]);
        drop(third);
        assert_eq!(buffers.0.lock().len(), 3);
    }

    #[test]
    fn a_longer_buffer_shows_what_was_asked_for() {
        let buffers = FrameBuffers::default();
        drop(filled(&buffers, LEN_MIN + 9, 1));
        assert_eq!(filled(&buffers, LEN_MIN, 2), vec![2; LEN_MIN]);
        assert_eq!(buffers.0.lock().len(), 1);
    }

    #[test]
    fn only_a_few_are_kept_and_none_that_is_short() {
        let buffers = FrameBuffers::default();
        let many: Vec<_> = (0..20).map(|_| filled(&buffers, LEN_MIN, 1)).collect();
        drop(many);
        drop(filled(&buffers, 10, 1));
        assert_eq!(buffers.0.lock().len(), KEPT_MAX);
        assert!(buffers.read(LEN_MIN, |_| None).is_none(), "a failed read");
        assert_eq!(buffers.0.lock().len(), KEPT_MAX);
    }
}

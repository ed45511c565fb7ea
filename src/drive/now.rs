//! Reads that take what lies in the page cache, and never wait for the disk.

use std::io::IoSliceMut;
use std::os::fd::AsFd;

use rustix::io::ReadWriteFlags;

/// Fills `bytes` from `offset` on, if that takes no disk. Whatever else is the matter is found
/// again by the read that may wait.
pub(crate) fn read_now(file: impl AsFd, bytes: &mut [u8], offset: u64) -> Option<()> {
    let len = bytes.len();
    let mut whole = [IoSliceMut::new(bytes)];
    let read = rustix::io::preadv2(file, &mut whole, offset, ReadWriteFlags::NOWAIT);
    (read == Ok(len)).then_some(())
}

#[cfg(test)]
mod tests {
    use super::read_now;

    #[test]
    fn what_was_just_written_is_read_and_what_is_not_there_is_not() {
        let path = std::env::temp_dir().join(format!("read-now-{}", std::process::id()));
        std::fs::write(&path, b"standing stones").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let mut bytes = [0; 6];
        assert_eq!(read_now(&file, &mut bytes, 9), Some(()));
        assert_eq!(&bytes, b"stones");
        assert_eq!(read_now(&file, &mut bytes, 10), None, "beyond the end");
        std::fs::remove_file(path).unwrap();
    }
}

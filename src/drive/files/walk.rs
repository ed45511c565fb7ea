//! All shard files of a drive, one after another: for finding those that no row refers to.

use std::time::{Duration, SystemTime};

use types::DataId;

use super::open_files::FileName;
use super::shards::ShardFiles;
use crate::contract::Error;
use crate::fault::from_errno;
use crate::register::Register;

/// One shard file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Walked {
    /// Whose.
    pub(crate) data: DataId,
    /// Which of its files.
    pub(crate) generation: u32,
    /// What its header says; an error if that does not hold.
    pub(crate) header: Result<WalkedHeader, Error>,
}

/// What a sound header and file say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WalkedHeader {
    /// The register whose row refers to it, if any does.
    pub(crate) register: Register,
    /// Bytes of frames.
    pub(crate) frames_len: u64,
    /// How long ago it was written, by the wall clock; zero if that was set back since.
    pub(crate) age: Duration,
}

/// Goes through the files in the order of their names, one read each; the caller sets the pace.
/// Files that come or go meanwhile may be seen or not. A directory that cannot be read is an
/// item of its own, so that nobody takes a walk for complete that was not.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    files: &'a ShardFiles,
    fan_outs: std::ops::RangeInclusive<u8>,
    names: std::vec::IntoIter<FileName>,
}

impl ShardFiles {
    /// All published files.
    pub(crate) fn walk(&self) -> Walk<'_> {
        Walk {
            files: self,
            fan_outs: 0..=u8::MAX,
            names: Vec::new().into_iter(),
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Walked, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((data, generation)) = self.names.next() {
                match look(self.files, (data, generation)) {
                    // Removed since the directory was read.
                    Err(Error::Missing) => {}
                    header => {
                        return Some(Ok(Walked {
                            data,
                            generation,
                            header,
                        }));
                    }
                }
            } else {
                match self.files.names_in(self.fan_outs.next()?) {
                    Ok(names) => self.names = names.into_iter(),
                    Err(error) => return Some(Err(error)),
                }
            }
        }
    }
}

fn look(files: &ShardFiles, name: FileName) -> Result<WalkedHeader, Error> {
    let (open, header) = files.check(name)?;
    let stat = rustix::fs::fstat(&open.file).map_err(from_errno)?;
    let written = Duration::new(stat.st_mtime.try_into().unwrap_or(0), 0);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Ok(WalkedHeader {
        register: header.register,
        frames_len: open.frames_len,
        age: now.saturating_sub(written),
    })
}

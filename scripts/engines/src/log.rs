//! The least that group commit needs: one log, checked batches, keys in memory.
//!
//! Stands for the write path of an own engine. It has no compaction and keeps its keys in
//! memory, so its memory, disk and reopen figures are those of a sketch.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};

use anyhow::{Result, anyhow, bail};
use rustix::fs::{FallocateFlags, fallocate};

use crate::engine::{Engine, Row};

/// Grow the file by so much, so that most syncs change no size.
const STEP: u64 = 64 << 20;
/// Batch header: payload length, then the blake3 of position and payload.
const HEADER: usize = 8 + 32;

/// Where a value lies.
type Place = (u64, u32);

struct Tail {
    end: u64,
    allocated: u64,
    failed: bool,
}

/// The sketch.
pub struct Log {
    file: File,
    tail: Mutex<Tail>,
    index: RwLock<BTreeMap<Vec<u8>, Place>>,
}

impl Log {
    /// Opens or makes the log; replays it up to the first batch that is not whole.
    pub fn open(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join("log");
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        File::open(directory)?.sync_all()?;
        if let Some(parent) = directory.parent() {
            File::open(parent)?.sync_all()?;
        }
        let (index, end) = replay(&mut file)?;
        let tail = Tail {
            end,
            allocated: end,
            failed: false,
        };
        Ok(Self {
            file,
            tail: Mutex::new(tail),
            index: RwLock::new(index),
        })
    }

    fn read(&self, (at, length): Place) -> Result<Vec<u8>> {
        let mut value = vec![0; length as usize];
        self.file.read_exact_at(&mut value, at)?;
        Ok(value)
    }
}

fn checked(end: u64, payload: &[u8]) -> blake3::Hash {
    let mut hash = blake3::Hasher::new();
    hash.update(&end.to_le_bytes()).update(payload);
    hash.finalize()
}

fn replay(file: &mut File) -> Result<(BTreeMap<Vec<u8>, Place>, u64)> {
    let (mut index, mut end) = (BTreeMap::new(), 0_u64);
    let mut reader = std::io::BufReader::with_capacity(1 << 20, file.try_clone()?);
    let mut payload = Vec::new();
    loop {
        let mut header = [0; HEADER];
        if reader.read_exact(&mut header).is_err() {
            return Ok((index, end));
        }
        let (length, hash) = header
            .split_first_chunk()
            .ok_or_else(|| anyhow!("header"))?;
        let length = u64::from_le_bytes(*length);
        if length == 0 || length > 1 << 30 {
            return Ok((index, end));
        }
        payload.clear();
        reader.by_ref().take(length).read_to_end(&mut payload)?;
        if payload.len() as u64 != length || checked(end, &payload).as_bytes() != hash {
            return Ok((index, end));
        }
        let base = end + HEADER as u64;
        let mut rest = payload.as_slice();
        while let Some((sizes, body)) = rest.split_first_chunk::<8>() {
            let key_length = u32::from_le_bytes([sizes[0], sizes[1], sizes[2], sizes[3]]) as usize;
            let value_length = u32::from_le_bytes([sizes[4], sizes[5], sizes[6], sizes[7]]);
            let Some((key, body)) = body.split_at_checked(key_length) else {
                bail!("row")
            };
            let at = base + (payload.len() - body.len()) as u64;
            let Some((_, body)) = body.split_at_checked(value_length as usize) else {
                bail!("row")
            };
            index.insert(key.to_vec(), (at, value_length));
            rest = body;
        }
        end = base + length;
    }
}

impl Engine for Log {
    fn commit(&self, rows: &[Row]) -> Result<()> {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.failed {
            bail!("failed before");
        }
        let mut batch = vec![0; HEADER];
        let mut places = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            batch.extend_from_slice(&u32::try_from(key.len())?.to_le_bytes());
            let length = u32::try_from(value.len())?;
            batch.extend_from_slice(&length.to_le_bytes());
            batch.extend_from_slice(key);
            places.push((tail.end + batch.len() as u64, length));
            batch.extend_from_slice(value);
        }
        let (header, payload) = batch.split_at_mut(HEADER);
        header[..8].copy_from_slice(&(payload.len() as u64).to_le_bytes());
        header[8..].copy_from_slice(checked(tail.end, payload).as_bytes());
        let end = tail.end + batch.len() as u64;
        // Failed until proven otherwise: a sync that failed once is never tried again.
        tail.failed = true;
        if end > tail.allocated {
            let more = STEP.max(end - tail.allocated);
            fallocate(&self.file, FallocateFlags::empty(), tail.allocated, more)?;
            tail.allocated += more;
        }
        self.file.write_all_at(&batch, tail.end)?;
        self.file.sync_data()?;
        tail.failed = false;
        tail.end = end;
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for ((key, _), place) in rows.iter().zip(places) {
            index.insert(key.clone(), place);
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let place = index.get(key).copied();
        drop(index);
        place.map(|place| self.read(place)).transpose()
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        for (key, place) in &*index {
            visit(key, &self.read(*place)?);
        }
        Ok(())
    }
}

//! What a twin holds, and what each request does to it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use types::{DataId, Epoch, Kind, Order, Placed, Slot, VersionId};

use crate::contract::{
    Commit, Committed, Discard, Error, Fence, MetaWrite, Row, RowAnswer, Rows, RowsRequest, Scan,
    ScanPage, ScanRow, Settles, ShardRead, Want,
};
use crate::register::Register;

/// Sorts a register's rows: newest born first, then newest order first.
type RowKey = (Reverse<Order>, Reverse<Order>);

#[derive(Debug, Clone)]
struct Stored {
    row: Arc<Row>,
    inline: Option<Bytes>,
    slot: Slot,
    /// In the index.
    damaged: bool,
    /// In the log.
    flipped: bool,
}

/// The rows of one register; never empty.
#[derive(Debug, Clone)]
struct Shelf {
    register: Arc<Register>,
    rows: BTreeMap<RowKey, Stored>,
}

/// What is known to be settled.
#[derive(Debug, Clone, Default)]
struct Marks {
    epochs: BTreeMap<(Slot, Epoch), u64>,
    floors: BTreeMap<Slot, Epoch>,
}

impl Marks {
    fn settled(&self, slot: Slot, order: Order) -> bool {
        let mark = self.epochs.get(&(slot, order.epoch)).copied().unwrap_or(0);
        let floor = self.floors.get(&slot).copied().unwrap_or_default();
        order.sequence <= mark || order.epoch < floor
    }
}

/// The contents of a drive.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    /// By the bytes of the register.
    shelves: BTreeMap<Vec<u8>, Shelf>,
    fences: BTreeMap<Slot, Epoch>,
    files: BTreeMap<DataId, Vec<u8>>,
    /// How many readers each file has.
    held: BTreeMap<DataId, u32>,
    /// Files that no row lists any more, until their last reader has done.
    doomed: BTreeMap<DataId, Vec<u8>>,
    staged: BTreeMap<DataId, Vec<u8>>,
    meta: BTreeMap<Bytes, Bytes>,
    /// As of the last batch.
    marks: Marks,
    peers: BTreeMap<u8, u64>,
    position: u64,
    /// Told since; a crash may forget them.
    marks_told: Option<Marks>,
    peers_told: BTreeMap<u8, u64>,
}

impl Disk {
    pub(super) fn commit(&mut self, commit: Commit) -> Result<Committed, Error> {
        self.raise(commit.fence)?;
        let head = commit.row.head;
        let rows = self
            .shelves
            .get(commit.register.as_bytes())
            .map(|shelf| &shelf.rows);
        let mut same_order = rows.iter().flat_map(|rows| rows.values());
        let same_order = same_order.find(|stored| stored.row.head.order == head.order);
        if same_order.is_some_and(|stored| stored.row != commit.row) {
            return Err(Error::OrderTaken(head.order));
        }
        let here = |data| self.staged.contains_key(data) || self.files.contains_key(data);
        let missing = commit.row.files.iter().find(|data| !here(data));
        if let (Placed::File, Some(data)) = (head.placed, missing) {
            return Err(Error::NotStaged(*data));
        }
        for data in commit.row.files.iter() {
            if let Some(bytes) = self.staged.remove(data) {
                self.files.insert(*data, bytes);
            }
        }
        let Commit {
            fence,
            register,
            row,
            inline,
        } = commit;
        let stored = Stored {
            row,
            inline,
            slot: fence.slot,
            damaged: false,
            flipped: false,
        };
        let shelf = self.shelves.entry(register.as_bytes().to_vec());
        let shelf = shelf.or_insert_with(|| Shelf {
            register: Arc::clone(&register),
            rows: BTreeMap::new(),
        });
        shelf.rows.insert(row_key(head.born, head.order), stored);
        self.batch();
        self.prune(&register);
        Ok(Committed {
            position: self.position,
        })
    }

    pub(super) fn rows(&mut self, request: &RowsRequest) -> Result<Rows, Error> {
        if let Some(fence) = request.raise {
            self.raise(fence)?;
        }
        let none = BTreeMap::new();
        let shelf = self.shelves.get(request.register.as_bytes());
        let rows = shelf.map_or(&none, |shelf| &shelf.rows);
        let wanted = self.wanted(rows, request.want, request.slot)?;
        if matches!(request.want, Want::Exact(..)) && wanted.is_empty() {
            return Err(Error::Missing);
        }
        let likely = wanted
            .iter()
            .position(|stored| stored.row.head.kind != Kind::Tombstone);
        let answer = |(at, stored): (usize, &&Stored)| {
            let mut whole =
                matches!(request.want, Want::All | Want::Exact(..)) || likely == Some(at);
            if whole && stored.flipped {
                if request.want != Want::All {
                    return Err(Error::Corrupt("row has a wrong hash"));
                }
                whole = false;
            }
            Ok(RowAnswer {
                head: stored.row.head,
                settled: self.settled(request.slot, stored),
                row: whole.then(|| Arc::clone(&stored.row)),
                inline: stored.inline.clone().filter(|_| whole),
            })
        };
        wanted.iter().enumerate().map(answer).collect()
    }

    pub(super) fn scan(&self, scan: &Scan) -> Result<ScanPage, Error> {
        let mut page = ScanPage::default();
        let mut start = scan.start.as_slice().max(&scan.prefix).to_vec();
        while let Some(Shelf { register, rows }) = self.first_shelf(&start, &scan.prefix) {
            if page.rows.len() >= scan.rows_max.max(1) {
                page.next = Some(start);
                break;
            }
            let from = offset(page.names.len());
            page.names.extend_from_slice(register.as_bytes());
            let name = from..offset(page.names.len());
            let slot = rows
                .values()
                .next()
                .map_or(Slot::new(0), |stored| stored.slot);
            let wanted = self.wanted(rows, scan.want, slot)?;
            page.rows.extend(wanted.iter().map(|stored| ScanRow {
                register: name.clone(),
                head: stored.row.head,
                settled: self.settled(stored.slot, stored),
            }));
            let group = scan
                .delimiter
                .as_ref()
                .filter(|_| self.lives(&wanted, scan.want));
            let group =
                group.and_then(|delimiter| common_prefix(register, &scan.prefix, delimiter));
            start = match group {
                Some(group) => match successor(group) {
                    Some(next) => next,
                    None => break,
                },
                // Above each of the register's row keys, and below every other register.
                None => [register.as_bytes(), &[0xff; Register::ROW_LEN + 1]].concat(),
            };
        }
        Ok(page)
    }

    pub(super) fn settle(&mut self, settles: Settles) {
        let marks = self.marks_told.get_or_insert_with(|| self.marks.clone());
        for mark in settles.marks {
            let known = marks.epochs.entry((mark.slot, mark.epoch)).or_default();
            *known = mark.settled.max(*known);
        }
        for (slot, floor) in settles.floors {
            let known = marks.floors.entry(slot).or_default();
            *known = floor.max(*known);
        }
        for (place, position) in settles.peers {
            let known = self.peers_told.entry(place).or_default();
            *known = position.max(*known);
        }
    }

    pub(super) fn discard(&mut self, discard: &Discard) -> Result<(), Error> {
        self.raise(discard.fence)?;
        let keys: Vec<_> = discard
            .rows
            .iter()
            .map(|(born, order)| row_key(*born, *order))
            .collect();
        self.take_rows(&discard.register, &keys, &discard.keep);
        self.batch();
        Ok(())
    }

    pub(super) fn staged(&mut self, data: DataId, bytes: Vec<u8>) {
        self.staged.insert(data, bytes);
    }

    /// Holds files for a reader; says which of them are not there for new ones.
    pub(super) fn hold(&mut self, files: &[DataId]) -> Vec<DataId> {
        for data in files {
            *self.held.entry(*data).or_default() += 1;
        }
        let gone = |data: &&DataId| !self.files.contains_key(data);
        files.iter().filter(gone).copied().collect()
    }

    /// A reader has done.
    pub(super) fn release(&mut self, files: &[DataId]) {
        for data in files {
            let readers = self.held.entry(*data).or_default();
            *readers = readers.saturating_sub(1);
            if *readers == 0 {
                self.held.remove(data);
                self.doomed.remove(data);
            }
        }
    }

    /// Forgets all readers, as a crash does.
    pub(super) fn release_all(&mut self) {
        self.held.clear();
        self.doomed.clear();
    }

    /// Reads from a file, or from one that is kept for a reader who does not count it as `gone`.
    pub(super) fn read_shard(&self, read: ShardRead, gone: &[DataId]) -> Result<Bytes, Error> {
        let kept = || self.doomed.get(&read.data);
        let file = self.files.get(&read.data);
        let file = file.or_else(|| kept().filter(|_| !gone.contains(&read.data)));
        let file = file.ok_or(Error::Missing)?;
        let short = Error::Corrupt("shard file is short");
        let from = usize::try_from(read.offset).map_err(|_| short.clone())?;
        let bytes = from.checked_add(read.len).and_then(|to| file.get(from..to));
        bytes.map(Bytes::copy_from_slice).ok_or(short)
    }

    pub(super) fn meta_write(&mut self, writes: Vec<MetaWrite>) {
        for write in writes {
            match write.value {
                Some(value) => self.meta.insert(write.key, value),
                None => self.meta.remove(&write.key),
            };
        }
        self.batch();
    }

    pub(super) fn meta_scan(&self, prefix: &Bytes) -> Vec<(Bytes, Bytes)> {
        let from = self.meta.range(prefix.clone()..);
        let pairs = from.take_while(|(key, _)| key.starts_with(prefix));
        pairs
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    pub(super) fn positions(&self) -> (u64, Vec<(u8, u64)>) {
        (
            self.position,
            self.peers
                .iter()
                .map(|(place, position)| (*place, *position))
                .collect(),
        )
    }

    /// Loses what was told since the last batch.
    pub(super) fn forget_told(&mut self) {
        self.marks_told = None;
        self.peers_told.clear();
    }

    /// Makes what was told since the last batch durable.
    pub(super) fn keep_told(&mut self) {
        if self.marks_told.is_some() || !self.peers_told.is_empty() {
            self.batch();
        }
    }

    /// Makes what was told since the last batch part of one.
    pub(super) fn batch(&mut self) {
        self.position += 1;
        for (place, position) in std::mem::take(&mut self.peers_told) {
            self.peers.insert(
                place,
                position.max(self.peers.get(&place).copied().unwrap_or(0)),
            );
        }
        if let Some(marks) = self.marks_told.take() {
            self.marks = marks;
            let crowded = self.shelves.values().filter(|shelf| shelf.rows.len() > 1);
            let crowded: Vec<_> = crowded.map(|shelf| Arc::clone(&shelf.register)).collect();
            crowded.iter().for_each(|register| self.prune(register));
        }
    }

    /// The shard files that are not removed.
    pub(super) fn files(&self) -> Vec<DataId> {
        self.files.keys().copied().collect()
    }

    /// Makes a row unreadable; `false` if there is none.
    pub(super) fn damage_row(&mut self, register: &Register, born: Order, order: Order) -> bool {
        let stored = self.stored(register, born, order);
        stored.map(|stored| stored.damaged = true).is_some()
    }

    /// Flips a bit of a row in the log; `false` if there is none.
    pub(super) fn flip_row(&mut self, register: &Register, born: Order, order: Order) -> bool {
        let stored = self.stored(register, born, order);
        stored.map(|stored| stored.flipped = true).is_some()
    }

    /// Flips a bit of a row's inline frame; `false` if there is none.
    pub(super) fn flip_inline(
        &mut self,
        register: &Register,
        born: Order,
        order: Order,
        at: usize,
    ) -> bool {
        let stored = self.stored(register, born, order);
        let Some(inline) = stored.and_then(|stored| stored.inline.as_mut()) else {
            return false;
        };
        let mut bytes = inline.to_vec();
        let flipped = flip(&mut bytes, at);
        *inline = bytes.into();
        flipped
    }

    /// Flips a bit of a shard file; `false` if there is none.
    pub(super) fn flip_shard(&mut self, data: DataId, at: usize) -> bool {
        self.files
            .get_mut(&data)
            .is_some_and(|bytes| flip(bytes, at))
    }

    fn raise(&mut self, fence: Fence) -> Result<(), Error> {
        let stored = self.fences.entry(fence.slot).or_default();
        if fence.epoch < *stored {
            return Err(Error::Fenced { stored: *stored });
        }
        if fence.epoch > *stored {
            *stored = fence.epoch;
            self.batch();
        }
        Ok(())
    }

    fn settled(&self, slot: Slot, stored: &Stored) -> bool {
        self.marks_told
            .as_ref()
            .unwrap_or(&self.marks)
            .settled(slot, stored.row.head.order)
    }

    fn wanted<'r>(
        &self,
        rows: &'r BTreeMap<RowKey, Stored>,
        want: Want,
        slot: Slot,
    ) -> Result<Vec<&'r Stored>, Error> {
        let mut wanted = Vec::new();
        let mut last: Option<Order> = None;
        for stored in rows.values() {
            let head = &stored.row.head;
            let first_of_version = last.replace(head.born) != Some(head.born);
            let matches = match want {
                Want::Latest => !(first_of_version && self.decided(&wanted, slot)),
                Want::Born(born) => head.born == born,
                Want::Null => head.version == VersionId::Null,
                Want::All => true,
                Want::Exact(born, order) => (head.born, head.order) == (born, order),
            };
            match matches {
                true if stored.damaged => return Err(Error::Corrupt("row has a wrong hash")),
                true => wanted.push(stored),
                false if want == Want::Latest => break,
                false => {}
            }
        }
        Ok(wanted)
    }

    /// Whether the newest row of the last version in `walked` is settled and no tombstone.
    fn decided(&self, walked: &[&Stored], slot: Slot) -> bool {
        let Some(born) = walked.last().map(|stored| stored.row.head.born) else {
            return false;
        };
        let newest = walked.iter().find(|stored| stored.row.head.born == born);
        newest.is_some_and(|stored| {
            stored.row.head.kind != Kind::Tombstone && self.settled(slot, stored)
        })
    }

    /// Whether a register surely shows in a list: see `suite`, "Delimiters".
    fn lives(&self, rows: &[&Stored], want: Want) -> bool {
        rows.first().is_some_and(|stored| {
            let shown = match stored.row.head.kind {
                Kind::Object => true,
                Kind::Marker => want == Want::All,
                Kind::Tombstone => false,
            };
            shown && self.settled(stored.slot, stored)
        })
    }

    fn first_shelf(&self, start: &[u8], prefix: &[u8]) -> Option<&Shelf> {
        let (name, shelf) = self.shelves.range(start.to_vec()..).next()?;
        name.starts_with(prefix).then_some(shelf)
    }

    fn stored(&mut self, register: &Register, born: Order, order: Order) -> Option<&mut Stored> {
        self.shelves
            .get_mut(register.as_bytes())?
            .rows
            .get_mut(&row_key(born, order))
    }

    /// Drops rows that a settled one of the same version replaces.
    fn prune(&mut self, register: &Register) {
        let Some(Shelf { rows, .. }) = self.shelves.get(register.as_bytes()) else {
            return;
        };
        let replaced = |old: &Stored| {
            rows.values().any(|new| {
                new.row.head.version == old.row.head.version
                    && new.row.head.order > old.row.head.order
                    && self.marks.settled(new.slot, new.row.head.order)
            })
        };
        let gone = rows.iter().filter(|(_, stored)| replaced(stored));
        let gone: Vec<RowKey> = gone.map(|(key, _)| *key).collect();
        self.take_rows(register, &gone, &[]);
    }

    fn take_rows(&mut self, register: &Register, keys: &[RowKey], keep: &[DataId]) {
        let Some(Shelf { rows, .. }) = self.shelves.get_mut(register.as_bytes()) else {
            return;
        };
        let gone: Vec<Stored> = keys.iter().filter_map(|key| rows.remove(key)).collect();
        if rows.is_empty() {
            self.shelves.remove(register.as_bytes());
        }
        for data in gone.iter().flat_map(|stored| stored.row.files.iter()) {
            if !self.lists(register, data)
                && !keep.contains(data)
                && let Some(bytes) = self.files.remove(data)
                && self.held.contains_key(data)
            {
                self.doomed.insert(*data, bytes);
            }
        }
    }

    /// Whether a row of the register lists the file, or one of the parts that may become this
    /// object, or of the object that this part may become.
    fn lists(&self, register: &Register, data: &DataId) -> bool {
        let prefix = match (register.object_of_upload(), register.parts_of_object()) {
            (Some(object), _) => object.as_bytes().to_vec(),
            (None, parts) => parts.unwrap_or_default(),
        };
        let own = self.shelves.get(register.as_bytes());
        let others = self.shelves.range(prefix.clone()..);
        let others = others.take_while(|(name, _)| name.starts_with(&prefix));
        let rows = own.into_iter().chain(others.map(|(_, shelf)| shelf));
        rows.flat_map(|shelf| shelf.rows.values())
            .any(|stored| stored.row.files.contains(data))
    }
}

fn row_key(born: Order, order: Order) -> RowKey {
    (Reverse(born), Reverse(order))
}

fn offset(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn flip(bytes: &mut [u8], at: usize) -> bool {
    bytes.get_mut(at).map(|byte| *byte ^= 1).is_some()
}

/// The register's name up to and including the first delimiter behind the prefix, in its key.
fn common_prefix<'r>(register: &'r Register, prefix: &[u8], delimiter: &[u8]) -> Option<&'r [u8]> {
    let name = register
        .as_bytes()
        .get(..Register::HEAD_LEN + register.key().len())?;
    let from = prefix.len().max(Register::HEAD_LEN);
    let at = name
        .get(from..)?
        .windows(delimiter.len().max(1))
        .position(|part| part == delimiter)?;
    name.get(..from + at + delimiter.len())
}

/// The lowest bytes above everything that begins with `prefix`.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let len = prefix.iter().rposition(|byte| *byte != 0xff)? + 1;
    let mut next = prefix.get(..len)?.to_vec();
    *next.last_mut()? += 1;
    Some(next)
}

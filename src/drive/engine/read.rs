//! Reading rows, pages of them, and small values.

use std::sync::Arc;

use bytes::Bytes;
use types::{DataId, Head, Kind, Order, Slot, VersionId};

use super::head::{Value, decode_head, decode_value};
use super::keys;
use super::settled::Settled;
use super::shared::{Part, Shared};
use super::stats::Counters;
use super::tree::Tree;
use crate::contract::{
    Error, Row, RowAnswer, Rows, RowsRequest, Scan, ScanPage, ScanRow, ShardRead, Want,
};
use crate::fault::UNREADABLE;
use crate::index::Access;
use crate::register::Register;

/// How often a row that moves away while it is read is looked up again.
const TRIES: usize = 8;

/// Collects the rows that a request wants, newest first.
struct Chooser {
    want: Want,
    born: Option<Order>,
    decided: bool,
}

/// What becomes of a row in a walk.
enum Choice {
    Take,
    Skip,
    Stop,
}

impl Chooser {
    fn new(want: Want) -> Self {
        Self {
            want,
            born: None,
            decided: false,
        }
    }

    /// Looks at the next row of the register. `settled` is asked only where it matters.
    fn choose(&mut self, head: &Head, settled: impl FnOnce() -> bool) -> Choice {
        match self.want {
            Want::Latest => {
                if self.born != Some(head.born) {
                    if self.decided {
                        return Choice::Stop;
                    }
                    self.born = Some(head.born);
                    self.decided = head.kind != Kind::Tombstone && settled();
                }
                Choice::Take
            }
            Want::Born(born) if head.born == born => Choice::Take,
            Want::Born(born) if head.born < born => Choice::Stop,
            Want::Null if head.version == VersionId::Null => Choice::Take,
            Want::All => Choice::Take,
            Want::Exact(born, order) if (head.born, head.order) == (born, order) => Choice::Take,
            Want::Born(_) | Want::Null | Want::Exact(..) => Choice::Skip,
        }
    }
}

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    /// The row is no longer where the index said.
    Moved,
    /// It would have to wait for the disk.
    NotNow,
    /// For good.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A row of the log, and its frame.
type Found = (Option<Arc<Row>>, Option<Bytes>);

const FOREIGN_ROW: Error = Error::Corrupt("row in the log is not the one that the index names");

impl Shared {
    /// Reads rows; the fence was raised before. May wait for the disk.
    pub(super) fn read_rows(&self, request: &RowsRequest) -> Result<Rows, Error> {
        // A row may move or go between its lookup and its reading: then the index says so now.
        for _ in 0..TRIES {
            match self.try_rows(&self.tree(), request, Access::Point) {
                Ok(rows) => return Ok(rows),
                Err(Refusal::Failed(error)) => return Err(self.count(error)),
                Err(Refusal::Moved | Refusal::NotNow) => {}
            }
        }
        Err(Error::Timeout)
    }

    /// Reads rows if that takes no disk: `None` if it does, or is not sure.
    pub(super) fn read_rows_now(&self, request: &RowsRequest) -> Option<Rows> {
        self.try_rows(&self.tree(), request, Access::Now).ok()
    }

    /// Reads a part of a shard file of a generation above that one. May wait for the disk.
    pub(super) fn read_shard(&self, read: &ShardRead, above: Option<u32>) -> Result<Bytes, Error> {
        let generation = self.generation_to_read(read.data, above, Access::Point)?;
        let bytes = self
            .shards
            .read(read.data, generation, read.offset, read.len);
        bytes.map_err(|error| self.count(error))
    }

    /// As [`Shared::read_shard`], if that takes no disk; else `None`.
    pub(super) fn read_shard_now(&self, read: &ShardRead, above: Option<u32>) -> Option<Bytes> {
        let generation = self.generation_to_read(read.data, above, Access::Now);
        let generation = generation.ok()?;
        self.shards
            .read_now(read.data, generation, read.offset, read.len)
    }

    /// The generation of a file that counts or, when its row went while it was read, counted last.
    fn generation_to_read(
        &self,
        data: DataId,
        above: Option<u32>,
        access: Access,
    ) -> Result<u32, Error> {
        let generation = self.generation(data, access)?;
        let doomed = self.doomed.lock();
        let last = doomed.range((data, 0)..=(data, u32::MAX)).next_back();
        let last = last.map_or(generation, |(_, last)| generation.max(*last));
        match above {
            Some(above) if last <= above => Err(Error::Missing),
            _ => Ok(last),
        }
    }

    fn count(&self, error: Error) -> Error {
        if matches!(error, Error::Corrupt(_)) {
            Counters::add(&self.counters.corrupt_reads, 1);
            if self.tree().runs.iter().any(|run| run.is_damaged()) {
                self.chores.add(|chores| chores.tidy = true);
            }
        }
        if error == UNREADABLE {
            self.chores.add(|chores| chores.doubted = true);
        }
        error
    }

    fn try_rows(
        &self,
        tree: &Tree,
        request: &RowsRequest,
        access: Access,
    ) -> Result<Rows, Refusal> {
        let register = request.register.as_bytes();
        let hash = self.seal.register_hash(register);
        let mut chooser = Chooser::new(request.want);
        let mut found: Vec<Value> = Vec::new();
        tree.rows(register, hash, access, |_, value| {
            let settled = || self.covers(value.slot, value.head.order);
            match chooser.choose(&value.head, settled) {
                Choice::Take => found.push(value),
                Choice::Skip => {}
                Choice::Stop => return false,
            }
            true
        })?;
        if matches!(request.want, Want::Exact(..)) && found.is_empty() {
            return Err(Refusal::Failed(Error::Missing));
        }
        let likely = found
            .iter()
            .position(|value| value.head.kind != Kind::Tombstone);
        let mut rows = Vec::with_capacity(found.len());
        for (at, value) in found.iter().enumerate() {
            let whole = matches!(request.want, Want::All | Want::Exact(..)) || likely == Some(at);
            let (row, inline) = match whole {
                true => self.row_or_gap(request, value, access)?,
                false => (None, None),
            };
            let settled = self.covers(value.slot, value.head.order);
            rows.push(RowAnswer {
                head: value.head,
                settled,
                row,
                inline,
            });
        }
        Ok(rows)
    }

    /// A row, or nothing where a whole history is wanted and the row is damaged: the index tells
    /// all the same that it is one of this drive's.
    fn row_or_gap(
        &self,
        request: &RowsRequest,
        value: &Value,
        access: Access,
    ) -> Result<Found, Refusal> {
        let register = request.register.as_bytes();
        let read = match self.read_row(register, value, access) {
            Err(Refusal::Moved) if self.is_there(register, value)? => {
                Err(Error::Corrupt("row lies in a segment that is gone").into())
            }
            read => read,
        };
        match read {
            Err(Refusal::Failed(error @ Error::Corrupt(_))) if request.want == Want::All => {
                self.count(error);
                Ok((None, None))
            }
            read => read,
        }
    }

    /// Whether the index leads to the same place still.
    fn is_there(&self, register: &[u8], value: &Value) -> Result<bool, Error> {
        let (hash, mut there) = (self.seal.register_hash(register), false);
        self.tree()
            .rows(register, hash, Access::Point, |_, current| {
                there |= current.at == value.at;
                !there
            })?;
        Ok(there)
    }

    fn read_row(&self, register: &[u8], value: &Value, access: Access) -> Result<Found, Refusal> {
        let read = match access {
            Access::Now => self.read_log_now(value.at, Part::Whole),
            Access::Point | Access::Scan => self.read_log(value.at, Part::Whole).map(Some),
        };
        let bytes = match read {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(Refusal::NotNow),
            Err(Error::Missing) => return Err(Refusal::Moved),
            Err(error) => return Err(error.into()),
        };
        let entry = bytes.row(&self.row_key)?;
        let head = value.head;
        // The index and the log must say the same of the row.
        let same = entry.register == register
            && (entry.born, entry.order) == (head.born, head.order)
            && decode_head(entry.head, head.born, head.order) == Some((head, value.slot));
        if !same {
            return Err(FOREIGN_ROW.into());
        }
        let row = Row {
            head,
            files: entry.file_ids().collect(),
            tail: Bytes::copy_from_slice(entry.tail),
        };
        let inline = (value.at.inline_len > 0).then(|| bytes.into_frame());
        Ok((Some(Arc::new(row)), inline))
    }

    fn covers(&self, slot: Slot, order: Order) -> bool {
        self.settled.read().covers(slot, order)
    }

    /// Reads a page of a scan.
    pub(super) fn read_page(&self, scan: &Scan) -> Result<ScanPage, Error> {
        self.try_page(scan).map_err(|error| self.count(error))
    }

    fn try_page(&self, scan: &Scan) -> Result<ScanPage, Error> {
        let start = scan.start.as_slice().max(&scan.prefix).max(&keys::ROWS);
        let mut walk = self.tree().walk(start)?;
        let mut page = Page::new(scan);
        loop {
            let next = walk.next()?;
            let Some((key, value)) = next.filter(|(key, _)| key.starts_with(&scan.prefix)) else {
                // The last register of all, or of the prefix.
                page.end_register(&self.settled.read());
                return Ok(page.page);
            };
            let Some((register, _)) = key.split_last_chunk::<{ Register::ROW_LEN }>() else {
                continue;
            };
            if page.is_new(register) {
                let skip = page.end_register(&self.settled.read());
                if let Some(to) = skip.filter(|to| key < to.as_slice()) {
                    if page.is_full() {
                        page.page.next = Some(to);
                        return Ok(page.page);
                    }
                    walk.seek(&to)?;
                    continue;
                }
                if page.is_full() {
                    page.page.next = Some(register.to_vec());
                    return Ok(page.page);
                }
                page.begin_register(register);
            }
            let value =
                decode_value(key, value).ok_or(Error::Corrupt("index entry does not parse"))?;
            page.row(&value, &self.settled.read());
        }
    }

    /// Reads the small store.
    pub(super) fn read_meta(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, Error> {
        self.try_meta(prefix).map_err(|error| self.count(error))
    }

    fn try_meta(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let start = keys::meta_key(prefix);
        let mut walk = self.tree().walk(&start)?;
        let mut found = Vec::new();
        while let Some((key, value)) = walk.next()? {
            let Some(name) = keys::meta_name(key).filter(|_| key.starts_with(&start)) else {
                break;
            };
            let value =
                keys::parse_meta(value).ok_or(Error::Corrupt("index entry does not parse"))?;
            found.push((Bytes::copy_from_slice(name), Bytes::copy_from_slice(value)));
        }
        Ok(found)
    }
}

/// A page in the making.
struct Page<'s> {
    scan: &'s Scan,
    page: ScanPage,
    /// Where the register's bytes begin in the page's names, and its first row.
    register: Option<(usize, usize)>,
    chooser: Chooser,
    stopped: bool,
    slot: Slot,
}

impl<'s> Page<'s> {
    fn new(scan: &'s Scan) -> Self {
        Self {
            scan,
            page: ScanPage::default(),
            register: None,
            chooser: Chooser::new(scan.want),
            stopped: false,
            slot: Slot::new(0),
        }
    }

    fn current(&self) -> Option<&[u8]> {
        let (from, _) = self.register?;
        self.page.names.get(from..)
    }

    fn is_new(&self, register: &[u8]) -> bool {
        self.current() != Some(register)
    }

    fn is_full(&self) -> bool {
        self.page.rows.len() >= self.scan.rows_max.max(1)
    }

    fn begin_register(&mut self, register: &[u8]) {
        self.register = Some((self.page.names.len(), self.page.rows.len()));
        self.page.names.extend_from_slice(register);
        self.chooser = Chooser::new(self.scan.want);
        self.stopped = false;
    }

    fn row(&mut self, value: &Value, settled: &Settled) {
        let is_settled = settled.covers(value.slot, value.head.order);
        if self.stopped {
            return;
        }
        match self.chooser.choose(&value.head, || is_settled) {
            Choice::Take => {
                let from = self.register.map_or(0, |(from, _)| from);
                let register = offset(from)..offset(self.page.names.len());
                self.slot = value.slot;
                self.page.rows.push(ScanRow {
                    register,
                    head: value.head,
                    settled: is_settled,
                });
            }
            Choice::Skip => {}
            Choice::Stop => self.stopped = true,
        }
    }

    /// Ends a register. Says where to go on if names may be skipped behind it.
    fn end_register(&mut self, settled: &Settled) -> Option<Vec<u8>> {
        let (from, first_row) = self.register.take()?;
        let delimiter = self.scan.delimiter.as_deref()?;
        let newest = self.page.rows.get(first_row)?;
        let shown = match newest.head.kind {
            Kind::Object => true,
            Kind::Marker => self.scan.want == Want::All,
            Kind::Tombstone => false,
        };
        if !shown || !settled.covers(self.slot, newest.head.order) {
            return None;
        }
        let register = self.page.names.get(from..)?;
        successor(common_prefix(register, &self.scan.prefix, delimiter)?)
    }
}

fn offset(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A register's name up to and including the first delimiter behind the prefix, in its key.
fn common_prefix<'r>(register: &'r [u8], prefix: &[u8], delimiter: &[u8]) -> Option<&'r [u8]> {
    let name = register.get(Register::HEAD_LEN..)?;
    let key = name.split(|byte| *byte == 0).next()?;
    let from = prefix.len().saturating_sub(Register::HEAD_LEN);
    let at = find(key.get(from..)?, delimiter)?;
    register.get(..Register::HEAD_LEN + from + at + delimiter.len())
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes
        .windows(part.len().max(1))
        .position(|window| window == part)
}

/// The lowest bytes above everything that begins with `prefix`.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let len = prefix.iter().rposition(|byte| *byte != 0xff)? + 1;
    let mut next = prefix.get(..len)?.to_vec();
    *next.last_mut()? += 1;
    Some(next)
}

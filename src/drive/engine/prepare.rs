//! What each request puts into a batch, and what it is refused for.

use std::sync::Arc;

use types::{DataId, Kind, Placed};

use super::committer::{Change, Committer, Room};
use super::entry::{self, Standing};
use super::head::{self, HEAD_LEN, Location, Value};
use super::keys;
use super::queue::MovedRow;
use super::row::{self, Freed, Written};
use super::shared::Part;
use crate::contract::{Commit, Discard, Error, Fence, MetaWrite, Row, Settles};
use crate::index::Access;
use crate::register::{Register, Space};

/// A row of a register as of the batch in the making.
pub(super) struct Held {
    pub(super) key: Vec<u8>,
    pub(super) value: Value,
    /// The row itself, where it is not yet in the log.
    row: Option<Arc<Row>>,
}

impl Committer {
    /// Takes in what was told since the last batch, and drops what is superseded by it.
    pub(super) fn take_in(&mut self, told: Settles) {
        let mut slots = Vec::new();
        for mark in &told.marks {
            if self.settled.mark(mark) {
                entry::put_mark(&mut self.pending.buffer, mark);
                slots.push(mark.slot);
            }
        }
        for (slot, epoch) in told.floors {
            if self.settled.floor(slot, epoch) {
                entry::put_floor(&mut self.pending.buffer, slot, epoch);
                slots.push(slot);
            }
        }
        for (place, position) in told.peers {
            self.settled.peer(place, position);
        }
        slots.sort_unstable();
        slots.dedup();
        for slot in slots {
            for register in self.crowd.take(slot, &self.settled) {
                self.supersede(&register);
            }
        }
    }

    /// Refuses a lower fence, and puts a higher one into the batch.
    pub(super) fn raise(&mut self, fence: Fence, room: Room) -> Result<(), Error> {
        let Some(stored) = self.fences.get_mut(fence.slot.index()) else {
            return Err(Error::Corrupt("no such slot"));
        };
        if fence.epoch < *stored {
            return Err(Error::Fenced { stored: *stored });
        }
        if fence.epoch > *stored {
            if room < Room::Scarce {
                return Err(Error::Full);
            }
            *stored = fence.epoch;
            entry::put_fence(&mut self.pending.buffer, fence.slot, fence.epoch);
            self.pending.raised.push((fence.slot, fence.epoch));
        }
        Ok(())
    }

    /// A row.
    pub(super) fn prepare_commit(&mut self, commit: Commit, room: Room) -> Result<(), Error> {
        self.raise(commit.fence, room)?;
        let Commit {
            fence,
            register,
            row,
            inline,
        } = commit;
        if room < Room::Scarce || room == Room::Scarce && row.head.kind == Kind::Object {
            return Err(Error::Full);
        }
        let order = row.head.order;
        let hash = self.shared.seal.register_hash(register.as_bytes());
        let fresh = self
            .highest
            .get(fence.slot.index())
            .is_some_and(|highest| order > *highest);
        let mut replaces = None;
        if !fresh {
            replaces = self.same_row(&register, &row)?;
        }
        self.publish(&row)?;
        if let Some(highest) = self.highest.get_mut(fence.slot.index()) {
            *highest = order.max(*highest);
        }
        let crowded = !fresh || self.tree.may_hold(register.as_bytes(), hash);
        let head = head::encode_head(&row.head, fence.slot);
        let key = &self.shared.row_key;
        let written = row::put_row(
            &mut self.pending.buffer,
            key,
            &register,
            &row,
            &head,
            inline.as_ref(),
            replaces,
        );
        let at = self.location(written);
        self.put_row(
            &[register.as_bytes(), &row_suffix(&row)],
            &head,
            at,
            Some(row),
        );
        self.pending.freed.extend(replaces);
        self.pending.commits += 1;
        if crowded && (!fresh || self.settled.covers(fence.slot, order)) {
            self.supersede(&register);
        }
        if crowded && !self.settled.covers(fence.slot, order) {
            self.pending.crowded.push((fence.slot, order, register));
        }
        Ok(())
    }

    fn location(&self, written: Written) -> Location {
        let begin = self.log.end();
        Location {
            segment: begin.segment,
            offset: begin.offset + super::bytes::len32(written.offset),
            row_len: written.row_len,
            inline_len: written.inline_len,
        }
    }

    fn put_row(
        &mut self,
        key: &[&[u8]],
        head: &[u8; HEAD_LEN],
        at: Location,
        row: Option<Arc<Row>>,
    ) {
        let bytes = head::encode_value(head, at);
        self.pending.added += at.bytes();
        self.pending.effect(key, Change::Put(bytes, row));
    }

    /// What the row replaces if it is here already; refuses another row under the same order.
    fn same_row(&self, register: &Register, row: &Row) -> Result<Option<Freed>, Error> {
        // What cannot be read cannot be compared: heal must be able to write it again.
        let rows = self.rows_of(register).unwrap_or_default();
        let Some(held) = rows
            .iter()
            .find(|held| held.value.head.order == row.head.order)
        else {
            return Ok(None);
        };
        let taken = Err(Error::OrderTaken(row.head.order));
        if held.value.head != row.head {
            return taken;
        }
        match &held.row {
            Some(here) if **here != *row => return taken,
            Some(_) => {}
            None => {
                let bytes = self.shared.read_log(held.value.at, Part::Row);
                if let Ok(bytes) = &bytes
                    && let Ok(here) = bytes.row(&self.shared.row_key)
                    && (here.tail != &row.tail[..]
                        || !here.file_ids().eq(row.files.iter().copied()))
                {
                    return taken;
                }
            }
        }
        Ok(Some(Freed::of(held.value.at)))
    }

    /// Gives the row's staged files their names.
    fn publish(&mut self, row: &Row) -> Result<(), Error> {
        if !matches!(row.head.placed, Placed::File | Placed::Parts) {
            return Ok(());
        }
        for data in row.files.iter().copied() {
            if self.shared.shards.staged_len(data).is_some() {
                self.publish_file(data)?;
            } else if row.head.placed == Placed::File {
                if !self.has_file(data) {
                    return Err(Error::NotStaged(data));
                }
                // It may have got its name in a life that ended before that was synced.
                self.pending.published.push(self.shared.shards.named(data)?);
            }
        }
        Ok(())
    }

    fn has_file(&self, data: DataId) -> bool {
        let Ok(generation) = self.generation(data) else {
            return false;
        };
        let generation = generation.unwrap_or(0);
        let doomed = self.shared.doomed.lock().contains(&(data, generation))
            || self.pending.doomed.contains(&(data, generation));
        !doomed && self.shared.shards.len(data, generation).is_ok()
    }

    fn publish_file(&mut self, data: DataId) -> Result<(), Error> {
        let shards = Arc::clone(&self.shared.shards);
        let known = self.generation(data)?;
        let generation = match known {
            None if shards.len(data, 0) == Err(Error::Missing) => 0,
            // What lies there already, even an orphan, is never replaced.
            _ => {
                let last = shards.generations(data)?.last().copied().max(known);
                last.map_or(0, |last| last + 1)
            }
        };
        let published = shards.publish(data, generation)?;
        self.pending.published.push(published);
        if generation > 0 {
            entry::put_file(&mut self.pending.buffer, data, Some(generation));
            let value = keys::file_value(generation);
            self.pending
                .effect(&[&keys::file_key(data)], Change::Raw(value));
            self.pending.doomed.push((data, known.unwrap_or(0)));
        }
        Ok(())
    }

    /// The generation of a file that counts, if it was ever another than 0.
    pub(super) fn generation(&self, data: DataId) -> Result<Option<u32>, Error> {
        let key = keys::file_key(data);
        let unknown = Error::Corrupt("index entry does not parse");
        let value = match self.in_batch(&key) {
            Some(Change::Raw(value)) => Some(value.clone()),
            Some(_) => None,
            None => self.tree.find(&self.shared.seal, &key, Access::Point)?,
        };
        value
            .map(|value| keys::parse_file(&value).ok_or(unknown))
            .transpose()
    }

    /// What this batch does to a key, if anything.
    fn in_batch(&self, key: &[u8]) -> Option<&Change> {
        let effects = self.pending.effects.iter().rev();
        effects
            .into_iter()
            .find(|effect| self.pending.key(effect) == key)
            .map(|effect| &effect.change)
    }

    /// The rows of a register, newest first, this batch included.
    pub(super) fn rows_of(&self, register: &Register) -> Result<Vec<Held>, Error> {
        let bytes = register.as_bytes();
        let mut rows = Vec::new();
        self.tree.rows(
            bytes,
            self.shared.seal.register_hash(bytes),
            Access::Point,
            |key, value| {
                rows.push(Held {
                    key: key.to_vec(),
                    value,
                    row: None,
                });
                true
            },
        )?;
        for effect in &self.pending.effects {
            let key = self.pending.key(effect);
            if !super::tree::is_row_of(bytes, key) {
                continue;
            }
            rows.retain(|held| held.key != key);
            if let Change::Put(value, row) = &effect.change
                && let Some(value) = head::decode_value(key, value)
            {
                let (key, row) = (key.to_vec(), row.clone());
                rows.push(Held { key, value, row });
            }
        }
        rows.sort_by(|left, right| left.key.cmp(&right.key));
        Ok(rows)
    }

    /// Writes to the small store. No server starts without them: they have space of their own.
    pub(super) fn prepare_meta(&mut self, writes: &[MetaWrite], room: Room) -> Result<(), Error> {
        if room < Room::Intent {
            return Err(Error::Full);
        }
        for write in writes {
            entry::put_meta(&mut self.pending.buffer, &write.key, write.value.as_deref());
            let change = match &write.value {
                Some(value) => Change::Raw(keys::meta_value(value)),
                None => Change::Remove,
            };
            self.pending.effect(&[&keys::meta_key(&write.key)], change);
        }
        Ok(())
    }

    /// Rows that the caller may take away.
    pub(super) fn prepare_discard(&mut self, discard: &Discard, room: Room) -> Result<(), Error> {
        self.raise(discard.fence, room)?;
        if room < Room::Scarce {
            return Err(Error::Full);
        }
        let rows = self.rows_of(&discard.register)?;
        let named = |held: &Held| {
            let head = &held.value.head;
            discard.rows.contains(&(head.born, head.order))
        };
        let (gone, rest): (Vec<Held>, Vec<Held>) = rows.into_iter().partition(named);
        self.take_away(&discard.register, &gone, &rest, &discard.keep);
        Ok(())
    }

    /// Drops the rows of a register that a settled one of the same version replaces.
    pub(super) fn supersede(&mut self, register: &Register) {
        // Unreadable for now: found again when its runs are merged.
        let Ok(rows) = self.rows_of(register) else {
            return;
        };
        let settled = |held: &Held| self.settled.covers(held.value.slot, held.value.head.order);
        let newer: Vec<_> = rows
            .iter()
            .filter(|held| settled(held))
            .map(|held| held.value.head)
            .collect();
        let replaced = |held: &Held| {
            let head = &held.value.head;
            newer
                .iter()
                .any(|newer| newer.version == head.version && newer.order > head.order)
        };
        if rows.iter().any(replaced) {
            let (gone, rest): (Vec<Held>, Vec<Held>) = rows.into_iter().partition(replaced);
            self.take_away(register, &gone, &rest, &[]);
        }
    }

    /// Takes rows away, and their files unless `rest` or the caller needs them.
    fn take_away(&mut self, register: &Register, gone: &[Held], rest: &[Held], keep: &[DataId]) {
        for held in gone {
            let freed = Freed::of(held.value.at);
            entry::put_drop(&mut self.pending.buffer, &held.key, freed);
            self.pending.effect(&[&held.key], Change::Remove);
            self.pending.freed.push(freed);
        }
        let Some(files) = self.files_of(gone) else {
            return;
        };
        let files: Vec<DataId> = files
            .into_iter()
            .filter(|data| !keep.contains(data))
            .collect();
        if files.is_empty() {
            return;
        }
        // A list that cannot be read could hold any of them. What stays behind is an orphan.
        let Some(mut listed) = self.files_of(rest) else {
            return;
        };
        let of_parts = |held: &Held| held.value.head.placed == Placed::Parts;
        if register.space() == Space::Parts || gone.iter().any(of_parts) {
            let Ok(elsewhere) = self.listed_elsewhere(register) else {
                return;
            };
            listed.extend(elsewhere);
        }
        for data in files.into_iter().filter(|data| !listed.contains(data)) {
            self.doom(data);
        }
    }

    /// The files that parts share with their object, as far as the other ones list them: an upload
    /// that is completed may still be there, and be completed again.
    fn listed_elsewhere(&self, register: &Register) -> Result<Vec<DataId>, Error> {
        if let Some(object) = register.object_of_upload() {
            let rows = self.rows_of(&object)?;
            let unread = Error::Corrupt("a row that lists files cannot be read");
            return self.files_of(&rows).ok_or(unread);
        }
        let mut files = Vec::new();
        let prefix = register.parts_of_object().unwrap_or_default();
        let mut listed = |key: &[u8], value: &[u8]| {
            let value = head::decode_value(key, value);
            files.extend(value.map(|value| value.head.data));
        };
        let mut walk = self.tree.walk(&prefix)?;
        while let Some((key, value)) = walk.next()? {
            if !key.starts_with(&prefix) {
                break;
            }
            if self.in_batch(key).is_none() {
                listed(key, value);
            }
        }
        for effect in &self.pending.effects {
            let key = self.pending.key(effect);
            if let Some(Change::Put(value, _)) =
                self.in_batch(key).filter(|_| key.starts_with(&prefix))
            {
                listed(key, value);
            }
        }
        Ok(files)
    }

    fn doom(&mut self, data: DataId) {
        let Ok(generation) = self.generation(data) else {
            return;
        };
        if generation.is_some() {
            entry::put_file(&mut self.pending.buffer, data, None);
            self.pending
                .effect(&[&keys::file_key(data)], Change::Remove);
        }
        self.pending.doomed.push((data, generation.unwrap_or(0)));
    }

    /// The files that rows list; `None` if one of them cannot be read.
    fn files_of(&self, rows: &[Held]) -> Option<Vec<DataId>> {
        let mut files = Vec::new();
        for held in rows {
            match (held.value.head.placed, &held.row) {
                (Placed::Nowhere | Placed::Inline, _) => {}
                (Placed::File, None) => files.push(held.value.head.data),
                (_, Some(row)) => files.extend(row.files.iter().copied()),
                (Placed::Parts, None) => {
                    let bytes = self.shared.read_log(held.value.at, Part::Row).ok()?;
                    files.extend(bytes.row(&self.shared.row_key).ok()?.file_ids());
                }
            }
        }
        Some(files)
    }

    /// Rows that the collector wants elsewhere, if they still are where it found them.
    pub(super) fn prepare_moves(&mut self, moves: &[MovedRow], room: Room) -> Result<(), Error> {
        if room < Room::Collection {
            return Err(Error::Full);
        }
        for moved in moves {
            let current = match self.in_batch(&moved.key) {
                Some(Change::Put(value, ..)) => Some(value.to_vec()),
                Some(_) => None,
                None => self
                    .tree
                    .find(&self.shared.seal, &moved.key, Access::Point)?,
            };
            let Some(current) =
                current.filter(|value| head::decode_location(value) == Some(moved.at))
            else {
                continue;
            };
            let unknown = Error::Corrupt("index entry does not parse");
            let bytes = current.first_chunk::<HEAD_LEN>().ok_or(unknown)?;
            let written = row::put_moved(&mut self.pending.buffer, &moved.bytes, moved.at);
            let at = self.location(written);
            self.put_row(&[&moved.key], bytes, at, None);
            self.pending.freed.push(Freed::of(moved.at));
        }
        Ok(())
    }

    /// Whether the drive votes from now on.
    pub(super) fn prepare_standing(&mut self, standing: Standing, room: Room) -> Result<(), Error> {
        if room < Room::Scarce {
            return Err(Error::Full);
        }
        let damaged = self.shared.chores.look(|chores| chores.damaged);
        if damaged && standing == Standing::Voting {
            return Err(Error::Corrupt("the next start would find the damage again"));
        }
        entry::put_standing(&mut self.pending.buffer, standing);
        self.pending.standing = Some(standing);
        Ok(())
    }
}

/// The last 32 bytes of a row's index key.
fn row_suffix(row: &Row) -> [u8; Register::ROW_LEN] {
    let mut suffix = [0; Register::ROW_LEN];
    suffix[..16].copy_from_slice(&row.head.born.to_bytes().map(|byte| !byte));
    suffix[16..].copy_from_slice(&row.head.order.to_bytes().map(|byte| !byte));
    suffix
}

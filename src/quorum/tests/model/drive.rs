//! The drives of the model: a few lines that keep the promises that the rules ask of a drive, or
//! break one of them.

use crate::config::{Config, Mutant};
use crate::row::{Row, Rows, present, rows};
use crate::state::{Drive, Kind, Message};

/// Whether the drive took it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    Yes,
    Refused,
}

impl Drive {
    /// Rule 2. Refuses a lower fence, stores a higher one.
    pub(crate) fn raise(&mut self, fence: u8, config: &Config) -> Taken {
        if self.fence > fence && !config.has(Mutant::NoFence) {
            return Taken::Refused;
        }
        if !config.has(Mutant::FenceForgotten) {
            self.fence = self.fence.max(fence);
        }
        Taken::Yes
    }

    pub(crate) fn receive(&mut self, message: &Message, config: &Config) -> Taken {
        let fenced = !matches!(message.kind, Kind::Settle | Kind::Through);
        if fenced && self.raise(message.fence, config) == Taken::Refused {
            return Taken::Refused;
        }
        let row = message.row;
        match message.kind {
            Kind::Commit => return self.commit(row, config),
            Kind::Settle => self.settle(|held| held.same(row), config),
            Kind::Through => {
                let covered =
                    |held: Row| held.epoch() == row.epoch() && held.order() <= row.order();
                self.settle(covered, config);
            }
            Kind::Collect => self.keep(|held| held.order() > row.order()),
            Kind::Discard => self.keep(|held| !held.same(row)),
        }
        Taken::Yes
    }

    /// Whether a row finds a place: the model holds few. What does not is late.
    pub(crate) fn has_room(&self, row: Row) -> bool {
        present(&self.rows).count() < self.rows.len()
            || present(&self.rows).any(|held| held.same(row))
    }

    /// Adds a row; keeps older ones (rule 6). The same order with other data is refused.
    pub(crate) fn commit(&mut self, row: Row, config: &Config) -> Taken {
        if let Some(held) = present(&self.rows).find(|held| held.order() == row.order()) {
            return if held.same(row) {
                Taken::Yes
            } else {
                Taken::Refused
            };
        }
        let replaced = |held: Row| held.settled() && held.order() > row.order();
        if !config.versioned && present(&self.rows).any(replaced) {
            return Taken::Yes;
        }
        if config.has(Mutant::DropOlder) {
            self.keep(|held| held.order() > row.order());
        }
        let with = present(&self.rows)
            .chain([row.with_settled(false)])
            .collect();
        self.rows = rows(with);
        Taken::Yes
    }

    /// Marks rows as settled, and drops what the newest of them replaces.
    fn settle(&mut self, covered: impl Fn(Row) -> bool, config: &Config) {
        for row in &mut self.rows {
            if row.is_some() && covered(*row) {
                *row = row.with_settled(true);
            }
        }
        let newest = present(&self.rows)
            .filter(|row| row.settled())
            .map(Row::order)
            .max();
        if let (Some(newest), false) = (newest, config.versioned) {
            self.keep(|held| held.order() >= newest);
        }
    }

    fn keep(&mut self, keep: impl Fn(Row) -> bool) {
        self.rows = rows(present(&self.rows).filter(|row| keep(*row)).collect());
    }

    /// What it answers when asked for what is current: down to the first version whose newest row
    /// is settled and alive.
    pub(crate) fn current(&self, alive: impl Fn(Row) -> bool) -> Rows {
        let (mut answer, mut last): (Vec<Row>, Option<Row>) = (Vec::new(), None);
        for row in present(&self.rows) {
            if let Some(newest) = last.filter(|newest| newest.born() != row.born()) {
                if newest.settled() && alive(newest) {
                    break;
                }
                last = None;
            }
            last = last.or(Some(row));
            answer.push(row);
        }
        rows(answer)
    }
}

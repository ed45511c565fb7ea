//! The union of what all drives of a set hold: a walk that finds what only one of them knows.

use std::sync::Arc;

use drive::{Register, Scan, ScanPage, Want};
use futures_util::future::join_all;
use quorum::Places;
use types::Head;

use crate::list::Cursor;
use crate::set::ErasureSet;

/// Rows of a page, as long as a drive's index is sound.
const PAGE_ROWS: usize = 1_000;

/// How one drive's scan fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// It reads pages of so many rows.
    Pages(usize),
    /// Something in its next page is damaged, even in the smallest one.
    Blind,
    /// It does not answer; nothing more is asked of it.
    Gone,
}

/// All registers of a set, in order, with what each drive holds of them.
pub(crate) struct Union {
    set: Arc<ErasureSet>,
    cursors: Vec<(Cursor, Sight)>,
    /// Everything before it was shown.
    at: Vec<u8>,
}

/// One register.
pub(crate) struct Group {
    pub(crate) register: Vec<u8>,
    pub(crate) rows: Vec<Held>,
}

/// What one drive holds of a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// These rows.
    Rows(Vec<Head>),
    /// That could not be read: something there is damaged.
    Unreadable,
    /// The drive does not answer at all. Nothing can be done about that now.
    Away,
}

impl Group {
    /// Whether all drives that answer hold the same.
    pub(crate) fn agrees(&self) -> bool {
        let mut held = self.rows.iter().filter(|held| **held != Held::Away);
        let first = held.next();
        let readable = first.is_some_and(|first| *first != Held::Unreadable);
        readable && held.all(|held| Some(held) == first)
    }

    /// Everything that some drive holds.
    pub(crate) fn heads(&self) -> impl Iterator<Item = &Head> {
        fn rows(held: &Held) -> &[Head] {
            match held {
                Held::Rows(rows) => rows.as_slice(),
                Held::Unreadable | Held::Away => &[],
            }
        }
        self.rows.iter().flat_map(rows)
    }
}

impl Union {
    /// Walks from an index key on.
    pub(crate) fn new(set: &Arc<ErasureSet>, at: Vec<u8>) -> Self {
        let cursor = |place| {
            let page = ScanPage {
                next: Some(at.clone()),
                ..ScanPage::default()
            };
            (Cursor { place, page, at: 0 }, Sight::Pages(PAGE_ROWS))
        };
        Self {
            set: Arc::clone(set),
            cursors: (0..set.len()).map(cursor).collect(),
            at,
        }
    }

    /// Where to go on later.
    pub(crate) fn at(&self) -> &[u8] {
        &self.at
    }

    /// Whether every drive showed everything so far.
    pub(crate) fn whole(&self) -> bool {
        let reads = |(_, sight): &(Cursor, Sight)| matches!(sight, Sight::Pages(_));
        self.cursors.iter().all(reads)
    }

    /// The drives that answered throughout so far.
    pub(crate) fn heard(&self) -> Places {
        let heard = |(_, sight): &&(Cursor, Sight)| *sight != Sight::Gone;
        let heard = self.cursors.iter().filter(heard);
        heard.map(|(cursor, _)| cursor.place).collect()
    }

    /// The next register. `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Group> {
        self.refill().await;
        let shown = self
            .cursors
            .iter()
            .filter_map(|(cursor, _)| cursor.register());
        let register = shown.min()?.to_vec();
        let mut rows = vec![Held::Away; self.set.len()];
        for (cursor, sight) in &mut self.cursors {
            let end = match cursor.register() {
                Some(name) if name == register => cursor.group_end(),
                _ => cursor.at,
            };
            let held = cursor.page.rows.get(cursor.at..end).unwrap_or_default();
            if let Some(slot) = rows.get_mut(cursor.place) {
                *slot = match sight {
                    Sight::Pages(_) => Held::Rows(held.iter().map(|row| row.head).collect()),
                    Sight::Blind => Held::Unreadable,
                    Sight::Gone => Held::Away,
                };
            }
            cursor.at = end;
        }
        self.at = [register.as_slice(), &[u8::MAX; Register::ROW_LEN + 1]].concat();
        Some(Group { register, rows })
    }

    /// Fetches pages for the drives whose page is used up. A drive that stumbles over damage
    /// tries smaller pages, then goes on behind the next register that others show.
    async fn refill(&mut self) {
        for (cursor, sight) in &mut self.cursors {
            if *sight == Sight::Blind {
                cursor.page.next = Some(self.at.clone());
                *sight = Sight::Pages(1);
            }
        }
        loop {
            let due = |(cursor, sight): &&mut (Cursor, Sight)| {
                let reads = matches!(sight, Sight::Pages(_));
                reads && cursor.exhausted() && cursor.page.next.is_some()
            };
            let due: Vec<_> = self.cursors.iter_mut().filter(due).collect();
            if due.is_empty() {
                return;
            }
            let fetch = |(cursor, sight): &mut (Cursor, Sight)| {
                let drive = self.set.drives.get(cursor.place).cloned();
                let rows_max = match sight {
                    Sight::Pages(rows) => *rows,
                    Sight::Blind | Sight::Gone => 1,
                };
                let scan = Scan {
                    start: cursor.page.next.clone().unwrap_or_default(),
                    prefix: Vec::new(),
                    delimiter: None,
                    want: Want::All,
                    rows_max,
                };
                async move {
                    let page = drive.ok_or(drive::Error::Missing)?.scan(scan).await?;
                    // A page cut short by damage behind it is grown again.
                    Ok::<_, drive::Error>((page, (rows_max * 2).min(PAGE_ROWS)))
                }
            };
            let mut due = due;
            let pages = join_all(due.iter_mut().map(|cursor| fetch(cursor))).await;
            for ((cursor, sight), page) in due.into_iter().zip(pages) {
                match page {
                    Ok((page, rows)) => {
                        (cursor.page, cursor.at, *sight) = (page, 0, Sight::Pages(rows));
                    }
                    Err(drive::Error::Corrupt(_)) if *sight != Sight::Pages(1) => {
                        *sight = Sight::Pages(1);
                    }
                    Err(drive::Error::Corrupt(why)) => {
                        tracing::warn!(place = cursor.place, why, "damage in a drive's index");
                        *sight = Sight::Blind;
                    }
                    Err(error) => {
                        tracing::warn!(place = cursor.place, %error, "a drive dropped out of a walk");
                        *sight = Sight::Gone;
                    }
                }
            }
        }
    }
}

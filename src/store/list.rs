//! Lists: ordered scans of a read quorum of each set, merged; no state between pages.
//!
//! What a list shows of a key is its [`View`]: the current object, or every version.

use std::sync::Arc;

use drive::{Register, Scan, ScanPage, Space, Status, Want};
use futures_util::future::join_all;
use quorum::Listing;
use types::{BucketId, Head, ObjectKey, Slot};

use crate::error::Error;
use crate::place::Spot;
use crate::set::ErasureSet;

/// What to list.
#[derive(Debug, Clone)]
pub struct ListRequest {
    /// The bucket.
    pub bucket: BucketId,
    /// Only keys that begin with this.
    pub prefix: String,
    /// Only keys after this one.
    pub after: Option<String>,
    /// Common prefixes end with this.
    pub delimiter: Option<String>,
    /// At most so many keys and common prefixes.
    pub entries_max: usize,
}

/// One thing in a list, in the order of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// An object.
    Key(String, Head),
    /// A common prefix.
    Prefix(String),
}

impl Listed {
    /// The key or prefix.
    pub fn name(&self) -> &str {
        match self {
            Self::Key(name, _) | Self::Prefix(name) => name,
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone, Default)]
pub struct ListPage {
    /// What there is, in order.
    pub entries: Vec<Listed>,
    /// Whether there is more.
    pub truncated: bool,
}

/// One drive's scan.
pub(crate) struct Cursor {
    pub(crate) place: usize,
    pub(crate) page: ScanPage,
    /// The next row of the page.
    pub(crate) at: usize,
}

impl Cursor {
    /// The register at hand.
    pub(crate) fn register(&self) -> Option<&[u8]> {
        let row = self.page.rows.get(self.at)?;
        let from = usize::try_from(row.register.start).ok()?;
        self.page
            .names
            .get(from..usize::try_from(row.register.end).ok()?)
    }

    /// Whether the page is used up.
    pub(crate) fn exhausted(&self) -> bool {
        self.at >= self.page.rows.len()
    }

    /// The rows of the register at hand, and past them.
    pub(crate) fn group_end(&self) -> usize {
        let Some(first) = self.page.rows.get(self.at) else {
            return self.at;
        };
        let same = self
            .page
            .rows
            .iter()
            .skip(self.at)
            .take_while(|row| row.register == first.register);
        self.at + same.count()
    }
}

/// The merged scan of one set.
pub(crate) struct SetScan {
    set: Arc<ErasureSet>,
    cursors: Vec<Cursor>,
    spare: Vec<usize>,
    scan: Scan,
}

/// What a list shows of a key.
pub(crate) trait View {
    /// What there is to show.
    type Shown: Send;

    /// The rows that decide it.
    const WANT: Want;

    /// Decides a key from the scans of a set's drives, by place.
    fn decide<'a, I>(drives: usize, answers: &[Option<I>]) -> Listing<Self::Shown>
    where
        I: Iterator<Item = (&'a Head, bool)> + Clone;

    /// Reads a key of which the scans do not tell.
    fn ask(
        set: &Arc<ErasureSet>,
        spot: &Spot,
    ) -> impl Future<Output = Result<Option<Self::Shown>, Error>> + Send;
}

/// Keys whose current version is an object.
pub(crate) struct Current;

impl View for Current {
    type Shown = Head;
    const WANT: Want = Want::Latest;

    fn decide<'a, I>(drives: usize, answers: &[Option<I>]) -> Listing<Head>
    where
        I: Iterator<Item = (&'a Head, bool)> + Clone,
    {
        quorum::list(drives, answers)
    }

    async fn ask(set: &Arc<ErasureSet>, spot: &Spot) -> Result<Option<Head>, Error> {
        let found = set.look(spot, Want::Latest).await?;
        Ok(found
            .map(|(head, _)| head)
            .filter(|head| head.kind == types::Kind::Object))
    }
}

/// A register with the rows of each drive, decided.
pub(crate) struct Entry<T> {
    pub(crate) register: Vec<u8>,
    pub(crate) key: String,
    pub(crate) listing: Listing<T>,
}

impl SetScan {
    pub(crate) async fn begin(set: &Arc<ErasureSet>, scan: Scan) -> Result<Self, Error> {
        let votes = |place: &usize| {
            let status = set.drives.get(*place).map(|drive| drive.status());
            matches!(
                status,
                Some(Status::Online | Status::ReadOnly | Status::Full)
            )
        };
        let mut voters: Vec<usize> = (0..set.len()).filter(votes).collect();
        let need = set.standard.read_quorum();
        if voters.len() < need {
            return Err(Error::Unavailable("too few drives answer"));
        }
        let spare = voters.split_off(need);
        let mut this = Self {
            set: Arc::clone(set),
            cursors: Vec::new(),
            spare,
            scan,
        };
        let start = this.scan.start.clone();
        for place in voters {
            let page = ScanPage {
                next: Some(start.clone()),
                ..ScanPage::default()
            };
            this.cursors.push(Cursor { place, page, at: 0 });
        }
        this.refill().await?;
        Ok(this)
    }

    /// Fetches the next page of every cursor that is used up and not at its end.
    async fn refill(&mut self) -> Result<(), Error> {
        loop {
            let due = |cursor: &&mut Cursor| cursor.exhausted() && cursor.page.next.is_some();
            let (set, scan) = (&self.set, &self.scan);
            let fetch = |cursor: &mut Cursor| {
                let start = cursor.page.next.clone().unwrap_or_default();
                let drive = set.drives.get(cursor.place).cloned();
                let scan = Scan {
                    start,
                    ..scan.clone()
                };
                async move { drive.ok_or(drive::Error::Missing)?.scan(scan).await }
            };
            let mut due: Vec<&mut Cursor> = self.cursors.iter_mut().filter(due).collect();
            if due.is_empty() {
                return Ok(());
            }
            let pages = join_all(due.iter_mut().map(|cursor| fetch(cursor))).await;
            for (cursor, page) in due.into_iter().zip(pages) {
                match page {
                    Ok(page) => (cursor.page, cursor.at) = (page, 0),
                    Err(error) => {
                        tracing::warn!(place = cursor.place, %error, "a drive dropped out of a list");
                        // Another drive goes on from the same place.
                        cursor.place = self
                            .spare
                            .pop()
                            .ok_or(Error::Unavailable("too few drives answer"))?;
                    }
                }
            }
        }
    }

    /// Goes on from an index key, for every drive.
    pub(crate) async fn seek(&mut self, start: &[u8]) -> Result<(), Error> {
        for cursor in &mut self.cursors {
            while cursor.register().is_some_and(|register| register < start) {
                cursor.at = cursor.group_end();
            }
            if cursor.exhausted() {
                let next = cursor.page.next.as_deref();
                if next.is_some_and(|next| next < start) {
                    cursor.page.next = Some(start.to_vec());
                }
            }
        }
        self.refill().await
    }

    /// Reads every drive again from an index key: what it skipped matters after all.
    async fn rewind(&mut self, start: &[u8]) -> Result<(), Error> {
        for cursor in &mut self.cursors {
            cursor.page = ScanPage {
                next: Some(start.to_vec()),
                ..ScanPage::default()
            };
            cursor.at = 0;
        }
        self.refill().await
    }

    /// The next register, decided by rule 7. `None` at the end.
    pub(crate) async fn next<V: View>(&mut self) -> Result<Option<Entry<V::Shown>>, Error> {
        self.refill().await?;
        let Some(first) = self
            .cursors
            .iter()
            .filter_map(Cursor::register)
            .min()
            .map(<[u8]>::to_vec)
        else {
            return Ok(None);
        };
        let key = key_of(&first).ok_or(Error::Damaged)?;
        let mut answers = Vec::with_capacity(self.set.len());
        answers.resize_with(self.set.len(), || None);
        for cursor in &self.cursors {
            let here = cursor.register() == Some(first.as_slice());
            let end = if here { cursor.group_end() } else { cursor.at };
            let rows = cursor.page.rows.get(cursor.at..end).unwrap_or_default();
            if let Some(answer) = answers.get_mut(cursor.place) {
                *answer = Some(rows.iter().map(|row| (&row.head, row.settled)));
            }
        }
        let listing = V::decide(self.set.len(), &answers);
        drop(answers);
        for cursor in &mut self.cursors {
            if cursor.register() == Some(first.as_slice()) {
                cursor.at = cursor.group_end();
            }
        }
        let key = key.to_owned();
        Ok(Some(Entry {
            register: first,
            key,
            listing,
        }))
    }
}

fn key_of(register: &[u8]) -> Option<&str> {
    let name = register.get(Register::HEAD_LEN..)?;
    let end = name.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(name.get(..end)?).ok()
}

/// Where a list begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Behind the key that the request names.
    Behind,
    /// With it: only some of it was shown.
    Within,
}

/// The scan that a request means.
fn scan_of(request: &ListRequest, begin: Begin, want: Want) -> Scan {
    let prefix = Register::prefix(request.bucket, Space::Objects, &request.prefix);
    let start = match &request.after {
        Some(after) if *after >= request.prefix => {
            let mut start = Register::prefix(request.bucket, Space::Objects, after);
            if begin == Begin::Behind {
                // The register of the key itself ends with NUL, so this is just past it.
                start.push(1);
            }
            start
        }
        _ => prefix.clone(),
    };
    let delimiter = request
        .delimiter
        .as_ref()
        .map(|delimiter| delimiter.as_bytes().into());
    Scan {
        start,
        prefix,
        delimiter,
        want,
        rows_max: request.entries_max + 1,
    }
}

/// The smallest index key past everything that begins with `prefix`.
pub(crate) fn past(mut prefix: Vec<u8>) -> Vec<u8> {
    while prefix.pop_if(|byte| *byte == u8::MAX).is_some() {}
    if let Some(last) = prefix.last_mut() {
        *last += 1;
    }
    prefix
}

/// The next thing of a list, as its view shows it.
pub(crate) enum Next<T> {
    Key(String, T),
    Prefix(String),
}

impl<T> Next<T> {
    fn name(&self) -> &str {
        match self {
            Self::Key(name, _) | Self::Prefix(name) => name,
        }
    }
}

/// One set's part of a list: what it would show, in order.
struct Part<V: View> {
    scan: SetScan,
    slot_of: SlotOf,
    head: Option<Next<V::Shown>>,
}

pub(crate) type SlotOf = Arc<dyn Fn(&ObjectKey) -> Slot + Send + Sync>;

impl<V: View> Part<V> {
    async fn begin(
        set: &Arc<ErasureSet>,
        slot_of: SlotOf,
        request: &ListRequest,
        begin: Begin,
    ) -> Result<Self, Error> {
        let mut part = Self {
            scan: SetScan::begin(set, scan_of(request, begin, V::WANT)).await?,
            slot_of,
            head: None,
        };
        part.advance(request).await?;
        Ok(part)
    }

    /// Moves to the next thing that this set shows.
    async fn advance(&mut self, request: &ListRequest) -> Result<(), Error> {
        self.head = None;
        while let Some(entry) = self.scan.next::<V>().await? {
            let shown = match entry.listing {
                Listing::Show(shown) => Some(shown),
                Listing::Hide => None,
                Listing::Ask => self.ask(request, &entry.key).await?,
            };
            match (shown, common_prefix(request, &entry.key)) {
                (None, None) => {}
                (None, Some(_)) => {
                    // Drives may have skipped what shares its prefix.
                    let mut start = Register::prefix(request.bucket, Space::Objects, &entry.key);
                    start.push(1);
                    self.scan.rewind(&start).await?;
                }
                (Some(shown), None) => {
                    self.head = Some(Next::Key(entry.key, shown));
                    return Ok(());
                }
                (Some(_), Some(prefix)) => {
                    let start = past(Register::prefix(request.bucket, Space::Objects, prefix));
                    self.scan.seek(&start).await?;
                    self.head = Some(Next::Prefix(prefix.to_owned()));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Reads one key as GET would.
    async fn ask(&self, request: &ListRequest, key: &str) -> Result<Option<V::Shown>, Error> {
        let key = ObjectKey::parse(key)?;
        let register = Register::object(request.bucket, &key);
        V::ask(&self.scan.set, &Spot::bare(register, (self.slot_of)(&key))).await
    }
}

fn common_prefix<'a>(request: &ListRequest, key: &'a str) -> Option<&'a str> {
    let delimiter = request.delimiter.as_deref()?;
    let rest = key.get(request.prefix.len()..)?;
    let end = request.prefix.len() + rest.find(delimiter)? + delimiter.len();
    key.get(..end)
}

/// A list over all sets, in order.
pub(crate) struct Merge<'a, V: View> {
    request: &'a ListRequest,
    parts: Vec<Part<V>>,
}

impl<'a, V: View> Merge<'a, V> {
    pub(crate) async fn begin(
        sets: &[Arc<ErasureSet>],
        slot_of: &SlotOf,
        request: &'a ListRequest,
        begin: Begin,
    ) -> Result<Self, Error> {
        let parts = sets
            .iter()
            .map(|set| Part::begin(set, Arc::clone(slot_of), request, begin));
        let parts = join_all(parts).await.into_iter();
        Ok(Self {
            request,
            parts: parts.collect::<Result<_, _>>()?,
        })
    }

    /// The next key or common prefix. `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Next<V::Shown>>, Error> {
        loop {
            let heads = self.parts.iter().filter_map(|part| part.head.as_ref());
            let Some(first) = heads.map(Next::name).min().map(str::to_owned) else {
                return Ok(None);
            };
            let mut taken = None;
            for part in &mut self.parts {
                if part.head.as_ref().is_some_and(|head| head.name() == first) {
                    taken = part.head.take();
                    part.advance(self.request).await?;
                }
            }
            if taken
                .as_ref()
                .is_some_and(|taken| !self.shown_before(taken))
            {
                return Ok(taken);
            }
        }
    }

    /// A common prefix that ends at or before the marker was shown on an earlier page.
    fn shown_before(&self, next: &Next<V::Shown>) -> bool {
        let (Next::Prefix(prefix), Some(after)) = (next, &self.request.after) else {
            return false;
        };
        after.starts_with(prefix.as_str()) || after >= prefix
    }
}

/// Lists over all sets.
pub(crate) async fn list(
    sets: &[Arc<ErasureSet>],
    slot_of: &SlotOf,
    request: &ListRequest,
) -> Result<ListPage, Error> {
    let mut page = ListPage::default();
    if request.entries_max == 0 {
        return Ok(page);
    }
    let mut merge = Merge::<Current>::begin(sets, slot_of, request, Begin::Behind).await?;
    while let Some(next) = merge.next().await? {
        if page.entries.len() == request.entries_max {
            page.truncated = true;
            return Ok(page);
        }
        page.entries.push(match next {
            Next::Key(key, head) => Listed::Key(key, head),
            Next::Prefix(prefix) => Listed::Prefix(prefix),
        });
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_a_prefix_is_past_all_that_begin_with_it() {
        assert_eq!(past(vec![1, 2]), vec![1, 3]);
        assert_eq!(past(vec![1, 255]), vec![2]);
    }

    #[test]
    fn common_prefixes_end_with_the_delimiter() {
        let request = |prefix: &str, delimiter: &str| ListRequest {
            bucket: BucketId::from_u64(1),
            prefix: prefix.into(),
            after: None,
            delimiter: Some(delimiter.into()),
            entries_max: 1,
        };
        assert_eq!(common_prefix(&request("", "/"), "a/b/c"), Some("a/"));
        assert_eq!(common_prefix(&request("a/", "/"), "a/b/c"), Some("a/b/"));
        assert_eq!(common_prefix(&request("a/b", "/"), "a/b"), None);
        assert_eq!(common_prefix(&request("", "::"), "x::y"), Some("x::"));
        assert_eq!(common_prefix(&request("", "/"), "//"), Some("/"));
    }
}

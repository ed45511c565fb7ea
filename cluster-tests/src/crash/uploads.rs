//! Which multipart uploads may be open, from what was asked and what was answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use super::oracle::{Oracle, Sent};

/// The name of an upload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The key.
    pub key: String,
    /// Its id, unique among the uploads of the key.
    pub id: String,
}

impl Display for Name {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "upload {} of {}", self.id, self.key)
    }
}

/// An upload whose begin was acknowledged, or that a list showed. Its parts are pieces of one
/// body, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Number of its body.
    pub body: u64,
    /// Bytes of the parts that were acknowledged, the first one first.
    pub parts: Vec<u64>,
    /// How it stands.
    pub state: State,
}

/// How an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It takes parts, and is there after every crash.
    Open,
    /// It was to become what its key holds after this step, or, if there is none, nothing; that
    /// was not answered. It may be there or not.
    Ending(Option<u64>),
    /// Its end was acknowledged, or seen: it is gone for good.
    Over,
}

impl Upload {
    /// What its key holds once it is completed.
    pub fn leaves(&self) -> Sent {
        let part = self.parts.first().copied().unwrap_or(0);
        Sent {
            id: self.body,
            size: self.parts.iter().sum(),
            part: part.max(1),
        }
    }

    /// Where each part begins in the body, and how long it is.
    pub fn pieces(&self) -> impl Iterator<Item = (u64, u64)> {
        let begin = |from: &mut u64, size: &u64| {
            let begin = *from;
            *from += size;
            Some((begin, *size))
        };
        self.parts.iter().scan(0, begin)
    }
}

/// All uploads of a run.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    known: BTreeMap<Name, Upload>,
    /// Keys of uploads whose begin was not acknowledged.
    begun: BTreeMap<String, u64>,
}

impl Oracle {
    /// Notes that an upload is about to be begun.
    pub fn begin_upload(&mut self, key: &str) {
        *self.uploads.begun.entry(key.to_owned()).or_default() += 1;
    }

    /// Notes that it was, under this name. Returns the number of its body.
    pub fn upload_begun(&mut self, name: &Name) -> u64 {
        if let Some(begun) = self.uploads.begun.get_mut(&name.key) {
            *begun = begun.saturating_sub(1);
        }
        let body = self.new_body();
        let upload = Upload {
            body,
            parts: Vec::new(),
            state: State::Open,
        };
        self.uploads.known.insert(name.clone(), upload);
        body
    }

    /// Notes that its next part was acknowledged.
    pub fn part_acknowledged(&mut self, name: &Name, size: u64) {
        if let Some(upload) = self.uploads.known.get_mut(name) {
            upload.parts.push(size);
        }
    }

    /// The MD5 sums of its parts.
    pub fn part_sums(&self, name: &Name) -> Vec<[u8; 16]> {
        let Some(upload) = self.upload(name) else {
            return Vec::new();
        };
        let sum = |(from, size)| self.md5(upload.body, from, size);
        upload.pieces().map(sum).collect()
    }

    /// Notes that it is about to be completed with its parts. Returns the step on its key.
    pub fn begin_complete(&mut self, name: &Name) -> Option<u64> {
        let leaves = self.upload(name)?.leaves();
        let step = self.begin_as(&name.key, Some(leaves));
        self.end(name, State::Ending(Some(step)));
        Some(step)
    }

    /// Notes that it is about to be aborted.
    pub fn begin_abort(&mut self, name: &Name) {
        // If it was to be completed before, that may still be what became of it.
        if self
            .upload(name)
            .is_some_and(|upload| upload.state == State::Open)
        {
            self.end(name, State::Ending(None));
        }
    }

    /// Notes that its completion was acknowledged.
    pub fn completed(&mut self, name: &Name, step: u64) {
        self.end(name, State::Over);
        self.acknowledge(&name.key, step);
    }

    /// Notes that it was aborted: it was not completed before, and never will be.
    pub fn aborted(&mut self, name: &Name) {
        if let Some(State::Ending(Some(step))) = self.end(name, State::Over) {
            self.refuse(&name.key, step);
        }
    }

    /// Notes that the server does not know it any more. If nothing was asked of it but to be
    /// completed, then it was.
    ///
    /// # Errors
    /// If it ought to be there.
    pub fn upload_gone(&mut self, name: &Name) -> Result<(), String> {
        match self.end(name, State::Over) {
            Some(State::Open) => Err(format!("{name} is not there")),
            Some(State::Ending(Some(step))) => {
                self.acknowledge(&name.key, step);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Notes that it is gone for good, and leaves open what its key holds.
    pub fn upload_over(&mut self, name: &Name) {
        self.end(name, State::Over);
    }

    /// Notes how it stands. Returns how it stood.
    fn end(&mut self, name: &Name, state: State) -> Option<State> {
        let upload = self.uploads.known.get_mut(name)?;
        Some(std::mem::replace(&mut upload.state, state))
    }

    /// An upload, as far as it is known.
    pub fn upload(&self, name: &Name) -> Option<&Upload> {
        self.uploads.known.get(name)
    }

    /// The names of those that may be there.
    pub fn uploads_left(&self) -> Vec<Name> {
        let known = self.uploads.known.iter();
        let left = known.filter(|(_, upload)| upload.state != State::Over);
        left.map(|(name, _)| name.clone()).collect()
    }

    /// Judges a list of all uploads, and settles what it shows. Returns
    /// what is wrong: one that is missing, one that is over, and one that nobody began.
    pub fn judge_uploads(&mut self, listed: &[Name]) -> Vec<String> {
        let mut wrong = Vec::new();
        for name in listed {
            let begun = self
                .uploads
                .begun
                .get(&name.key)
                .is_some_and(|begun| *begun > 0);
            match self.upload(name).map(|upload| upload.state) {
                Some(State::Over) => wrong.push(format!("{name} is over and listed")),
                Some(_) => {}
                None if begun => {
                    self.upload_begun(name);
                }
                None => wrong.push(format!("nobody began {name}")),
            }
        }
        let listed: BTreeSet<&Name> = listed.iter().collect();
        for name in self.uploads_left() {
            if !listed.contains(&name) {
                wrong.extend(self.upload_gone(&name).err());
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::{Name, Oracle, State};
    use crate::load::body::Bodies;

    /// An upload of one part.
    fn begun() -> Oracle {
        let mut oracle = Oracle::new(1, Bodies::new());
        oracle.begin_upload("k");
        oracle.upload_begun(&name("u"));
        oracle.part_acknowledged(&name("u"), 10);
        oracle
    }

    fn name(id: &str) -> Name {
        Name {
            key: "k".to_owned(),
            id: id.to_owned(),
        }
    }

    fn listed(ids: &[&str]) -> Vec<Name> {
        ids.iter().map(|id| name(id)).collect()
    }

    #[test]
    fn an_upload_that_was_begun_is_there_until_its_end() {
        let mut oracle = begun();
        assert!(oracle.judge_uploads(&listed(&["u"])).is_empty());
        assert_eq!(oracle.judge_uploads(&[]).len(), 1, "it is lost");
        let mut oracle = begun();
        let step = oracle.begin_complete(&name("u")).unwrap();
        assert!(oracle.judge_uploads(&listed(&["u"])).is_empty());
        oracle.completed(&name("u"), step);
        assert!(oracle.judge_uploads(&[]).is_empty());
        assert_eq!(oracle.judge_uploads(&listed(&["u"])).len(), 1, "it is back");
    }

    #[test]
    fn what_nobody_began_is_strange_and_what_a_crash_cut_off_is_not() {
        let mut oracle = Oracle::new(1, Bodies::new());
        assert_eq!(oracle.judge_uploads(&listed(&["u"])).len(), 1);
        oracle.begin_upload("k");
        assert!(oracle.judge_uploads(&listed(&["u"])).is_empty());
        assert_eq!(oracle.judge_uploads(&listed(&["u", "v"])).len(), 1);
        assert_eq!(oracle.judge_uploads(&[]).len(), 1, "it was seen");
    }

    #[test]
    fn a_completion_that_was_cut_off_is_done_once_its_upload_is_gone() {
        let mut oracle = begun();
        oracle.begin_complete(&name("u"));
        let leaves = oracle.upload(&name("u")).unwrap().leaves();
        assert_eq!(oracle.possible("k"), [None, Some(leaves)]);
        assert!(oracle.judge_uploads(&[]).is_empty());
        assert_eq!(oracle.possible("k"), [Some(leaves)]);
    }

    #[test]
    fn what_was_aborted_was_not_completed() {
        let mut oracle = begun();
        oracle.begin_complete(&name("u"));
        oracle.begin_abort(&name("u"));
        assert!(matches!(
            oracle.upload(&name("u")).unwrap().state,
            State::Ending(Some(_))
        ));
        oracle.aborted(&name("u"));
        assert_eq!(oracle.possible("k"), [None]);
        assert_eq!(oracle.judge_uploads(&listed(&["u"])).len(), 1);
    }

    #[test]
    fn an_abort_that_was_cut_off_leaves_the_key_alone() {
        let mut oracle = begun();
        oracle.begin_abort(&name("u"));
        assert!(oracle.judge_uploads(&listed(&["u"])).is_empty());
        assert!(oracle.judge_uploads(&[]).is_empty());
        assert_eq!(oracle.judge_uploads(&listed(&["u"])).len(), 1, "it is back");
        assert_eq!(oracle.possible("k"), [None]);
    }
}

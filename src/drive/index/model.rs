//! Tests: tables, flushes, merges and reopening against a map of the standard library.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use super::testing::{TestDir, open, seal};
use super::{Access, Depth, Memtable, Merge, Run, RunId, RunWriter, Verdict, compact, filter_part};

#[derive(Debug, Clone)]
enum Op {
    Put(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Flush,
    Merge { from: u8, len: u8 },
    Drop { value_first: u8 },
    Reopen,
    ScanFrom(Vec<u8>),
    SkipTo(Vec<u8>, Vec<u8>),
}

/// Keys of few letters, so that they collide; some are longer than a row's suffix.
fn key() -> impl Strategy<Value = Vec<u8>> {
    (proptest::collection::vec(b'a'..b'd', 0..4), 0..2u8).prop_map(|(mut key, long)| {
        if long == 1 {
            key.extend([b'!'; 32]);
        }
        key
    })
}

fn op() -> impl Strategy<Value = Op> {
    let value = || proptest::collection::vec(any::<u8>(), 0..600);
    prop_oneof![
        20 => (key(), value()).prop_map(|(key, value)| Op::Put(key, value)),
        6 => key().prop_map(Op::Remove),
        3 => proptest::strategy::Just(Op::Flush),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(from, len)| Op::Merge { from, len }),
        1 => any::<u8>().prop_map(|value_first| Op::Drop { value_first }),
        1 => proptest::strategy::Just(Op::Reopen),
        2 => key().prop_map(Op::ScanFrom),
        2 => (key(), key()).prop_map(|(from, to)| Op::SkipTo(from, to)),
    ]
}

struct Subject {
    dir: TestDir,
    table: Arc<RwLock<Memtable>>,
    runs: Vec<Arc<Run>>,
    next: u64,
    model: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Subject {
    fn writer(&mut self, entries_max: u64) -> (RunId, RunWriter) {
        self.next += 1;
        let id = RunId(self.next);
        (
            id,
            RunWriter::create(&self.dir.path(id), id, seal(), entries_max).unwrap(),
        )
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Put(key, value) => {
                self.table.write().insert(&key, Some(&value));
                self.model.insert(key, value);
            }
            Op::Remove(key) => {
                self.table.write().insert(&key, None);
                self.model.remove(&key);
            }
            Op::Flush => self.flush(),
            Op::Merge { from, len } => {
                let from = usize::from(from) % (self.runs.len() + 1);
                let len = usize::from(len) % (self.runs.len() - from + 1);
                self.merge(from..from + len, |_| Verdict::Keep);
            }
            Op::Drop { value_first } => {
                self.flush();
                self.model
                    .retain(|_, value| value.first() != Some(&value_first));
                let verdict = |value: &[u8]| match value.first() == Some(&value_first) {
                    true => Verdict::Drop,
                    false => Verdict::Keep,
                };
                // Above the oldest first: dropped rows must not let older ones through.
                let above = self.runs.len() / 2;
                self.merge(0..above, verdict);
                self.merge(0..self.runs.len(), verdict);
            }
            Op::Reopen => {
                let metas = self.runs.iter().map(|run| run.meta().clone());
                let reopen = |meta| open(&self.dir.path(super::RunMeta::clone(&meta).id), &meta);
                self.runs = metas.map(|meta| reopen(meta).unwrap()).collect();
            }
            Op::ScanFrom(from) => self.scan(&from, None),
            Op::SkipTo(from, to) => self.scan(&from, Some(&to)),
        }
    }

    fn flush(&mut self) {
        let table = std::mem::take(&mut self.table);
        let (id, mut writer) = self.writer(table.read().len() as u64);
        for (key, value) in table.read().iter() {
            writer.add(key, value).unwrap();
        }
        let meta = writer.finish().unwrap();
        self.runs
            .insert(0, open(&self.dir.path(id), &meta).unwrap());
    }

    fn merge(&mut self, range: std::ops::Range<usize>, verdict: impl Fn(&[u8]) -> Verdict) {
        let depth = if range.end == self.runs.len() {
            Depth::Bottom
        } else {
            Depth::Above
        };
        let inputs = self.runs[range.clone()].to_vec();
        let (id, writer) = self.writer(inputs.iter().map(|run| run.meta().entries).sum());
        let meta = compact(&inputs, depth, writer, |_, value| Ok(verdict(value))).unwrap();
        assert!(depth == Depth::Above || meta.marks == 0);
        let merged = open(&self.dir.path(id), &meta).unwrap();
        self.runs.splice(range, [merged]);
    }

    fn scan(&self, from: &[u8], skip: Option<&[u8]>) {
        let access = [Access::Scan, Access::Point][from.len() % 2];
        let mut merge = Merge::new([Arc::clone(&self.table)], &self.runs, from, access).unwrap();
        let mut expected = self.model.range(from.to_vec()..).peekable();
        let pair = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        let mut last = None;
        for count in 0.. {
            if let (Some(to), 2) = (skip, count) {
                merge.seek(to).unwrap();
                while expected.next_if(|(key, _)| key.as_slice() < to).is_some() {}
            }
            let found = merge
                .next()
                .unwrap()
                .map(|(key, value)| (key.to_vec(), value.to_vec()));
            assert_eq!(found, expected.next().map(pair), "after {last:?}");
            if found.is_none() {
                break;
            }
            last = found;
        }
        for key in self.model.keys() {
            let hash = seal().register_hash(filter_part(key));
            let held = |run: &&Arc<Run>| run.may_contain(hash);
            let runs = self.runs.iter().filter(held);
            let table = [Arc::clone(&self.table)];
            let mut point = Merge::new(table, runs, key, Access::Point).unwrap();
            let found = point.next().unwrap().filter(|(found, _)| found == key);
            assert_eq!(
                found.map(|(_, value)| value),
                Some(self.model[key].as_slice())
            );
        }
    }
}

#[test]
fn any_history_reads_like_a_map() {
    let mut runner = TestRunner::new(Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    });
    let ops = proptest::collection::vec(op(), 1..150);
    runner
        .run(&ops, |ops| {
            let dir = TestDir::new("model");
            let mut subject = Subject {
                dir,
                table: Arc::default(),
                runs: Vec::new(),
                next: 0,
                model: BTreeMap::new(),
            };
            ops.into_iter().for_each(|op| subject.apply(op));
            subject.scan(&[], None);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_million_rows_open_in_little_memory_and_read_back() {
    let dir = TestDir::new("million");
    let id = RunId(1);
    let mut writer = RunWriter::create(&dir.path(id), id, seal(), 1_000_000).unwrap();
    let key =
        |number: u64| format!("bucket__\u{1}photos/2026/{number:017}\0{number:032}").into_bytes();
    for number in 0..1_000_000 {
        writer.add(&key(number), Some(&[7; 150])).unwrap();
    }
    let meta = writer.finish().unwrap();
    let run = open(&dir.path(id), &meta).unwrap();
    assert!(run.memory() < 2_500_000, "{} bytes", run.memory());
    let mut merge = Merge::new([], [&run], &key(0), Access::Scan).unwrap();
    let mut rows = 0;
    while merge.next().unwrap().is_some() {
        rows += 1;
    }
    assert_eq!(rows, 1_000_000);
    for number in (0..1_000_000).step_by(9973) {
        let mut point = Merge::new([], [&run], &key(number), Access::Point).unwrap();
        assert_eq!(
            point.next().unwrap().map(|(found, _)| found.to_vec()),
            Some(key(number))
        );
    }
}

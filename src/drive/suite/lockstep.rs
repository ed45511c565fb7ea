//! Random histories, done to the drive under test and to a twin: both must answer alike.

use std::sync::Arc;

use types::{Kind, Order};

use super::Subject;
use super::fixture::{Draft, Hand, at, data, identity, object, scan_of};
use crate::contract::{Drive, RowAnswer, Scan, Want};
use crate::register::Register;
use crate::twin::Twin;

const HISTORIES: u64 = 4;
const STEPS: u64 = 300;
const REGISTERS: u64 = 24;

/// A source of repeatable choices (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

struct Pair {
    subject: Hand,
    twin: Hand,
    sequence: u64,
    settled: u64,
}

fn register(number: u64) -> Arc<Register> {
    object(&format!(
        "{}/{}/{number}",
        ["a", "b", "bb"][usize::try_from(number % 3).unwrap_or(0)],
        number % 4
    ))
}

impl Pair {
    async fn step(&mut self, dice: &mut Dice) {
        let register = register(dice.below(REGISTERS));
        match dice.below(20) {
            0..=9 => self.create(&register, dice).await,
            10..=12 => self.change(&register, dice).await,
            13 => self.repeat(&register).await,
            14 => self.discard(&register, dice).await,
            15..=16 => {
                self.settled += dice.below(self.sequence - self.settled + 1);
                self.subject.settle(self.settled).await;
                self.twin.settle(self.settled).await;
            }
            17 => self.compare_scans(dice).await,
            _ => self.compare(&register).await,
        }
    }

    fn next(&mut self) -> Order {
        self.sequence += 1;
        at(self.sequence)
    }

    async fn create(&mut self, register: &Arc<Register>, dice: &mut Dice) {
        let order = self.next();
        let draft = Draft::born(order, order);
        let draft = if dice.below(2) == 0 {
            draft.null()
        } else {
            draft
        };
        let draft = match dice.below(8) {
            0 => draft.kind(Kind::Marker),
            1..=2 => draft.file(data(order.sequence)),
            _ => draft.inline(usize::try_from(dice.below(3000)).unwrap_or(0)),
        };
        for hand in [&self.subject, &self.twin] {
            for file in &draft.files {
                hand.stage(*file, register, &order.sequence.to_be_bytes())
                    .await;
            }
            hand.commit(register, &draft).await;
        }
    }

    /// A change of tags or a deletion of the newest version.
    async fn change(&mut self, register: &Arc<Register>, dice: &mut Dice) {
        let rows = self.twin.rows(register, Want::All).await;
        let Some(newest) = rows.first().filter(|row| row.head.kind == Kind::Object) else {
            return;
        };
        let mut draft = Draft {
            head: newest.head,
            files: Vec::new(),
            inline: newest.inline.clone(),
        };
        draft.head.order = self.next();
        if dice.below(2) == 0 {
            draft.head.kind = Kind::Tombstone;
            draft.head.placed = types::Placed::Nowhere;
            draft.inline = None;
        } else if let Some(row) = &newest.row {
            draft.files = row.files.to_vec();
        }
        self.commit_both(register, &draft).await;
    }

    /// Heal: a row that is there already.
    async fn repeat(&mut self, register: &Arc<Register>) {
        let rows = self.twin.rows(register, Want::All).await;
        if let Some(RowAnswer {
            head,
            row: Some(row),
            inline,
            ..
        }) = rows.first()
        {
            let draft = Draft {
                head: *head,
                files: row.files.to_vec(),
                inline: inline.clone(),
            };
            self.commit_both(register, &draft).await;
        }
    }

    async fn commit_both(&self, register: &Arc<Register>, draft: &Draft) {
        self.subject.commit(register, draft).await;
        self.twin.commit(register, draft).await;
    }

    async fn discard(&mut self, register: &Arc<Register>, dice: &mut Dice) {
        let rows = self.twin.rows(register, Want::All).await;
        let gone = rows.iter().filter(|_| dice.below(3) == 0);
        let gone: Vec<_> = gone.map(|row| (row.head.born, row.head.order)).collect();
        for hand in [&self.subject, &self.twin] {
            hand.discard(register, &gone, &[]).await.expect("a discard");
        }
    }

    async fn compare(&self, register: &Arc<Register>) {
        let (found, expected) = (
            self.subject.rows(register, Want::All).await,
            self.twin.rows(register, Want::All).await,
        );
        assert_eq!(found, expected, "{register:?}");
        for data in expected
            .iter()
            .flat_map(|row| row.row.iter().flat_map(|row| row.files.iter()))
        {
            let (found, expected) = (
                self.subject.read(*data, 0, 8).await,
                self.twin.read(*data, 0, 8).await,
            );
            assert_eq!(found, expected, "file {data} of {register:?}");
        }
        for want in [Want::Latest, Want::Null] {
            let found = self.subject.summary(register, want).await;
            let expected = self.twin.summary(register, want).await;
            assert_eq!(
                found.get(..expected.len()),
                Some(&expected[..]),
                "{register:?}, {want:?}"
            );
        }
    }

    async fn compare_scans(&self, dice: &mut Dice) {
        let prefix = ["", "a/", "b", "bb/1"][usize::try_from(dice.below(4)).unwrap_or(0)];
        let start = register(dice.below(REGISTERS)).as_bytes().to_vec();
        let rows_max = usize::try_from(1 + dice.below(40)).unwrap_or(1);
        let scan = Scan {
            start,
            rows_max,
            want: Want::All,
            ..scan_of(prefix)
        };
        let (found, expected) = (
            self.subject.scan(scan.clone()).await,
            self.twin.scan(scan.clone()).await,
        );
        assert_eq!(found, expected, "{scan:?}");
        // With a delimiter a drive may return more, but every group that the twin shows.
        let delimiter = Some(Arc::from(&b"/"[..]));
        let scan = Scan {
            delimiter,
            want: Want::Latest,
            ..scan
        };
        let (found, expected) = (
            self.subject.scan(scan.clone()).await,
            self.twin.scan(scan.clone()).await,
        );
        for row in &expected {
            assert!(found.contains(row), "{row:?} of {scan:?} in {found:?}");
        }
    }
}

pub(super) async fn any_history_reads_as_in_the_twin(subject: &mut impl Subject) {
    for history in 1..=HISTORIES {
        let mut dice = Dice(history.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let drive = subject.make().await;
        let twin: Arc<dyn Drive> = Arc::new(Twin::new(identity(), history));
        let mut pair = Pair {
            subject: Hand::new(drive),
            twin: Hand::new(twin),
            sequence: 0,
            settled: 0,
        };
        for step in 0..STEPS {
            pair.step(&mut dice).await;
            if step % 200 == 150 {
                pair.subject = Hand::new(subject.reopen(pair.subject.drive).await);
                // What was told last is in force on both again.
                pair.sequence += 1;
                pair.subject.settle(pair.settled).await;
                pair.twin.settle(pair.settled).await;
            }
        }
        for number in 0..REGISTERS {
            pair.compare(&register(number)).await;
        }
    }
}

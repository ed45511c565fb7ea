//! Stages on real files and threads.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use types::{BucketId, DataId, ObjectKey};

use super::identity::tests::sample;
use super::stages::THREADS_MAX;
use super::{Root, Scratch, ShardFiles, Stages, format};
use crate::contract::{Error, Stage, Staged};
use crate::register::Register;

const PATIENT: Duration = Duration::from_secs(60);
const IMPATIENT: Duration = Duration::from_millis(50);

struct Fixture {
    scratch: Scratch,
    files: Arc<ShardFiles>,
    stages: Stages,
    _root: Root,
}

fn data(number: u8) -> DataId {
    DataId::from_bytes([number; 16])
}

fn content(number: u8, len: usize) -> Bytes {
    (0..len)
        .map(|at| (at * 31 + at / 251) as u8 ^ number)
        .collect()
}

impl Fixture {
    fn new(deadline: Duration) -> Self {
        let scratch = Scratch::new();
        format(scratch.path(), &sample().identity, sample().geometry).unwrap();
        let root = Root::open(scratch.path(), &sample().identity).unwrap();
        let files = Arc::new(ShardFiles::open(&root).unwrap());
        let stages = Stages::new(Arc::clone(&files), deadline);
        Self {
            scratch,
            files,
            stages,
            _root: root,
        }
    }

    fn begin(&self, number: u8) -> Box<dyn Stage> {
        let key = ObjectKey::parse("a").unwrap();
        self.stages
            .begin(data(number), Register::object(BucketId::from_u64(1), &key))
            .unwrap()
    }

    /// Waits for what has no answer to wait for.
    fn until_tmp_is_empty(&self) {
        let since = Instant::now();
        while self.scratch.tmp_files() > 0 {
            assert!(since.elapsed() < PATIENT, "tmp/ is never emptied");
            std::thread::yield_now();
        }
    }

    /// Makes every thread of the drive hang until the senders are dropped.
    fn hang(&self) -> Vec<mpsc::Sender<()>> {
        let hang_one = |_| {
            let (release, hung) = mpsc::channel::<()>();
            let (started, start) = mpsc::channel();
            let job = move |_: &mut super::workers::ThreadBuffer| {
                started.send(()).unwrap();
                let _ = hung.recv();
            };
            self.stages.workers().submit(Box::new(job)).unwrap();
            start.recv().unwrap();
            release
        };
        (0..THREADS_MAX).map(hang_one).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_stages_at_once_each_keep_their_bytes_in_order() {
    let fixture = Arc::new(Fixture::new(PATIENT));
    let len = |number: u8| usize::from(number) * 100_003;
    let tasks: Vec<_> = (0..24u8)
        .map(|number| {
            let fixture = Arc::clone(&fixture);
            tokio::spawn(async move {
                let mut stage = fixture.begin(number);
                let whole = content(number, len(number));
                for piece in whole.chunks(30_000 + usize::from(number)) {
                    stage.append(whole.slice_ref(piece)).await.unwrap();
                }
                assert_eq!(
                    stage.finish().await,
                    Ok(Staged {
                        data: data(number),
                        len: whole.len() as u64
                    })
                );
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for number in 0..24u8 {
        fixture.files.publish(data(number), 1).unwrap();
        let read = fixture.files.read(data(number), 1, 0, len(number)).unwrap();
        assert!(read == content(number, len(number)), "{number}");
    }
    fixture.until_tmp_is_empty();
}

#[tokio::test]
async fn a_dropped_stage_leaves_nothing() {
    let fixture = Fixture::new(PATIENT);
    drop(fixture.begin(1));
    let mut stage = fixture.begin(1);
    for _ in 0..8 {
        stage.append(content(1, 200_000)).await.unwrap();
    }
    drop(stage);
    fixture.until_tmp_is_empty();
    let mut stage = fixture.begin(2);
    stage.append(content(2, 200_000)).await.unwrap();
    let hung = fixture.hang();
    drop(stage.finish());
    drop(hung);
    fixture.until_tmp_is_empty();
    assert_eq!(
        (
            fixture.files.staged_len(data(1)),
            fixture.files.staged_len(data(2))
        ),
        (None, None)
    );
}

#[tokio::test]
async fn the_first_error_is_the_answer_to_everything_after() {
    let fixture = Fixture::new(PATIENT);
    std::fs::remove_dir_all(fixture.scratch.path().join("tmp")).unwrap();
    let mut stage = fixture.begin(1);
    let mut refused = Ok(());
    while refused.is_ok() {
        refused = stage.append(content(1, 1 << 20)).await;
    }
    assert_eq!(refused, Err(Error::Missing));
    assert_eq!(stage.append(content(1, 1)).await, Err(Error::Missing));
    assert_eq!(stage.finish().await, Err(Error::Missing));
    assert_eq!(
        fixture.begin(2).finish().await,
        Err(Error::Missing),
        "also when it comes last"
    );
}

#[tokio::test]
async fn a_hung_drive_costs_its_callers_a_deadline_and_bounded_memory() {
    let fixture = Fixture::new(IMPATIENT);
    let mut early = fixture.begin(1);
    let mut late = fixture.begin(2);
    let hung = fixture.hang();
    let mut taken = 0;
    let refused = loop {
        match early.append(content(1, 1 << 20)).await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((refused, taken), (Error::Timeout, 8), "8 MiB may wait");
    assert_eq!(late.append(content(2, 1)).await, Err(Error::Timeout));
    assert_eq!(late.finish().await, Err(Error::Timeout));
    let key = ObjectKey::parse("a").unwrap();
    let next = fixture
        .stages
        .begin(data(3), Register::object(BucketId::from_u64(1), &key));
    assert_eq!(next.err(), Some(Error::Timeout), "refused without waiting");

    drop((hung, early));
    while fixture.stages.busy_for() >= IMPATIENT {
        std::thread::yield_now();
    }
    let mut stage = fixture.begin(4);
    stage.append(content(4, 10)).await.unwrap();
    stage.finish().await.unwrap();
    assert_eq!(
        fixture.files.staged_len(data(2)),
        None,
        "what timed out does not come back"
    );
    fixture.files.discard_staged(data(4));
    fixture.until_tmp_is_empty();
}

//! Tests: the twin breaks its promises exactly as it is told to.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use types::{
    BucketId, DataId, DeploymentId, DriveId, Epoch, Etag, Geometry, Head, Kind, ObjectKey, Order,
    Placed, Slot, StorageClass, Timestamp, VersionId,
};

use super::{Fault, Twin};
use crate::contract::{
    Commit, Committed, Drive, Error, Fence, Identity, MetaWrite, Reply, Row, Rows, RowsRequest,
    SettleMark, Settles, ShardRead, Status, Want,
};
use crate::register::Register;

fn twin(seed: u64) -> Twin {
    let identity = Identity {
        deployment: DeploymentId::from_bytes([1; 16]),
        drive: DriveId::from_bytes([2; 16]),
        pool: 0,
        set: 0,
        place: 3,
    };
    Twin::new(identity, seed)
}

fn order(sequence: u64) -> Order {
    Order::new(Epoch::new(0, 1), sequence)
}

fn register() -> Arc<Register> {
    Arc::new(Register::object(
        BucketId::from_u64(1),
        &ObjectKey::parse("key").unwrap(),
    ))
}

/// What a future says without being waited for.
fn now<T>(reply: &mut Reply<T>) -> Option<Result<T, Error>> {
    match reply.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

fn commit(twin: &Twin, sequence: u64, kind: Kind) -> Reply<Committed> {
    let head = Head {
        kind,
        version: VersionId::Born(order(sequence)),
        born: order(sequence),
        order: order(sequence),
        prev: Order::ZERO,
        size: 3,
        modified: Timestamp::default(),
        etag: Etag::Md5([0; 16]),
        geometry: Geometry::new(1, 1).unwrap(),
        rotation: 0,
        class: StorageClass::Standard,
        placed: Placed::Inline,
        data: DataId::from_bytes([7; 16]),
    };
    let row = Arc::new(Row {
        head,
        files: [].into(),
        tail: Bytes::new(),
    });
    let fence = Fence {
        slot: Slot::new(1),
        epoch: Epoch::new(0, 1),
    };
    let inline = Some(Bytes::from_static(&[1; 40]));
    twin.commit(Commit {
        fence,
        register: register(),
        row,
        inline,
    })
}

fn read(twin: &Twin) -> Reply<Rows> {
    twin.rows(RowsRequest {
        raise: None,
        slot: Slot::new(1),
        register: register(),
        want: Want::All,
    })
}

fn sequences(twin: &Twin) -> Vec<u64> {
    let rows = now(&mut read(twin)).expect("an answer at once").unwrap();
    rows.iter().map(|row| row.head.order.sequence).collect()
}

#[test]
fn faults_answer_as_named_and_end() {
    let twin = twin(1);
    let io = Error::Io(std::io::ErrorKind::Other);
    // fault, status, commit of an object, of a tombstone, read
    let table = [
        (Fault::Full, Status::Full, Some(Error::Full), None, None),
        (
            Fault::ReadOnly,
            Status::ReadOnly,
            Some(Error::ReadOnly),
            Some(Error::ReadOnly),
            None,
        ),
        (Fault::ReadError, Status::Online, None, None, Some(io)),
        (Fault::Joining, Status::Joining, None, None, None),
        (Fault::Lie, Status::Online, None, None, None),
    ];
    for (fault, status, object, tombstone, rows) in table {
        twin.fail(fault);
        assert_eq!(twin.status(), status);
        let outcome = now(&mut commit(&twin, 1, Kind::Object))
            .expect("ready")
            .err();
        assert_eq!(outcome, object, "{fault:?}");
        let outcome = now(&mut commit(&twin, 2, Kind::Tombstone))
            .expect("ready")
            .err();
        assert_eq!(outcome, tombstone, "{fault:?}");
        assert_eq!(
            now(&mut read(&twin)).expect("ready").err(),
            rows,
            "{fault:?}"
        );
        twin.mend(fault);
        assert_eq!(twin.status(), Status::Online);
    }
    twin.fail(Fault::Offline);
    assert!(matches!(
        now(&mut read(&twin)),
        Some(Err(Error::Offline(_)))
    ));
    assert!(matches!(
        now(&mut commit(&twin, 3, Kind::Object)),
        Some(Err(Error::Offline(_)))
    ));
    twin.mend(Fault::Offline);
    assert_eq!(sequences(&twin), [2, 1]);
}

#[test]
fn a_stall_holds_answers_back_and_its_end_lets_all_happen() {
    let twin = twin(1);
    twin.fail(Fault::Stall);
    let mut kept = commit(&twin, 1, Kind::Object);
    drop(commit(&twin, 2, Kind::Object));
    let mut rows = read(&twin);
    assert!(now(&mut kept).is_none() && now(&mut rows).is_none());
    twin.mend(Fault::Stall);
    assert!(matches!(now(&mut kept), Some(Ok(_))));
    let rows = now(&mut rows).expect("ready").unwrap();
    assert_eq!(rows.len(), 2, "a request happens though its caller is gone");
}

#[test]
fn a_crash_keeps_what_was_acknowledged_and_a_first_part_of_the_rest() {
    let mut lengths = [false; 4];
    for seed in 0..64 {
        let twin = twin(seed);
        assert!(matches!(
            now(&mut commit(&twin, 1, Kind::Object)),
            Some(Ok(_))
        ));
        twin.fail(Fault::Stall);
        let mut waiting: Vec<_> = (2..5).map(|at| commit(&twin, at, Kind::Object)).collect();
        twin.crash();
        twin.mend(Fault::Stall);
        for reply in &mut waiting {
            assert!(
                matches!(now(reply), Some(Err(Error::Offline(_)))),
                "no answer is heard"
            );
        }
        let rows = sequences(&twin);
        let expected: Vec<u64> = (1..=rows.len() as u64).rev().collect();
        assert_eq!(rows, expected, "seed {seed}");
        lengths[rows.len() - 1] = true;
    }
    assert_eq!(lengths, [true; 4], "every outcome comes up");
}

#[test]
fn a_settle_may_be_lost_until_the_next_batch() {
    let mut outcomes = [false; 2];
    for seed in 0..32 {
        let twin = twin(seed);
        let _ = now(&mut commit(&twin, 1, Kind::Object));
        let settles = || {
            let (slot, epoch) = (Slot::new(1), Epoch::new(0, 1));
            let mark = SettleMark {
                slot,
                epoch,
                settled: 1,
                complete: 1,
            };
            Settles {
                marks: vec![mark],
                ..Settles::default()
            }
        };
        let settled = || now(&mut read(&twin)).expect("ready").unwrap()[0].settled;
        twin.settle(settles());
        assert!(settled());
        twin.crash();
        outcomes[usize::from(settled())] = true;
        twin.settle(settles());
        let _ = now(&mut twin.meta_write(vec![]));
        twin.crash();
        assert!(settled(), "in a batch it is durable");
    }
    assert_eq!(outcomes, [true; 2]);
}

#[test]
fn a_lie_is_found_out_by_a_crash() {
    let twin = twin(1);
    let key = Bytes::from_static(b"key");
    let write = |value| MetaWrite {
        key: key.clone(),
        value: Some(Bytes::from_static(value)),
    };
    let value = || {
        now(&mut twin.meta_scan(key.clone()))
            .expect("ready")
            .unwrap()
            .pop()
    };
    let _ = now(&mut twin.meta_write(vec![write(b"true")]));
    let position = twin.positions().0;
    twin.fail(Fault::Lie);
    assert!(matches!(
        now(&mut twin.meta_write(vec![write(b"lie")])),
        Some(Ok(()))
    ));
    assert!(twin.positions().0 > position);
    twin.crash();
    assert_eq!(value(), Some((key.clone(), Bytes::from_static(b"true"))));
    assert_eq!(
        twin.positions().0,
        position,
        "rolled back: what peers remember tells"
    );
    let _ = now(&mut twin.meta_write(vec![write(b"late")]));
    twin.mend(Fault::Lie);
    twin.crash();
    assert_eq!(value(), Some((key.clone(), Bytes::from_static(b"late"))));
}

#[test]
fn damage_shows_where_it_is_and_a_commit_repairs_it() {
    let twin = twin(1);
    let _ = now(&mut commit(&twin, 1, Kind::Object));
    assert!(twin.flip_inline(&register(), order(1), order(1), 39));
    let inline = now(&mut read(&twin)).expect("ready").unwrap()[0]
        .inline
        .clone()
        .unwrap();
    assert_eq!(
        (inline[38], inline[39]),
        (1, 0),
        "frames are for readers to verify"
    );
    assert!(!twin.flip_inline(&register(), order(1), order(2), 0));
    assert!(twin.damage_row(&register(), order(1), order(1)));
    assert!(matches!(
        now(&mut read(&twin)),
        Some(Err(Error::Corrupt(_)))
    ));
    let _ = now(&mut commit(&twin, 1, Kind::Object));
    assert_eq!(sequences(&twin), [1]);
    let data = DataId::from_bytes([9; 16]);
    assert!(!twin.flip_shard(data, 0), "no such file");
    twin.wipe();
    assert_eq!((sequences(&twin), twin.positions()), (vec![], (0, vec![])));
}

#[test]
fn what_is_being_staged_does_not_survive_a_crash() {
    let twin = twin(1);
    let data = DataId::from_bytes([9; 16]);
    let mut stage = now(&mut twin.stage(data, register()))
        .expect("ready")
        .unwrap();
    twin.crash();
    let mut append = stage.append(Bytes::from_static(b"late"));
    let polled = append
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Err(Error::Offline(_)))));
    drop(append);
    assert!(matches!(
        now(&mut stage.finish()),
        Some(Err(Error::Offline(_)))
    ));
    let reader = twin.read_shards([data].into());
    let read = now(&mut reader.read(ShardRead {
        data,
        offset: 0,
        len: 1,
    }));
    assert_eq!(read, Some(Err(Error::Missing)));
}

//! Commits, fences, what rows are returned, and which are dropped.

use std::sync::Arc;

use types::{Epoch, Kind, Order, Slot};

use super::Subject;
use super::fixture::{Draft, EPOCH, Hand, SLOT, at, data, fence, mark, object};
use crate::contract::{Error, Settles, Want};

async fn hand(subject: &mut impl Subject) -> Hand {
    Hand::new(subject.make().await)
}

pub(super) async fn a_commit_is_read_back_whole(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let (register, other) = (object("a"), object("a/b"));
    assert_eq!(
        hand.rows(&register, Want::All).await,
        [],
        "an empty drive says absent"
    );
    let exact = hand.try_rows(&register, Want::Exact(at(1), at(1))).await;
    assert_eq!(exact, Err(Error::Missing), "an exact row that is not there");
    for len in [0, 1, 5_000, 128 * 1024] {
        let draft = Draft::new(10 + len as u64).inline(len);
        hand.commit(&register, &draft).await;
        let (born, order) = (draft.head.born, draft.head.order);
        for want in [
            Want::Exact(born, order),
            Want::Latest,
            Want::All,
            Want::Born(born),
        ] {
            let rows = hand.rows(&register, want).await;
            let first = rows.first().expect("the committed row");
            assert_eq!(first.head, draft.head, "{want:?}");
            assert_eq!(first.row, Some(draft.row()), "files and tail, {want:?}");
            assert_eq!(first.inline, draft.inline, "the frame, {want:?}");
            assert!(!first.settled, "settled before anybody said so");
        }
    }
    assert_eq!(
        hand.rows(&register, Want::All).await.len(),
        4,
        "unsettled rows stay"
    );
    assert_eq!(hand.rows(&other, Want::All).await, [], "another register");
}

pub(super) async fn a_commit_again_succeeds_and_other_data_is_refused(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let register = object("again");
    let draft = Draft::new(5).inline(100);
    let first = hand.commit(&register, &draft).await;
    let again = hand.commit(&register, &draft).await;
    assert!(
        first.position > 0 && again.position > 0,
        "positions count from 1"
    );
    let mut other = draft.clone();
    other.head.data = data(777);
    let taken = hand.try_commit(&register, &other).await;
    assert_eq!(
        taken,
        Err(Error::OrderTaken(at(5))),
        "the same order with other data"
    );
    let rows = hand.rows(&register, Want::All).await;
    assert_eq!(rows.len(), 1, "a repeated commit is one row");
    assert_eq!(
        rows[0].row,
        Some(draft.row()),
        "a refused commit changes nothing"
    );
    let healed = Draft {
        inline: Some(vec![9; 132].into()),
        ..draft
    };
    hand.commit(&register, &healed).await;
    let rows = hand.rows(&register, Want::All).await;
    assert_eq!(
        rows[0].inline, healed.inline,
        "a repeated commit brings a new frame"
    );
}

pub(super) async fn fences_refuse_the_deposed_for_ever(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let register = object("fenced");
    let draft = Draft::new(1);
    hand.commit(&register, &draft).await;
    let rows = hand.raise(&register, fence(EPOCH + 5)).await;
    assert_eq!(rows.map(|rows| rows.len()), Ok(1), "raise and read in one");
    let refused = Error::Fenced {
        stored: fence(EPOCH + 5).epoch,
    };
    assert_eq!(
        hand.try_commit(&register, &Draft::new(2)).await.err(),
        Some(refused.clone())
    );
    assert_eq!(
        hand.try_commit(&register, &draft).await.err(),
        Some(refused.clone()),
        "even a repeat"
    );
    assert_eq!(
        hand.discard(&register, &[(at(1), at(1))], &[]).await,
        Err(refused.clone())
    );
    assert_eq!(hand.raise(&register, fence(EPOCH + 4)).await, Err(refused));
    assert_eq!(
        hand.summary(&register, Want::All).await,
        [(1, 1, false)],
        "refused, yet done"
    );
    let equal = hand
        .commit_under(fence(EPOCH + 5), &register, &Draft::new(3))
        .await;
    assert!(equal.is_ok(), "an equal fence passes: {equal:?}");
    // A request that fails otherwise has raised all the same.
    let unstaged = Draft::new(4).file(data(4));
    let higher = hand
        .commit_under(fence(EPOCH + 6), &register, &unstaged)
        .await;
    assert_eq!(higher, Err(Error::NotStaged(data(4))));
    let drive = subject.reopen(hand.drive).await;
    let hand = Hand::new(drive);
    let refused = Error::Fenced {
        stored: fence(EPOCH + 6).epoch,
    };
    let late = hand
        .commit_under(fence(EPOCH + 5), &register, &Draft::new(5))
        .await;
    assert_eq!(late.err(), Some(refused), "fences outlive a restart");
    let slot = crate::contract::Fence {
        slot: Slot::new(SLOT + 1),
        epoch: Epoch::new(1, 1),
    };
    let elsewhere = hand
        .commit_under(slot, &object("other slot"), &Draft::new(1))
        .await;
    assert!(elsewhere.is_ok(), "a fence is of one slot: {elsewhere:?}");
}

pub(super) async fn each_want_returns_its_rows(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let register = object("wants");
    let drafts = [
        Draft::new(1),
        Draft::new(2).null(),
        Draft::born(at(1), at(3)),
        Draft::new(4).kind(Kind::Marker),
        Draft::new(5).null(),
        Draft::born(at(4), at(6)).kind(Kind::Tombstone),
    ];
    for draft in &drafts {
        hand.commit(&register, draft).await;
    }
    let rows = |list: &[(u64, u64)]| -> Vec<(u64, u64, bool)> {
        list.iter()
            .map(|(born, order)| (*born, *order, false))
            .collect()
    };
    let all = rows(&[(5, 5), (4, 6), (4, 4), (2, 2), (1, 3), (1, 1)]);
    assert_eq!(
        hand.summary(&register, Want::All).await,
        all,
        "newest born, then newest order"
    );
    assert_eq!(
        hand.summary(&register, Want::Latest).await,
        all,
        "nothing is settled"
    );
    assert_eq!(
        hand.summary(&register, Want::Born(at(1))).await,
        rows(&[(1, 3), (1, 1)])
    );
    assert_eq!(hand.summary(&register, Want::Born(at(9))).await, []);
    assert_eq!(
        hand.summary(&register, Want::Null).await,
        rows(&[(5, 5), (2, 2)])
    );
    assert_eq!(
        hand.summary(&register, Want::Exact(at(4), at(6))).await,
        rows(&[(4, 6)])
    );
    let missing = hand.try_rows(&register, Want::Exact(at(6), at(4))).await;
    assert_eq!(missing, Err(Error::Missing));
    let all = hand.rows(&register, Want::All).await;
    assert!(
        all.iter().all(|answer| answer.row.is_some()),
        "all rows come whole"
    );
    let born = hand.rows(&register, Want::Born(at(4))).await;
    assert!(
        born[1].row.is_some(),
        "the newest that is no tombstone comes whole"
    );
    let exact = hand.rows(&register, Want::Exact(at(4), at(6))).await;
    assert!(
        exact[0].row.is_some(),
        "an exact row comes whole, a tombstone too"
    );
}

pub(super) async fn latest_walks_to_a_settled_living_version(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let register = object("latest");
    for sequence in 1..=3 {
        hand.commit(&register, &Draft::new(sequence)).await;
    }
    hand.settle(2).await;
    let latest = hand.summary(&register, Want::Latest).await;
    assert_eq!(
        latest,
        [(3, 3, false), (2, 2, true)],
        "past the unsettled, not past the settled"
    );
    hand.settle(3).await;
    assert_eq!(hand.summary(&register, Want::Latest).await, [(3, 3, true)]);
    // An unsettled tombstone of the newest version: the next one may turn out current.
    hand.commit(&register, &Draft::born(at(3), at(4)).kind(Kind::Tombstone))
        .await;
    let latest = hand.summary(&register, Want::Latest).await;
    assert_eq!(
        latest,
        [(3, 4, false), (3, 3, true), (2, 2, true)],
        "past a tombstone"
    );
    hand.settle(4).await;
    let latest = hand.summary(&register, Want::Latest).await;
    assert_eq!(
        latest,
        [(3, 4, true), (2, 2, true)],
        "past a settled tombstone"
    );
    hand.commit(&register, &Draft::new(5).kind(Kind::Marker))
        .await;
    hand.settle(5).await;
    let latest = hand.rows(&register, Want::Latest).await;
    assert_eq!(latest.len(), 1, "a settled marker ends the walk");
    assert!(latest[0].row.is_some(), "a marker is a likely answer");
}

pub(super) async fn settling_drops_what_is_replaced_and_no_more(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let register = object("settle");
    for draft in [
        Draft::new(1),
        Draft::new(2),
        Draft::born(at(1), at(3)),
        Draft::born(at(1), at(5)),
    ] {
        hand.commit(&register, &draft).await;
    }
    hand.settle(2).await;
    let rows = hand.summary(&register, Want::All).await;
    let expected = [(2, 2, true), (1, 5, false), (1, 3, false), (1, 1, true)];
    assert_eq!(rows, expected, "nothing newer of version 1 is settled yet");
    hand.settle(4).await;
    let rows = hand.summary(&register, Want::All).await;
    assert_eq!(
        rows,
        [(2, 2, true), (1, 5, false), (1, 3, true)],
        "3 replaces 1, and 5 stays"
    );
    hand.settle(2).await;
    let rows = hand.summary(&register, Want::All).await;
    assert_eq!(
        rows,
        [(2, 2, true), (1, 5, false), (1, 3, true)],
        "marks never fall"
    );
    let stale = Settles {
        marks: vec![mark(EPOCH - 1, 99), mark(EPOCH + 1, 99)],
        ..Settles::default()
    };
    hand.settle_all(stale).await;
    let rows = hand.summary(&register, Want::All).await;
    assert_eq!(
        rows,
        [(2, 2, true), (1, 5, false), (1, 3, true)],
        "marks of other epochs"
    );
    // The mark was there before the row: heal comes late.
    hand.settle(10).await;
    hand.commit(&register, &Draft::born(at(2), at(7))).await;
    hand.barrier().await;
    let rows = hand.summary(&register, Want::All).await;
    assert_eq!(
        rows,
        [(2, 7, true), (1, 5, true)],
        "a row that arrives settled replaces too"
    );
    hand.commit(&register, &Draft::born(at(1), at(9)).kind(Kind::Tombstone))
        .await;
    hand.barrier().await;
    let rows = hand.summary(&register, Want::All).await;
    assert_eq!(
        rows,
        [(2, 7, true), (1, 9, true)],
        "a settled tombstone stays"
    );
    let hand = Hand::new(subject.reopen(hand.drive).await);
    assert_eq!(
        hand.summary(&register, Want::All).await,
        rows,
        "and all that outlives a restart"
    );
}

pub(super) async fn null_versions_replace_each_other_across_births(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let register = object("null");
    for draft in [
        Draft::new(1).null(),
        Draft::new(2),
        Draft::new(3).null(),
        Draft::new(4).null(),
    ] {
        hand.commit(&register, &draft).await;
    }
    hand.settle(3).await;
    let rows = hand.summary(&register, Want::All).await;
    assert_eq!(
        rows,
        [(4, 4, false), (3, 3, true), (2, 2, true)],
        "of one version id"
    );
    hand.settle(4).await;
    let rows = hand.summary(&register, Want::All).await;
    assert_eq!(rows, [(4, 4, true), (2, 2, true)], "other versions stay");
}

pub(super) async fn floors_settle_all_epochs_below(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let register = object("floors");
    let old = Order::new(Epoch::new(1, EPOCH - 3), 50);
    hand.commit(&register, &Draft::born(old, old)).await;
    hand.commit(&register, &Draft::new(1)).await;
    let slot = Slot::new(SLOT);
    let floors = |index| Settles {
        floors: vec![(slot, Epoch::new(1, index))],
        ..Settles::default()
    };
    hand.settle_all(floors(EPOCH - 3)).await;
    let settled = |rows: Vec<(u64, u64, bool)>| rows.iter().map(|row| row.2).collect::<Vec<_>>();
    let rows = hand.summary(&register, Want::All).await;
    assert_eq!(settled(rows), [false, false], "a floor is not below itself");
    hand.settle_all(floors(EPOCH)).await;
    let rows = hand.summary(&register, Want::All).await;
    assert_eq!(
        settled(rows),
        [false, true],
        "every sequence of every epoch below"
    );
    hand.settle_all(floors(EPOCH - 5)).await;
    let hand = Hand::new(subject.reopen(hand.drive).await);
    let rows = hand.summary(&register, Want::All).await;
    assert_eq!(
        settled(rows),
        [false, true],
        "floors never fall, and outlive a restart"
    );
}

pub(super) async fn discarded_rows_are_gone_and_only_they(subject: &mut impl Subject) {
    let hand = hand(subject).await;
    let (register, other) = (object("discard"), object("discard2"));
    for sequence in 1..=3 {
        hand.commit(&register, &Draft::new(sequence)).await;
        hand.commit(&other, &Draft::new(sequence)).await;
    }
    let gone = [(at(3), at(3)), (at(1), at(1)), (at(9), at(9))];
    assert_eq!(hand.discard(&register, &gone, &[]).await, Ok(()));
    assert_eq!(hand.summary(&register, Want::All).await, [(2, 2, false)]);
    assert_eq!(
        hand.discard(&register, &gone, &[]).await,
        Ok(()),
        "done again"
    );
    let raised = Arc::clone(&register);
    hand.raise(&raised, fence(EPOCH))
        .await
        .expect("an equal fence passes");
    let hand = Hand::new(subject.reopen(hand.drive).await);
    assert_eq!(
        hand.summary(&register, Want::All).await,
        [(2, 2, false)],
        "they stay gone"
    );
    assert_eq!(
        hand.summary(&other, Want::All).await.len(),
        3,
        "another register"
    );
    hand.commit(&register, &Draft::new(3)).await;
    assert_eq!(
        hand.summary(&register, Want::All).await.len(),
        2,
        "the drive keeps no grudge"
    );
}

//! Two holders at once over the same drives: the older one is fenced.

use drive::Fault;
use store::Error;

use crate::rig::{Rig, calm, content, delete, find, get, put, put_new, put_of, try_put};

#[tokio::test(start_paused = true)]
async fn an_older_holder_can_neither_commit_nor_answer() {
    for size in [3, 200 << 10] {
        let rig = Rig::new(2, 2);
        let (older, newer) = (rig.store(1), rig.store(2));
        put(&older, "k", &content(size, 1)).await;
        // The first touch of the newer one fences.
        let taken = put_new(&newer, "k", &content(size, 2)).await;
        assert_eq!(taken, Err(Error::PreconditionFailed));
        delete(&newer, "k").await.unwrap();
        for _ in 0..2 {
            let refused = try_put(&older, "k", &put_of(size), &content(size, 3)).await;
            assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
            let refused = put_new(&older, "k", &content(size, 3)).await;
            assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
            let refused = delete(&older, "k").await;
            assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
        }
        calm().await;
        assert_eq!(get(&newer, "k").await, Err(Error::NoSuchKey));
        assert_eq!(
            get(&older, "k").await,
            Err(Error::NoSuchKey),
            "any node reads"
        );
        put(&newer, "k", &content(size, 4)).await;
        assert_eq!(get(&older, "k").await, Ok(content(size, 4)));
    }
}

/// Way 12: the older holder's cache must not answer 412 after the newer one deleted.
#[tokio::test(start_paused = true)]
async fn a_deposed_holder_says_nothing_of_preconditions() {
    let rig = Rig::new(2, 1);
    let (older, newer) = (rig.store(1), rig.store(2));
    put(&older, "k", b"x").await;
    assert_eq!(
        put_new(&older, "k", b"y").await,
        Err(Error::PreconditionFailed)
    );
    delete(&newer, "k").await.unwrap();
    let answer = put_new(&older, "k", b"y").await;
    assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
}

/// Way 1: a late commit of the older holder against a take-over, drive by drive.
#[tokio::test(start_paused = true)]
async fn late_messages_of_an_older_holder_never_make_a_second_winner() {
    for stalled in 0..16usize {
        for late in 0..4 {
            let rig = Rig::new(2, 2);
            let (older, newer) = (rig.store(1), rig.store(2));
            for (place, twin) in rig.twins.iter().enumerate() {
                if stalled >> place & 1 == 1 {
                    twin.fail(Fault::Stall);
                }
            }
            let (first, second) = (content(20, 1), content(20, 2));
            let (task_store, task_bytes) = (older.clone(), first.clone());
            let one = tokio::spawn(async move { put_new(&task_store, "k", &task_bytes).await });
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            rig.twins[late].mend(Fault::Stall);
            let (task_store, task_bytes) = (newer.clone(), second.clone());
            let two = tokio::spawn(async move { put_new(&task_store, "k", &task_bytes).await });
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            rig.twins.iter().for_each(|twin| twin.mend(Fault::Stall));
            let (one, two) = (one.await.unwrap(), two.await.unwrap());
            assert!(
                one.is_err() || two.is_err(),
                "{stalled:b} {late}: two winners"
            );
            calm().await;
            let shown = get(&newer, "k").await;
            if one.is_ok() {
                assert_eq!(shown, Ok(first), "{stalled:b} {late}");
            } else if two.is_ok() {
                assert_eq!(shown, Ok(second), "{stalled:b} {late}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_grant_of_the_same_process_takes_the_slot_back() {
    let rig = Rig::new(2, 2);
    let (one, other) = (rig.store(1), rig.store(2));
    put(&one, "k", b"1").await;
    put(&other, "k", b"2").await;
    assert!(try_put(&one, "k", &put_of(1), b"3").await.is_err());
    crate::rig::grant(&one, 3);
    put(&one, "k", b"4").await;
    assert_eq!(get(&other, "k").await.unwrap(), b"4");
    let order = find(&one, "k").await.unwrap().head.order;
    assert_eq!(order.epoch, types::Epoch::new(0, 3));
}

/// Way 14, with three leases: what is finished needs an order of the lease that finishes it. With
/// the order it had, the put of the second holder, which had found nothing there, would be the
/// newer one, and be finished after the first was shown.
#[tokio::test(start_paused = true)]
async fn what_was_finished_and_shown_is_not_replaced_by_what_was_ordered_in_between() {
    for size in [20, 100 << 10] {
        let rig = Rig::new(1, 2);
        let pause = || tokio::time::sleep(std::time::Duration::from_millis(300));
        let (first, second) = (content(size, 1), content(size, 2));
        let try_new = |epoch: u64, bytes: &[u8]| {
            let (store, bytes) = (rig.store(epoch), bytes.to_vec());
            tokio::spawn(async move { put_new(&store, "k", &bytes).await })
        };
        // The first holder's put reaches one drive; the second holder does not see it.
        rig.twins[..2]
            .iter()
            .for_each(|twin| twin.fail(Fault::LateCommits));
        let one = try_new(1, &first);
        pause().await;
        rig.twins[2].fail(Fault::LateCommits);
        let two = try_new(2, &second);
        pause().await;
        // The third one does, finishes it and shows it.
        rig.twins[0].fail(Fault::Offline);
        let third = rig.store(3);
        let shown = tokio::spawn(async move { get(&third, "k").await });
        pause().await;
        rig.twins[1..]
            .iter()
            .for_each(|twin| twin.mend(Fault::LateCommits));
        assert_eq!(shown.await.unwrap(), Ok(first.clone()));
        // Now the second holder's put reaches a drive.
        rig.twins[0].mend(Fault::Offline);
        rig.twins[0].mend(Fault::LateCommits);
        assert!(one.await.unwrap().is_err() && two.await.unwrap().is_err());
        calm().await;
        assert_eq!(get(&rig.store(4), "k").await, Ok(first));
    }
}

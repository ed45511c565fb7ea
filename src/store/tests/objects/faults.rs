//! Drives away, drives damaged, clients that go away, and power cuts.

use drive::{Fault, Twin};
use store::Error;

use crate::rig::{
    Pieces, Rig, bucket, calm, content, delete, find, flip, get, heads, identity, key, names, put,
    put_new, put_of, try_put,
};

const SIZES: [usize; 4] = [0, 4 << 10, 200 << 10, (2 << 20) + 5];

/// All ways to choose up to `max` of `all` places.
fn choices(all: usize, max: usize) -> impl Iterator<Item = Vec<usize>> {
    let places = move |mask: u32| {
        (0..all)
            .filter(move |place| mask >> place & 1 == 1)
            .collect()
    };
    (0..1u32 << all)
        .map(places)
        .filter(move |places: &Vec<usize>| places.len() <= max)
}

#[tokio::test(start_paused = true)]
async fn with_any_m_drives_away_everything_settled_is_read() {
    for (data, parity) in [(1, 1), (2, 1), (2, 2), (4, 2)] {
        let rig = Rig::new(data, parity);
        let store = rig.store(1);
        for size in SIZES {
            put(&store, &format!("{size}"), &content(size, 1)).await;
        }
        calm().await;
        for fault in [Fault::Offline, Fault::ReadError, Fault::Stall] {
            for away in choices(rig.twins.len(), usize::from(parity)) {
                away.iter().for_each(|place| rig.twins[*place].fail(fault));
                for size in SIZES {
                    let read = get(&store, &format!("{size}")).await;
                    assert!(
                        read == Ok(content(size, 1)),
                        "{data}+{parity} {size} {fault:?} {away:?}: {:?}",
                        read.err()
                    );
                }
                assert_eq!(store.counters().bad_shards(), 0, "away is not bad");
                rig.twins.iter().for_each(|twin| twin.mend(fault));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_settled_at_the_end_is_read_without_a_write_quorum() {
    let (rig, bytes) = (Rig::new(2, 2), content(4 << 10, 1));
    let store = rig.store(1);
    put(&store, "k", &bytes).await;
    store.settle();
    drop(store);
    rig.twins[1..3]
        .iter()
        .for_each(|twin| twin.fail(Fault::Offline));
    assert_eq!(get(&rig.store(2), "k").await, Ok(bytes));
}

/// Fails if an upload waits for a drive that it can do without. Digests are made by threads, for which
/// paused time does not wait.
#[tokio::test]
async fn a_drive_that_stalls_is_cut_out_of_an_upload() {
    let bytes = content((2 << 20) + 5, 1);
    for place in 0..4 {
        let rig = Rig::new(2, 2);
        let store = rig.store(1);
        rig.twins[place].fail(Fault::Stall);
        put(&store, "k", &bytes).await;
        assert_eq!(get(&store, "k").await.as_deref(), Ok(bytes.as_slice()));
        rig.twins[place].mend(Fault::Stall);
        while store.hints() == 0 {
            tokio::task::yield_now().await;
        }
        let healed = store.heal_next().await.unwrap().unwrap();
        assert!(healed.clean && healed.repaired > 0, "heal was told");
    }
}

#[tokio::test(start_paused = true)]
async fn with_more_than_m_drives_away_nothing_is_said() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    put(&store, "k", &content(300 << 10, 1)).await;
    calm().await;
    rig.twins[..3]
        .iter()
        .for_each(|twin| twin.fail(Fault::Offline));
    for name in ["k", "none"] {
        let read = get(&store, name).await;
        assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn flipped_bytes_on_any_m_drives_are_served_around_counted_and_noted() {
    for (data, parity) in [(1, 1), (2, 2), (4, 2)] {
        for size in [1, 4 << 10, 200 << 10, (2 << 20) + 5] {
            let rig = Rig::new(data, parity);
            for bad in choices(rig.twins.len(), usize::from(parity)) {
                let store = rig.store(1);
                let bytes = content(size, 4);
                let name = format!("{bad:?}");
                put(&store, &name, &bytes).await;
                let it = identity(&store, &name).await;
                for place in &bad {
                    assert!(flip(&rig.twins[*place], &name, it, 32));
                }
                assert_eq!(get(&store, &name).await, Ok(bytes), "{bad:?}");
                let seen = store.counters().bad_shards() > 0;
                assert_eq!(seen, store.hints() > 0, "{data}+{parity} {size} {bad:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn flipped_bytes_on_more_than_m_drives_are_never_served() {
    for size in [4 << 10, 200 << 10] {
        let rig = Rig::new(2, 2);
        let store = rig.store(1);
        put(&store, "k", &content(size, 4)).await;
        let it = identity(&store, "k").await;
        for twin in &rig.twins[..3] {
            assert!(flip(twin, "k", it, 40));
        }
        assert_eq!(get(&store, "k").await, Err(Error::Damaged));
    }
}

/// A drive that lost its shards, and two more away: its shards are not lost, and nobody says so.
/// Fails if a drive that does not answer counts as one that lacks the shard.
#[tokio::test(start_paused = true)]
async fn shards_on_drives_that_are_away_are_not_called_lost() {
    for size in [100, 200 << 10] {
        let rig = Rig::new(2, 2);
        let store = rig.store(1);
        put(&store, "k", &content(size, 1)).await;
        calm().await;
        rig.twins[0].wipe();
        for away in [[1, 2], [2, 3], [3, 1]] {
            away.iter()
                .for_each(|place| rig.twins[*place].fail(Fault::Offline));
            let read = get(&store, "k").await;
            assert!(
                matches!(read, Err(Error::Unavailable(_))),
                "{size}: {read:?}"
            );
            away.iter()
                .for_each(|place| rig.twins[*place].mend(Fault::Offline));
            assert_eq!(get(&store, "k").await, Ok(content(size, 1)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_drives_down_writes_take_more_parity_and_survive_the_others() {
    let rig = Rig::new(4, 2);
    let store = rig.store(1);
    for place in [1, 4] {
        rig.twins[place].fail(Fault::Offline);
    }
    for size in SIZES {
        put(&store, &format!("{size}"), &content(size, 2)).await;
    }
    let geometry = find(&store, "4096").await.unwrap().head.geometry;
    assert_eq!((geometry.data(), geometry.parity()), (3, 3));
    calm().await;
    rig.twins[0].fail(Fault::Offline);
    for size in SIZES {
        assert_eq!(get(&store, &format!("{size}")).await, Ok(content(size, 2)));
    }
    let refused = try_put(&store, "new", &put_of(1), b"x").await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert!(!store.writable());
}

#[tokio::test(start_paused = true)]
async fn full_drives_take_deletions_and_no_bytes() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    put(&store, "k", b"x").await;
    rig.twins.iter().for_each(|twin| twin.fail(Fault::Full));
    assert_eq!(
        try_put(&store, "k", &put_of(1), b"y").await,
        Err(Error::Full)
    );
    delete(&store, "k").await.unwrap();
    assert_eq!(get(&store, "k").await, Err(Error::NoSuchKey));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_midway_leaves_old_or_new_and_never_both() {
    for stall_after in [0, 90_000, 1 << 20, 3 << 20] {
        let store = Rig::new(2, 2).store(1);
        put(&store, "k", b"old").await;
        let bytes = content(3 << 20, 6);
        let (put, name) = (put_of(bytes.len()), key("k"));
        let mut body = Pieces::stalling(&bytes, stall_after);
        let writing = store.put(bucket(), &name, &put, &mut body);
        let limit = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(limit, writing).await.is_err());
        assert_eq!(get(&store, "k").await.unwrap(), b"old");
        assert_eq!(crate::rig::put(&store, "k", b"new").await.etag, {
            types::Etag::Md5(store::md5_of(b"new"))
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_goes_on_without_its_client() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    rig.twins[1..]
        .iter()
        .for_each(|twin| twin.fail(Fault::Stall));
    let (put, name) = (put_of(3), key("k"));
    let mut body = Pieces::new(b"new", 3);
    {
        let mut writing = Box::pin(store.put(bucket(), &name, &put, &mut body));
        assert!(futures_util::poll!(&mut writing).is_pending());
    }
    assert_eq!(heads(&rig.twins[0], "k").await.len(), 1);
    rig.twins.iter().for_each(|twin| twin.mend(Fault::Stall));
    calm().await;
    assert_eq!(get(&store, "k").await.unwrap(), b"new");
    for twin in &rig.twins {
        assert_eq!(heads(twin, "k").await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_short_of_w_holds_back_its_key_and_completes_when_drives_return() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    put(&store, "k", b"old").await;
    calm().await;
    rig.twins[2..]
        .iter()
        .for_each(|twin| twin.fail(Fault::Stall));
    let short = try_put(&store, "k", &put_of(3), b"new").await;
    assert!(matches!(short, Err(Error::Unavailable(_))), "{short:?}");
    // Whatever needs the key's holder hears 503 in time, and does not wait for ever.
    let limit = std::time::Duration::from_secs(60);
    let waited = tokio::time::timeout(limit, put_new(&store, "k", b"?")).await;
    assert!(
        matches!(waited, Ok(Err(Error::Unavailable(_)))),
        "{waited:?}"
    );
    rig.twins.iter().for_each(|twin| twin.mend(Fault::Stall));
    calm().await;
    assert_eq!(get(&store, "k").await.unwrap(), b"new");
}

/// A shard file that was staged may go with its drive, before the commit that names it is there.
/// Fails if the commit waits for those drives alone that had their files when it began.
#[tokio::test(start_paused = true)]
async fn a_commit_brings_files_to_drives_that_lack_theirs_when_it_cannot_end_without_them() {
    // The drive that takes no part in the upload is there afterwards, or is not.
    for (data, parity, back) in [(2, 2, true), (1, 2, false)] {
        let rig = Rig::new(data, parity);
        let store = rig.store(1);
        put(&store, "k", b"old").await;
        let (last, replaced) = (rig.twins.last().unwrap(), &rig.twins[1]);
        last.fail(Fault::Full);
        replaced.fail(Fault::LateCommits);
        let (task_store, bytes) = (store.clone(), content(200 << 10, 1));
        let writing = tokio::spawn(async move {
            let put = put_of(bytes.len());
            try_put(&task_store, "k", &put, &bytes).await
        });
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        if back {
            last.mend(Fault::Full);
        }
        replaced.wipe();
        replaced.fail(Fault::Joining);
        replaced.mend(Fault::LateCommits);
        let short = writing.await.unwrap();
        assert!(short.is_err(), "{short:?}");
        calm().await;
        assert_eq!(get(&store, "k").await, Ok(content(200 << 10, 1)));
    }
}

/// With one parity shard every drive is needed to finish what a holder left behind. Fails if it
/// is begun while one is away: the file that could not be staged there would never come.
#[tokio::test(start_paused = true)]
async fn what_is_not_settled_is_read_again_once_all_drives_are_back() {
    for size in [200 << 10, 100] {
        let rig = Rig::new(3, 1);
        let first = rig.store(1);
        put(&first, "k", &content(size, 1)).await;
        drop(first);
        let second = rig.store(2);
        for twin in &rig.twins {
            twin.fail(Fault::Offline);
            for _ in 0..2 {
                let read = get(&second, "k").await;
                assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
            }
            // What needs no look at it goes on.
            put(&second, "other", b"x").await;
            twin.mend(Fault::Offline);
        }
        assert_eq!(get(&second, "k").await, Ok(content(size, 1)));
    }
}

/// Rule 4, by the holder's own hand: a row that it commits again for an older holder is a commit
/// in flight like any other, and nothing is decided of its key before it is on W drives.
#[tokio::test(start_paused = true)]
async fn a_row_that_is_being_finished_is_not_called_absent() {
    let rig = Rig::new(2, 2);
    let first = rig.store(1);
    // An older holder's write reaches two drives.
    let (there, away) = rig.twins.split_at(2);
    away.iter().for_each(|twin| twin.fail(Fault::Full));
    let short = try_put(&first, "k", &put_of(3), b"old").await;
    assert_eq!(short, Err(Error::Full), "not even begun");
    away.iter().for_each(|twin| twin.mend(Fault::Full));
    away.iter().for_each(|twin| twin.fail(Fault::Stall));
    assert!(try_put(&first, "k", &put_of(3), b"old").await.is_err());
    drop(first);
    away.iter().for_each(Twin::wipe);
    away.iter().for_each(|twin| twin.mend(Fault::Stall));
    // The next holder does not begin to finish it while too few drives would take it.
    away.iter().for_each(|twin| twin.fail(Fault::Full));
    let second = rig.store(2);
    assert_eq!(delete(&second, "k").await, Err(Error::Full));
    for twin in there {
        assert_eq!(heads(twin, "k").await.len(), 1);
    }
    // It begins, but no other drive takes it.
    away.iter().for_each(|twin| twin.mend(Fault::Full));
    away.iter().for_each(|twin| twin.fail(Fault::LateCommits));
    let finishing = delete(&second, "k").await;
    assert!(
        matches!(finishing, Err(Error::Unavailable(_))),
        "{finishing:?}"
    );
    // Now those two alone are there, and they know nothing.
    there.iter().for_each(|twin| twin.fail(Fault::Offline));
    let deleted = futures_util::poll!(Box::pin(delete(&second, "k")));
    assert!(deleted.is_pending(), "{deleted:?}: then it appears");
    there.iter().for_each(|twin| twin.mend(Fault::Offline));
    away.iter().for_each(|twin| twin.mend(Fault::LateCommits));
    calm().await;
    assert_eq!(get(&second, "k").await.unwrap(), b"old");
}

/// What is known of a key: what it shows, and the later writes that did not end.
struct Known {
    shown: Result<Vec<u8>, Error>,
    unfinished: Vec<Vec<u8>>,
}

impl Known {
    /// Whether it may be seen so: as before, or as a write left it that had not ended. One that
    /// became visible has taken the place of all before it.
    fn see(&mut self, seen: Result<Vec<u8>, Error>) -> bool {
        let appeared = |write: &Vec<u8>| seen.as_ref() == Ok(write);
        if let Some(place) = self.unfinished.iter().position(appeared) {
            self.unfinished.drain(..=place);
            self.shown = seen;
            return true;
        }
        seen == self.shown
    }
}

/// Power cuts of all drives in the middle of writes: what was acknowledged is there, what was
/// not is old or new, and whichever was shown first stays.
#[tokio::test(start_paused = true)]
async fn after_a_power_cut_acknowledged_writes_are_there_and_nothing_flips() {
    let rig = Rig::new(2, 2);
    let mut epoch = 1;
    let mut store = rig.store(epoch);
    let mut changes: [_; 3] = std::array::from_fn(|_| Known {
        shown: Err(Error::NoSuchKey),
        unfinished: Vec::new(),
    });
    for round in 0..40u64 {
        let (keep, change) = (format!("keep{round}"), format!("change{}", round % 3));
        let known = &mut changes[usize::try_from(round % 3).unwrap()];
        let size = |round: u64| [100, 200 << 10][usize::from(!round.is_multiple_of(2))];
        put(&store, &keep, &content(size(round), round)).await;
        assert!(known.see(get(&store, &change).await), "round {round}");
        // Some drives hang, so that the change is in flight when the power goes.
        let hang = usize::try_from(round % 5).unwrap();
        rig.twins[..hang.min(4)]
            .iter()
            .for_each(|twin| twin.fail(Fault::Stall));
        let new = content(size(round), 1_000 + round);
        let (task_store, task_key, task_new) = (store.clone(), change.clone(), new.clone());
        let writing = tokio::spawn(async move {
            try_put(&task_store, &task_key, &put_of(task_new.len()), &task_new).await
        });
        tokio::time::sleep(std::time::Duration::from_secs(round % 3)).await;
        rig.crash();
        let acknowledged = writing.is_finished() && writing.await.is_ok_and(|done| done.is_ok());
        rig.twins.iter().for_each(|twin| twin.mend(Fault::Stall));
        drop(store);
        epoch += 1;
        store = rig.store(epoch);
        known.unfinished.push(new.clone());
        if acknowledged {
            assert!(known.see(Ok(new)), "round {round}");
        }
        assert!(known.see(get(&store, &change).await), "round {round}");
        for subset in choices(4, 2) {
            let fault = |twin: &Twin| twin.fail(Fault::Offline);
            subset.iter().for_each(|place| fault(&rig.twins[*place]));
            let again = get(&store, &change).await;
            rig.twins.iter().for_each(|twin| twin.mend(Fault::Offline));
            let decided = !matches!(again, Err(Error::Unavailable(_)));
            let err = again.as_ref().err().cloned();
            assert!(
                !decided || known.see(again),
                "round {round}: flipped with {subset:?} away: {err:?}"
            );
        }
        for kept in 0..=round {
            let read = get(&store, &format!("keep{kept}")).await;
            assert!(
                read == Ok(content(size(kept), kept)),
                "round {round}: keep{kept} {:?}",
                read.err()
            );
        }
    }
    assert_eq!(names(&store).await.len(), 43);
}

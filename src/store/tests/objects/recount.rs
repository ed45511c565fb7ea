//! Recount and scrub: everything whole again, and "healed" only when it is.

use std::sync::Arc;

use drive::{Fault, Twin};
use store::{Census, Depth, Error, Store, Versioning};
use types::Epoch;

use crate::rig::{
    Rig, calm, content, delete, delete_version, find, flip, get, heads, identity, names, put,
    put_new, put_of, register, try_put,
};

use crate::uploads::{complete, create, part};

const SIZES: [usize; 4] = [0, 4 << 10, 200 << 10, (2 << 20) + 5];

pub(crate) async fn walk(store: &Store, depth: Depth) -> Census {
    let mut walk = store.walk(depth, None);
    while walk.step().await {}
    walk.census()
}

/// Every key of one size each, with versions, a marker and a deleted key.
async fn fill(store: &Store) {
    for size in SIZES {
        put(store, &format!("{size}"), &content(size, 1)).await;
        let mut versioned = put_of(size);
        versioned.versioning = Versioning::Enabled;
        for seed in 0..2 {
            let done = try_put(store, "versions", &versioned, &content(size, seed)).await;
            done.unwrap();
        }
    }
    let marker = delete_version(store, "versions", Versioning::Enabled, None).await;
    marker.unwrap();
    put(store, "gone", b"gone").await;
    delete(store, "gone").await.unwrap();
}

/// A full store whose second drive was replaced, and joins.
async fn full_with_one_joining(rig: &Rig) -> Arc<Store> {
    let store = rig.store(1);
    fill(&store).await;
    calm().await;
    rig.twins[1].wipe();
    rig.twins[1].fail(Fault::Joining);
    store
}

async fn check(store: &Store) {
    for size in SIZES {
        let read = get(store, &format!("{size}")).await;
        assert!(read == Ok(content(size, 1)), "{size}: {:?}", read.err());
    }
    let marked = get(store, "versions").await;
    assert!(
        matches!(marked, Err(Error::DeleteMarker { .. })),
        "{marked:?}"
    );
    assert_eq!(get(store, "gone").await, Err(Error::NoSuchKey));
}

#[tokio::test(start_paused = true)]
async fn a_drive_that_was_away_gets_everything_and_only_a_second_count_says_healed() {
    for back in 0..4 {
        let rig = Rig::new(2, 2);
        let store = rig.store(1);
        rig.twins[back].fail(Fault::Offline);
        fill(&store).await;
        let short = walk(&store, Depth::Rows).await;
        assert_eq!(short.examined, 0, "nothing that could be done");
        assert!(!short.complete && !short.is_healed(), "away is not healed");
        rig.twins[back].mend(Fault::Offline);
        let first = walk(&store, Depth::Rows).await;
        assert!(first.complete && first.repaired > 10 && !first.is_healed());
        let second = walk(&store, Depth::Rows).await;
        assert!(second.is_healed(), "{second:?}");
        calm().await;
        // Its shards are as good as any: those of two others are not needed.
        let others = rig.twins.iter().enumerate();
        let others = others.filter(|(place, _)| *place != back).take(2);
        others.for_each(|(_, twin)| twin.fail(Fault::Offline));
        check(&store).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wiped_drive_is_rebuilt_while_it_joins() {
    let rig = Rig::new(2, 2);
    let store = full_with_one_joining(&rig).await;
    let first = walk(&store, Depth::Rows).await;
    assert!(first.complete && first.unhealed == 0 && first.repaired > 10);
    assert!(walk(&store, Depth::Rows).await.is_healed());
    rig.twins[1].mend(Fault::Joining);
    calm().await;
    rig.twins[2..]
        .iter()
        .for_each(|twin| twin.fail(Fault::Offline));
    check(&store).await;
}

pub(crate) async fn sound(store: &Store) -> Vec<usize> {
    let mut walk = store.walk(Depth::Rows, None);
    while walk.step().await {}
    walk.sound().iter().map(|seat| seat.place).collect()
}

/// A read quorum is enough to rebuild from; fewer votes are not. Fails if the walk does not count
/// who was heard, or counts those that join.
#[tokio::test(start_paused = true)]
async fn a_drive_is_rebuilt_with_another_away_and_from_a_read_quorum_at_least() {
    let rig = Rig::new(2, 2);
    let store = full_with_one_joining(&rig).await;
    rig.twins[3].fail(Fault::Offline);
    assert_eq!(sound(&store).await, [0, 1, 2]);
    rig.twins[2].fail(Fault::Offline);
    assert!(sound(&store).await.is_empty(), "one vote");
    rig.twins[2].mend(Fault::Offline);
    rig.twins[1].mend(Fault::Joining);
    calm().await;
    rig.twins[0].fail(Fault::Offline);
    check(&store).await;
}

/// Way 7. A drive acknowledges a commit, loses everything, and is rebuilt from two that the commit
/// has not reached yet. Without a new membership index the old acknowledgement and a late one make
/// W, and the write is gone.
#[tokio::test(start_paused = true)]
async fn what_a_drive_acknowledged_before_it_was_admitted_does_not_count() {
    for admitted in [false, true] {
        let rig = Rig::new(1, 2);
        let store = rig.store(1);
        let late = &rig.twins[1..];
        late.iter().for_each(|twin| twin.fail(Fault::LateCommits));
        let task_store = store.clone();
        let writing = tokio::spawn(async move { put(&task_store, "k", b"x").await });
        calm().await;
        assert_eq!(heads(&rig.twins[0], "k").await.len(), 1);
        rig.twins[0].wipe();
        rig.twins[0].fail(Fault::Joining);
        if admitted {
            store.admit(0, Epoch::new(0, 2));
        }
        assert!(sound(&store).await.contains(&0), "rebuilt");
        rig.twins[0].mend(Fault::Joining);
        late[0].mend(Fault::LateCommits);
        writing.await.unwrap();
        late[0].fail(Fault::Offline);
        let read = get(&store, "k").await;
        let lost = read == Err(Error::NoSuchKey);
        assert!(lost != admitted, "{admitted}: {read:?}");
    }
}

/// Fails if a drive gets the row of an object whose part cannot be brought yet: it would vote, and
/// the next recount would find all rows alike and call the object healed.
#[tokio::test(start_paused = true)]
async fn a_part_that_cannot_be_had_yet_keeps_a_drive_joining() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    let id = create(&store, "k").await.unwrap();
    rig.twins[2].fail(Fault::Offline);
    let named = vec![part(&store, "k", id, 1, &content(3_000, 1)).await];
    rig.twins[2].mend(Fault::Offline);
    complete(&store, "k", id, named).await.unwrap();
    calm().await;
    // What was noted for heal is lost with the process.
    let store = rig.store(2);
    rig.twins[1].wipe();
    rig.twins[1].fail(Fault::Joining);
    rig.twins[3].fail(Fault::Offline);
    let found = sound(&store).await;
    assert!(!found.contains(&1), "one shard of two: {found:?}");
    rig.twins[3].mend(Fault::Offline);
    walk(&store, Depth::Rows).await;
    assert!(sound(&store).await.contains(&1));
    assert!(walk(&store, Depth::Shards).await.is_healed());
    assert_eq!(get(&store, "k").await, Ok(content(3_000, 1)));
}

/// What only a drive that is away could decide keeps a drive from voting. Fails if a key that
/// could not be healed does not count.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_decided_keeps_a_drive_joining() {
    let rig = Rig::new(2, 2);
    let older = full_with_one_joining(&rig).await;
    // A write that reaches one drive only.
    let others = |act: fn(&Twin)| [0, 1, 3].iter().for_each(|place| act(&rig.twins[*place]));
    others(|twin| twin.fail(Fault::Stall));
    assert!(try_put(&older, "open", &put_of(3), b"new").await.is_err());
    others(|twin| {
        twin.fail(Fault::Offline);
        twin.mend(Fault::Stall);
    });
    [0, 1]
        .iter()
        .for_each(|place| rig.twins[*place].mend(Fault::Offline));
    let newer = rig.store(2);
    for _ in 0..2 {
        let found = sound(&newer).await;
        assert!(
            !found.contains(&1),
            "one copy, one vote against it, one away: {found:?}"
        );
    }
    rig.twins[3].mend(Fault::Offline);
    assert!(sound(&newer).await.contains(&1), "now it is decided");
}

#[tokio::test(start_paused = true)]
async fn a_recount_settles_what_a_crash_left_unsettled() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    fill(&store).await;
    put(&store, "4096", &content(4096, 1)).await;
    drop(store);
    rig.crash();
    let store = rig.store(2);
    let two_away = |fault: fn(&Twin)| rig.twins[..2].iter().for_each(fault);
    two_away(|twin| twin.fail(Fault::Offline));
    let unsure = get(&store, "4096").await;
    assert!(matches!(unsure, Err(Error::Unavailable(_))));
    two_away(|twin| twin.mend(Fault::Offline));
    calm().await;
    assert!(walk(&store, Depth::Rows).await.complete);
    two_away(|twin| twin.fail(Fault::Offline));
    check(&store).await;
}

#[tokio::test(start_paused = true)]
async fn what_only_one_drive_holds_is_found_and_never_becomes_true() {
    for holder in 0..4 {
        let rig = Rig::new(2, 2);
        let older = rig.store(1);
        put(&older, "old", b"old").await;
        calm().await;
        // Two writes that reach one drive only.
        let others = |act: fn(&Twin)| {
            let others = rig.twins.iter().enumerate();
            let others = others.filter(|(place, _)| *place != holder);
            others.for_each(|(_, twin)| act(twin));
        };
        others(|twin| twin.fail(Fault::ReadOnly));
        let two = [("old", b"new"), ("none", b"new")];
        others(|twin| twin.mend(Fault::ReadOnly));
        others(|twin| twin.fail(Fault::Stall));
        for (name, bytes) in two {
            assert!(try_put(&older, name, &put_of(3), bytes).await.is_err());
        }
        others(|twin| {
            twin.fail(Fault::Offline);
            twin.mend(Fault::Stall);
            twin.mend(Fault::Offline);
        });
        let newer = rig.store(2);
        assert!(put_new(&newer, "fence", b"x").await.is_ok());
        let first = walk(&newer, Depth::Rows).await;
        assert!(first.complete, "{first:?}");
        let second = walk(&newer, Depth::Rows).await;
        assert!(second.is_healed(), "{second:?}");
        calm().await;
        for (name, count) in [("old", 1), ("none", 0)] {
            for twin in &rig.twins {
                assert_eq!(heads(twin, name).await.len(), count, "{name}");
            }
        }
        assert_eq!(get(&newer, "old").await.unwrap(), b"old");
        assert_eq!(get(&newer, "none").await, Err(Error::NoSuchKey));
    }
}

/// What is below the floor counts as settled, so nothing from there may come any more.
#[tokio::test(start_paused = true)]
async fn after_a_recount_no_drive_takes_anything_of_an_older_holder() {
    let rig = Rig::new(2, 2);
    let (older, newer) = (rig.store(1), rig.store(2));
    assert!(walk(&newer, Depth::Rows).await.is_healed());
    for name in ["a", "b", "c"] {
        assert!(try_put(&older, name, &put_of(1), b"x").await.is_err());
        for twin in &rig.twins {
            assert_eq!(heads(twin, name).await, [], "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tombstones_go_in_a_later_epoch_and_with_all_drives_only() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    fill(&store).await;
    calm().await;
    assert_eq!(
        walk(&store, Depth::Rows).await.collected,
        0,
        "its own epoch"
    );
    crate::rig::grant(&store, 2);
    rig.twins[0].fail(Fault::Offline);
    assert_eq!(walk(&store, Depth::Rows).await.collected, 0, "one is away");
    rig.twins[0].mend(Fault::Offline);
    rig.twins[0].fail(Fault::Joining);
    assert_eq!(walk(&store, Depth::Rows).await.collected, 0, "one joins");
    rig.twins[0].mend(Fault::Joining);
    assert_eq!(heads(&rig.twins[3], "gone").await.len(), 1);
    assert_eq!(walk(&store, Depth::Rows).await.collected, 1);
    for twin in &rig.twins {
        assert_eq!(heads(twin, "gone").await, []);
    }
    check(&store).await;
}

#[tokio::test(start_paused = true)]
async fn damaged_rows_are_found_read_around_and_written_again() {
    for place in 0..4 {
        let rig = Rig::new(2, 2);
        let store = rig.store(1);
        let all: Vec<String> = (0..30).map(|number| format!("k{number:02}")).collect();
        for name in &all {
            put(&store, name, name.as_bytes()).await;
        }
        calm().await;
        for name in all.iter().filter(|name| !name.ends_with('4')) {
            let (born, order, _) = identity(&store, name).await;
            assert!(rig.twins[place].damage_row(&register(name), born, order));
        }
        let first = walk(&store, Depth::Rows).await;
        assert_eq!(
            (first.registers, first.repaired, first.unhealed),
            (30, 27, 0)
        );
        assert!(walk(&store, Depth::Rows).await.is_healed());
        assert_eq!(names(&store).await, all);
    }
}

/// Fails if one damaged row of a history makes a drive speechless about all of it: then the newest
/// is written again for ever, and what it replaced stays.
#[tokio::test(start_paused = true)]
async fn a_damaged_history_is_written_again_and_what_it_replaced_goes() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    put(&store, "k", b"first").await;
    put(&store, "k", b"second").await;
    put(&store, "gone", b"gone").await;
    delete(&store, "gone").await.unwrap();
    let twin = &rig.twins[1];
    twin.fail(Fault::Joining);
    for name in ["k", "gone"] {
        let held = heads(twin, name).await;
        assert_eq!(held.len(), 2, "not settled yet");
        for head in held {
            assert!(twin.flip_row(&register(name), head.born, head.order));
        }
    }
    let first = walk(&store, Depth::Shards).await;
    assert_eq!((first.repaired, first.unhealed), (2, 0), "{first:?}");
    assert!(walk(&store, Depth::Shards).await.is_healed());
    for name in ["k", "gone"] {
        assert_eq!(heads(twin, name).await.len(), 1);
    }
    twin.mend(Fault::Joining);
    rig.twins[2..]
        .iter()
        .for_each(|twin| twin.fail(Fault::Offline));
    assert_eq!(get(&store, "k").await, Ok(b"second".to_vec()));
    assert_eq!(get(&store, "gone").await, Err(Error::NoSuchKey));
}

#[tokio::test(start_paused = true)]
async fn a_scrub_repairs_every_flip_in_place() {
    for (data, parity) in [(1, 1), (2, 2), (4, 2)] {
        let rig = Rig::new(data, parity);
        let store = rig.store(1);
        for size in &SIZES[1..] {
            put(&store, &format!("{size}"), &content(*size, 1)).await;
        }
        calm().await;
        let mut flips = 0;
        for (shift, size) in SIZES[1..].iter().enumerate() {
            let name = format!("{size}");
            let it = identity(&store, &name).await;
            for bad in 0..usize::from(parity) {
                let twin = &rig.twins[(shift + bad) % rig.twins.len()];
                assert!(flip(twin, &name, it, 30 + bad));
                flips += 1;
            }
        }
        assert_eq!(walk(&store, Depth::Rows).await.repaired, 0, "not looked at");
        let scrub = walk(&store, Depth::Shards).await;
        assert_eq!((scrub.repaired, scrub.unhealed), (flips, 0), "{scrub:?}");
        let again = walk(&store, Depth::Shards).await;
        assert!(again.is_healed(), "{again:?}");
        for away in 0..rig.twins.len() {
            rig.twins[away].fail(Fault::Offline);
            for size in &SIZES[1..] {
                let read = get(&store, &format!("{size}")).await;
                assert!(read == Ok(content(*size, 1)), "{size} {:?}", read.err());
            }
            rig.twins[away].mend(Fault::Offline);
        }
        assert_eq!(store.counters().bad_shards(), 0, "no client met any");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_said_counted_and_kept() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    for size in [100, 300 << 10] {
        let name = format!("{size}");
        put(&store, &name, &content(size, 1)).await;
        let it = identity(&store, &name).await;
        for twin in &rig.twins[..3] {
            assert!(flip(twin, &name, it, 36));
        }
    }
    rig.twins[3].fail(Fault::Offline);
    let unsure = walk(&store, Depth::Shards).await;
    assert_eq!((unsure.lost, unsure.unhealed), (0, 2), "one is away");
    rig.twins[3].mend(Fault::Offline);
    let lost = walk(&store, Depth::Shards).await;
    assert_eq!((lost.lost, lost.unhealed, lost.repaired), (2, 2, 0));
    assert!(!lost.is_healed());
    // One flip back, and both are there again: nothing was thrown away.
    for size in [100, 300 << 10] {
        let name = format!("{size}");
        let it = {
            let head = find(&store, &name).await.unwrap().head;
            (head.born, head.order, head.data)
        };
        assert!(flip(&rig.twins[0], &name, it, 36));
        assert_eq!(get(&store, &name).await, Ok(content(size, 1)));
    }
    assert_eq!(walk(&store, Depth::Shards).await.repaired, 4);
}

#[tokio::test(start_paused = true)]
async fn a_scrub_goes_on_where_it_was() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    for number in 0..100 {
        put(&store, &format!("{number}"), b"x").await;
    }
    let (mut position, mut seen, mut steps) = (Vec::new(), 0, 0);
    loop {
        let mut walk = store.walk(Depth::Shards, Some(&position));
        let more = walk.step().await;
        seen += walk.census().registers;
        steps += 1;
        assert!(!walk.census().is_healed(), "a part is not the whole");
        if !more {
            break;
        }
        position = walk.position();
    }
    assert_eq!(seen, 100);
    assert!(steps > 5);
}

#[tokio::test(start_paused = true)]
async fn hints_heal_at_once_what_can_be_healed() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    put(&store, "flipped", &content(300 << 10, 1)).await;
    let it = identity(&store, "flipped").await;
    for place in 0..2 {
        assert!(flip(&rig.twins[place], "flipped", it, 50));
    }
    get(&store, "flipped").await.unwrap();
    assert_eq!(store.hints(), 1);
    store.hinted().await;
    assert_eq!(store.heal_next().await.unwrap().unwrap().repaired, 2);
    assert!(!store.take_recount_due());
    // A drive that is away: nothing to be done before it is back, and then all of it.
    rig.twins[0].fail(Fault::Offline);
    for number in 0..20 {
        put(&store, &format!("{number}"), b"x").await;
    }
    calm().await;
    assert_eq!((store.hints(), store.away()), (20, 1));
    assert_eq!(store.heal_next().await, None);
    assert_eq!(store.hints(), 0);
    let limit = std::time::Duration::from_secs(1);
    let idle = tokio::time::timeout(limit, store.hinted()).await;
    assert!(idle.is_err());
    assert!(store.take_recount_due() && !store.take_recount_due());
}

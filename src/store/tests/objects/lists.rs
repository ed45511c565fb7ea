//! Lists against a model that is a sorted map.

use std::collections::BTreeMap;

use drive::Fault;
use proptest::prelude::{ProptestConfig, Strategy, any, proptest};
use proptest::{collection, option, prop_oneof, sample};
use store::{ListRequest, Listed, Store};

use crate::rig::{Rig, delete, in_paused_time, list_of, put};

type Model = BTreeMap<String, u64>;

/// What S3 would answer: names and common prefixes after the marker, and whether there is more.
fn expected(model: &Model, request: &ListRequest) -> (Vec<(String, Option<u64>)>, bool) {
    let after = request.after.as_deref().unwrap_or("");
    let mut entries: Vec<(String, Option<u64>)> = Vec::new();
    for (key, size) in model {
        let Some(rest) = key.strip_prefix(&request.prefix) else {
            continue;
        };
        let cut = request.delimiter.as_ref();
        let cut = cut.and_then(|delimiter| Some(rest.find(delimiter.as_str())? + delimiter.len()));
        let entry = match cut {
            Some(end) => (key[..request.prefix.len() + end].to_owned(), None),
            None => (key.clone(), Some(*size)),
        };
        if entry.0.as_str() > after && entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    let truncated = entries.len() > request.entries_max && request.entries_max > 0;
    entries.truncate(request.entries_max);
    (entries, truncated)
}

async fn check(store: &Store, model: &Model, request: &ListRequest) {
    let page = store.list(request).await.unwrap();
    let entries = page.entries.iter().map(|entry| match entry {
        Listed::Key(name, head) => (name.clone(), Some(head.size)),
        Listed::Prefix(name) => (name.clone(), None),
    });
    let got = (entries.collect::<Vec<_>>(), page.truncated);
    assert_eq!(got, expected(model, request), "{request:?}");
}

/// Goes through all pages, each after the last name of the one before.
async fn check_pages(store: &Store, model: &Model, mut request: ListRequest) {
    loop {
        check(store, model, &request).await;
        let page = store.list(&request).await.unwrap();
        let Some(last) = page.entries.last().filter(|_| page.truncated) else {
            return;
        };
        request.after = Some(last.name().to_owned());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(String, usize),
    Delete(String),
    /// One drive fails and the one that was away comes back.
    Away(usize),
    Calm,
}

fn names() -> impl Strategy<Value = String> {
    let part = sample::select(vec![
        "a",
        "b",
        "/",
        "//",
        "a/",
        "ü",
        "\u{10ffff}",
        "0",
        "-",
        "\u{1}",
    ]);
    let joined = collection::vec(part, 1..5).prop_map(|parts| parts.concat());
    joined.prop_filter("a key", |name| types::ObjectKey::parse(name).is_ok())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (names(), 0..40usize).prop_map(|(name, size)| Step::Put(name, size)),
        3 => names().prop_map(Step::Delete),
        1 => (0..4usize).prop_map(Step::Away),
        1 => any::<()>().prop_map(|()| Step::Calm),
    ];
    collection::vec(step, 1..60)
}

fn requests() -> impl Strategy<Value = ListRequest> {
    let delimiter = option::of(sample::select(vec!["/", "a", "//", "ü"]));
    (
        option::of(names()),
        option::of(names()),
        delimiter,
        0..12usize,
    )
        .prop_map(|(prefix, after, delimiter, entries_max)| ListRequest {
            after,
            ..list_of(&prefix.unwrap_or_default(), delimiter, entries_max)
        })
}

async fn play(steps: Vec<Step>, requests: Vec<ListRequest>) {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Put(name, size) => {
                put(&store, &name, &vec![1; size]).await;
                model.insert(name, size as u64);
            }
            Step::Delete(name) => {
                delete(&store, &name).await.unwrap();
                model.remove(&name);
            }
            Step::Away(place) => {
                rig.twins.iter().for_each(|twin| twin.mend(Fault::Offline));
                rig.twins[place].fail(Fault::Offline);
            }
            Step::Calm => crate::rig::calm().await,
        }
    }
    for request in requests {
        check(&store, &model, &request).await;
        let paged = ListRequest {
            after: None,
            entries_max: request.entries_max.max(1),
            ..request
        };
        check_pages(&store, &model, paged).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_list_shows_what_a_sorted_map_would(
        steps in steps(),
        requests in collection::vec(requests(), 1..12),
    ) {
        in_paused_time(play(steps, requests));
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_fails_rather_than_show_less() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    put(&store, "k", b"x").await;
    crate::rig::calm().await;
    rig.twins[..2]
        .iter()
        .for_each(|twin| twin.fail(Fault::Offline));
    assert_eq!(crate::rig::names(&store).await, ["k"], "R = 2 answer");
    rig.twins[2].fail(Fault::ReadError);
    let failed = store.list(&list_of("", None, 9)).await;
    assert!(matches!(failed, Err(store::Error::Unavailable(_))));
}

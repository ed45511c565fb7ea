//! Histories and lists of versions against a model, with drives that come and go.

use std::collections::BTreeMap;

use drive::Fault;
use proptest::prelude::{ProptestConfig, Strategy, any, proptest};
use proptest::{collection, option, prop_oneof, sample};
use store::{Error, ListedVersion, Put, Store, Versioning, VersionsRequest};
use types::VersionId;

use crate::rig::{
    Rig, calm, content, delete_version, get, in_paused_time, list_of, put, put_of, try_put, version,
};

/// A version as the model knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    version: VersionId,
    /// `None` for a delete marker.
    size: Option<u64>,
}

/// Keys with their versions, newest first.
type Model = BTreeMap<String, Vec<Known>>;

/// A version or delete marker, whether it is the latest; or a common prefix.
type Entry = (String, Option<(Known, bool)>);

/// What S3 would answer.
fn expected(model: &Model, request: &VersionsRequest) -> (Vec<Entry>, bool) {
    let keys = &request.keys;
    let after = keys.after.as_deref().unwrap_or("");
    let mut entries: Vec<Entry> = Vec::new();
    for (key, versions) in model {
        let Some(rest) = key.strip_prefix(&keys.prefix) else {
            continue;
        };
        let cut = keys.delimiter.as_ref();
        let cut = cut.and_then(|delimiter| Some(rest.find(delimiter.as_str())? + delimiter.len()));
        if let Some(end) = cut {
            let entry = (key[..keys.prefix.len() + end].to_owned(), None);
            let before = entry.0.as_str() <= after || after.starts_with(&entry.0);
            if !versions.is_empty() && !before && entries.last() != Some(&entry) {
                entries.push(entry);
            }
            continue;
        }
        let marker = request.after_version.filter(|_| key == after);
        let from = match marker {
            Some(marker) => versions
                .iter()
                .position(|known| known.version == marker)
                .map_or(0, |at| at + 1),
            None if key.as_str() <= after => versions.len(),
            None => 0,
        };
        for (at, known) in versions.iter().enumerate().skip(from) {
            entries.push((key.clone(), Some((*known, at == 0))));
        }
    }
    let truncated = entries.len() > keys.entries_max && keys.entries_max > 0;
    entries.truncate(keys.entries_max);
    (entries, truncated)
}

async fn listed(store: &Store, request: &VersionsRequest) -> (Vec<Entry>, bool) {
    let page = store.list_versions(request).await.unwrap();
    let entry = |entry: &ListedVersion| match entry {
        ListedVersion::Version { key, head, latest } => {
            let known = Known {
                version: head.version,
                size: (!entry.is_marker()).then_some(head.size),
            };
            (key.to_string(), Some((known, *latest)))
        }
        ListedVersion::Prefix(prefix) => (prefix.clone(), None),
    };
    (page.entries.iter().map(entry).collect(), page.truncated)
}

/// Goes through all pages, each after the last entry of the one before.
async fn check_pages(store: &Store, model: &Model, mut request: VersionsRequest) {
    loop {
        let got = listed(store, &request).await;
        assert_eq!(got, expected(model, &request), "{request:?}");
        let (Some((name, last)), true) = (got.0.last(), got.1) else {
            return;
        };
        request.keys.after = Some(name.clone());
        request.after_version = last.map(|(known, _)| known.version);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(String, usize),
    Delete(String),
    /// One of the key's versions.
    DeleteVersion(String, sample::Index),
    Switch(Versioning),
    /// One drive fails and the one that was away comes back.
    Away(usize),
    /// Another process takes over.
    Restart,
    Calm,
}

fn names() -> impl Strategy<Value = String> {
    let name = vec!["a", "a/", "a/b", "a/b/c", "b", "b/x", "//", "ü"];
    sample::select(name).prop_map(str::to_owned)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let modes = sample::select(vec![Versioning::Enabled, Versioning::Suspended]);
    let step = prop_oneof![
        8 => (names(), 0..40usize).prop_map(|(name, size)| Step::Put(name, size)),
        3 => names().prop_map(Step::Delete),
        3 => (names(), any::<sample::Index>()).prop_map(|(name, at)| Step::DeleteVersion(name, at)),
        2 => modes.prop_map(Step::Switch),
        1 => (0..4usize).prop_map(Step::Away),
        1 => any::<()>().prop_map(|()| Step::Restart),
        1 => any::<()>().prop_map(|()| Step::Calm),
    ];
    collection::vec(step, 1..60)
}

fn requests() -> impl Strategy<Value = VersionsRequest> {
    let delimiter = option::of(sample::select(vec!["/", "b", "//"]));
    let prefix = option::of(sample::select(vec!["a", "a/", "b", "x"]));
    (prefix, option::of(names()), delimiter, 0..12usize).prop_map(
        |(prefix, after, delimiter, entries_max)| {
            let mut keys = list_of(prefix.unwrap_or_default(), delimiter, entries_max);
            keys.after = after;
            VersionsRequest {
                keys,
                after_version: None,
            }
        },
    )
}

/// A bucket with its model.
struct Bucket {
    mode: Versioning,
    model: Model,
}

impl Bucket {
    async fn put(&mut self, store: &Store, name: &str, size: usize) {
        let put = Put {
            versioning: self.mode,
            ..put_of(size)
        };
        let bytes = content(size, size as u64);
        let written = try_put(store, name, &put, &bytes).await.unwrap();
        self.add(name, written.version, Some(size as u64));
    }

    fn add(&mut self, name: &str, version: VersionId, size: Option<u64>) {
        let wanted_null = self.mode != Versioning::Enabled;
        assert_eq!(version == VersionId::Null, wanted_null);
        let versions = self.model.entry(name.to_owned()).or_default();
        versions.retain(|known| known.version != version);
        versions.insert(0, Known { version, size });
    }

    async fn delete(&mut self, store: &Store, name: &str) {
        let done = delete_version(store, name, self.mode, None).await.unwrap();
        if self.mode == Versioning::Off {
            self.model.remove(name);
        } else {
            assert!(done.marker);
            self.add(name, done.version.unwrap(), None);
        }
    }

    async fn delete_version(&mut self, store: &Store, name: &str, at: sample::Index) {
        let versions = self.model.entry(name.to_owned()).or_default();
        if versions.is_empty() {
            return;
        }
        let gone = versions.remove(at.index(versions.len()));
        let done = delete_version(store, name, self.mode, Some(gone.version)).await;
        let done = done.unwrap();
        assert_eq!(done.version, Some(gone.version));
        assert_eq!(done.marker, gone.size.is_none());
    }

    /// Every version by its id, and the current one without.
    async fn check_reads(&self, store: &Store) {
        for (name, versions) in &self.model {
            for known in versions {
                let read = version(store, name, Some(known.version)).await;
                match known.size {
                    Some(size) => {
                        let size = usize::try_from(size).unwrap();
                        assert_eq!(read, Ok(content(size, size as u64)), "{name} {known:?}");
                    }
                    None => assert!(matches!(read, Err(Error::DeleteMarker { .. }))),
                }
            }
            let current = get(store, name).await;
            match versions.first() {
                Some(known) if known.size.is_some() => assert!(current.is_ok()),
                Some(_) => assert!(matches!(current, Err(Error::DeleteMarker { .. }))),
                None => assert_eq!(current, Err(Error::NoSuchKey)),
            }
        }
    }
}

async fn play(steps: Vec<Step>, requests: Vec<VersionsRequest>) {
    let rig = Rig::new(2, 2);
    let mut epoch = 1;
    let mut store = rig.store(epoch);
    let mut bucket = Bucket {
        mode: Versioning::Off,
        model: Model::new(),
    };
    for step in steps {
        match step {
            Step::Put(name, size) => bucket.put(&store, &name, size).await,
            Step::Delete(name) => bucket.delete(&store, &name).await,
            Step::DeleteVersion(name, at) => bucket.delete_version(&store, &name, at).await,
            Step::Switch(mode) => bucket.mode = mode,
            Step::Away(place) => {
                rig.twins.iter().for_each(|twin| twin.mend(Fault::Offline));
                rig.twins[place].fail(Fault::Offline);
            }
            Step::Restart => {
                epoch += 1;
                store = rig.store(epoch);
            }
            Step::Calm => calm().await,
        }
    }
    for request in requests {
        let got = listed(&store, &request).await;
        assert_eq!(got, expected(&bucket.model, &request), "{request:?}");
        let mut paged = request;
        paged.keys.after = None;
        paged.keys.entries_max = paged.keys.entries_max.max(1);
        check_pages(&store, &bucket.model, paged).await;
    }
    bucket.check_reads(&store).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_list_of_versions_shows_what_was_done(
        steps in steps(),
        requests in collection::vec(requests(), 1..8),
    ) {
        in_paused_time(play(steps, requests));
    }
}

fn everything() -> VersionsRequest {
    VersionsRequest {
        keys: list_of("", None, 1_000),
        after_version: None,
    }
}

fn versioned(size: usize) -> Put {
    Put {
        versioning: Versioning::Enabled,
        ..put_of(size)
    }
}

#[tokio::test(start_paused = true)]
async fn one_drive_behind_hides_no_version_and_no_deletion() {
    for behind in 0..4 {
        let rig = Rig::new(2, 2);
        let store = rig.store(1);
        put(&store, "k", b"null").await;
        let first = try_put(&store, "k", &versioned(5), b"first").await.unwrap();
        calm().await;
        rig.twins[behind].fail(Fault::Offline);
        let second = try_put(&store, "k", &versioned(6), b"second")
            .await
            .unwrap();
        let gone = delete_version(&store, "k", Versioning::Enabled, Some(first.version)).await;
        gone.unwrap();
        let null = Some(VersionId::Null);
        delete_version(&store, "k", Versioning::Enabled, null)
            .await
            .unwrap();
        let marker = delete_version(&store, "k", Versioning::Enabled, None)
            .await
            .unwrap();
        calm().await;
        rig.twins[behind].mend(Fault::Offline);
        let shown = |(entries, _): (Vec<Entry>, bool)| -> Vec<VersionId> {
            entries
                .iter()
                .filter_map(|(_, it)| Some(it.as_ref()?.0.version))
                .collect()
        };
        let want = vec![marker.version.unwrap(), second.version];
        assert_eq!(shown(listed(&store, &everything()).await), want, "{behind}");
        // Also for a process that knows nothing of what is settled.
        let other = rig.store(2);
        assert_eq!(shown(listed(&other, &everything()).await), want, "{behind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_versions_fails_rather_than_show_less() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    try_put(&store, "k", &versioned(1), b"x").await.unwrap();
    calm().await;
    rig.twins[..2]
        .iter()
        .for_each(|twin| twin.fail(Fault::Offline));
    assert_eq!(
        listed(&store, &everything()).await.0.len(),
        1,
        "R = 2 answer"
    );
    rig.twins[2].fail(Fault::ReadError);
    let failed = store.list_versions(&everything()).await;
    assert!(matches!(failed, Err(Error::Unavailable(_))));
}

/// A put reaches one drive alone, its holder dies, and the next one proves it void: it is never
/// shown between the others, whoever lists, not even when its drive comes back.
#[tokio::test(start_paused = true)]
async fn a_voided_version_does_not_come_back_between_others() {
    for size in [3, 200 << 10] {
        let rig = Rig::new(2, 2);
        let older = rig.store(1);
        let bytes = content(size, 1);
        let first = try_put(&older, "k", &versioned(size), &bytes)
            .await
            .unwrap();
        calm().await;
        for place in [0, 1, 2] {
            rig.twins[place].fail(Fault::Stall);
        }
        let task = {
            let (older, bytes) = (older.clone(), content(size, 2));
            tokio::spawn(async move { try_put(&older, "k", &versioned(bytes.len()), &bytes).await })
        };
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        task.abort();
        drop(older);
        rig.crash();
        rig.twins.iter().for_each(|twin| twin.mend(Fault::Stall));
        rig.twins[3].fail(Fault::Offline);
        let newer = rig.store(2);
        let last = try_put(&newer, "k", &versioned(size), &content(size, 3))
            .await
            .unwrap();
        calm().await;
        rig.twins[3].mend(Fault::Offline);
        let store = rig.store(3);
        let (entries, _) = listed(&store, &everything()).await;
        let shown: Vec<_> = entries
            .iter()
            .filter_map(|(_, it)| Some(it.as_ref()?.0.version))
            .collect();
        assert_eq!(shown, [last.version, first.version], "{size}");
        assert_eq!(version(&store, "k", Some(first.version)).await, Ok(bytes));
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_holder_adds_nothing_to_a_history() {
    let rig = Rig::new(2, 2);
    let (older, newer) = (rig.store(1), rig.store(2));
    try_put(&older, "k", &versioned(1), b"1").await.unwrap();
    let second = try_put(&newer, "k", &versioned(1), b"2").await.unwrap();
    for versioning in [Versioning::Enabled, Versioning::Suspended] {
        let put = Put {
            versioning,
            ..put_of(1)
        };
        let refused = try_put(&older, "k", &put, b"3").await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
        let refused = delete_version(&older, "k", versioning, None).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
        let named = delete_version(&older, "k", versioning, Some(second.version)).await;
        assert!(matches!(named, Err(Error::Unavailable(_))), "{named:?}");
    }
    calm().await;
    let (entries, _) = listed(&newer, &everything()).await;
    assert_eq!(entries.len(), 2);
    assert_eq!(
        listed(&older, &everything()).await.0,
        entries,
        "any node lists"
    );
}

/// Found by the model above: a version in doubt is looked at with its whole history, and must not
/// be taken for the newest of it.
#[tokio::test(start_paused = true)]
async fn a_version_in_doubt_is_read_and_deleted_and_no_other() {
    let rig = Rig::new(2, 2);
    let store = rig.store(1);
    rig.twins[2].fail(Fault::Offline);
    let first = try_put(&store, "k", &versioned(5), b"first").await.unwrap();
    let second = try_put(&store, "k", &versioned(6), b"second")
        .await
        .unwrap();
    // Two of the three drives that answer have it, nobody knows it settled, and W is 3.
    rig.twins[2].mend(Fault::Offline);
    rig.twins[0].fail(Fault::Offline);
    let store = rig.store(2);
    let read = version(&store, "k", Some(first.version)).await;
    assert_eq!(read, Ok(b"first".to_vec()));
    let store = rig.store(3);
    rig.twins[0].mend(Fault::Offline);
    let gone = delete_version(&store, "k", Versioning::Enabled, Some(first.version)).await;
    gone.unwrap();
    let read = version(&store, "k", Some(first.version)).await;
    assert_eq!(read, Err(Error::NoSuchVersion));
    let read = version(&store, "k", Some(second.version)).await;
    assert_eq!(read, Ok(b"second".to_vec()));
}

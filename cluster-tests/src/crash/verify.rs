//! Reads everything back after a restart and lets the oracle judge it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};

use super::listing::{Listed, listing};
use super::multipart::{Refused, abort, complete, parts, uploads};
use super::oracle::{Oracle, Sent};
use super::uploads::{Name, State};
use super::workload::{SHARED_PREFIX, Wrong, fetch};
use crate::load::body::splitmix;
use crate::load::sign::hex;
use crate::load::wire::Connection;

/// A request that is still refused so long after a restart is reported.
const PATIENCE: Duration = Duration::from_secs(3);
/// Pause before a refused request is sent again.
const AGAIN: Duration = Duration::from_millis(50);

/// What was read of a key: which body, and the entity tag of its bytes.
type Seen = Option<(Sent, String)>;

/// Reads `keys` twice with a listing and a list of uploads in between, settles them in the oracle,
/// and returns what is wrong: a read that is not possible, something that was seen and went back,
/// a listing that disagrees, an upload that is gone or came back, a request that is refused for longer than [`PATIENCE`] after the start.
pub async fn verify(
    oracle: &mut Oracle,
    connection: &mut Connection,
    keys: &[String],
) -> Vec<Wrong> {
    let until = Instant::now() + PATIENCE;
    let mut wrong = Vec::new();
    let mut seen = BTreeMap::new();
    for key in keys {
        match read_one(oracle, connection, key, until).await {
            Ok(found) => {
                seen.insert(key.as_str(), found);
            }
            Err(said) => wrong.push(said),
        }
    }
    match patiently(until, async || listing(connection, "").await).await {
        Ok(listed) => {
            for (key, said) in compare(oracle, &seen, &listed) {
                oracle.forgive(&key);
                wrong.push(Wrong::Lost(said));
            }
        }
        Err(said) => wrong.push(said),
    }
    match patiently(until, async || unless_gone(uploads(connection).await)).await {
        Ok(listed) => {
            let listed = listed.unwrap_or_default();
            wrong.extend(oracle.judge_uploads(&listed).into_iter().map(Wrong::Lost));
        }
        Err(said) => wrong.push(said),
    }
    for key in seen.keys() {
        let again = read_one(oracle, connection, key, until).await;
        wrong.extend(again.err().map(|said| match said {
            Wrong::Lost(said) => Wrong::Lost(format!("second read: {said}")),
            refused @ Wrong::Refused(_) => refused,
        }));
    }
    wrong
}

/// Ends most of the uploads that are left, by chance some this way and some that: the crash must
/// not have taken away what was acknowledged of them. Returns what is wrong.
pub async fn end_uploads(
    oracle: &mut Oracle,
    connection: &mut Connection,
    random: &mut u64,
) -> Vec<Wrong> {
    let until = Instant::now() + PATIENCE;
    let mut wrong = Vec::new();
    for name in oracle.uploads_left() {
        let Some(upload) = oracle.upload(&name).cloned() else {
            continue;
        };
        let ended = match splitmix(random) % 3 {
            0 => continue,
            1 if !upload.parts.is_empty() => complete_left(oracle, connection, &name, until).await,
            _ => abort_left(oracle, connection, &name, until).await,
        };
        wrong.extend(ended.err());
        let read = read_one(oracle, connection, &name.key, until).await;
        wrong.extend(read.err());
    }
    wrong
}

/// Completes an upload with the parts that were acknowledged, again if that was begun before.
async fn complete_left(
    oracle: &mut Oracle,
    connection: &mut Connection,
    name: &Name,
    until: Instant,
) -> Result<(), Wrong> {
    let Some(upload) = oracle.upload(name).cloned() else {
        return Ok(());
    };
    let sums = oracle.part_sums(name);
    let there = patiently(until, async || unless_gone(parts(connection, name).await));
    if let Some(there) = there.await? {
        for ((number, sum), (_, size)) in (1..).zip(&sums).zip(upload.pieces()) {
            if !there.contains(&(number, size, hex(sum))) {
                let said = format!("part {number} of {name} is not in {there:?}");
                return Err(Wrong::Lost(said));
            }
        }
    }
    // What it became before may have been replaced since: then both answers are right, and which
    // is the newer one is not told.
    let replaced = match upload.state {
        State::Ending(Some(before)) => {
            name.key.starts_with(SHARED_PREFIX) || !oracle.is_newest(&name.key, before)
        }
        _ => false,
    };
    let Some(step) = oracle.begin_complete(name) else {
        return Ok(());
    };
    let done = patiently(until, async || {
        unless_gone(complete(connection, name, &sums).await)
    });
    match (done.await?, upload.state) {
        (Some(()), _) if replaced => oracle.upload_over(name),
        (Some(()), _) => oracle.completed(name, step),
        (None, State::Ending(None)) => oracle.aborted(name),
        (None, _) if replaced => oracle.aborted(name),
        (None, _) => {
            return Err(Wrong::Lost(format!("{name} cannot be completed")));
        }
    }
    Ok(())
}

async fn abort_left(
    oracle: &mut Oracle,
    connection: &mut Connection,
    name: &Name,
    until: Instant,
) -> Result<(), Wrong> {
    let done = patiently(until, async || unless_gone(abort(connection, name).await));
    match done.await? {
        Some(()) => oracle.aborted(name),
        None => oracle.upload_gone(name).map_err(Wrong::Lost)?,
    }
    Ok(())
}

/// What was answered, if the upload is there.
fn unless_gone<T>(answer: Result<T, Refused>) -> Result<Option<T>, Wrong> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Refused::Gone) => Ok(None),
        Err(refused) => Err(Wrong::Refused(refused.to_string())),
    }
}

/// Reads a key and settles it.
async fn read_one(
    oracle: &mut Oracle,
    connection: &mut Connection,
    key: &str,
    until: Instant,
) -> Result<Seen, Wrong> {
    let read = patiently(until, async || {
        let fetched = fetch(connection, key).await;
        fetched.map_err(Wrong::Refused)
    });
    let read = read.await?;
    match oracle.judge(key, read.as_deref()) {
        Ok(sent) => {
            oracle.settle(key, sent);
            let etag = |(sent, bytes): (Sent, Vec<u8>)| (sent, etag(&bytes, sent.part));
            Ok(sent.zip(read).map(etag))
        }
        Err(said) => {
            oracle.forgive(key);
            Err(Wrong::Lost(said))
        }
    }
}

/// The entity tag of an object that was sent in parts of that size, or in one piece if it is 0.
fn etag(bytes: &[u8], part: u64) -> String {
    let Some(part) = usize::try_from(part).ok().filter(|part| *part > 0) else {
        return hex(&Md5::digest(bytes));
    };
    let mut sums = Md5::new();
    bytes
        .chunks(part)
        .for_each(|part| sums.update(Md5::digest(part)));
    let parts = bytes.len().div_ceil(part);
    format!("{}-{parts}", hex(&sums.finalize()))
}

/// Asks again while the server refuses; what is wrong is reported at once.
async fn patiently<T>(
    until: Instant,
    mut ask: impl AsyncFnMut() -> Result<T, Wrong>,
) -> Result<T, Wrong> {
    loop {
        match ask().await {
            Err(Wrong::Refused(_)) if Instant::now() < until => tokio::time::sleep(AGAIN).await,
            answered => return answered,
        }
    }
}

/// Compares a listing with what GET answered, or else with what is possible. Returns the keys
/// that disagree, and how.
fn compare(
    oracle: &mut Oracle,
    seen: &BTreeMap<&str, Seen>,
    listed: &Listed,
) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    let known = oracle.keys();
    for key in &known {
        let (entry, read) = (listed.get(key), seen.get(key.as_str()));
        let possible = oracle.possible(key);
        let fits = |left: &&Option<Sent>| match left {
            None => entry.is_none(),
            Some(sent) => entry.is_some_and(|(size, etag)| {
                let read = read.iter().copied().flatten();
                let mut same = read.filter(|(read, _)| read == sent);
                *size == sent.size && same.all(|(_, read)| read == etag)
            }),
        };
        let fitting: Vec<_> = possible.iter().filter(fits).collect();
        match (fitting.as_slice(), read) {
            ([], _) => {
                let said =
                    format!("{key}: listed as {entry:?}, read as {read:?}, possible: {possible:?}");
                wrong.push((key.clone(), said));
            }
            // What a crash cut off took effect after the read.
            ([only], Some(_)) => oracle.settle(key, **only),
            _ => {}
        }
    }
    let strange = listed
        .keys()
        .filter(|key| known.binary_search(key).is_err());
    wrong.extend(strange.map(|key| (key.clone(), format!("{key}: listed but never written"))));
    wrong
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{compare, etag};
    use crate::crash::oracle::Oracle;
    use crate::load::body::Bodies;

    #[test]
    fn a_listing_that_misses_invents_or_mistakes_a_key_is_wrong() {
        let mut oracle = Oracle::new(1, Bodies::new());
        let id = oracle.begin("k", Some(5));
        oracle.acknowledge("k", id);
        let listed = |key: &str, size| BTreeMap::from([(key.to_owned(), (size, String::new()))]);
        let seen = BTreeMap::new();
        assert!(compare(&mut oracle, &seen, &listed("k", 5)).is_empty());
        assert_eq!(compare(&mut oracle, &seen, &listed("k", 6)).len(), 1);
        assert_eq!(compare(&mut oracle, &seen, &BTreeMap::new()).len(), 1);
        assert_eq!(compare(&mut oracle, &seen, &listed("z", 5)).len(), 2);
    }

    #[test]
    fn an_object_that_was_sent_in_parts_is_tagged_by_them() {
        let whole = "900150983cd24fb0d6963f7d28e17f72";
        assert_eq!(etag(b"abc", 0), whole);
        // md5 of the MD5 sums of "ab" and "c", and of that of "abc".
        assert_eq!(etag(b"abc", 2), "d833159094d1d7ad96ffcc78414e3682-2");
        assert_eq!(etag(b"abc", 3), "af5da9f45af7a300e3aded972f8ff687-1");
    }

    #[test]
    fn a_listing_may_show_what_a_crash_cut_off_and_then_it_stays() {
        let mut oracle = Oracle::new(1, Bodies::new());
        oracle.begin("k", Some(5));
        oracle.settle("k", None);
        let listed = BTreeMap::from([("k".to_owned(), (5, String::new()))]);
        let absent = BTreeMap::from([("k", None)]);
        assert!(compare(&mut oracle, &absent, &BTreeMap::new()).is_empty());
        assert!(compare(&mut oracle, &absent, &listed).is_empty());
        assert_eq!(
            compare(&mut oracle, &absent, &BTreeMap::new()).len(),
            1,
            "it went back"
        );
    }
}

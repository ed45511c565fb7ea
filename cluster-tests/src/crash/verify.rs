//! Reads everything back after a restart and lets the oracle judge it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};

use super::listing::{Listed, listing};
use super::oracle::{Oracle, Sent};
use super::workload::{Wrong, fetch};
use crate::load::sign::hex;
use crate::load::wire::Connection;

/// A request that is still refused so long after a restart is reported.
const PATIENCE: Duration = Duration::from_secs(3);
/// Pause before a refused request is sent again.
const AGAIN: Duration = Duration::from_millis(50);

/// What was read of a key: which body, and the MD5 of its bytes.
type Seen = Option<(Sent, String)>;

/// Reads `keys` twice with a listing in between, settles them in the oracle, and returns
/// what is wrong: a read that is not possible, something that was seen and went back, a listing
/// that disagrees, a request that is refused for longer than [`PATIENCE`] after the start.
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
    for key in seen.keys() {
        let again = read_one(oracle, connection, key, until).await;
        wrong.extend(again.err().map(|said| match said {
            Wrong::Lost(said) => Wrong::Lost(format!("second read: {said}")),
            refused @ Wrong::Refused(_) => refused,
        }));
    }
    wrong
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
            let md5 = |bytes: Vec<u8>| hex(&Md5::digest(&bytes));
            Ok(sent.zip(read.map(md5)))
        }
        Err(said) => {
            oracle.forgive(key);
            Err(Wrong::Lost(said))
        }
    }
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
                *size == sent.size && same.all(|(_, md5)| md5 == etag)
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

    use super::compare;
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

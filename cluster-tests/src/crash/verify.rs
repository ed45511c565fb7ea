//! Reads everything back after a restart and lets the oracle judge it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};

use super::oracle::{Oracle, Sent};
use super::workload::{BUCKET, Wrong, error_code, fetch};
use crate::load::list::page_query;
use crate::load::sign::hex;
use crate::load::wire::{Connection, Request, Want};

/// A request that is still refused so long after a restart is reported.
const PATIENCE: Duration = Duration::from_secs(3);
/// Pause before a refused request is sent again.
const AGAIN: Duration = Duration::from_millis(50);

/// What was read of a key: which body, and the MD5 of its bytes.
type Seen = Option<(Sent, String)>;

/// Reads `keys` twice with a listing in between, settles them in the oracle, and returns
/// what is wrong: a read that is not possible, two reads that differ, a listing that
/// disagrees, a request that is refused for longer than [`PATIENCE`] after the start.
pub async fn verify(
    oracle: &mut Oracle,
    connection: &mut Connection,
    keys: &[String],
) -> Vec<Wrong> {
    let until = Instant::now() + PATIENCE;
    let mut wrong = Vec::new();
    let mut seen = BTreeMap::new();
    for key in keys {
        match judged(oracle, connection, key, until).await {
            Ok(found) => {
                oracle.settle(key, found.as_ref().map(|(sent, _)| *sent));
                seen.insert(key.as_str(), found);
            }
            Err(said) => {
                if matches!(said, Wrong::Lost(_)) {
                    oracle.forgive(key);
                }
                wrong.push(said);
            }
        }
    }
    match listing(connection, until).await {
        Ok(listed) => {
            for (key, said) in compare(oracle, &seen, &listed) {
                oracle.forgive(&key);
                wrong.push(Wrong::Lost(said));
            }
        }
        Err(said) => wrong.push(said),
    }
    for key in seen.keys() {
        wrong.extend(match judged(oracle, connection, key, until).await {
            Ok(_) => None,
            Err(Wrong::Lost(said)) => {
                oracle.forgive(key);
                Some(Wrong::Lost(format!("second read: {said}")))
            }
            Err(refused) => Some(refused),
        });
    }
    wrong
}

async fn judged(
    oracle: &Oracle,
    connection: &mut Connection,
    key: &str,
    until: Instant,
) -> Result<Seen, Wrong> {
    let read = loop {
        match fetch(connection, key).await {
            Ok(read) => break read,
            Err(said) if Instant::now() > until => return Err(Wrong::Refused(said)),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    };
    let sent = oracle.judge(key, read.as_deref()).map_err(Wrong::Lost)?;
    Ok(sent
        .zip(read)
        .map(|(sent, bytes)| (sent, hex(&Md5::digest(&bytes)))))
}

/// Compares a listing with what GET answered, and for keys that were not read with what is
/// possible. Returns the keys that disagree, and how.
fn compare(oracle: &Oracle, seen: &BTreeMap<&str, Seen>, listed: &Listed) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    for key in oracle.keys() {
        let entry = listed.get(&key);
        let fits = match seen.get(key.as_str()) {
            Some(None) => entry.is_none(),
            Some(Some((sent, md5))) => {
                entry.is_some_and(|(size, etag)| *size == sent.size && etag == md5)
            }
            None => oracle
                .possible(&key)
                .iter()
                .any(|left| left.map(|sent| sent.size) == entry.map(|(size, _)| *size)),
        };
        if !fits {
            let read = seen.get(key.as_str());
            let possible = oracle.possible(&key);
            let said =
                format!("{key}: listed as {entry:?}, read as {read:?}, possible: {possible:?}");
            wrong.push((key, said));
        }
    }
    let known = oracle.keys();
    let strange = listed
        .keys()
        .filter(|key| known.binary_search(key).is_err());
    wrong.extend(strange.map(|key| (key.clone(), format!("{key}: listed but never written"))));
    wrong
}

type Listed = BTreeMap<String, (u64, String)>;

/// Size and ETag of every key.
async fn listing(connection: &mut Connection, until: Instant) -> Result<Listed, Wrong> {
    let (mut all, mut last) = (Listed::new(), String::new());
    loop {
        let text = loop {
            match page(connection, &last).await {
                Ok(text) => break text,
                Err(said) if Instant::now() > until => return Err(Wrong::Refused(said)),
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        };
        for (key, size, etag) in entries(&text).map_err(Wrong::Lost)? {
            if key <= last {
                return Err(Wrong::Lost(format!("LIST: {key} after {last}")));
            }
            last.clone_from(&key);
            all.insert(key, (size, etag));
        }
        if !text.contains("<IsTruncated>true</IsTruncated>") {
            return Ok(all);
        }
    }
}

async fn page(connection: &mut Connection, after: &str) -> Result<String, String> {
    let request = Request {
        method: "GET",
        path: &format!("/{BUCKET}"),
        query: &page_query(after),
        body: None,
    };
    let reply = connection.exchange(&request, Want::Text).await;
    let reply = reply.map_err(|error| format!("LIST: {error}"))?;
    match reply.status {
        200 => Ok(String::from_utf8_lossy(&reply.text).into_owned()),
        status => Err(format!("LIST: {status} {}", error_code(&reply.text))),
    }
}

/// Key, size and ETag of each entry of a page. The keys of a run need no unescaping.
fn entries(text: &str) -> Result<Vec<(String, u64, String)>, String> {
    let field = |entry: &str, name: &str| {
        let (_, rest) = entry.split_once(&format!("<{name}>"))?;
        rest.split('<').next().map(str::to_owned)
    };
    let parsed = text.split("<Contents>").skip(1).map(|entry| {
        let etag = field(entry, "ETag")?;
        let etag = etag.replace("&quot;", "").replace("&#34;", "");
        let size = field(entry, "Size")?.parse().ok()?;
        Some((field(entry, "Key")?, size, etag.replace('"', "")))
    });
    parsed
        .map(|entry| entry.ok_or_else(|| format!("LIST: not a page: {text}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{compare, entries};
    use crate::crash::oracle::Oracle;
    use crate::load::body::Bodies;

    #[test]
    fn an_entry_without_a_size_is_no_page() {
        assert!(entries("<Contents><Key>a</Key><ETag>x</ETag></Contents>").is_err());
        let page = "<Contents><Key>a</Key><ETag>&quot;x&quot;</ETag><Size>3</Size></Contents><Contents>\
            <Key>b</Key><Size>4</Size><ETag>\"y\"</ETag></Contents>";
        let (a, b) = (("a".into(), 3, "x".into()), ("b".into(), 4, "y".into()));
        assert_eq!(entries(page), Ok(vec![a, b]));
    }

    #[test]
    fn a_listing_that_misses_invents_or_mistakes_a_key_is_wrong() {
        let mut oracle = Oracle::new(1, Bodies::new());
        let id = oracle.begin("k", Some(5));
        oracle.acknowledge("k", id);
        let listed = |key: &str, size| BTreeMap::from([(key.to_owned(), (size, String::new()))]);
        let seen = BTreeMap::new();
        assert!(compare(&oracle, &seen, &listed("k", 5)).is_empty());
        assert_eq!(compare(&oracle, &seen, &listed("k", 6)).len(), 1);
        assert_eq!(compare(&oracle, &seen, &BTreeMap::new()).len(), 1);
        assert_eq!(compare(&oracle, &seen, &listed("z", 5)).len(), 2);
        let absent = BTreeMap::from([("k", None)]);
        assert_eq!(compare(&oracle, &absent, &listed("k", 5)).len(), 1);
    }
}

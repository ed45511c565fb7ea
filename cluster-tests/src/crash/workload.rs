//! Mixed load: new keys, overwrites, copies, uploads in parts, deletes, reads and lists from
//! several clients at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::listing::listing;
use super::multipart::{self, PART_MIN, Refused, ask, path};
use super::oracle::{Oracle, Sent};
use super::uploads::Name;
use crate::load::body::splitmix;
use crate::load::wire::{Body, Connection, Request, Want};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// What was read is impossible: a write is lost, undone, mixed or listed wrongly.
    Lost(String),
    /// A healthy server did not serve a request, although nothing need be lost.
    Refused(String),
}

/// The bucket of a run.
pub const BUCKET: &str = "crash";
/// Keys that all clients write, so that writes of one key meet.
const SHARED: u64 = 24;
/// Their names begin so.
pub(super) const SHARED_PREFIX: &str = "shared/";
/// Keys of each client's own; older ones are left as they are when a cycle's are full.
const OWN: u64 = 96;
/// Own keys that a client moves on by in each cycle.
const FRESH: u64 = 12;

/// What the clients of one cycle share.
#[derive(Debug)]
pub struct Cycle {
    /// Number of the cycle in its run.
    pub number: u64,
    /// What may be where.
    pub oracle: Arc<Mutex<Oracle>>,
    /// Set when the crash begins: from then on the first failure ends a client.
    pub crashing: AtomicBool,
    /// Operations that were acknowledged.
    pub acknowledged: AtomicU64,
    /// Operations that were refused as too many before the crash.
    pub slowed: AtomicU64,
    /// What a healthy server refused to do, or answered wrongly.
    pub wrong: Mutex<Vec<Wrong>>,
}

/// The lock's value, also after a panic of another thread: a run goes on to its verdict.
pub fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Act {
    Put(u64),
    Delete,
    /// From this key.
    Copy(String),
    /// In parts of these sizes.
    Upload(Vec<u64>, End),
    Read,
    List,
}

/// What is to become of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Abort,
}

/// A size from 1 byte to 200 KiB, as many small as large in the logarithm; one in a hundred
/// has 1 to 3 MiB.
fn size(random: &mut u64) -> u64 {
    if splitmix(random).is_multiple_of(100) {
        return (1 << 20) + splitmix(random) % (2 << 20);
    }
    let bits = splitmix(random) % 18;
    (1 + splitmix(random) % (1 << bits).max(1) + (1 << bits) / 2).min(200 << 10)
}

/// One part of any size; in one upload of eight, another one before it.
fn upload(random: &mut u64) -> Act {
    let mut parts = vec![size(random)];
    if splitmix(random).is_multiple_of(8) {
        parts.insert(0, PART_MIN);
    }
    let end = match splitmix(random) % 4 {
        0 => End::Abort,
        _ => End::Complete,
    };
    Act::Upload(parts, end)
}

fn next(cycle: u64, client: u64, random: &mut u64) -> (String, Act) {
    let own = |random: &mut u64| {
        let number = cycle * FRESH + splitmix(random) % OWN;
        format!("own/{client}/{number:06}")
    };
    let shared = splitmix(random).is_multiple_of(5);
    let key = if shared {
        format!("{SHARED_PREFIX}{:02}", splitmix(random) % SHARED)
    } else {
        own(random)
    };
    let act = match splitmix(random) % 20 {
        0..=9 => Act::Put(size(random)),
        10..=11 => Act::Copy(own(random)),
        12..=13 => upload(random),
        14..=17 => Act::Delete,
        _ if shared => Act::Delete,
        18 => Act::Read,
        _ => Act::List,
    };
    (key, act)
}

/// Works until the crash. Keys under `own/` belong to one client, so a read or a list of them has
/// one right answer also while the load runs.
pub async fn work(cycle: Arc<Cycle>, client: u64, mut random: u64, mut connection: Connection) {
    loop {
        let (key, act) = next(cycle.number, client, &mut random);
        let outcome = match act {
            Act::Put(size) => change(&cycle, &mut connection, &key, Some(size)).await,
            Act::Delete => change(&cycle, &mut connection, &key, None).await,
            Act::Copy(from) => copy(&cycle, &mut connection, &from, &key).await,
            Act::Upload(parts, end) => {
                send_parts(&cycle, &mut connection, &key, (&parts, end)).await
            }
            Act::Read => read(&cycle, &mut connection, &key).await,
            Act::List => list(&cycle, &mut connection, &format!("own/{client}/")).await,
        };
        match outcome {
            Ok(()) => {}
            Err(_) if cycle.crashing.load(Ordering::SeqCst) => return,
            Err(said) => {
                held(&cycle.wrong).push(Wrong::Refused(format!("under load: {said}")));
            }
        }
    }
}

/// Counts what came of a request: what it answered, if it was done.
fn count<T>(cycle: &Cycle, outcome: Result<T, Refused>) -> Result<Option<T>, String> {
    match outcome {
        Ok(done) => {
            cycle.acknowledged.fetch_add(1, Ordering::Relaxed);
            Ok(Some(done))
        }
        Err(Refused::Busy) if !cycle.crashing.load(Ordering::SeqCst) => {
            cycle.slowed.fetch_add(1, Ordering::Relaxed);
            Ok(None)
        }
        Err(refused) => Err(refused.to_string()),
    }
}

async fn change(
    cycle: &Cycle,
    connection: &mut Connection,
    key: &str,
    size: Option<u64>,
) -> Result<(), String> {
    let (id, seed) = {
        let mut oracle = held(&cycle.oracle);
        let id = oracle.begin(key, size);
        (id, oracle.body_seed(id))
    };
    let body = size.map(|size| Body::whole(seed, size));
    let outcome = write(connection, key, body).await;
    if count(cycle, outcome)?.is_some() {
        held(&cycle.oracle).acknowledge(key, id);
    }
    Ok(())
}

/// Writes an object, or deletes it.
///
/// # Errors
/// As [`ask`].
pub async fn write(
    connection: &mut Connection,
    key: &str,
    body: Option<Body<'_>>,
) -> Result<(), Refused> {
    let path = path(key);
    let request = Request {
        body: body.unwrap_or(Body::Nothing),
        ..Request::new(if body.is_some() { "PUT" } else { "DELETE" }, &path)
    };
    ask(connection, &request).await?;
    Ok(())
}

/// Copies one of the client's own objects, if there is no doubt what it is.
async fn copy(
    cycle: &Cycle,
    connection: &mut Connection,
    from: &str,
    to: &str,
) -> Result<(), String> {
    let id = {
        let mut oracle = held(&cycle.oracle);
        let Some(source) = oracle.certain(from).filter(|_| from != to) else {
            return Ok(());
        };
        oracle.begin_as(to, Some(Sent { part: 0, ..source }))
    };
    let outcome = multipart::copy(connection, from, to).await;
    if count(cycle, outcome)?.is_some() {
        held(&cycle.oracle).acknowledge(to, id);
    }
    Ok(())
}

/// A whole upload. What a refusal leaves of it is seen to after the crash.
async fn send_parts(
    cycle: &Cycle,
    connection: &mut Connection,
    key: &str,
    (parts, end): (&[u64], End),
) -> Result<(), String> {
    held(&cycle.oracle).begin_upload(key);
    let begun = multipart::begin(connection, key).await;
    let Some(name) = count(cycle, begun)? else {
        return Ok(());
    };
    let seed = {
        let mut oracle = held(&cycle.oracle);
        let body = oracle.upload_begun(&name);
        oracle.body_seed(body)
    };
    let mut from = 0;
    for (number, size) in (1..).zip(parts) {
        let size = *size;
        let body = Body::Made { seed, from, size };
        let outcome = multipart::part(connection, &name, number, body).await;
        if count(cycle, outcome)?.is_none() {
            return Ok(());
        }
        held(&cycle.oracle).part_acknowledged(&name, size);
        from += size;
    }
    match end {
        End::Complete => complete(cycle, connection, &name).await,
        End::Abort => {
            held(&cycle.oracle).begin_abort(&name);
            let outcome = multipart::abort(connection, &name).await;
            if count(cycle, outcome)?.is_some() {
                held(&cycle.oracle).aborted(&name);
            }
            Ok(())
        }
    }
}

async fn complete(cycle: &Cycle, connection: &mut Connection, name: &Name) -> Result<(), String> {
    let (step, sums) = {
        let mut oracle = held(&cycle.oracle);
        let sums = oracle.part_sums(name);
        (oracle.begin_complete(name), sums)
    };
    let outcome = multipart::complete(connection, name, &sums).await;
    if let (Some(()), Some(step)) = (count(cycle, outcome)?, step) {
        let mut oracle = held(&cycle.oracle);
        if cycle.crashing.load(Ordering::SeqCst) {
            // The object is there. The note that the upload is over may be lost with its drives.
            oracle.acknowledge(&name.key, step);
        } else {
            oracle.completed(name, step);
        }
    }
    Ok(())
}

async fn read(cycle: &Cycle, connection: &mut Connection, key: &str) -> Result<(), String> {
    let seen = fetch(connection, key).await?;
    let judged = held(&cycle.oracle).judge(key, seen.as_deref());
    if let Err(said) = judged {
        // A wrong answer counts also while the crash begins.
        held(&cycle.wrong).push(Wrong::Lost(format!("read under load: {said}")));
    }
    Ok(())
}

/// Lists the client's own keys. Sizes suffice here: bytes are read elsewhere.
async fn list(cycle: &Cycle, connection: &mut Connection, prefix: &str) -> Result<(), String> {
    let listed = match listing(connection, prefix).await {
        Ok(listed) => listed,
        Err(Wrong::Refused(said)) => return Err(said),
        Err(lost) => {
            held(&cycle.wrong).push(lost);
            return Ok(());
        }
    };
    let oracle = held(&cycle.oracle);
    for key in oracle.keys().iter().filter(|key| key.starts_with(prefix)) {
        let size = listed.get(key).map(|(size, _)| *size);
        let possible = oracle.possible(key);
        let mut sizes = possible.iter().map(|left| left.map(|sent| sent.size));
        if !sizes.any(|left| left == size) {
            let said = format!("list under load: {key} with {size:?}, possible: {possible:?}");
            held(&cycle.wrong).push(Wrong::Lost(said));
        }
    }
    Ok(())
}

/// What a GET answers; `None` if nothing is there.
///
/// # Errors
/// On any other answer than an object or `NoSuchKey`.
pub async fn fetch(connection: &mut Connection, key: &str) -> Result<Option<Vec<u8>>, String> {
    let path = path(key);
    let request = Request::new("GET", &path);
    let reply = connection.exchange(&request, Want::Text).await;
    let reply = reply.map_err(|error| format!("GET {key}: {error}"))?;
    if reply.status == 200 {
        return Ok(Some(reply.text));
    }
    match (reply.status, error_code(&reply.text).as_str()) {
        (404, "NoSuchKey") => Ok(None),
        (status, code) => Err(format!("GET {key}: {status} {code}")),
    }
}

/// What stands in the `Code` of an error's XML; the start of the text if there is none.
pub fn error_code(text: &[u8]) -> String {
    let head = text.get(..text.len().min(500)).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let code = head.split("<Code>").nth(1);
    match code.and_then(|rest| rest.split('<').next()) {
        Some(code) => code.to_owned(),
        None => head.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{error_code, size};

    #[test]
    fn an_error_is_named_by_its_code() {
        let text = b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>";
        assert_eq!(error_code(text), "NoSuchKey");
        assert_eq!(error_code(b"busy"), "busy");
    }

    #[test]
    fn sizes_cover_one_byte_to_three_mebibytes() {
        let mut random = 7;
        let sizes: Vec<_> = (0..100_000).map(|_| size(&mut random)).collect();
        assert_eq!(sizes.iter().min(), Some(&1));
        assert!(sizes.iter().all(|size| *size <= 3 << 20));
        let over = |least| sizes.iter().filter(|size| **size > least).count();
        assert!(over(128 << 10) > 2000, "{}", over(128 << 10));
        assert!((500..2000).contains(&over(1 << 20)), "{}", over(1 << 20));
    }
}

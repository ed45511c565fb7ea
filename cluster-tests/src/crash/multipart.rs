//! Requests of copies, tags and multipart uploads, and what their answers say.

use std::fmt::{self, Display, Formatter, Write};

use super::listing::field;
use super::uploads::Name;
use super::workload::{BUCKET, error_code};
use crate::load::list::encode;
use crate::load::sign::hex;
use crate::load::wire::{Body, Connection, Request, Want};

/// The least size of a part that is not the last one.
pub const PART_MIN: u64 = 5 << 20;

/// Why something was not done, or not known to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// 503: now is not the time.
    Busy,
    /// There is no such upload.
    Gone,
    /// Whatever else, in words.
    Failed(String),
}

impl Display for Refused {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => formatter.write_str("503"),
            Self::Gone => formatter.write_str("no such upload"),
            Self::Failed(said) => formatter.write_str(said),
        }
    }
}

/// Sends a request; the text of a good answer.
///
/// # Errors
/// If there is no answer, or another one.
pub async fn ask(connection: &mut Connection, request: &Request<'_>) -> Result<String, Refused> {
    let Request { method, path, .. } = request;
    let failed = |said: String| Refused::Failed(format!("{method} {path}: {said}"));
    let reply = connection.exchange(request, Want::Text).await;
    let reply = reply.map_err(|error| failed(error.to_string()))?;
    match (reply.status, error_code(&reply.text)) {
        (200 | 204, _) => Ok(String::from_utf8_lossy(&reply.text).into_owned()),
        (503, _) => Err(Refused::Busy),
        (404, code) if code == "NoSuchUpload" => Err(Refused::Gone),
        (status, code) => Err(failed(format!("{status} {code}"))),
    }
}

/// The path of a key.
pub fn path(key: &str) -> String {
    format!("/{BUCKET}/{key}")
}

/// Copies an object.
///
/// # Errors
/// As [`ask`].
pub async fn copy(connection: &mut Connection, from: &str, to: &str) -> Result<(), Refused> {
    let (from, to) = (path(from), path(to));
    let request = Request {
        copy_source: Some(&from),
        ..Request::new("PUT", &to)
    };
    let text = ask(connection, &request).await?;
    expect(&text, "<CopyObjectResult")
}

/// Begins an upload; its name.
///
/// # Errors
/// As [`ask`].
pub async fn begin(connection: &mut Connection, key: &str) -> Result<Name, Refused> {
    let path = path(key);
    let request = Request {
        query: "uploads=",
        body: Body::Text(""),
        ..Request::new("POST", &path)
    };
    let text = ask(connection, &request).await?;
    let id = field(&text, "UploadId").map(str::to_owned);
    let name = id.map(|id| Name {
        key: key.to_owned(),
        id,
    });
    name.ok_or_else(|| Refused::Failed(format!("no upload in {text}")))
}

/// Writes a part.
///
/// # Errors
/// As [`ask`].
pub async fn part(
    connection: &mut Connection,
    name: &Name,
    number: usize,
    body: Body<'_>,
) -> Result<(), Refused> {
    let Name { key, id } = name;
    let (path, query) = (path(key), format!("partNumber={number}&uploadId={id}"));
    let request = Request {
        query: &query,
        body,
        ..Request::new("PUT", &path)
    };
    ask(connection, &request).await?;
    Ok(())
}

/// Completes an upload with parts that have these MD5 sums, the first one first.
///
/// # Errors
/// As [`ask`].
pub async fn complete(
    connection: &mut Connection,
    name: &Name,
    parts: &[[u8; 16]],
) -> Result<(), Refused> {
    let (path, query) = place(name);
    let mut document = "<CompleteMultipartUpload>".to_owned();
    for (number, md5) in (1..).zip(parts) {
        let (number, md5): (usize, _) = (number, hex(md5));
        let written = write!(
            document,
            "<Part><PartNumber>{number}</PartNumber><ETag>\"{md5}\"</ETag></Part>"
        );
        debug_assert!(written.is_ok());
    }
    document += "</CompleteMultipartUpload>";
    let request = Request {
        query: &query,
        body: Body::Text(&document),
        ..Request::new("POST", &path)
    };
    let text = ask(connection, &request).await?;
    expect(&text, "<CompleteMultipartUploadResult")
}

/// Aborts an upload.
///
/// # Errors
/// As [`ask`].
pub async fn abort(connection: &mut Connection, name: &Name) -> Result<(), Refused> {
    let (path, query) = place(name);
    let request = Request {
        query: &query,
        ..Request::new("DELETE", &path)
    };
    ask(connection, &request).await?;
    Ok(())
}

/// Size and MD5 of the parts of an upload, by number.
///
/// # Errors
/// As [`ask`].
pub async fn parts(
    connection: &mut Connection,
    name: &Name,
) -> Result<Vec<(usize, u64, String)>, Refused> {
    let (path, query) = place(name);
    let request = Request {
        query: &query,
        ..Request::new("GET", &path)
    };
    let text = ask(connection, &request).await?;
    let parsed = text.split("<Part>").skip(1).map(|part| {
        let number = field(part, "PartNumber")?.parse().ok()?;
        let size = field(part, "Size")?.parse().ok()?;
        Some((number, size, super::listing::etag(part)?))
    });
    let parsed: Option<_> = parsed.collect();
    parsed.ok_or_else(|| Refused::Failed(format!("no list of parts: {text}")))
}

/// Replaces the tags of an object by one.
///
/// # Errors
/// As [`ask`].
pub async fn set_tag(connection: &mut Connection, key: &str) -> Result<(), Refused> {
    let path = path(key);
    let request = Request {
        query: "tagging=",
        body: Body::Text(
            "<Tagging><TagSet><Tag><Key>crash</Key><Value>new</Value></Tag></TagSet></Tagging>",
        ),
        ..Request::new("PUT", &path)
    };
    ask(connection, &request).await?;
    Ok(())
}

/// Whether an object has that tag.
///
/// # Errors
/// As [`ask`].
pub async fn has_tag(connection: &mut Connection, key: &str) -> Result<bool, Refused> {
    let path = path(key);
    let request = Request {
        query: "tagging=",
        ..Request::new("GET", &path)
    };
    let text = ask(connection, &request).await?;
    Ok(text.contains("<Value>new</Value>"))
}

/// All uploads of the bucket.
///
/// # Errors
/// As [`ask`].
pub async fn uploads(connection: &mut Connection) -> Result<Vec<Name>, Refused> {
    let path = format!("/{BUCKET}");
    let mut all: Vec<Name> = Vec::new();
    loop {
        let query = match all.last() {
            None => "uploads=".to_owned(),
            Some(Name { key, id }) => {
                format!("key-marker={}&upload-id-marker={id}&uploads=", encode(key))
            }
        };
        let request = Request {
            query: &query,
            ..Request::new("GET", &path)
        };
        let text = ask(connection, &request).await?;
        let found = text.split("<Upload>").skip(1).map(|upload| {
            Some(Name {
                key: field(upload, "Key")?.to_owned(),
                id: field(upload, "UploadId")?.to_owned(),
            })
        });
        let found: Option<Vec<_>> = found.collect();
        let found = found.ok_or_else(|| Refused::Failed(format!("no list of uploads: {text}")))?;
        let more = text.contains("<IsTruncated>true</IsTruncated>") && !found.is_empty();
        all.extend(found);
        if !more {
            return Ok(all);
        }
    }
}

/// Path and query of an upload.
fn place(name: &Name) -> (String, String) {
    (path(&name.key), format!("uploadId={}", name.id))
}

fn expect(text: &str, element: &str) -> Result<(), Refused> {
    match text.contains(element) {
        true => Ok(()),
        false => Err(Refused::Failed(format!("a 200 without {element}: {text}"))),
    }
}

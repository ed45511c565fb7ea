//! What a listing shows, page by page.

use std::collections::BTreeMap;

use super::workload::{BUCKET, Wrong, error_code};
use crate::load::list::page_query;
use crate::load::wire::{Connection, Request, Want};

/// Size and ETag of every key listed.
pub type Listed = BTreeMap<String, (u64, String)>;

/// Lists the keys that begin with `prefix`.
///
/// # Errors
/// If a page is refused, is no page, or goes back.
pub async fn listing(connection: &mut Connection, prefix: &str) -> Result<Listed, Wrong> {
    let (mut all, mut last) = (Listed::new(), String::new());
    loop {
        let text = page(connection, prefix, &last)
            .await
            .map_err(Wrong::Refused)?;
        for (key, size, etag) in entries(&text).map_err(Wrong::Lost)? {
            if key <= last || !key.starts_with(prefix) {
                return Err(Wrong::Lost(format!("LIST {prefix}: {key} after {last}")));
            }
            last.clone_from(&key);
            all.insert(key, (size, etag));
        }
        if !text.contains("<IsTruncated>true</IsTruncated>") {
            return Ok(all);
        }
    }
}

async fn page(connection: &mut Connection, prefix: &str, after: &str) -> Result<String, String> {
    let (path, query) = (format!("/{BUCKET}"), page_query(prefix, after));
    let request = Request {
        query: &query,
        ..Request::new("GET", &path)
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
    let parsed = text.split("<Contents>").skip(1).map(|entry| {
        let size = field(entry, "Size")?.parse().ok()?;
        Some((field(entry, "Key")?.to_owned(), size, etag(entry)?))
    });
    parsed
        .map(|entry| entry.ok_or_else(|| format!("LIST: not a page: {text}")))
        .collect()
}

/// What stands in the first element of this name.
pub(super) fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split('<').next()
}

/// The entity tag of an entry, without its quotes.
pub(super) fn etag(entry: &str) -> Option<String> {
    let etag = field(entry, "ETag")?;
    let etag = etag.replace("&quot;", "").replace("&#34;", "");
    Some(etag.replace('"', ""))
}

#[cfg(test)]
mod tests {
    use super::entries;

    #[test]
    fn an_entry_without_a_size_is_no_page() {
        assert!(entries("<Contents><Key>a</Key><ETag>x</ETag></Contents>").is_err());
        let page = "<Contents><Key>a</Key><ETag>&quot;x&quot;</ETag><Size>3</Size></Contents><Contents>\
            <Key>b</Key><Size>4</Size><ETag>\"y\"</ETag></Contents>";
        let (a, b) = (("a".into(), 3, "x".into()), ("b".into(), 4, "y".into()));
        assert_eq!(entries(page), Ok(vec![a, b]));
    }
}

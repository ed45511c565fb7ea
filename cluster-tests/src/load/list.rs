//! Listings: a whole bucket page by page, or one delimiter page again and again.

use std::time::Instant;

use anyhow::{Result, bail};

use super::body::Bodies;
use super::report::{Report, Tally, process_cpu};
use super::run::Server;
use super::wire::{Request, Want};

/// What a page of ListObjectsV2 holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Entries of `Contents`.
    pub keys: u64,
    /// Entries of `CommonPrefixes`.
    pub prefixes: u64,
    /// The first and last key, still escaped as XML.
    pub ends: Option<(String, String)>,
    /// To ask for the next page with.
    pub token: Option<String>,
}

impl Page {
    /// Reads a page and checks that its keys ascend.
    ///
    /// # Errors
    /// If they do not, or the text is no page.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "a page that is not text")?;
        if !text.contains("<ListBucketResult") {
            return Err("not a page of a listing".into());
        }
        let (mut keys, mut first, mut last) = (0, "", "");
        for piece in text.split("<Key>").skip(1) {
            let key = piece.split('<').next().unwrap_or_default();
            if key <= last {
                return Err(format!("key {key} after {last}"));
            }
            if keys == 0 {
                first = key;
            }
            last = key;
            keys += 1;
        }
        let token = text.split("<NextContinuationToken>").nth(1);
        Ok(Self {
            keys,
            prefixes: text.matches("<CommonPrefixes>").count() as u64,
            ends: (keys > 0).then(|| (first.to_owned(), last.to_owned())),
            token: token.and_then(|rest| rest.split('<').next()).map(unescape),
        })
    }
}

/// The query of one page of 1,000 keys that begin with `prefix` and come after `key`.
pub fn page_query(prefix: &str, key: &str) -> String {
    let (prefix, key) = (encode(prefix), encode(key));
    format!("list-type=2&max-keys=1000&prefix={prefix}&start-after={key}")
}

/// What to list.
#[derive(Debug, Clone, clap::Args)]
pub struct Listing {
    /// Bucket; it must exist.
    #[arg(long, default_value = "bench")]
    pub bucket: String,
    /// Only keys that start so.
    #[arg(long, default_value = "")]
    pub prefix: String,
    /// Group by this.
    #[arg(long, default_value = "")]
    pub delimiter: String,
    /// Ask for the first page so many times instead of walking all pages.
    #[arg(long)]
    pub repeat: Option<u64>,
}

/// Walks the whole listing with one client and reports keys per second and page latency.
/// A prefix counts as a key.
///
/// # Errors
/// On any answer but a page, on keys out of order, on a page that goes nowhere.
pub async fn walk(server: &Server, listing: &Listing) -> Result<Report> {
    let mut connection = server.connection(&Bodies::new());
    let path = format!("/{}", listing.bucket);
    let (mut token, mut last) = (None::<String>, String::new());
    let mut tally = Tally::default();
    let (started, cpu) = (Instant::now(), process_cpu());
    loop {
        let query = query(listing, token.as_deref());
        let request = Request {
            query: &query,
            ..Request::new("GET", &path)
        };
        let asked = Instant::now();
        let reply = connection.exchange(&request, Want::Text).await?;
        if reply.status != 200 {
            bail!(
                "status {}: {}",
                reply.status,
                String::from_utf8_lossy(&reply.text)
            );
        }
        let micros = asked.elapsed().as_micros();
        tally.micros.push(u32::try_from(micros).unwrap_or(u32::MAX));
        tally.bytes += reply.text.len() as u64;
        let page = Page::parse(&reply.text).map_err(anyhow::Error::msg)?;
        tally.keys += page.keys + page.prefixes;
        if let Some(repeat) = listing.repeat {
            if tally.micros.len() as u64 >= repeat {
                break;
            }
            continue;
        }
        if let Some((first, end)) = page.ends {
            if first <= last {
                bail!("page starts at {first} after {last}");
            }
            last = end;
        }
        if page.token.is_none() || page.token == token {
            break;
        }
        token = page.token;
    }
    let (wall, cpu) = (started.elapsed(), process_cpu().saturating_sub(cpu));
    Ok(Report::new("list", 0, 1, wall, cpu, tally))
}

fn query(listing: &Listing, token: Option<&str>) -> String {
    let mut query = String::new();
    if let Some(token) = token {
        query = format!("continuation-token={}&", encode(token));
    }
    if !listing.delimiter.is_empty() {
        query += &format!("delimiter={}&", encode(&listing.delimiter));
    }
    query
        + &format!(
            "list-type=2&max-keys=1000&prefix={}",
            encode(&listing.prefix)
        )
}

/// Percent-encodes all but the unreserved characters, as SigV4 wants queries.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

/// Undoes the five named entities and the numeric ones that servers write in a token.
fn unescape(text: &str) -> String {
    let named = [
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ];
    named
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::{Page, encode, unescape};

    #[test]
    fn keys_out_of_order_are_no_page() {
        let page = b"<ListBucketResult><Key>b</Key><Key>a</Key></ListBucketResult>";
        assert!(Page::parse(page).is_err());
        assert!(Page::parse(b"<Error/>").is_err());
    }

    #[test]
    fn a_page_counts_keys_and_prefixes_and_has_a_token() {
        let page = b"<ListBucketResult><NextContinuationToken>a&amp;b</NextContinuationToken>\
            <Contents><Key>a</Key></Contents><Contents><Key>b</Key></Contents>\
            <CommonPrefixes><Prefix>c/</Prefix></CommonPrefixes></ListBucketResult>";
        let page = Page::parse(page).unwrap();
        assert_eq!((page.keys, page.prefixes), (2, 1));
        assert_eq!(page.token.as_deref(), Some("a&b"));
        assert_eq!(page.ends, Some(("a".into(), "b".into())));
    }

    #[test]
    fn tokens_survive_both_escapes() {
        assert_eq!(encode("a/b=+é"), "a%2Fb%3D%2B%C3%A9");
        assert_eq!(unescape("&lt;&amp;lt;"), "<&lt;");
    }
}

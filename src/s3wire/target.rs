//! Which bucket and key a request means: from the host name and the raw path.

use http::{HeaderMap, header};
use types::{BucketName, NameError, ObjectKey};

use crate::error::{ErrorCode, S3Error};
use crate::percent::{Plus, decode};

/// Bucket names that would hide the server's own paths (`/minio/health`, `/minio/admin`).
const RESERVED: [&str; 1] = ["minio"];

/// The domains under which `bucket.domain` means a bucket. Empty: path style only.
#[derive(Debug, Clone, Default)]
pub struct Domains {
    names: Vec<String>,
}

impl Domains {
    /// Domain names as the operator wrote them. Case and a port are ignored; so is a leading dot.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names: Vec<String> = names
            .into_iter()
            .map(|name| {
                without_port(name)
                    .trim_start_matches('.')
                    .to_ascii_lowercase()
            })
            .filter(|name| !name.is_empty())
            .collect();
        // The longest first: of `s3.example.com` and `example.com`, the nearer one is meant.
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        Self { names }
    }

    /// The bucket part of a host name, if the host is below one of the domains. A reserved name is
    /// no bucket's: `minio.domain` is what charts and operators call the service itself.
    fn bucket_of(&self, host: &str) -> Option<String> {
        if self.names.is_empty() {
            return None;
        }
        let host = without_port(host)
            .trim_end_matches('.')
            .to_ascii_lowercase();
        if self.names.contains(&host) {
            return None;
        }
        self.names.iter().find_map(|name| {
            host.strip_suffix(name.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .filter(|bucket| !bucket.is_empty() && !RESERVED.contains(bucket))
                .map(str::to_owned)
        })
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// What a request is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Service,
    Bucket(BucketName),
    Object(BucketName, ObjectKey),
}

impl Target {
    /// `path` is as it was sent, still encoded, and starts with `/`.
    pub(crate) fn parse(
        path: &str,
        headers: &HeaderMap,
        domains: &Domains,
    ) -> Result<Self, S3Error> {
        let rest = path
            .strip_prefix('/')
            .ok_or_else(|| S3Error::from(ErrorCode::InvalidURI))?;
        let host = headers.get(header::HOST).and_then(|v| v.to_str().ok());
        let (bucket, key) = match host.and_then(|host| domains.bucket_of(host)) {
            Some(bucket) => (bucket, rest),
            None => {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                (decode(bucket, Plus::Plain)?, key)
            }
        };
        // Some clients list buckets at `//`.
        if bucket.is_empty() && key.trim_start_matches('/').is_empty() {
            return Ok(Self::Service);
        }
        let bucket = bucket_name(&bucket)?;
        if key.is_empty() {
            return Ok(Self::Bucket(bucket));
        }
        Ok(Self::Object(
            bucket,
            object_key(&decode(key, Plus::Plain)?)?,
        ))
    }
}

/// A bucket name from any part of a request.
pub(crate) fn bucket_name(text: &str) -> Result<BucketName, S3Error> {
    if RESERVED.contains(&text) {
        return Err(ErrorCode::AllAccessDisabled.into());
    }
    BucketName::parse(text)
        .map_err(|_| S3Error::from(ErrorCode::InvalidBucketName).with("BucketName", text))
}

/// A key from any part of a request, already decoded.
pub(crate) fn object_key(text: &str) -> Result<ObjectKey, S3Error> {
    ObjectKey::parse(text).map_err(|why| match why {
        NameError::KeyTooLong => S3Error::from(ErrorCode::KeyTooLongError)
            .with("Size", text.len().to_string())
            .with("MaxSizeAllowed", ObjectKey::LEN_MAX.to_string()),
        other => S3Error::new(ErrorCode::InvalidArgument, other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::{any, proptest};

    use super::*;

    fn parse(host: &str, path: &str) -> Result<Target, ErrorCode> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        let domains = Domains::new(["example.com", ".S3.example.com:9000"]);
        Target::parse(path, &headers, &domains).map_err(|e| e.code)
    }

    fn object(bucket: &str, key: &str) -> Result<Target, ErrorCode> {
        Ok(Target::Object(
            BucketName::parse(bucket).unwrap(),
            ObjectKey::parse(key).unwrap(),
        ))
    }

    fn bucket(name: &str) -> Result<Target, ErrorCode> {
        Ok(Target::Bucket(BucketName::parse(name).unwrap()))
    }

    #[test]
    fn illegal_names_are_refused() {
        let table = [
            ("/Abc", ErrorCode::InvalidBucketName),
            ("/ab", ErrorCode::InvalidBucketName),
            ("//key", ErrorCode::InvalidBucketName),
            ("/..%2f/key", ErrorCode::InvalidBucketName),
            ("/minio/health/live", ErrorCode::AllAccessDisabled),
            ("/abc/%ff", ErrorCode::InvalidURI),
            ("/abc/%2", ErrorCode::InvalidURI),
            ("/abc/a%00b", ErrorCode::InvalidArgument),
            ("*", ErrorCode::InvalidURI),
            ("", ErrorCode::InvalidURI),
        ];
        for (path, code) in table {
            assert_eq!(parse("host", path), Err(code), "{path}");
        }
        let long = format!("/abc/{}", "k".repeat(1025));
        assert_eq!(parse("host", &long), Err(ErrorCode::KeyTooLongError));
    }

    #[test]
    fn keys_are_plain_bytes_after_one_decoding() {
        let table = [
            ("/abc/a/b", "a/b"),
            ("/abc//", "/"),
            ("/abc//x//", "/x//"),
            ("/abc/./..", "./.."),
            ("/abc/%2e%2e%2fx", "../x"),
            ("/abc/a%252Fb", "a%2Fb"),
            ("/abc/a+b%20c", "a+b c"),
            ("/abc/%C3%BC", "ü"),
        ];
        for (path, key) in table {
            assert_eq!(parse("127.0.0.1:9000", path), object("abc", key), "{path}");
        }
    }

    #[test]
    fn hosts_below_a_domain_name_the_bucket() {
        assert_eq!(parse("abc.s3.example.com:9000", "/k"), object("abc", "k"));
        assert_eq!(parse("a.b.c.EXAMPLE.com", "/"), bucket("a.b.c"));
        assert_eq!(parse("s3.example.com", "/abc/k"), object("abc", "k"));
        assert_eq!(parse("example.com:80", "/"), Ok(Target::Service));
        assert_eq!(parse("abc.example.com.:9000", "/k"), object("abc", "k"));
        assert_eq!(parse("minio.example.com", "/abc/k"), object("abc", "k"));
        assert_eq!(parse("notexample.com", "/abc"), bucket("abc"));
        assert_eq!(parse("[::1]:9000", "/abc/"), bucket("abc"));
        assert_eq!(
            parse("a_b.example.com", "/"),
            Err(ErrorCode::InvalidBucketName)
        );
        assert_eq!(parse("[::1]", "//"), Ok(Target::Service));
    }

    proptest! {
        #[test]
        fn no_path_and_no_host_panic(path in any::<String>(), host in "[ -~]{0,40}") {
            let _ = parse(&host, &path);
        }
    }
}

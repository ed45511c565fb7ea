//! From a request's head to an operation.

mod bucket;
mod feature;
mod object;

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::body::{BodyHeaders, Speaks};
use crate::error::{ErrorCode, S3Error};
use crate::op::{ListBuckets, NotImplemented, Op};
use crate::parse::bucket::bucket_op;
use crate::parse::object::object_op;
use crate::query::Query;
use crate::target::{Domains, Target};
use crate::token::token_position;

pub use crate::parse::feature::Feature;

/// A parsed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub op: Op,
    /// What the headers promise about the body.
    pub body: BodyHeaders,
    /// Something that the headers ask for and this server does not have. A request with such a
    /// wish is answered `NotImplemented`, never half-fulfilled.
    pub unsupported: Option<Feature>,
}

/// Parses the head of a request. `path` and `query` are as they were sent, still encoded; the
/// host is read from the headers. Unknown parameters and headers are ignored.
///
/// The result depends on the request alone: nothing has been authorised, nothing looked up.
pub fn parse(
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    domains: &Domains,
) -> Result<Request, S3Error> {
    let query = Query::parse(query)?;
    let headers = with_hoisted(headers, &query);
    let target = Target::parse(path, &headers, domains)?;
    let head = Head {
        method,
        query: &query,
        headers: &headers,
    };
    let op = match target {
        Target::Service => service_op(&head)?,
        Target::Bucket(bucket) => bucket_op(&head, bucket)?,
        Target::Object(bucket, key) => object_op(&head, bucket, key)?,
    };
    let speaks = match op {
        Op::CompleteMultipartUpload(_) => Speaks::OfObject,
        _ => Speaks::OfBody,
    };
    Ok(Request {
        body: BodyHeaders::from_headers(&headers, speaks)?,
        unsupported: Feature::asked_for(&headers, &op)?,
        op,
    })
}

/// The parts of a request that decide its operation.
struct Head<'a> {
    method: &'a Method,
    query: &'a Query,
    headers: &'a HeaderMap,
}

impl Head<'_> {
    fn method_not_allowed(&self) -> S3Error {
        S3Error::from(ErrorCode::MethodNotAllowed).with("Method", self.method.as_str())
    }

    /// The one parameter of `names` that the query has. Two of them are refused, since it would
    /// be unclear which operation was authorised.
    fn selector(&self, names: &[&'static str]) -> Result<Option<&'static str>, S3Error> {
        let mut found: Option<&'static str> = None;
        for name in names {
            if !self.query.has(name) {
                continue;
            }
            if let Some(other) = found {
                return Err(S3Error::argument(
                    "ResourceType",
                    name,
                    format!("Conflicting query string parameters: {other}, {name}"),
                ));
            }
            found = Some(name);
        }
        Ok(found)
    }
}

/// Presigned requests may carry `x-amz-*` headers in the query, where the signature covers them
/// (S3 API Reference, "Authenticating requests: using query parameters"). A header of the same
/// name goes first. `x-amz-sdk-checksum-algorithm` is left there: signers add it to URLs whose
/// body they do not know yet.
fn with_hoisted<'a>(headers: &'a HeaderMap, query: &Query) -> Cow<'a, HeaderMap> {
    const OF_SIGNATURE: [&str; 8] = [
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-signedheaders",
        "x-amz-signature",
        "x-amz-security-token",
        "x-amz-sdk-checksum-algorithm",
    ];
    let mut headers = Cow::Borrowed(headers);
    if !query.has("X-Amz-Signature") {
        return headers;
    }
    for (name, value) in query.pairs() {
        let lower = name.to_ascii_lowercase();
        if !lower.starts_with("x-amz-") || OF_SIGNATURE.contains(&lower.as_str()) {
            continue;
        }
        let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(lower.as_bytes()),
            HeaderValue::from_bytes(value.as_bytes()),
        ) else {
            continue;
        };
        if !headers.contains_key(&name) {
            headers.to_mut().insert(name, value);
        }
    }
    headers
}

fn service_op(head: &Head<'_>) -> Result<Op, S3Error> {
    let not_implemented = |name| {
        Ok(Op::NotImplemented(NotImplemented {
            name,
            bucket: None,
            key: None,
        }))
    };
    match *head.method {
        Method::GET if head.query.has("events") => not_implemented("ListenNotification"),
        Method::GET => list_buckets(head.query).map(Op::ListBuckets),
        Method::POST => not_implemented("AssumeRole"),
        Method::OPTIONS => not_implemented("Preflight"),
        _ => Err(head.method_not_allowed()),
    }
}

fn list_buckets(query: &Query) -> Result<ListBuckets, S3Error> {
    const PAGE_MAX: u32 = 10_000;
    let buckets_max = query
        .filled("max-buckets")
        .map(|text| match text.parse::<u32>() {
            Ok(count @ 1..=PAGE_MAX) => Ok(count),
            _ => {
                let message = "Argument max-buckets must be an integer between 1 and 10000";
                Err(S3Error::argument("max-buckets", &text, message))
            }
        })
        .transpose()?;
    Ok(ListBuckets {
        prefix: query.text("prefix"),
        after: query
            .filled("continuation-token")
            .map(|token| token_position(&token))
            .transpose()?,
        buckets_max,
    })
}

#[cfg(test)]
mod tests;

//! The client's side: for tests, the load program, and whoever calls another server.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use types::Timestamp;

use crate::key::{AccessKey, SecretKey};
use crate::sigv4::canonical::{self, Parts, RequestView};
use crate::sigv4::chunk::ChunkSigner;
use crate::sigv4::payload::PayloadHash;
use crate::sigv4::signing_key::{Scope, SigningKey};
use crate::sigv4::{ALGORITHM, date, hex};

/// Headers that proxies and HTTP libraries change, so they stay unsigned.
const UNSIGNED: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::USER_AGENT,
    header::EXPECT,
    header::CONNECTION,
    header::ACCEPT_ENCODING,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
];

/// Signs requests with one credential for one region. Keeps the day's key.
#[derive(Debug)]
pub struct Signer {
    access_key: AccessKey,
    secret: SecretKey,
    key: SigningKey,
}

impl Signer {
    /// A signer for service `s3`.
    pub fn new(access_key: AccessKey, secret: SecretKey, region: &str) -> Self {
        let scope = Scope {
            date: String::new(),
            region: region.to_owned(),
            service: "s3".to_owned(),
        };
        Self {
            access_key,
            key: SigningKey::derive(&secret, scope),
            secret,
        }
    }

    /// Derives the key anew when the day has changed.
    fn key_of(&mut self, date: &str) -> &SigningKey {
        let day = date.get(..8).unwrap_or(date);
        if self.key.scope().date != day {
            let scope = Scope {
                date: day.to_owned(),
                ..self.key.scope().clone()
            };
            self.key = SigningKey::derive(&self.secret, scope);
        }
        &self.key
    }

    /// Adds `x-amz-date`, `x-amz-content-sha256` and `authorization`. The headers must hold
    /// `host` already; `path` and `query` are as they will be sent, encoded. Returns what signs
    /// the chunks, if the payload is signed in chunks.
    pub fn sign(
        &mut self,
        method: &Method,
        (path, query): (&str, &str),
        headers: &mut HeaderMap,
        payload: PayloadHash,
        now: Timestamp,
    ) -> Option<ChunkSigner> {
        let date = date::write(now);
        let payload_text = payload.to_text();
        headers.insert("x-amz-date", value(&date));
        headers.insert("x-amz-content-sha256", value(&payload_text));
        headers.remove(header::AUTHORIZATION);
        let mut signed_headers: Vec<String> = headers
            .keys()
            .filter(|name| !UNSIGNED.contains(name))
            .map(|name| name.as_str().to_owned())
            .collect();
        signed_headers.sort();
        let parts = Parts {
            path: &canonical::path(path),
            query: &canonical::query(query, None),
            signed_headers: &signed_headers,
            payload: &payload_text,
        };
        let view = RequestView {
            method,
            path,
            query,
            headers,
        };
        let canonical = canonical::request(&view, &parts);
        let key = self.key_of(&date);
        let signature = key.sign_request(&date, &canonical);
        let chunks = payload
            .has_signed_chunks()
            .then(|| ChunkSigner::new(key.clone(), &date, signature));
        let text = format!(
            "{ALGORITHM} Credential={}/{},SignedHeaders={},Signature={}",
            self.access_key,
            self.key.scope(),
            signed_headers.join(";"),
            hex::encode(&signature)
        );
        headers.insert(header::AUTHORIZATION, value(&text));
        chunks
    }

    /// The query of a link to a request that carries no headers but `host`, and no signed body.
    /// `query` holds further parameters, encoded. The link lives for `expires_secs` from `now`.
    pub fn presign(
        &mut self,
        method: &Method,
        (path, query): (&str, &str),
        host: &str,
        expires_secs: u64,
        now: Timestamp,
    ) -> String {
        let date = date::write(now);
        let scope = self.key_of(&date).scope().to_string();
        let credential = canonical::encoded(&format!("{}/{scope}", self.access_key));
        let mut query = match query {
            "" => String::new(),
            query => format!("{query}&"),
        };
        query.push_str(&format!(
            "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={credential}&X-Amz-Date={date}\
             &X-Amz-Expires={expires_secs}&X-Amz-SignedHeaders=host"
        ));
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, value(host));
        let parts = Parts {
            path: &canonical::path(path),
            query: &canonical::query(&query, None),
            signed_headers: &["host".to_owned()],
            payload: &PayloadHash::Unsigned.to_text(),
        };
        let view = RequestView {
            method,
            path,
            query: &query,
            headers: &headers,
        };
        let canonical = canonical::request(&view, &parts);
        let signature = self.key.sign_request(&date, &canonical);
        format!("{query}&X-Amz-Signature={}", hex::encode(&signature))
    }
}

/// What this room writes into headers is printable ASCII; a host that is not cannot be signed and
/// is answered by the server as a mismatch.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

//! What a request claims about itself, before anything is believed.

use http::{HeaderMap, header};
use types::Timestamp;

use crate::error::Error;
use crate::key::AccessKey;
use crate::sigv4::canonical::{RequestView, decoded};
use crate::sigv4::payload::PayloadHash;
use crate::sigv4::signing_key::Scope;
use crate::sigv4::{ALGORITHM, date, hex};

/// Presigned requests live at most a week.
const EXPIRES_SECS_MAX: u64 = 604_800;

/// Who a request says it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It says nothing.
    Anonymous,
    /// It carries a signature, which nobody has checked yet.
    Signed(Box<SignedClaim>),
}

/// A signature and everything it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedClaim {
    pub(super) access_key: AccessKey,
    pub(super) scope: Scope,
    pub(super) signed_headers: Vec<String>,
    pub(super) signature: [u8; 32],
    /// As it was written: it is signed so.
    pub(super) date: String,
    pub(super) at: Timestamp,
    /// For how many seconds a presigned request lives.
    pub(super) expires_secs: Option<u64>,
    pub(super) payload: PayloadHash,
    pub(super) has_token: bool,
}

impl Claim {
    /// Reads the claim from headers or query. More than one is refused, as is anything that is
    /// not signature version 4.
    pub fn read(view: &RequestView<'_>) -> Result<Self, Error> {
        let mut headers = view.headers.get_all(header::AUTHORIZATION).iter();
        let authorization = headers.next();
        if headers.next().is_some() {
            return Err(Error::SeveralCredentials);
        }
        let query = Parameters::read(view.query)?;
        match (authorization, query.claims()) {
            (Some(_), true) => Err(Error::SeveralCredentials),
            (None, true) => presigned(view, &query).map(|c| Self::Signed(Box::new(c))),
            (None, false) => Ok(Self::Anonymous),
            (Some(value), false) => {
                let text = value
                    .to_str()
                    .map_err(|_| Error::HeaderMalformed("it is not ASCII"))?;
                signed(view, text).map(|c| Self::Signed(Box::new(c)))
            }
        }
    }
}

impl SignedClaim {
    /// Whose secret must be looked up.
    pub fn access_key(&self) -> &AccessKey {
        &self.access_key
    }

    /// For what the signing key must be derived.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn malformed(&self, why: &'static str) -> Error {
        match self.expires_secs {
            Some(_) => Error::QueryMalformed(why),
            None => Error::HeaderMalformed(why),
        }
    }
}

/// `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.
fn signed(view: &RequestView<'_>, text: &str) -> Result<SignedClaim, Error> {
    let malformed = Error::HeaderMalformed;
    let (mechanism, rest) = text.trim().split_once(' ').unwrap_or((text, ""));
    if mechanism != ALGORITHM {
        return Err(Error::UnsupportedMechanism);
    }
    let (mut credential, mut names, mut signature) = (None, None, None);
    for field in rest.split(',') {
        let (name, value) = field.trim().split_once('=').ok_or(malformed(
            "expected Credential, SignedHeaders and Signature",
        ))?;
        let place = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut names,
            "Signature" => &mut signature,
            _ => return Err(malformed("it has an unknown field")),
        };
        if place.replace(value).is_some() {
            return Err(malformed("it has a field twice"));
        }
    }
    let (access_key, scope) = credential
        .and_then(parse_credential)
        .ok_or(malformed("the credential is missing or mal-formed, expecting \"<key>/YYYYMMDD/REGION/SERVICE/aws4_request\""))?;
    let signed_headers = names
        .and_then(parse_names)
        .ok_or(malformed("the signed headers are missing or malformed"))?;
    let signature = signature
        .and_then(hex::decode32)
        .ok_or(malformed("the signature is missing or malformed"))?;
    let (date, at) = header_date(view.headers)?;
    let payload = match one(view.headers, "x-amz-content-sha256")? {
        Some(text) => PayloadHash::parse(text)?,
        None => return Err(Error::MissingContentSha256),
    };
    Ok(SignedClaim {
        access_key,
        scope,
        signed_headers,
        signature,
        date,
        at,
        expires_secs: None,
        payload,
        has_token: view.headers.contains_key("x-amz-security-token"),
    })
}

/// `x-amz-date`, or `date` in the same form.
fn header_date(headers: &HeaderMap) -> Result<(String, Timestamp), Error> {
    let text = match one(headers, "x-amz-date")? {
        Some(text) => Some(text),
        None => one(headers, "date")?,
    };
    text.and_then(|text| Some((text.to_owned(), date::parse(text)?)))
        .ok_or(Error::MissingDate)
}

/// The value of a field that may come once only.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Error> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(|value| value.to_str());
    if values.next().is_some() {
        return Err(Error::HeaderMalformed("a signed header came twice"));
    }
    value
        .transpose()
        .map_err(|_| Error::HeaderMalformed("a signed header is not ASCII"))
}

fn presigned(view: &RequestView<'_>, query: &Parameters) -> Result<SignedClaim, Error> {
    const INCOMPLETE: Error = Error::QueryMalformed(
        "query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
         X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters",
    );
    if query.version2 {
        return Err(Error::UnsupportedMechanism);
    }
    let needed = |value: &Option<String>| value.clone().ok_or(INCOMPLETE);
    if needed(&query.algorithm)? != ALGORITHM {
        return Err(Error::UnsupportedMechanism);
    }
    let (access_key, scope) = parse_credential(&needed(&query.credential)?).ok_or(
        Error::QueryMalformed("error parsing the X-Amz-Credential parameter"),
    )?;
    let date = needed(&query.date)?;
    let at = date::parse(&date).ok_or(Error::QueryMalformed(
        "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
    ))?;
    let expires_secs = needed(&query.expires)?
        .parse::<i128>()
        .map_err(|_| Error::QueryMalformed("X-Amz-Expires should be a number"))?;
    let expires_secs = u64::try_from(expires_secs)
        .map_err(|_| Error::QueryMalformed("X-Amz-Expires must be non-negative"))?;
    match expires_secs {
        0 => {
            return Err(Error::QueryMalformed(
                "X-Amz-Expires must be at least one second",
            ));
        }
        1..=EXPIRES_SECS_MAX => {}
        _ => {
            return Err(Error::QueryMalformed(
                "X-Amz-Expires must be less than a week (in seconds); that is, the given \
                 X-Amz-Expires must be less than 604800 seconds",
            ));
        }
    }
    let names = needed(&query.signed_headers)?;
    let signature = needed(&query.signature)?;
    Ok(SignedClaim {
        access_key,
        scope,
        signed_headers: parse_names(&names)
            .ok_or(Error::QueryMalformed("error parsing X-Amz-SignedHeaders"))?,
        signature: hex::decode32(&signature)
            .ok_or(Error::QueryMalformed("error parsing X-Amz-Signature"))?,
        date,
        at,
        expires_secs: Some(expires_secs),
        payload: presigned_payload(view.headers, query.content_sha256.as_deref())?,
        has_token: query.has_token || view.headers.contains_key("x-amz-security-token"),
    })
}

/// In the query, in the header, or nowhere, which means unsigned; if in both, then the same. The
/// signatures of chunks go on from a header's, never from a link's.
fn presigned_payload(headers: &HeaderMap, query: Option<&str>) -> Result<PayloadHash, Error> {
    let header = one(headers, "x-amz-content-sha256")?;
    let payload = match (query, header) {
        (Some(a), Some(b)) if a != b => return Err(Error::InvalidContentSha256),
        (Some(text), _) | (None, Some(text)) => PayloadHash::parse(text)?,
        (None, None) => PayloadHash::Unsigned,
    };
    if payload.has_signed_chunks() {
        return Err(Error::InvalidContentSha256);
    }
    Ok(payload)
}

/// `key/20130524/region/service/aws4_request`; the key may hold slashes.
fn parse_credential(text: &str) -> Option<(AccessKey, Scope)> {
    let mut fields = text.rsplitn(5, '/');
    let end = fields.next()?;
    let (service, region, date) = (fields.next()?, fields.next()?, fields.next()?);
    let access_key = AccessKey::parse(fields.next()?)?;
    let dated = date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit());
    if end != "aws4_request" || !dated || service.is_empty() {
        return None;
    }
    let scope = Scope {
        date: date.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
    };
    Some((access_key, scope))
}

/// `host;x-amz-date`: names of header fields in lower case.
fn parse_names(text: &str) -> Option<Vec<String>> {
    let legal =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b);
    let names: Vec<String> = text.split(';').map(str::to_owned).collect();
    names
        .iter()
        .all(|name| !name.is_empty() && name.bytes().all(legal))
        .then_some(names)
}

/// The parameters of a presigned request.
#[derive(Default)]
struct Parameters {
    algorithm: Option<String>,
    credential: Option<String>,
    date: Option<String>,
    expires: Option<String>,
    signed_headers: Option<String>,
    signature: Option<String>,
    content_sha256: Option<String>,
    has_token: bool,
    version2: bool,
}

impl Parameters {
    fn read(query: &str) -> Result<Self, Error> {
        let mut found = Self::default();
        // Names of signatures are not escaped by anyone; a query without them costs one scan.
        if !query.contains("X-Amz-") && !query.contains("AWSAccessKeyId") {
            return Ok(found);
        }
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match name {
                "X-Amz-Algorithm" => &mut found.algorithm,
                "X-Amz-Credential" => &mut found.credential,
                "X-Amz-Date" => &mut found.date,
                "X-Amz-Expires" => &mut found.expires,
                "X-Amz-SignedHeaders" => &mut found.signed_headers,
                "X-Amz-Signature" => &mut found.signature,
                "X-Amz-Content-Sha256" => &mut found.content_sha256,
                "X-Amz-Security-Token" => {
                    found.has_token = true;
                    continue;
                }
                "AWSAccessKeyId" => {
                    found.version2 = true;
                    continue;
                }
                _ => continue,
            };
            let value = decoded(value).ok_or(Error::QueryMalformed("it is not UTF-8"))?;
            if place.replace(value).is_some() {
                return Err(Error::QueryMalformed("a parameter came twice"));
            }
        }
        Ok(found)
    }

    /// Whether the query claims an identity at all.
    fn claims(&self) -> bool {
        self.algorithm.is_some()
            || self.credential.is_some()
            || self.signature.is_some()
            || self.version2
    }
}

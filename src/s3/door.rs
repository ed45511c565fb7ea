//! The one entry of S3: a request is parsed, identified, permitted and only then acted upon.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auth::{Action, Denied, Identity, Permit, RequestView, Resource, Verified, authorize};
use http::header::{CONNECTION, EXPECT, HeaderName, SERVER};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use ledger::{Bucket, Ledger, State};
use s3wire::{BodyChecksum, BodyHeaders, Domains, ErrorCode, Op, Owner, S3Error};
use store::{Properties, Store};
use tracing::Instrument;
use types::{BucketId, BucketName, Timestamp};

use crate::answer::{Answer, AnswerBody};
use crate::body::{Arrival, RequestBody};
use crate::credentials::SigningKeys;
use crate::route::needed;
use crate::{attributes, bucket, copy, list, multipart, object, tagging, uploads};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const HOST_ID: HeaderName = HeaderName::from_static("x-amz-id-2");

/// What a door is made of.
pub struct DoorConfig {
    /// Where objects are.
    pub store: Arc<Store>,
    /// Where intent is.
    pub ledger: Arc<Ledger>,
    /// The region that signatures must name; `None`: any.
    pub region: Option<String>,
    /// Domains whose sub-domains are buckets.
    pub domains: Domains,
    /// How long a client may send nothing, or next to nothing, of a body.
    pub body_wait: Duration,
}

/// The name of the operation that an answer is to; an extension of the answer, for metrics.
#[derive(Debug, Clone, Copy)]
pub struct Operation(pub &'static str);

/// The S3 API.
pub struct Door {
    pub(crate) store: Arc<Store>,
    pub(crate) ledger: Arc<Ledger>,
    region: Option<String>,
    domains: Domains,
    body_wait: Duration,
    keys: SigningKeys,
    pub(crate) owner: Owner,
}

/// One request on its way to its handler.
pub(crate) struct Call {
    /// Proof that whoever asks may.
    permit: Permit,
    /// Now.
    pub(crate) now: Timestamp,
    /// All intent, as of the beginning of the request.
    pub(crate) state: Arc<State>,
    body: BodyHeaders,
    verified: Option<Verified>,
    incoming: Option<Incoming>,
    arrival: Arrival,
}

impl Call {
    /// The request's body, for a handler that wants it; `properties` is what the version keeps.
    pub(crate) fn body(self, properties: Properties) -> Result<RequestBody, S3Error> {
        self.split(properties).map(|(_, body)| body)
    }

    /// The request's body, and a call that goes on without it.
    pub(crate) fn split(mut self, properties: Properties) -> Result<(Self, RequestBody), S3Error> {
        let incoming = self.incoming.take().ok_or(ErrorCode::InternalError)?;
        let body = RequestBody::new(
            incoming,
            &self.body,
            self.verified.as_mut(),
            self.arrival.clone(),
            properties,
        )?;
        Ok((self, body))
    }

    /// The checksum that the body brings.
    pub(crate) fn checksum(&self) -> Option<BodyChecksum> {
        self.body.checksum
    }

    /// Proof that whoever asks may do this too; for requests that name more than one thing.
    pub(crate) fn authorize(&self, action: Action, resource: Resource) -> Result<Permit, S3Error> {
        authorize(self.permit.identity(), action, resource)
            .map_err(|Denied| ErrorCode::AccessDenied.into())
    }

    /// The bucket of that name.
    pub(crate) fn bucket(&self, name: &BucketName) -> Result<Bucket, S3Error> {
        let bucket = self.state.buckets.get(name.as_str());
        Ok(bucket.ok_or(ErrorCode::NoSuchBucket)?.clone())
    }
}

impl Door {
    /// A door. It serves requests until it is dropped.
    pub fn new(config: DoorConfig) -> Self {
        let owner = Owner {
            id: "02d6176db174dc93cb1b899f7c6078f08654445fe8cf1b6ce98d8855f66bdbf4".to_owned(),
            display_name: "sarsen".to_owned(),
        };
        Self {
            store: config.store,
            ledger: config.ledger,
            region: config.region,
            domains: config.domains,
            body_wait: config.body_wait,
            keys: SigningKeys::default(),
            owner,
        }
    }

    /// The region that clients are told.
    pub(crate) fn region(&self) -> &str {
        self.region.as_deref().unwrap_or("us-east-1")
    }

    /// The answer to a request that waited too long for its turn.
    pub fn slow_down(request: &Request<Incoming>) -> Response<AnswerBody> {
        let error = S3Error::from(ErrorCode::SlowDown);
        let answer = if request.method() == Method::HEAD {
            Answer::empty(error.code.status())
        } else {
            let document = error.to_xml(request.uri().path(), &request_id(), "");
            Answer::xml(error.code.status(), document)
        };
        answer.with(CONNECTION, "close").finish()
    }

    /// Whether writes may still go into a bucket. Asked after the write was announced to the
    /// store, so that a deletion of the bucket either is seen here or waits for the write.
    pub(crate) fn alive(&self, name: &BucketName, id: BucketId) -> Result<(), S3Error> {
        let state = self.ledger.view();
        let bucket = state
            .buckets
            .get(name.as_str())
            .filter(|bucket| bucket.id() == id);
        match bucket.ok_or(ErrorCode::NoSuchBucket)?.deleting {
            true => Err(ErrorCode::OperationAborted.into()),
            false => Ok(()),
        }
    }

    /// Answers one request. Dropping the future abandons what was not yet ordered; a commit on
    /// its way goes on.
    pub async fn call(&self, request: Request<Incoming>) -> Response<AnswerBody> {
        let (head, incoming) = request.into_parts();
        let request_id = request_id();
        let span = tracing::info_span!("request", request_id);
        let arrival = Arrival::of(&incoming, self.body_wait);
        // Whoever asks whether to send nothing is not told to go on. awscli and boto3 take no heed
        // of that, and misread whatever comes next on the connection.
        let untold = arrival.is_complete() && head.headers.contains_key(EXPECT);
        let mut operation = Operation("Unknown");
        let answered = self.answer(&head, incoming, &arrival, &mut operation);
        let answered = answered.instrument(span).await;
        // What is left of a body would be taken for the next request.
        let last = untold || (answered.is_err() && !arrival.is_complete());
        let mut answer = answered.unwrap_or_else(|error| self.refuse(&error, &head, &request_id));
        if last {
            answer = answer.with(CONNECTION, "close");
        }
        answer = answer
            .with(REQUEST_ID, &request_id)
            .with(HOST_ID, &self.owner.id)
            .with(SERVER, "Sarsen");
        let mut response = answer.finish();
        tracing::debug!(
            request_id,
            operation = operation.0,
            status = response.status().as_u16(),
            "served"
        );
        response.extensions_mut().insert(operation);
        response
    }

    async fn answer(
        &self,
        head: &Parts,
        incoming: Incoming,
        arrival: &Arrival,
        operation: &mut Operation,
    ) -> Result<Answer, S3Error> {
        let now = now();
        let path = head.uri.path();
        let query = head.uri.query().unwrap_or_default();
        let state = self.ledger.view();
        let view = RequestView {
            method: &head.method,
            path,
            query,
            headers: &head.headers,
        };
        let (identity, verified) =
            self.keys
                .identify(&view, &state, self.region.as_deref(), now)?;
        let request = s3wire::parse(&head.method, path, query, &head.headers, &self.domains)?;
        *operation = Operation(request.op.name());
        let Some((action, resource)) = needed(&request.op) else {
            return match identity {
                Identity::Anonymous => Err(ErrorCode::AccessDenied.into()),
                Identity::Root(_) => Err(S3Error::not_implemented(request.op.name())),
            };
        };
        let permit = authorize(&identity, action, resource)
            .map_err(|Denied| S3Error::from(ErrorCode::AccessDenied))?;
        if let Some(feature) = request.unsupported {
            return Err(feature.refusal());
        }
        let call = Call {
            permit,
            now,
            state,
            body: request.body,
            verified,
            incoming: Some(incoming),
            arrival: arrival.clone(),
        };
        tracing::trace!(permit = ?call.permit, "permitted");
        self.act(request.op, call).await
    }

    async fn act(&self, op: Op, call: Call) -> Result<Answer, S3Error> {
        match op {
            Op::ListBuckets(op) => bucket::list(self, &op, &call),
            Op::CreateBucket(op) => bucket::create(self, op, call).await,
            Op::HeadBucket(op) => bucket::head(self, &op, &call),
            Op::DeleteBucket(op) => bucket::delete(self, &op, &call).await,
            Op::GetBucketLocation(op) => bucket::location(self, &op, &call),
            Op::GetBucketVersioning(op) => bucket::versioning(&op, &call),
            Op::PutBucketVersioning(op) => bucket::put_versioning(self, op, call).await,
            Op::GetBucketTagging(op) => bucket::tagging(&op, &call),
            Op::PutBucketTagging(op) => bucket::put_tagging(self, op, call).await,
            Op::DeleteBucketTagging(op) => bucket::delete_tagging(self, &op, &call).await,
            Op::GetBucketAcl(op) => bucket::acl(self, &op, &call),
            Op::PutBucketAcl(op) => attributes::put_bucket_acl(op, call).await,
            Op::DeleteBucketWebsite(op) => bucket::delete_website(&op, &call),
            Op::GetAbsentConfiguration(op) => bucket::absent(&op, &call),
            Op::ListObjects(op) => list::objects(self, &op, &call).await,
            Op::ListObjectsV2(op) => list::objects_v2(self, &op, &call).await,
            Op::ListObjectVersions(op) => list::versions(self, &op, &call).await,
            Op::DeleteObjects(op) => object::delete_many(self, &op, call).await,
            Op::GetObject(op) => object::get(self, &op, &call).await,
            Op::HeadObject(op) => object::head(self, &op, &call).await,
            Op::PutObject(op) => object::put(self, op, call).await,
            Op::DeleteObject(op) => object::delete(self, &op, &call).await,
            Op::CopyObject(op) => copy::object(self, &op, &call).await,
            Op::GetObjectAttributes(op) => attributes::get(self, &op, &call).await,
            Op::GetObjectTagging(op) => tagging::get(self, &op, &call).await,
            Op::PutObjectTagging(op) => tagging::put(self, op, call).await,
            Op::DeleteObjectTagging(op) => tagging::delete(self, &op, &call).await,
            Op::GetObjectAcl(op) => attributes::acl(self, &op, &call).await,
            Op::PutObjectAcl(op) => attributes::put_acl(self, op, call).await,
            Op::CreateMultipartUpload(op) => multipart::create(self, op, &call).await,
            Op::UploadPart(op) => multipart::upload_part(self, &op, call).await,
            Op::ListParts(op) => multipart::list_parts(self, &op, &call).await,
            Op::CompleteMultipartUpload(op) => multipart::complete(self, &op, call).await,
            Op::ListMultipartUploads(op) => uploads::list(self, &op, &call).await,
            Op::UploadPartCopy(op) => copy::part(self, &op, &call).await,
            Op::AbortMultipartUpload(op) => multipart::abort(self, &op, &call).await,
            Op::NotImplemented(op) => Err(S3Error::not_implemented(op.name)),
        }
    }

    /// Renders an error.
    fn refuse(&self, error: &S3Error, head: &Parts, request_id: &str) -> Answer {
        let status = error.code.status();
        let bodyless = head.method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
        let mut answer = if bodyless {
            Answer::empty(status)
        } else {
            let document = error.to_xml(head.uri.path(), request_id, &self.owner.id);
            Answer::xml(status, document)
        };
        for (name, value) in &error.headers {
            answer = answer.with(name.clone(), value);
        }
        answer
    }
}

/// Sixteen hexadecimal digits, as S3's ids look.
fn request_id() -> String {
    let mut bytes = [0; 8];
    // Without randomness an id is useless, but a request is still served.
    let _ = getrandom::fill(&mut bytes);
    format!("{:016X}", u64::from_be_bytes(bytes))
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

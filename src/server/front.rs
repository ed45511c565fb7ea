//! What every node answers beside S3: probes, metrics, and whoever looks for the admin API. All
//! else goes on to the S3 door.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;

use crate::config::MetricsAccess;
use crate::health::{HealthView, Probe, answer};
use crate::listen::{Caller, Service};
use crate::metrics::{Facts, Metrics, Section, render, verify_token};

/// What a node knows of itself.
pub(crate) trait Node: Send + Sync + 'static {
    /// How it and its sets are.
    fn health(&self) -> HealthView;

    /// What its rooms say for a page of metrics.
    fn facts(&self) -> Facts;

    /// The secret of an access key that may read metrics.
    fn metrics_secret(&self, access_key: &str) -> Option<String>;
}

/// A service that answers probes and metrics itself.
pub(crate) struct Front<N, S> {
    node: Arc<N>,
    metrics: Arc<Metrics>,
    access: MetricsAccess,
    inner: S,
    operation: OperationOf,
}

/// Tells which operation, such as `PutObject`, an answer of the S3 door belongs to.
pub(crate) type OperationOf = fn(&Extensions) -> Option<&'static str>;

impl<N: Node, S: Service> Front<N, S> {
    /// Stands in front of `inner`.
    pub(crate) fn new(
        node: Arc<N>,
        metrics: Arc<Metrics>,
        access: MetricsAccess,
        inner: S,
        operation: OperationOf,
    ) -> Self {
        Self {
            node,
            metrics,
            access,
            inner,
            operation,
        }
    }

    /// The answer to a request that is not for S3.
    fn own_answer(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Option<Response<Full<Bytes>>> {
        if !path.starts_with("/minio/") {
            return None;
        }
        if let Some(path) = path.strip_prefix("/minio/admin/") {
            return Some(no_admin(path));
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        if let Some(probe) = Probe::parse(path, query) {
            return Some(probed(probe, &self.node.health()));
        }
        let section = Section::parse(path)?;
        if !self.may_read_metrics(headers) {
            return Some(forbidden());
        }
        let page = render(section, &self.metrics, &self.node.facts());
        let mut response = Response::new(Full::from(page));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Some(response)
    }

    fn may_read_metrics(&self, headers: &HeaderMap) -> bool {
        if self.access == MetricsAccess::Public {
            return true;
        }
        let value = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer "));
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let secret_of = |user: &str| self.node.metrics_secret(user);
        token
            .and_then(|token| verify_token(token.trim(), now, secret_of))
            .is_some()
    }
}

impl<N: Node, S: Service> Service for Front<N, S> {
    type Body = Either<Full<Bytes>, S::Body>;

    async fn call(&self, request: Request<Incoming>, caller: Caller) -> Response<Self::Body> {
        let uri = request.uri();
        let headers = request.headers();
        if let Some(own) = self.own_answer(request.method(), uri.path(), uri.query(), headers) {
            return own.map(Either::Left);
        }
        let begun = Instant::now();
        let response = self.inner.call(request, caller).await;
        if let Some(operation) = (self.operation)(response.extensions()) {
            self.metrics
                .called(operation, response.status().as_u16(), begun.elapsed());
        }
        response.map(Either::Right)
    }
}

fn probed(probe: Probe, view: &HealthView) -> Response<Full<Bytes>> {
    let answer = answer(probe, view);
    let mut response = Response::new(Full::default());
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Version 3 of the admin API is not there yet. Whoever asks for another one hears what makes newer
/// clients ask for version 3, which is this status and no other.
fn no_admin(path: &str) -> Response<Full<Bytes>> {
    let (status, document) = match path.split('/').next() {
        Some("v3") => (StatusCode::NOT_IMPLEMENTED, NO_ADMIN),
        _ => (StatusCode::UPGRADE_REQUIRED, OTHER_ADMIN),
    };
    let mut response = Response::new(Full::from(document));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

const NO_ADMIN: &str = r#"{"Code":"NotImplemented","Message":"The admin API is not implemented."}"#;
const OTHER_ADMIN: &str = r#"{"Code":"XMinioAdminVersionMismatch","Message":"This server speaks version 3 of the admin API."}"#;

fn forbidden() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from("a bearer token of a user is needed\n"));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Phase, SetHealth};
    use crate::metrics::HealFacts;
    use types::Geometry;

    struct Lone;

    impl Node for Lone {
        fn health(&self) -> HealthView {
            let geometry = Geometry::new(2, 2).unwrap();
            let set = SetHealth {
                geometry,
                online: 2,
                local: 2,
                healing: 0,
            };
            HealthView {
                phase: Phase::Serving,
                sets: vec![set],
                default_classes: true,
            }
        }

        fn facts(&self) -> Facts {
            let (drives, buckets, heal) = (Vec::new(), 0, HealFacts::default());
            Facts {
                server: "a:1".to_owned(),
                health: self.health(),
                drives,
                buckets,
                heal,
            }
        }

        fn metrics_secret(&self, access_key: &str) -> Option<String> {
            (access_key == "minioadmin").then(|| "minioadmin".to_owned())
        }
    }

    struct Never;

    impl Service for Never {
        type Body = Full<Bytes>;

        async fn call(&self, _request: Request<Incoming>, _caller: Caller) -> Response<Self::Body> {
            panic!("not reached by these tests")
        }
    }

    fn status(access: MetricsAccess, method: &Method, path: &str, token: &str) -> Option<u16> {
        let front = Front::new(
            Arc::new(Lone),
            Arc::new(Metrics::new()),
            access,
            Never,
            |_| None,
        );
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::try_from(token).unwrap());
        let answer = front.own_answer(method, path, None, &headers);
        answer.map(|response| response.status().as_u16())
    }

    #[test]
    fn metrics_are_for_those_who_may_read_them() {
        let good = concat!(
            "Bearer eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJleHAiOjQxMDI0NDQ4MDAsInN1YiI6I",
            "m1pbmlvYWRtaW4iLCJpc3MiOiJwcm9tZXRoZXVzIn0.nlCQdl7FB_GeFtDmtYRjQ_UlJYu",
            "Xef6Pqcw-0-2ww2yc9SU2dGrj8CON91BcvXtFMulrvCyfYkRB4mRPs8CMMg",
        );
        let table = [
            (MetricsAccess::Token, "", 403),
            (MetricsAccess::Token, "Bearer x.y.z", 403),
            (
                MetricsAccess::Token,
                good.trim_start_matches("Bearer "),
                403,
            ),
            (MetricsAccess::Token, good, 200),
            (MetricsAccess::Public, "", 200),
        ];
        for (access, token, expected) in table {
            let status = status(access, &Method::GET, "/minio/v2/metrics/cluster", token);
            assert_eq!(status, Some(expected), "{access:?} {token}");
        }
    }

    #[test]
    fn probes_are_answered_and_all_else_is_left_to_the_door() {
        let table = [
            (Method::GET, "/minio/health/live", Some(200)),
            (Method::HEAD, "/minio/health/ready", Some(200)),
            (Method::GET, "/minio/health/cluster", Some(503)),
            (Method::PUT, "/minio/health/live", None),
            (Method::GET, "/minio/health/else", None),
            (Method::GET, "/minio", None),
            (Method::GET, "/minio/admin", None),
            (Method::GET, "/minio/admin/v3/info", Some(501)),
            (Method::PUT, "/minio/admin/v3/add-user", Some(501)),
            (Method::GET, "/minio/admin/v4/info", Some(426)),
            (Method::POST, "/minio/admin/v33/x", Some(426)),
            (Method::GET, "/photos/minio/health/live", None),
        ];
        for (method, path, expected) in table {
            let status = status(MetricsAccess::Token, &method, path, "");
            assert_eq!(status, expected, "{method} {path}");
        }
    }
}

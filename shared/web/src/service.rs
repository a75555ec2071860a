//! What every HTTP function has around its routes.

use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use tracing::Instrument;

use crate::{Problem, ProblemType};

/// The largest body that a route takes unless it says otherwise, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Surrounds `routes` with what all have in common: a limit on bodies, problem
/// documents for unknown paths and methods, and one log line per answer.
///
/// The line names the route, not the path: a path or a query may hold a secret.
pub fn service(routes: Router) -> Router {
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(log_answer))
}

async fn not_found() -> Problem {
    Problem::new(ProblemType::NotFound, "there is nothing at this path")
}

async fn method_not_allowed() -> Problem {
    let detail = "this path does not take this method";
    Problem::new(ProblemType::MethodNotAllowed, detail)
}

async fn log_answer(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("unknown", MatchedPath::as_str).to_owned();
    let trace_id = request.headers().get("x-amzn-trace-id");
    let trace_id = trace_id.and_then(|id| id.to_str().ok()).map(str::to_owned);
    let span = tracing::info_span!("request", method = %request.method(), route, trace_id);
    async {
        let response = next.run(request).await;
        let status = response.status().as_u16();
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(status, duration_ms, "answered");
        response
    }
    .instrument(span)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JsonBody;
    use axum::body::{Body, to_bytes};
    use axum::http::StatusCode;
    use axum::routing::post;
    use serde_json::Value;
    use tower::ServiceExt;

    async fn answer(method: &str, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        let echo = post(async |JsonBody(body): JsonBody<Value>| body.to_string());
        let routes = service(Router::new().route("/echo", echo));
        let request = Request::builder().method(method).uri(path);
        let request = request.body(body.into()).unwrap();
        let response = routes.oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn every_refusal_is_a_problem_document() {
        let too_large = "[".repeat(BODY_BYTES_MAX + 1);
        let too_deep = "[".repeat(1_000);
        for (method, path, body, status, kind) in [
            ("GET", "/", "", 404, "not-found"),
            ("GET", "/echo", "", 405, "method-not-allowed"),
            ("POST", "/echo", "", 400, "invalid-request"),
            ("POST", "/echo", "{", 400, "invalid-request"),
            ("POST", "/echo", too_deep.as_str(), 400, "invalid-request"),
            ("POST", "/echo", too_large.as_str(), 413, "body-too-large"),
        ] {
            let (answered, problem) = answer(method, path, body.to_owned()).await;
            assert_eq!(answered.as_u16(), status, "{method} {path}");
            assert_eq!(problem["status"], status);
            assert_eq!(problem["type"], format!("urn:meterline:problem:{kind}"));
        }
    }

    #[tokio::test]
    async fn a_body_needs_no_content_type() {
        let (status, body) = answer("POST", "/echo", "{\"a\":1}").await;
        assert_eq!((status, body["a"].as_i64()), (StatusCode::OK, Some(1)));
    }
}

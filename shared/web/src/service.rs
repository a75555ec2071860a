//! What every HTTP function has around its routes.

use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use tracing::Instrument;

use crate::telemetry::request_span;
use crate::xray::{Trace, traced};
use crate::{Problem, ProblemType};

/// The largest body that a route takes unless it says otherwise, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Surrounds `routes` with what all have in common: a limit on bodies, problem
/// documents for unknown paths and methods, one log line per answer, and the trace
/// that the request is part of.
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
    let span = request_span(&request);
    let trace = request.extensions().get().and_then(Trace::of);
    async {
        let response = traced(trace, next.run(request)).await;
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
    use crate::log::Log;
    use axum::body::{Body, to_bytes};
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use billing::{CustomerId, EventId};
    use lambda_runtime::Context;
    use serde_json::Value;
    use tower::ServiceExt;
    use tracing_subscriber::EnvFilter;

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
            ("POST", "/echo", r#"{"a":1,"a":2}"#, 400, "invalid-request"),
            ("POST", "/echo", too_large.as_str(), 413, "body-too-large"),
        ] {
            let (answered, problem) = answer(method, path, body.to_owned()).await;
            assert_eq!(answered.as_u16(), status, "{method} {path}");
            assert_eq!(problem["status"], status);
            assert_eq!(problem["type"], format!("urn:meterline:problem:{kind}"));
        }
    }

    #[tokio::test]
    async fn a_body_is_taken_as_it_is_or_not_at_all() {
        for (encoding, status) in [
            ("identity", 200),
            ("Identity", 200),
            ("gzip", 415),
            ("", 415),
        ] {
            let echo = post(async |JsonBody(body): JsonBody<Value>| body.to_string());
            let request = Request::post("/").header("content-encoding", encoding);
            let request = request.body(Body::from("{}")).unwrap();
            let routes = service(Router::new().route("/", echo));
            let response = routes.oneshot(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{encoding}");
        }
    }

    #[tokio::test]
    async fn a_body_needs_no_content_type() {
        let (status, body) = answer("POST", "/echo", "{\"a\":1}").await;
        assert_eq!((status, body["a"].as_i64()), (StatusCode::OK, Some(1)));
    }

    #[tokio::test]
    async fn every_line_of_a_request_says_which_request_it_is_of_and_what_is_known_of_it() {
        let kept = Log::default();
        let sink = kept.clone();
        let log = crate::telemetry::log(EnvFilter::new("info"), move || sink.clone());
        let _log = tracing::subscriber::set_default(log);
        let look = get(async || {
            tracing::info!("before anything is known");
            crate::telemetry::note_key("key-1");
            crate::telemetry::note_customer(&CustomerId::parse("cus_1").unwrap());
            crate::telemetry::note_event(&EventId::parse("job-1").unwrap());
            tracing::warn!("afterwards");
        });
        let mut context = Context::default();
        context.request_id = "b1c2".to_owned();
        let request = Request::builder()
            .uri("/look/secret?secret=1")
            .header("authorization", "Bearer mk_secret")
            .header("x-amzn-trace-id", "Root=1-a-b")
            .extension(context);
        let routes = service(Router::new().route("/look/{link}", look));
        let request = request.body(Body::empty()).unwrap();
        routes.oneshot(request).await.unwrap();
        let read = kept.lines();
        let messages: Vec<_> = read.iter().map(|line| &line["message"]).collect();
        assert_eq!(
            messages,
            ["before anything is known", "afterwards", "answered"]
        );
        for line in &read {
            assert_eq!(line["span"]["request_id"], "b1c2");
            assert_eq!(line["span"]["trace_id"], "Root=1-a-b");
            assert_eq!(line["span"]["route"], "/look/{link}");
            assert!(!line.to_string().contains("secret"), "{line}");
        }
        assert_eq!(read[0]["span"].get("key_id"), None);
        for line in &read[1..] {
            assert_eq!(line["span"]["key_id"], "key-1");
            assert_eq!(line["span"]["customer_id"], "cus_1");
            assert_eq!(line["span"]["event_id"], "job-1");
        }
        assert_eq!(read[2]["status"], 200);
    }
}

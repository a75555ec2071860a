//! What API Gateway does to a request before and after a function: limits of its
//! own, which no function could enforce (Amazon API Gateway Developer Guide,
//! "Quotas for configuring and running an HTTP API in API Gateway").

use std::error::Error;
use std::time::Duration;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::LengthLimitError;
use serde_json::json;

/// How long a function may take, and here the caller, too, to send a body.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The request's line and the values of its headers together.
const HEADER_BYTES_MAX: usize = 10_240;

/// The largest body that a function is called with.
const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Refuses what has too much in its headers or its body, and gives up on what takes too
/// long.
pub(crate) async fn limit(request: Request, next: Next) -> Response {
    if header_bytes(&request) > HEADER_BYTES_MAX {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return answer(status, "Request Header Fields Too Large");
    }
    match tokio::time::timeout(ANSWER_TIMEOUT, buffered(request, next)).await {
        Ok(response) => response,
        Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
    }
}

/// Reads all of the body first: a caller that is refused while it still sends may find the
/// connection broken in place of the answer.
async fn buffered(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = match to_bytes(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(error) if is_too_large(&error) => {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return answer(status, "Request Entity Too Large");
        }
        Err(_) => return answer(StatusCode::BAD_REQUEST, "Bad Request"),
    };
    next.run(Request::from_parts(parts, body.into())).await
}

fn is_too_large(error: &axum::Error) -> bool {
    error
        .source()
        .is_some_and(|source| source.is::<LengthLimitError>())
}

/// As API Gateway says it.
fn answer(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}

fn header_bytes(request: &Request) -> usize {
    let target = request.uri().path_and_query();
    let target = target.map_or(0, |target| target.as_str().len());
    let values = request.headers().values().map(|value| value.len());
    request.method().as_str().len() + target + values.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::middleware::from_fn;
    use axum::routing::post;
    use futures_util::stream;
    use tower::ServiceExt;

    fn routes() -> Router {
        let echo = post(async |body: Bytes| body);
        Router::new().route("/", echo).layer(from_fn(limit))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_ends_the_request() {
        let chunk = Ok::<_, std::io::Error>(Bytes::from_static(b"{"));
        let begun = stream::iter([chunk]);
        let body = futures_util::StreamExt::chain(begun, stream::pending());
        let request = Request::post("/").body(Body::from_stream(body)).unwrap();
        let started = tokio::time::Instant::now();
        let response = routes().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        // The clock of the test, which moves by itself when nothing else does.
        assert_eq!(started.elapsed().as_secs(), ANSWER_TIMEOUT.as_secs());
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_and_refused_beyond_its_limit() {
        for (bytes, status) in [
            (BODY_BYTES_MAX, StatusCode::OK),
            (BODY_BYTES_MAX + 1, StatusCode::PAYLOAD_TOO_LARGE),
        ] {
            let unread = post(async || StatusCode::OK);
            let routes = Router::new().route("/", unread).layer(from_fn(limit));
            let body = Body::from(vec![b' '; bytes]);
            let request = Request::post("/").body(body).unwrap();
            let response = routes.oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{bytes}");
        }
    }

    #[tokio::test]
    async fn headers_and_address_are_limited_together() {
        let address_and_method = "POST".len() + "/".len();
        for (bytes, status) in [
            (HEADER_BYTES_MAX, StatusCode::OK),
            (
                HEADER_BYTES_MAX + 1,
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            ),
        ] {
            let value = "v".repeat(bytes - address_and_method);
            let request = Request::post("/").header("x-flood", value);
            let request = request.body(Body::empty()).unwrap();
            let response = routes().oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{bytes}");
        }
    }
}

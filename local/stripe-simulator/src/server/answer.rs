//! An answer, and the headers that Stripe sends with it.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::request::ApiRequest;
use crate::api::error::StripeError;
use crate::store::idempotency::StoredAnswer;

/// What is sent back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) should_retry: Option<bool>,
    pub(super) retry_after_s: Option<u16>,
    request_id: String,
    version: Option<String>,
    idempotency_key: Option<String>,
    /// The request that did the work, where this answer is a replay.
    original_request: Option<String>,
}

impl Answer {
    pub(super) fn new(request: &ApiRequest, status: u16, body: String) -> Self {
        Self {
            status,
            body,
            should_retry: None,
            retry_after_s: None,
            request_id: request.id.clone(),
            version: Some(request.version.as_str().to_owned()),
            idempotency_key: request.idempotency_key.clone(),
            original_request: None,
        }
    }

    /// A refusal of a request that was not even read.
    pub(super) fn refusal(request_id: &str, is_v2: bool, error: &StripeError) -> Self {
        let body = if is_v2 {
            error.body_v2()
        } else {
            error.body(request_id)
        };
        Self {
            status: error.status,
            body: body.to_string(),
            should_retry: error.should_retry,
            retry_after_s: error.retry_after_s,
            request_id: request_id.to_owned(),
            version: None,
            idempotency_key: None,
            original_request: None,
        }
    }

    pub(super) fn replay(request: &ApiRequest, stored: StoredAnswer) -> Self {
        Self {
            should_retry: stored.should_retry,
            original_request: Some(stored.request_id),
            ..Self::new(request, stored.status, stored.body)
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, self.body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let replayed = self.original_request.as_ref().map(|_| "true".to_owned());
        let original = self.original_request.or_else(|| {
            self.idempotency_key
                .as_ref()
                .map(|_| self.request_id.clone())
        });
        for (name, value) in [
            ("request-id", Some(self.request_id)),
            ("stripe-version", self.version),
            ("idempotency-key", self.idempotency_key),
            ("original-request", original),
            ("idempotent-replayed", replayed),
            (
                "stripe-should-retry",
                self.should_retry.map(|retry| retry.to_string()),
            ),
            (
                "retry-after",
                self.retry_after_s.map(|seconds| seconds.to_string()),
            ),
        ] {
            // A value that is no header's came in as one, so it cannot fail on its way out.
            if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

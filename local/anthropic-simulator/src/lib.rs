#![doc = include_str!("../README.md")]

mod error;
mod extract;
mod ids;
mod request;

use std::future::Future;

use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::extract::rejection::BytesRejection;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::error::ApiError;
use crate::extract::Extract;
use crate::request::MessagesRequest;

/// The largest body that the Messages API takes ("Request size limits": 32 MB).
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Versions of the API ("Versions"): the value of `anthropic-version`.
const VERSIONS: [&str; 3] = ["2026-10-21", "2023-06-01", "2023-01-01"];

/// Answers on `listener` until `shutdown` ends and the last answer is out.
///
/// # Errors
/// The listener's, if it fails.
pub async fn serve(
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router())
        .with_graceful_shutdown(shutdown)
        .await
}

/// The API as a router, to be served or merged with others.
///
/// It sets a fallback for unknown paths, so only one such router can be merged.
pub fn router() -> Router {
    Router::new()
        .route(
            "/v1/messages",
            post(create_message).fallback(async || ApiError::method_not_allowed()),
        )
        .fallback(async || ApiError::not_found())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// `POST /v1/messages`, "Create a Message".
async fn create_message(
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    authenticate(&headers)?;
    check_version(&headers)?;
    let body = body.map_err(|rejection| refuse_body(&rejection))?;
    let request = MessagesRequest::parse(&body)?;
    let extract = Extract::of(
        &request.document,
        request.max_tokens,
        &request.stop_sequences,
    );
    let message = Message::new(request, extract);
    let request_id = [("request-id", ids::unique("req_"))];
    Ok((request_id, Json(message)).into_response())
}

/// The API takes a key in `x-api-key`, as curl sends it, and as a bearer token, as its SDKs do.
fn authenticate(headers: &HeaderMap) -> Result<(), ApiError> {
    let key = headers.get("x-api-key").map(HeaderValue::as_bytes);
    let bearer = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let bearer = bearer.and_then(|value| value.strip_prefix(b"Bearer "));
    match key.or(bearer) {
        None => Err(ApiError::authentication("x-api-key header is required")),
        Some([]) => Err(ApiError::authentication("invalid x-api-key")),
        Some(_) => Ok(()),
    }
}

fn check_version(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(version) = headers.get("anthropic-version") else {
        return Err(ApiError::invalid("anthropic-version: header is required"));
    };
    if VERSIONS.iter().any(|known| version == known) {
        return Ok(());
    }
    let versions = VERSIONS.join(", ");
    let message = format!("anthropic-version: not a known version, expected one of {versions}");
    Err(ApiError::invalid(message))
}

fn refuse_body(rejection: &BytesRejection) -> ApiError {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        ApiError::too_large()
    } else {
        ApiError::invalid("The request body could not be read")
    }
}

/// The API's `Message` object.
#[derive(Serialize)]
struct Message {
    id: String,
    #[serde(rename = "type")]
    object_type: &'static str,
    role: &'static str,
    model: String,
    content: [TextBlock; 1],
    stop_reason: &'static str,
    stop_sequence: Option<String>,
    usage: Usage,
}

#[derive(Serialize)]
struct TextBlock {
    #[serde(rename = "type")]
    block_type: &'static str,
    text: String,
}

#[derive(Serialize)]
struct Usage {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
    service_tier: &'static str,
}

impl Message {
    fn new(request: MessagesRequest, extract: Extract) -> Self {
        Self {
            id: ids::unique("msg_"),
            object_type: "message",
            role: "assistant",
            model: request.model,
            stop_reason: extract.stop_reason.as_str(),
            stop_sequence: extract.stop_reason.sequence(),
            usage: Usage {
                input_tokens: request.input_tokens,
                cache_creation_input_tokens: 0,
                cache_read_input_tokens: 0,
                output_tokens: extract::tokens(&extract.text),
                service_tier: "standard",
            },
            content: [TextBlock {
                block_type: "text",
                text: extract.text,
            }],
        }
    }
}

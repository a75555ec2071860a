//! The API's answers and refusals, as a client sees them.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

struct Answer {
    status: StatusCode,
    request_id: String,
    body: Value,
}

impl Answer {
    fn error(&self) -> (u16, &str, &str) {
        assert_eq!(self.body["type"], "error", "{}", self.body);
        assert_eq!(self.body["request_id"], self.request_id);
        let text = |pointer| self.body.pointer(pointer).and_then(Value::as_str).unwrap();
        let status = self.status.as_u16();
        (status, text("/error/type"), text("/error/message"))
    }
}

async fn send(request: Request<Body>) -> Answer {
    let response = anthropic_simulator::router()
        .oneshot(request)
        .await
        .unwrap();
    let status = response.status();
    let request_id = response.headers()["request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap();
    Answer {
        status,
        request_id,
        body,
    }
}

async fn post(body: impl ToString) -> Answer {
    let request = Request::post("/v1/messages")
        .header("x-api-key", "test")
        .header("anthropic-version", "2023-06-01")
        .body(Body::from(body.to_string()))
        .unwrap();
    send(request).await
}

fn minimal() -> Value {
    json!({
        "model": "claude-haiku-4-5",
        "max_tokens": 100,
        "messages": [{ "role": "user", "content": "Bees carry pollen. They do it all summer." }],
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut request = minimal();
    request[field] = value;
    request
}

#[tokio::test]
async fn a_message_has_the_shape_of_the_api_s() {
    let answer = post(minimal()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.request_id.starts_with("req_"));
    let mut message = answer.body;
    assert!(message["id"].as_str().unwrap().starts_with("msg_"));
    message["id"] = json!("msg_x");
    assert_eq!(
        message,
        json!({
            "id": "msg_x",
            "type": "message",
            "role": "assistant",
            "model": "claude-haiku-4-5",
            "content": [{ "type": "text", "text": "Bees carry pollen. They do it all summer." }],
            "stop_reason": "end_turn",
            "stop_sequence": null,
            "usage": {
                "input_tokens": 11,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 11,
                "service_tier": "standard",
            },
        })
    );
}

#[tokio::test]
async fn the_longest_text_of_the_last_user_message_is_the_document() {
    let mut request = with(
        "messages",
        json!([
            { "role": "user", "content": "An earlier and much longer question, about something else entirely." },
            { "role": "assistant", "content": "An answer." },
            { "role": "user", "content": [
                { "type": "text", "text": "Summarise this." },
                { "type": "document", "source": { "type": "text", "media_type": "text/plain", "data": "Bees carry pollen all summer." } },
            ] },
        ]),
    );
    request["system"] = json!([{ "type": "text", "text": "Be brief." }]);
    let answer = post(&request).await;
    let text = &answer.body["content"][0]["text"];
    assert_eq!(text, "Bees carry pollen all summer.");
}

#[tokio::test]
async fn max_tokens_and_stop_sequences_are_said_in_stop_reason() {
    let cut = post(with("max_tokens", json!(2))).await.body;
    assert_eq!(cut["stop_reason"], "max_tokens");
    assert_eq!(cut["usage"]["output_tokens"], 2);
    let stopped = post(with("stop_sequences", json!(["They"]))).await.body;
    assert_eq!(stopped["stop_reason"], "stop_sequence");
    assert_eq!(stopped["stop_sequence"], "They");
}

#[tokio::test]
async fn headers_are_required() {
    let request = || Request::post("/v1/messages");
    let body = || Body::from(minimal().to_string());
    let keyless = request().header("anthropic-version", "2023-06-01");
    assert_eq!(
        send(keyless.body(body()).unwrap()).await.error(),
        (401, "authentication_error", "x-api-key header is required")
    );
    for (authorization, status) in [("Bearer test", 200), ("Bearer ", 401), ("Basic dA==", 401)] {
        let request = request()
            .header("anthropic-version", "2023-06-01")
            .header("authorization", authorization);
        let answer = send(request.body(body()).unwrap()).await;
        assert_eq!(answer.status, status, "{authorization}");
    }
    let versionless = request().header("x-api-key", "test");
    assert_eq!(
        send(versionless.body(body()).unwrap()).await.error(),
        (
            400,
            "invalid_request_error",
            "anthropic-version: header is required"
        )
    );
}

#[tokio::test]
async fn bodies_are_checked_field_by_field() {
    let mut unbounded = minimal();
    unbounded.as_object_mut().unwrap().remove("max_tokens");
    let image = json!([{ "role": "user", "content": [{ "type": "image", "source": {} }] }]);
    let cases = [
        (json!("{"), "The request body must be an object in JSON"),
        (unbounded, "max_tokens: Field required"),
        (
            with("max_tokens", json!(0)),
            "max_tokens: Input should be greater than or equal to 1",
        ),
        (
            with("max_tokens", json!("5")),
            "max_tokens: Input should be a valid positive integer",
        ),
        (
            with("model", json!(5)),
            "model: Input should be a valid string",
        ),
        (
            with("messages", json!([])),
            "messages: at least one message is required",
        ),
        (
            with("messages", json!([{ "role": "user" }])),
            "messages.0.content: Field required",
        ),
        (
            with("messages", json!([{ "role": "system", "content": "x" }])),
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
        (
            with("messages", json!([{ "role": "user", "content": "" }])),
            "messages.0: user messages must have non-empty content",
        ),
        (
            with("messages", image),
            "messages.0.content.0: this simulator reads text only, not a block of type 'image'",
        ),
        (
            with("stream", json!(true)),
            "stream: this simulator does not stream yet; send the request without it",
        ),
        (
            with("tool_choice", json!({ "type": "any" })),
            "tool_choice: this simulator calls no tools",
        ),
    ];
    for (body, message) in cases {
        assert_eq!(
            post(body).await.error(),
            (400, "invalid_request_error", message)
        );
    }
    let broken = post("{").await;
    assert_eq!(broken.error().0, 400);
}

#[tokio::test]
async fn other_paths_and_methods_are_refused_in_anthropic_s_form() {
    let get = |path| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(
        send(get("/v1/complete")).await.error(),
        (404, "not_found_error", "Not Found")
    );
    assert_eq!(
        send(get("/v1/messages")).await.error(),
        (405, "invalid_request_error", "Method Not Allowed")
    );
    let huge = "x".repeat(33 * 1024 * 1024);
    assert_eq!(post(huge).await.error().1, "request_too_large");
}

//! Logs as JSON, a line each, which CloudWatch Logs Insights reads field by field.
//!
//! A line about an HTTP request has the request's span, with the fields of
//! [`request_span`]; one of another invocation has the runtime's, with
//! `requestId` and `xrayTraceId`.

use axum::extract::{MatchedPath, Request};
use billing::{CustomerId, EventId};
use lambda_runtime::Context;
use tracing::field::Empty;
use tracing::{Span, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts the log on standard output. `RUST_LOG` chooses what is in it; `info`
/// where it says nothing. A second call changes nothing.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    if log(filter, std::io::stdout).try_init().is_err() {
        tracing::debug!("the log was started before");
    }
}

/// The log as [`init`] starts it, of what `filter` lets through, to `writer`.
pub fn log<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Lambda stamps each line with the time itself.
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_current_span(true)
        .with_span_list(false)
        .flatten_event(true)
        .without_time()
        .with_writer(writer)
        .finish()
}

/// The span of an HTTP request: `request_id` (Lambda's), `trace_id` (X-Ray's),
/// `method`, `route`; and, as soon as they are known, `key_id`, `customer_id` and
/// `event_id`. The route, not the path: a path or a query may hold a secret.
pub(crate) fn request_span(request: &Request) -> Span {
    let route = request.extensions().get::<MatchedPath>();
    let context = request.extensions().get::<Context>();
    let trace_id = request.headers().get("x-amzn-trace-id");
    tracing::info_span!(
        "request",
        request_id = context.map(|context| context.request_id.as_str()),
        trace_id = trace_id.and_then(|id| id.to_str().ok()),
        method = %request.method(),
        route = route.map_or("unknown", MatchedPath::as_str),
        key_id = Empty,
        customer_id = Empty,
        event_id = Empty,
    )
}

/// From here on the request's lines name the caller's key, by its public half.
pub fn note_key(key_id: &str) {
    Span::current().record("key_id", key_id);
}

/// From here on the request's lines name its customer.
pub fn note_customer(customer_id: &CustomerId) {
    Span::current().record("customer_id", customer_id.as_str());
}

/// From here on the request's lines name its one event.
pub fn note_event(event_id: &EventId) {
    Span::current().record("event_id", event_id.as_str());
}

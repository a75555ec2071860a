//! Logs as JSON, a line each, which CloudWatch Logs Insights reads field by field.

use tracing_subscriber::EnvFilter;

/// Starts the log on standard output. `RUST_LOG` chooses what is in it; `info`
/// where it says nothing. A second call changes nothing.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Lambda stamps each line with the time itself.
    let started = tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_current_span(true)
        .with_span_list(false)
        .flatten_event(true)
        .without_time()
        .try_init();
    if started.is_err() {
        tracing::debug!("the log was started before");
    }
}

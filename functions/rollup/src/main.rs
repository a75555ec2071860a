//! The rollup as a Lambda function.

use lambda_runtime::{LambdaEvent, service_fn};
use limits::LimitWatcher;
use notify::Ways;
use rollup::{Handler, LimitLooks, Rollup, StreamEvent};
use web::xray::{Trace, traced};
use web::{MainError, Metrics, Settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), MainError> {
    web::telemetry::init();
    let settings = Settings::from_environment().await?;
    let is_single_shard = settings.variable("SINGLE_SHARD_STREAM").as_deref() == Some("true");
    let (ledger, clock) = (settings.ledger(), settings.clock());
    let ways = Ways::from_settings(&settings)?;
    let watcher = LimitWatcher::new(ledger.clone(), ways, clock.clone());
    let handler = Handler::new(Rollup::new(ledger.clone()), is_single_shard)
        .with_limits(LimitLooks::new(ledger, watcher, clock))
        .with_metrics(Metrics::from_environment());
    let handler = &handler;
    let handle = async move |event: LambdaEvent<StreamEvent>| {
        let handled = handler.handle(event.payload);
        let handled = traced(Trace::of(&event.context), handled).await;
        handled.map_err(MainError::from)
    };
    lambda_runtime::run(service_fn(handle)).await
}

//! Redelivery as a Lambda function, called by a schedule.

use std::time::SystemTime;

use lambda_runtime::{LambdaEvent, service_fn};
use limits::Duties;
use notify::Ways;
use redelivery::{Notifications, Redelivery, notifications};
use serde_json::Value;
use tokio::time::Instant;
use web::xray::{Trace, traced};
use web::{MainError, Metrics, Settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), MainError> {
    web::telemetry::init();
    let settings = Settings::from_environment().await?;
    let (ledger, stripe) = settings.ledger_and_stripe().await?;
    let ways = Ways::from_settings(&settings)?;
    let channels = ways.channels.clone();
    let limits = Duties::new(ledger.clone(), stripe.clone(), ways, settings.clock());
    let notifications = Notifications::new(&settings, ledger.clone(), stripe.clone(), channels);
    let redelivery = Redelivery::new(ledger, stripe, settings.clock()).with_limits(limits);
    let (redelivery, notifications) = (&redelivery, &notifications);
    let metrics = &Metrics::from_environment();
    // The event says only that a minute has passed.
    let handle = async move |event: LambdaEvent<Value>| {
        let left = event.context.deadline().duration_since(SystemTime::now());
        let deadline = Instant::now() + left.unwrap_or_default();
        let both =
            async { tokio::join!(redelivery.run(deadline), notifications.deliver(deadline)) };
        let (report, told) = traced(Trace::of(&event.context), both).await;
        if told != courier::Report::default() {
            metrics.write(&notifications::figures(&told));
        }
        let report = report.map_err(MainError::from)?;
        metrics.write(&report.figures());
        Ok::<_, MainError>(report)
    };
    lambda_runtime::run(service_fn(handle)).await
}

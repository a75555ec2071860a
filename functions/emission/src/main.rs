//! Emission as a Lambda function.

use web::{MainError, Metrics, Settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), MainError> {
    web::telemetry::init();
    let settings = Settings::from_environment().await?;
    let (ledger, stripe) = settings.ledger_and_stripe().await?;
    let state = emission::State::new(ledger, stripe, settings.clock());
    let state = state
        .with_key_rate(settings.key_rate_limit()?)
        .with_metrics(Metrics::from_environment());
    lambda_http::run(web::service(emission::router(state))).await
}

//! The onboarding function in Lambda.

use onboarding::State;
use web::{MainError, Metrics, Settings, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), MainError> {
    telemetry::init();
    let settings = Settings::from_environment().await?;
    let (ledger, stripe) = settings.ledger_and_stripe().await?;
    let state = State::new(
        ledger,
        stripe,
        settings.required("STRIPE_PRICE_LOOKUP_KEY")?,
        settings.clock(),
    );
    let state = state
        .with_key_rate(settings.key_rate_limit()?)
        .with_metrics(Metrics::from_environment());
    lambda_http::run(web::service(onboarding::router(state))).await
}

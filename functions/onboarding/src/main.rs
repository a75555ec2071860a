//! The onboarding function in Lambda.

use onboarding::State;
use web::{MainError, Settings, telemetry};

#[tokio::main]
async fn main() -> Result<(), MainError> {
    telemetry::init();
    let settings = Settings::from_environment().await;
    let state = State::new(
        settings.ledger(),
        settings.stripe().await?,
        settings.required("STRIPE_PRICE_LOOKUP_KEY")?,
        settings.clock(),
    );
    lambda_http::run(web::service(onboarding::router(state))).await
}

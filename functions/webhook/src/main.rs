//! The webhook function in Lambda.

use web::{MainError, Settings, telemetry};
use webhook::State;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), MainError> {
    telemetry::init();
    let settings = Settings::from_environment().await?;
    let (ledger, stripe) = settings.ledger_and_stripe().await?;
    let secrets = settings.secret("STRIPE_WEBHOOK_SECRET").await?;
    let state = State::new(
        ledger,
        stripe,
        webhook::signing_secrets(&secrets)?,
        settings.clock(),
    );
    lambda_http::run(web::service(webhook::router(state))).await
}

//! The webhook function in Lambda.

use web::{MainError, Settings, telemetry};
use webhook::State;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), MainError> {
    telemetry::init();
    let settings = Settings::from_environment().await?;
    let ((ledger, stripe), secrets) = tokio::try_join!(
        settings.ledger_and_stripe(),
        settings.secret("STRIPE_WEBHOOK_SECRET"),
    )?;
    let state = State::new(
        ledger,
        stripe,
        webhook::signing_secrets(&secrets)?,
        settings.clock(),
    );
    lambda_http::run(web::service(webhook::router(state))).await
}

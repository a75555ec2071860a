//! The webhook function in Lambda.

use web::{MainError, Settings, telemetry};
use webhook::State;

#[tokio::main]
async fn main() -> Result<(), MainError> {
    telemetry::init();
    let settings = Settings::from_environment().await;
    let secrets = settings.secret("STRIPE_WEBHOOK_SECRET").await?;
    let state = State::new(
        settings.ledger(),
        settings.stripe().await?,
        webhook::signing_secrets(&secrets)?,
        settings.clock(),
    );
    lambda_http::run(web::service(webhook::router(state))).await
}

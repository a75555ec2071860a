//! The webhook function in Lambda.

use lambda_http::lambda_runtime::{self, service_fn};
use notify::Ways;
use web::{MainError, Metrics, Settings, telemetry};
use webhook::{Configuration, State, invocation};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), MainError> {
    telemetry::init();
    let settings = Settings::from_environment().await?;
    let ((ledger, stripe), secrets) = tokio::try_join!(
        settings.ledger_and_stripe(),
        settings.secret("STRIPE_WEBHOOK_SECRET"),
    )?;
    let Ways { notifier, channels } = Ways::from_settings(&settings)?;
    let configuration = Configuration {
        notifier,
        channels,
        dunning: webhook::dunning_policy(|name| settings.variable(name))?,
        metrics: Metrics::from_environment(),
    };
    let secrets = webhook::SigningSecrets::rotated(secrets)?;
    let state = State::configured(ledger, stripe, secrets, settings.clock(), configuration);
    let routes = web::service(webhook::router(state.clone()));
    let (state, routes) = (&state, &routes);
    let handle = async move |event| invocation::answer(state, routes.clone(), event).await;
    lambda_runtime::run(service_fn(handle)).await
}

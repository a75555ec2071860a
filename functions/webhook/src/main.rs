//! The webhook function in Lambda.

use lambda_http::lambda_runtime::{self, service_fn};
use notify::{Channels, Notifier};
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
    let topic_arn = settings.variable("NOTIFICATION_TOPIC_ARN");
    let topic = topic_arn.map(|topic_arn| {
        let config = aws_sdk_sns::config::Builder::from(settings.aws());
        let config = config.interceptor(settings.aws_calls()).build();
        Notifier::topic(aws_sdk_sns::Client::from_conf(config), topic_arn)
    });
    let configuration = Configuration {
        notifier: topic.unwrap_or_default(),
        channels: Channels::from_variables(|name| settings.variable(name))?,
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

//! The first deployment, from nothing to a system that takes calls.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use stack::catalog::CatalogNames;
use stack::connection::Connection;
use stack::story::{Narrator, Place};
use stripe::UsageApi;
use stripe_simulator::Simulator;
use web::SystemClock;

use crate::build::Build;
use crate::cloud::Cloud;
use crate::deployment::Deployment;
use crate::failure::Failure;
use crate::mails;
use crate::notifications::Subscriber;
use crate::operator::Operator;
use crate::patience;

const CONFIRMED_WITHIN: Duration = Duration::from_secs(30);

/// Parameters that hold for an emulator alone: its stream names no shard, and its
/// tables go with it.
const OF_AN_EMULATOR: [&str; 3] = [
    "SingleShardStream=true",
    "DeletionProtection=false",
    "PointInTimeRecovery=false",
];

/// A deployed system, and all that stands around it.
pub(crate) struct Deployed<'a> {
    pub(crate) deployment: Deployment<'a>,
    pub(crate) place: Place,
    /// Keeps what the topic sends, as long as it is there.
    _subscriber: Subscriber,
    /// What must show nowhere.
    pub(crate) secrets: Vec<SecretString>,
}

/// Does all that README's "Deploy it" tells the operator to do.
pub(crate) async fn deploy<'a>(
    cloud: &'a Cloud,
    simulator: &Simulator,
    build: &Build,
    folder: &Path,
    narrator: &mut Narrator,
) -> Result<Deployed<'a>, Failure> {
    let stripe_url = simulator.url();
    let key = SecretString::from(stripe_simulator::DEFAULT_SECRET_KEY);
    let operator = Operator {
        cloud,
        stripe_url: stripe_url.clone(),
        stripe_secret_key: key.clone(),
        folder: folder.to_owned(),
    };
    let key_arn = operator.create_secret("meterline/stripe-secret-key", &key);
    let key_arn = key_arn.await?;
    let nobodys = SecretString::from("whsec_that_nobody_can_sign_with");
    let webhook_arn = operator
        .create_secret("meterline/stripe-webhook-secret", &nobodys)
        .await?;
    narrator.say("two secrets are in Secrets Manager");
    let catalog = operator.set_up().await?;
    narrator.say(format!("Stripe is set up: {}", catalog["terms"]));

    let mut parameters = vec![
        format!("StripeSecretKeyArn={key_arn}"),
        format!("StripeWebhookSecretArn={webhook_arn}"),
        format!("StripeApiBase={stripe_url}"),
        format!("StripeMeterEventsBase={stripe_url}"),
        format!("Architecture={}", architecture()),
    ];
    parameters.extend(OF_AN_EMULATOR.map(str::to_owned));
    let identity = ["create-email-identity", "--email-identity", mails::IDENTITY];
    cloud.aws(&[&["sesv2"], &identity[..]].concat()).await?;
    parameters.extend(mails::parameters());
    let deployment = Deployment::first(cloud, build, parameters).await?;
    narrator.figure(
        "the stack is",
        deployment.status().await?,
        "CREATE_COMPLETE",
    );

    let webhook_url = deployment.webhook_url()?;
    let webhook_secret = operator.set_up_webhook(&webhook_url).await?;
    operator.put_secret(&webhook_arn, &webhook_secret).await?;
    let api_key = operator.create_key(&deployment).await?;
    narrator.say("the webhook is set up, and a key is made");
    let subscriber = subscribe(cloud, &deployment, folder).await?;
    narrator.say("the operator has subscribed to the topic");

    let place = Place {
        url: deployment.api_url()?,
        api_key: api_key.clone(),
        webhook_url,
        webhook_secret: webhook_secret.clone(),
        ledger: deployment.ledger()?,
        stripe: stripe_client(&stripe_url, key.clone())?,
        stripe_url,
        stripe_secret_key: key.clone(),
        catalog_names: CatalogNames::new(UsageApi::default(), None),
        fetches_events: false,
        folder: folder.to_owned(),
        notifications_file: subscriber.file().to_owned(),
        environment: environment(cloud, &deployment)?,
        clock: Arc::new(SystemClock),
        pump: None,
        anthropic: Arc::default(),
    };
    let mut secrets = vec![key, nobodys, api_key];
    let signing = webhook_secret.expose_secret().split(',');
    secrets.extend(signing.map(SecretString::from));
    Ok(Deployed {
        deployment,
        place,
        _subscriber: subscriber,
        secrets,
    })
}

/// Subscribes to the output NotificationTopicArn, and confirms it.
async fn subscribe(
    cloud: &Cloud,
    deployment: &Deployment<'_>,
    folder: &Path,
) -> Result<Subscriber, Failure> {
    let subscriber = Subscriber::start(folder).await?;
    let topic = deployment.output("NotificationTopicArn")?;
    cloud
        .aws(&[
            "sns",
            "subscribe",
            "--topic-arn",
            topic,
            "--protocol",
            "http",
            "--notification-endpoint",
            subscriber.url(),
        ])
        .await?;
    patience::until("the topic", CONFIRMED_WITHIN, async || {
        Ok(subscriber.token().is_some())
    })
    .await?;
    let token = subscriber.token().unwrap_or_default();
    cloud
        .aws(&[
            "sns",
            "confirm-subscription",
            "--topic-arn",
            topic,
            "--token",
            &token,
        ])
        .await?;
    Ok(subscriber)
}

fn stripe_client(url: &str, key: SecretString) -> Result<stripe::Client, Failure> {
    let config = stripe::Config::new(key)
        .with_api_base(url)
        .with_meter_events_base(url);
    stripe::Client::new(config).map_err(Failure::StripeClient)
}

/// What a command needs to work on the deployed tables.
fn environment(
    cloud: &Cloud,
    deployment: &Deployment<'_>,
) -> Result<Vec<(&'static str, SecretString)>, Failure> {
    let connection = Connection::embedded(cloud.url()).variables();
    let variables = connection.into_iter().chain(deployment.table_names()?);
    Ok(variables
        .map(|(name, value)| (name, SecretString::from(value)))
        .collect())
}

/// As the template's parameter has it.
const fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x86_64"
    }
}

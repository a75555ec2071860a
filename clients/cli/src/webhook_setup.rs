//! Where Stripe sends its events: an endpoint for snapshot events, an event
//! destination for the thin ones that report unusable meter events.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Serialize;
use stripe::{
    Client, CreateEventDestination, CreateWebhookEndpoint, EventDestination, MeterErrorReport,
    RequestOptions, UpdateEventDestination, UpdateWebhookEndpoint, WebhookEndpoint,
};

use crate::secret_file::SecretFile;
use crate::setup::{Found, SetupError};

/// The snapshot events that the webhook function acts upon.
pub use metering::EVENT_TYPES as SNAPSHOT_EVENTS;

/// The thin events that say which meter events Stripe could not use.
pub const THIN_EVENTS: [&str; 2] = MeterErrorReport::EVENT_TYPES;

/// The metadata key that holds the endpoint's name.
const NAME_KEY: &str = "meterline_webhook";

/// Where events are to go.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// The address of the webhook function.
    pub url: String,
    /// The name under which the endpoint is found again when its address has
    /// changed; the address itself where there is none.
    pub name: Option<String>,
    /// Where the signing secrets are kept.
    pub secret_file: SecretFile,
    /// Whether to make a new endpoint where one is there and its secret is lost.
    pub replace: bool,
}

/// Where events go now.
#[derive(Debug, Serialize)]
pub struct WebhookReport {
    /// The address.
    pub url: String,
    /// The endpoint for snapshot events, and whether it was there.
    pub endpoint: (String, Found),
    /// The destination for thin events, and whether it was there.
    pub event_destination: (String, Found),
    /// The file that holds the signing secrets.
    pub secret_file: String,
}

/// Brings endpoint and destination to what `options` say.
pub(crate) async fn set_up_webhook(
    stripe: &Client,
    options: &WebhookOptions,
) -> Result<WebhookReport, SetupError> {
    let mut secrets = options.secret_file.read()?;
    let endpoint = endpoint(stripe, options, &mut secrets).await?;
    let event_destination = event_destination(stripe, options, &mut secrets).await?;
    Ok(WebhookReport {
        url: options.url.clone(),
        endpoint,
        event_destination,
        secret_file: options.secret_file.path().display().to_string(),
    })
}

impl WebhookOptions {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.url)
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(NAME_KEY.to_owned(), self.name().to_owned())])
    }

    fn is_named(&self, metadata: &BTreeMap<String, String>) -> bool {
        metadata
            .get(NAME_KEY)
            .is_some_and(|name| name == self.name())
    }

    fn secret_lost(&self, id: &str) -> SetupError {
        SetupError::SecretLost {
            id: id.to_owned(),
            kept: self.secret_file.path().display().to_string(),
        }
    }

    /// Writes the new secret down before anything else is done: Stripe shows
    /// it once only.
    fn keep(
        &self,
        secrets: &mut BTreeMap<String, SecretString>,
        id: &str,
        secret: Option<SecretString>,
    ) -> Result<(), SetupError> {
        let secret = secret.ok_or_else(|| SetupError::NoSecret(id.to_owned()))?;
        secrets.insert(id.to_owned(), secret);
        self.secret_file.write(secrets)
    }
}

async fn endpoint(
    stripe: &Client,
    options: &WebhookOptions,
    secrets: &mut BTreeMap<String, SecretString>,
) -> Result<(String, Found), SetupError> {
    let endpoints = stripe.list_webhook_endpoints().await;
    let endpoints = endpoints.map_err(SetupError::stripe("list the webhook endpoints"))?;
    let known = endpoints
        .into_iter()
        .find(|endpoint| endpoint.status == "enabled" && options.is_named(&endpoint.metadata));
    if let Some(endpoint) = known {
        if secrets.contains_key(&endpoint.id) {
            return update_endpoint(stripe, options, endpoint).await;
        }
        if !options.replace {
            return Err(options.secret_lost(&endpoint.id));
        }
        let disable = UpdateWebhookEndpoint {
            disabled: Some(true),
            ..UpdateWebhookEndpoint::default()
        };
        let disabled = stripe
            .update_webhook_endpoint(&endpoint.id, &disable, &RequestOptions::new())
            .await;
        disabled.map_err(SetupError::stripe("disable the old webhook endpoint"))?;
    }
    let endpoint = CreateWebhookEndpoint {
        url: options.url.clone(),
        enabled_events: SNAPSHOT_EVENTS.map(str::to_owned).to_vec(),
        description: Some("Meterline".to_owned()),
        metadata: options.metadata(),
    };
    let created = stripe
        .create_webhook_endpoint(&endpoint, &RequestOptions::new())
        .await;
    let created = created.map_err(SetupError::stripe("make the webhook endpoint"))?;
    options.keep(secrets, &created.id, created.secret)?;
    Ok((created.id, Found::Created))
}

async fn update_endpoint(
    stripe: &Client,
    options: &WebhookOptions,
    endpoint: WebhookEndpoint,
) -> Result<(String, Found), SetupError> {
    if endpoint.url == options.url && same_events(&endpoint.enabled_events, &SNAPSHOT_EVENTS) {
        return Ok((endpoint.id, Found::Found));
    }
    let changes = UpdateWebhookEndpoint {
        url: Some(options.url.clone()),
        enabled_events: SNAPSHOT_EVENTS.map(str::to_owned).to_vec(),
        ..UpdateWebhookEndpoint::default()
    };
    let changed = stripe
        .update_webhook_endpoint(&endpoint.id, &changes, &RequestOptions::new())
        .await;
    changed.map_err(SetupError::stripe("change the webhook endpoint"))?;
    Ok((endpoint.id, Found::Changed))
}

async fn event_destination(
    stripe: &Client,
    options: &WebhookOptions,
    secrets: &mut BTreeMap<String, SecretString>,
) -> Result<(String, Found), SetupError> {
    let destinations = stripe.list_event_destinations().await;
    let destinations = destinations.map_err(SetupError::stripe("list the event destinations"))?;
    let known = destinations
        .into_iter()
        .find(|known| known.status == "enabled" && options.is_named(&known.metadata));
    if let Some(destination) = known {
        if secrets.contains_key(&destination.id) {
            return update_destination(stripe, options, destination).await;
        }
        if !options.replace {
            return Err(options.secret_lost(&destination.id));
        }
        let disabled = stripe
            .disable_event_destination(&destination.id, &RequestOptions::new())
            .await;
        disabled.map_err(SetupError::stripe("disable the old event destination"))?;
    }
    let destination = CreateEventDestination {
        name: "Meterline meter errors".to_owned(),
        url: options.url.clone(),
        enabled_events: THIN_EVENTS.map(str::to_owned).to_vec(),
        metadata: options.metadata(),
    };
    let created = stripe
        .create_event_destination(&destination, &RequestOptions::new())
        .await;
    let created = created.map_err(SetupError::stripe("make the event destination"))?;
    let secret = created
        .webhook_endpoint
        .and_then(|address| address.signing_secret);
    options.keep(secrets, &created.id, secret)?;
    Ok((created.id, Found::Created))
}

async fn update_destination(
    stripe: &Client,
    options: &WebhookOptions,
    destination: EventDestination,
) -> Result<(String, Found), SetupError> {
    let address = destination.webhook_endpoint.as_ref();
    let same_url = address.and_then(|address| address.url.as_deref()) == Some(&options.url);
    if same_url && same_events(&destination.enabled_events, &THIN_EVENTS) {
        return Ok((destination.id, Found::Found));
    }
    let changes = UpdateEventDestination {
        url: Some(options.url.clone()),
        enabled_events: THIN_EVENTS.map(str::to_owned).to_vec(),
    };
    let changed = stripe
        .update_event_destination(&destination.id, &changes, &RequestOptions::new())
        .await;
    changed.map_err(SetupError::stripe("change the event destination"))?;
    Ok((destination.id, Found::Changed))
}

fn same_events(known: &[String], wanted: &[&str]) -> bool {
    let mut known: Vec<&str> = known.iter().map(String::as_str).collect();
    known.sort_unstable();
    known == wanted
}

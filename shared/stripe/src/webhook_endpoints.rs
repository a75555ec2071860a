//! Webhook endpoints: where snapshot events go (Stripe API reference: Webhook
//! Endpoints).

use secrecy::SecretString;
use serde::Deserialize;

use crate::STRIPE_VERSION;
use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::list::{List, listed};
use crate::object::{Metadata, or_default};
use crate::request::{Request, segment};

const PATH: &str = "/v1/webhook_endpoints";

/// An address that Stripe sends events to.
#[derive(Clone, Debug, Deserialize)]
pub struct WebhookEndpoint {
    /// `we_…`.
    pub id: String,
    /// The address.
    pub url: String,
    /// The types of event; `*` for all.
    pub enabled_events: Vec<String>,
    /// `enabled` or `disabled`.
    pub status: String,
    /// What signs its events, `whsec_…`. Only the answer to its creation has it.
    pub secret: Option<SecretString>,
    /// Your own keys.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
}

listed!(WebhookEndpoint);

/// An endpoint to be, for events in this client's version.
#[derive(Clone, Debug, Default)]
pub struct CreateWebhookEndpoint {
    /// The address.
    pub url: String,
    /// The types of event.
    pub enabled_events: Vec<String>,
    /// A note for people.
    pub description: Option<String>,
    /// Your own keys.
    pub metadata: Metadata,
}

/// What to change of an endpoint; what is none or empty stays.
#[derive(Clone, Debug, Default)]
pub struct UpdateWebhookEndpoint {
    /// Another address.
    pub url: Option<String>,
    /// Other types of event.
    pub enabled_events: Vec<String>,
    /// Whether to send nothing.
    pub disabled: Option<bool>,
    /// Keys to set; the others stay.
    pub metadata: Metadata,
}

impl Client {
    /// Makes an endpoint. Its answer is the only one with the secret.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_webhook_endpoint(
        &self,
        endpoint: &CreateWebhookEndpoint,
        options: &RequestOptions,
    ) -> Result<WebhookEndpoint, Error> {
        let form = Form::new()
            .with("url", &endpoint.url)
            .with_array("enabled_events", &endpoint.enabled_events)
            .with("api_version", STRIPE_VERSION)
            .with_some("description", endpoint.description.as_deref())
            .with_metadata(&endpoint.metadata);
        self.call(Request::post(PATH, form), options).await
    }

    /// Changes an endpoint.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn update_webhook_endpoint(
        &self,
        id: &str,
        changes: &UpdateWebhookEndpoint,
        options: &RequestOptions,
    ) -> Result<WebhookEndpoint, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        let form = Form::new()
            .with_some("url", changes.url.as_deref())
            .with_array("enabled_events", &changes.enabled_events)
            .with_some("disabled", changes.disabled)
            .with_metadata(&changes.metadata);
        self.call(Request::post(path, form), options).await
    }

    /// All endpoints.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_webhook_endpoints(&self) -> Result<List<WebhookEndpoint>, Error> {
        self.list_all(PATH, &Form::new()).await
    }
}

//! Event destinations: where thin events go (Stripe API reference: v2 Event
//! Destinations).

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::list::List;
use crate::object::{Metadata, or_default};
use crate::request::{Request, segment};

const PATH: &str = "/v2/core/event_destinations";
const ADDRESS: &str = "webhook_endpoint.url";
const SECRET: &str = "webhook_endpoint.signing_secret";

/// A place that Stripe sends events to.
#[derive(Clone, Debug, Deserialize)]
pub struct EventDestination {
    /// `ed_…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `enabled` or `disabled`.
    pub status: String,
    /// The types of event.
    pub enabled_events: Vec<String>,
    /// Address and secret, as far as the answer shows them.
    pub webhook_endpoint: Option<DestinationWebhookEndpoint>,
    /// Your own keys.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
}

/// The address of a destination.
#[derive(Clone, Debug, Deserialize)]
pub struct DestinationWebhookEndpoint {
    /// The address.
    pub url: Option<String>,
    /// What signs its events, `whsec_…`. Only the answer to its creation has it.
    pub signing_secret: Option<SecretString>,
}

/// A destination to be, of thin events.
#[derive(Clone, Debug, Default)]
pub struct CreateEventDestination {
    /// Its name.
    pub name: String,
    /// The address.
    pub url: String,
    /// The types of event.
    pub enabled_events: Vec<String>,
    /// Your own keys.
    pub metadata: Metadata,
}

/// What to change of a destination; what is none or empty stays.
#[derive(Clone, Debug, Default)]
pub struct UpdateEventDestination {
    /// Another address.
    pub url: Option<String>,
    /// Other types of event.
    pub enabled_events: Vec<String>,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<EventDestination>,
    next_page_url: Option<String>,
}

impl Client {
    /// Makes a destination of thin events. Its answer is the only one with the secret.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_event_destination(
        &self,
        destination: &CreateEventDestination,
        options: &RequestOptions,
    ) -> Result<EventDestination, Error> {
        let body = json!({
            "name": destination.name,
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": destination.enabled_events,
            "webhook_endpoint": { "url": destination.url },
            "metadata": destination.metadata,
            "include": [ADDRESS, SECRET],
        });
        self.call(Request::post_json(PATH, &body)?, options).await
    }

    /// Changes a destination.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn update_event_destination(
        &self,
        id: &str,
        changes: &UpdateEventDestination,
        options: &RequestOptions,
    ) -> Result<EventDestination, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        let mut body = Map::from_iter([("include".to_owned(), json!([ADDRESS]))]);
        if let Some(url) = &changes.url {
            body.insert("webhook_endpoint".to_owned(), json!({ "url": url }));
        }
        if !changes.enabled_events.is_empty() {
            body.insert("enabled_events".to_owned(), json!(changes.enabled_events));
        }
        self.call(Request::post_json(path, &Value::Object(body))?, options)
            .await
    }

    /// Has Stripe send nothing to a destination any more.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn disable_event_destination(
        &self,
        id: &str,
        options: &RequestOptions,
    ) -> Result<EventDestination, Error> {
        let path = format!("{PATH}/{}/disable", segment(id)?);
        self.call(Request::post_json(path, &json!({}))?, options)
            .await
    }

    /// All destinations, with their addresses.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_event_destinations(&self) -> Result<List<EventDestination>, Error> {
        let query = Form::new().with_array("include", &[ADDRESS]);
        let mut request = Request::get(PATH, &query);
        let mut all = Vec::new();
        loop {
            let page: Page = self.read(request).await?;
            all.extend(page.data);
            // Only the path counts: the key goes to no other host.
            let next = page.next_page_url.as_deref();
            match next.and_then(|url| url.find(PATH).map(|start| &url[start..])) {
                Some(path) => request = Request::get(path, &Form::new()),
                None => {
                    return Ok(List {
                        data: all,
                        has_more: false,
                    });
                }
            }
        }
    }
}

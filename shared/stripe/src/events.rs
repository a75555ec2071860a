//! Events, as webhooks bring them and as they are read (Stripe API reference:
//! Events; v2 Events).

use serde::Deserialize;
use serde_json::Value;

use crate::client::Client;
use crate::error::Error;
use crate::form::Form;
use crate::list::{List, listed};
use crate::object::or_default;
use crate::request::{Request, segment};
use crate::rfc3339;

const PATH: &str = "/v1/events";
const V2_PATH: &str = "/v2/core/events";

/// Something that happened, with a snapshot of the object that it happened to.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Event {
    /// `evt_…`.
    pub id: String,
    /// For instance `invoice.paid`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Unix seconds.
    pub created: i64,
    /// Whether it happened in live mode.
    pub livemode: bool,
    /// The version that the snapshot is written in.
    pub api_version: Option<String>,
    /// The snapshot.
    pub data: EventData,
}

/// What an event carries.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EventData {
    /// The object as it was then. Fetch the current one before acting on it:
    /// events come late, twice and in any order.
    pub object: Value,
    /// What an update changed, as it was before.
    #[serde(default)]
    pub previous_attributes: Value,
}

listed!(Event);

impl Event {
    /// The id of the object that it happened to.
    pub fn object_id(&self) -> Option<&str> {
        self.data.object.get("id")?.as_str()
    }

    /// Stripe's name for the kind of that object, such as `invoice`.
    pub fn object_type(&self) -> Option<&str> {
        self.data.object.get("object")?.as_str()
    }

    /// The id of the customer that it happened to, or to an object of whom.
    pub fn customer(&self) -> Option<&str> {
        if self.object_type() == Some("customer") {
            return self.object_id();
        }
        let customer = self.data.object.get("customer")?;
        customer.as_str().or_else(|| customer.get("id")?.as_str())
    }
}

/// Notice of something that happened; [`Client::retrieve_v2_event`] has the rest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ThinEvent {
    /// `evt_…`.
    pub id: String,
    /// For instance `v1.billing.meter.error_report_triggered`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Unix milliseconds.
    #[serde(deserialize_with = "rfc3339::unix_ms", rename = "created")]
    pub created_unix_ms: i64,
    /// Whether it happened in live mode.
    pub livemode: bool,
    /// What it happened to.
    pub related_object: Option<RelatedObject>,
}

/// What a v2 event happened to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RelatedObject {
    /// Its id.
    pub id: String,
    /// For instance `billing.meter`.
    #[serde(rename = "type")]
    pub object_type: String,
}

/// A v2 event with its data.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct V2Event {
    /// `evt_…`.
    pub id: String,
    /// For instance `v1.billing.meter.error_report_triggered`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Unix milliseconds.
    #[serde(deserialize_with = "rfc3339::unix_ms", rename = "created")]
    pub created_unix_ms: i64,
    /// Whether it happened in live mode.
    pub livemode: bool,
    /// What it happened to.
    pub related_object: Option<RelatedObject>,
    /// Of a form that the type defines.
    #[serde(default)]
    pub data: Value,
}

/// The body of a webhook.
#[derive(Clone, Debug, PartialEq)]
pub enum WebhookEvent {
    /// With a snapshot of its object, in v1's form.
    Snapshot(Event),
    /// With nothing but the news.
    Thin(ThinEvent),
}

/// Why a webhook's body is no event.
#[derive(Debug, thiserror::Error)]
pub enum ParseEventError {
    /// Not JSON, or without what every event has.
    #[error("not an event of Stripe's: {0}")]
    Form(#[from] serde_json::Error),
    /// JSON of another kind.
    #[error("an object of another kind than event or v2.core.event")]
    Object,
}

impl WebhookEvent {
    /// Reads a webhook's body. Check its
    /// [signature](crate::webhook_signature::verify) first.
    ///
    /// # Errors
    /// [`ParseEventError`] for what is no event.
    pub fn parse(body: &[u8]) -> Result<Self, ParseEventError> {
        #[derive(Deserialize)]
        struct Kind {
            object: String,
        }
        let kind: Kind = serde_json::from_slice(body)?;
        match kind.object.as_str() {
            "event" => Ok(Self::Snapshot(serde_json::from_slice(body)?)),
            "v2.core.event" => Ok(Self::Thin(serde_json::from_slice(body)?)),
            _ => Err(ParseEventError::Object),
        }
    }

    /// `evt_…`, the same for each delivery of the event.
    pub fn id(&self) -> &str {
        match self {
            Self::Snapshot(event) => &event.id,
            Self::Thin(event) => &event.id,
        }
    }

    /// For instance `invoice.paid`.
    pub fn event_type(&self) -> &str {
        match self {
            Self::Snapshot(event) => &event.event_type,
            Self::Thin(event) => &event.event_type,
        }
    }

    /// Whether it happened in live mode.
    pub const fn livemode(&self) -> bool {
        match self {
            Self::Snapshot(event) => event.livemode,
            Self::Thin(event) => event.livemode,
        }
    }
}

/// Which events, of the last 30 days.
#[derive(Clone, Debug, Default)]
pub struct ListEvents {
    /// Of these types, at most twenty; of all if empty.
    pub types: Vec<String>,
    /// Created at or after, in unix seconds.
    pub created_gte: Option<i64>,
    /// Created before, in unix seconds.
    pub created_lt: Option<i64>,
    /// Whether all webhooks took it (`true`) or one did not yet (`false`).
    pub delivery_success: Option<bool>,
    /// At most, 1 to 100; ten if none.
    pub limit: Option<u32>,
    /// The last event of the page before.
    pub starting_after: Option<String>,
}

impl ListEvents {
    fn filter(&self) -> Form {
        let created = Form::new()
            .with_some("gte", self.created_gte)
            .with_some("lt", self.created_lt);
        Form::new()
            .with_array("types", &self.types)
            .with_nested("created", created)
            .with_some("delivery_success", self.delivery_success)
    }
}

/// Which v2 events, of the last 30 days.
#[derive(Clone, Debug, Default)]
pub struct ListV2Events {
    /// Of these types; of all if empty.
    pub types: Vec<String>,
    /// Created at or after, in unix milliseconds.
    pub created_gte_unix_ms: Option<i64>,
    /// Created before, in unix milliseconds.
    pub created_lt_unix_ms: Option<i64>,
}

/// One page of v2 events, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "WirePage")]
pub struct ThinEventPage {
    /// The events, without their data.
    pub data: Vec<ThinEvent>,
    /// What the next page is asked for by; none after the last.
    pub next_page: Option<String>,
}

#[derive(Deserialize)]
struct WirePage {
    #[serde(default, deserialize_with = "or_default")]
    data: Vec<ThinEvent>,
    next_page_url: Option<String>,
}

impl From<WirePage> for ThinEventPage {
    fn from(wire: WirePage) -> Self {
        // Only the path counts: the key goes to no other host.
        let next = wire.next_page_url.as_deref();
        let path = next.and_then(|url| url.find(V2_PATH).map(|start| url[start..].to_owned()));
        Self {
            data: wire.data,
            next_page: path,
        }
    }
}

impl Client {
    /// The v1 event `id`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn retrieve_event(&self, id: &str) -> Result<Event, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        self.read(Request::get(path, &Form::new())).await
    }

    /// The v2 event `id`, with its data.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn retrieve_v2_event(&self, id: &str) -> Result<V2Event, Error> {
        let path = format!("{V2_PATH}/{}", segment(id)?);
        self.read(Request::get(path, &Form::new())).await
    }

    /// One page of v2 events, the newest first: the first page, or the one that
    /// `page`, the [`next_page`](ThinEventPage::next_page) of the one before, names.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_v2_events(
        &self,
        filter: &ListV2Events,
        page: Option<&str>,
    ) -> Result<ThinEventPage, Error> {
        let request = match page.filter(|page| page.starts_with(V2_PATH)) {
            Some(page) => Request::get(page, &Form::new()),
            None => {
                let at = |unix_ms: Option<i64>| unix_ms.and_then(rfc3339::from_unix_ms);
                let created = Form::new()
                    .with_some("gte", at(filter.created_gte_unix_ms))
                    .with_some("lt", at(filter.created_lt_unix_ms));
                let query = Form::new()
                    .with_array("types", &filter.types)
                    .with_nested("created", created);
                Request::get(V2_PATH, &query)
            }
        };
        self.read(request).await
    }

    /// One page of events, the newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_events(&self, filter: &ListEvents) -> Result<List<Event>, Error> {
        let query = filter
            .filter()
            .with_some("limit", filter.limit)
            .with_some("starting_after", filter.starting_after.as_deref());
        self.read(Request::get(PATH, &query)).await
    }

    /// All events of the filter, whatever its limit, the newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_all_events(&self, filter: &ListEvents) -> Result<List<Event>, Error> {
        let query = filter.filter();
        self.list_all_after(PATH, &query, filter.starting_after.as_deref())
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn snapshot(object: Value) -> Event {
        let body = json!({
            "id": "evt_1", "object": "event", "type": "invoice.paid", "created": 5,
            "livemode": false, "api_version": null, "pending_webhooks": 1,
            "data": { "object": object },
        });
        match WebhookEvent::parse(body.to_string().as_bytes()).unwrap() {
            WebhookEvent::Snapshot(event) => event,
            WebhookEvent::Thin(event) => panic!("{event:?} is not thin"),
        }
    }

    #[test]
    fn a_snapshot_names_its_object_and_customer() {
        let invoice = snapshot(json!({ "id": "in_1", "object": "invoice", "customer": "cus_1" }));
        assert_eq!(invoice.object_id(), Some("in_1"));
        assert_eq!(invoice.customer(), Some("cus_1"));
        let expanded = snapshot(json!({ "object": "invoice", "customer": { "id": "cus_2" } }));
        assert_eq!(expanded.customer(), Some("cus_2"));
        let customer = snapshot(json!({ "id": "cus_3", "object": "customer" }));
        assert_eq!(customer.customer(), Some("cus_3"));
        let price = snapshot(json!({ "id": "price_1", "object": "price", "customer": null }));
        assert_eq!(price.customer(), None);
    }

    #[test]
    fn a_thin_event_is_told_from_a_snapshot() {
        let body = json!({
            "id": "evt_test_2", "object": "v2.core.event",
            "type": "v1.billing.meter.error_report_triggered",
            "created": "2026-01-31T12:00:00.005Z", "livemode": false, "context": null,
            "related_object": {
                "id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1",
            },
        });
        let event = WebhookEvent::parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(event.id(), "evt_test_2");
        let WebhookEvent::Thin(event) = event else {
            panic!("{event:?} is thin")
        };
        assert_eq!(event.created_unix_ms, 1_769_860_800_005);
        assert_eq!(event.related_object.unwrap().id, "mtr_1");
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let refused = |body: &str| WebhookEvent::parse(body.as_bytes()).unwrap_err();
        for body in ["", "[]", "{}", r#"{"object": "event"}"#, r#"{"object": 1}"#] {
            assert!(
                matches!(refused(body), ParseEventError::Form(_)),
                "{body:?}"
            );
        }
        assert!(matches!(
            refused(r#"{"object": "invoice"}"#),
            ParseEventError::Object
        ));
    }
}

//! Meters (Stripe API reference: Meters).

use std::fmt;

use serde::Deserialize;

use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::list::{List, listed};
use crate::request::{Request, segment};

const PATH: &str = "/v1/billing/meters";

/// What meter events of one name come to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Meter {
    /// `mtr_…`.
    pub id: String,
    /// What the dashboard calls it.
    pub display_name: String,
    /// The name of the events that it takes.
    pub event_name: String,
    /// `active` or `inactive`.
    pub status: String,
    /// How events are put together.
    pub default_aggregation: DefaultAggregation,
    /// Where an event says whose it is.
    pub customer_mapping: CustomerMapping,
    /// Where an event says how much it is.
    pub value_settings: ValueSettings,
}

/// How a meter puts events together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct DefaultAggregation {
    /// The formula.
    pub formula: Aggregation,
}

/// A meter's formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// The values' sum.
    Sum,
    /// The number of events.
    Count,
    /// The latest value.
    Last,
    /// One that this client does not know.
    #[serde(other)]
    Other,
}

/// Where an event says whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CustomerMapping {
    /// A key of the event's payload.
    pub event_payload_key: String,
}

/// Where an event says how much it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ValueSettings {
    /// A key of the event's payload.
    pub event_payload_key: String,
}

listed!(Meter);

impl Meter {
    /// Whether it takes events.
    pub fn is_active(&self) -> bool {
        self.status == "active"
    }

    /// Whether it looks for customer and value where a
    /// [`MeterEvent`](crate::MeterEvent) has them.
    pub fn has_default_payload_keys(&self) -> bool {
        self.customer_mapping.event_payload_key == crate::meter_events::CUSTOMER_KEY
            && self.value_settings.event_payload_key == crate::meter_events::VALUE_KEY
    }
}

impl fmt::Display for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sum => "sum",
            Self::Count => "count",
            Self::Last => "last",
            Self::Other => "other",
        })
    }
}

/// A meter to be, with the payload keys that [`MeterEvent`](crate::MeterEvent) has.
#[derive(Clone, Debug)]
pub struct CreateMeter {
    /// What the dashboard calls it.
    pub display_name: String,
    /// The name of the events that it takes. One active meter can have it.
    pub event_name: String,
    /// How events are put together.
    pub formula: Aggregation,
}

impl Client {
    /// Makes a meter.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_meter(
        &self,
        meter: &CreateMeter,
        options: &RequestOptions,
    ) -> Result<Meter, Error> {
        let mapping = Form::new()
            .with("event_payload_key", crate::meter_events::CUSTOMER_KEY)
            .with("type", "by_id");
        let settings = Form::new().with("event_payload_key", crate::meter_events::VALUE_KEY);
        let form = Form::new()
            .with("display_name", &meter.display_name)
            .with("event_name", &meter.event_name)
            .with_nested(
                "default_aggregation",
                Form::new().with("formula", meter.formula),
            )
            .with_nested("customer_mapping", mapping)
            .with_nested("value_settings", settings);
        self.call(Request::post(PATH, form), options).await
    }

    /// The meter `id`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn retrieve_meter(&self, id: &str) -> Result<Meter, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        self.read(Request::get(path, &Form::new())).await
    }

    /// All meters, the inactive ones too.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_meters(&self) -> Result<List<Meter>, Error> {
        self.list_all(PATH, &Form::new()).await
    }
}

//! Meter events, by the endpoint that checks them in the call (Stripe API
//! reference: Meter Events).

use serde_json::{Value, json};
use tokio::time::timeout_at;

use crate::client::{Client, RequestOptions};
use crate::error::{Error, InvalidRequest};
use crate::form::Form;
use crate::request::Request;
use crate::rfc3339;

/// The payload keys that a meter has by default.
pub(crate) const CUSTOMER_KEY: &str = "stripe_customer_id";
pub(crate) const VALUE_KEY: &str = "value";

/// Usage of one customer at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterEvent {
    /// At most 100 characters. Within at least a day, Stripe counts a second
    /// event with it no more.
    pub identifier: String,
    /// The name that the meter listens to.
    pub event_name: String,
    /// When it happened. The v1 endpoint takes whole seconds: rounded down.
    pub timestamp_unix_ms: i64,
    /// Whose usage, `cus_…`.
    pub customer_id: String,
    /// How many units.
    pub value: u64,
}

/// What became of a meter event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeterEventOutcome {
    /// Stripe took it.
    Created,
    /// Stripe had one with this identifier already, and counts no second:
    /// after a lost answer, the event of the attempt before.
    AlreadyExists,
}

impl MeterEvent {
    /// `value` units of the customer's at a time in unix milliseconds.
    pub fn new(
        identifier: impl Into<String>,
        event_name: impl Into<String>,
        timestamp_unix_ms: i64,
        customer_id: impl Into<String>,
        value: u64,
    ) -> Self {
        Self {
            identifier: identifier.into(),
            event_name: event_name.into(),
            timestamp_unix_ms,
            customer_id: customer_id.into(),
            value,
        }
    }

    fn form(&self) -> Form {
        let payload = Form::new()
            .with(CUSTOMER_KEY, &self.customer_id)
            .with(VALUE_KEY, self.value);
        Form::new()
            .with("event_name", &self.event_name)
            .with("identifier", &self.identifier)
            .with("timestamp", self.timestamp_unix_ms.div_euclid(1_000))
            .with_nested("payload", payload)
    }

    /// As v2 takes it.
    pub(crate) fn json(&self) -> Result<Value, InvalidRequest> {
        let timestamp_unix_ms = self.timestamp_unix_ms;
        let timestamp = rfc3339::from_unix_ms(timestamp_unix_ms)
            .ok_or(InvalidRequest::Timestamp { timestamp_unix_ms })?;
        Ok(json!({
            "identifier": self.identifier,
            "event_name": self.event_name,
            "timestamp": timestamp,
            "payload": { CUSTOMER_KEY: self.customer_id, VALUE_KEY: self.value.to_string() },
        }))
    }
}

impl Client {
    /// Sends one event, which Stripe checks in the call. Stripe takes one call
    /// at a time per customer and meter, and answers another one 429: so the
    /// calls of this client and its clones wait for each other, in their order.
    ///
    /// # Errors
    /// [`Error`]; [`Error::DeadlineOver`] also where the deadline passed before
    /// it was this call's turn.
    pub async fn create_meter_event(
        &self,
        event: &MeterEvent,
        options: &RequestOptions,
    ) -> Result<MeterEventOutcome, Error> {
        let turn = self.turns().wait(&event.customer_id, &event.event_name);
        let _turn = match options.deadline() {
            Some(deadline) => timeout_at(deadline, turn)
                .await
                .map_err(|_| Error::DeadlineOver)?,
            None => turn.await,
        };
        let request = Request::post("/v1/billing/meter_events", event.form());
        match self.call_for_status(request, options).await {
            Ok(()) => Ok(MeterEventOutcome::Created),
            Err(error) if already_exists(&error, &event.identifier) => {
                Ok(MeterEventOutcome::AlreadyExists)
            }
            Err(error) => Err(error),
        }
    }
}

/// Stripe has no code for it: "An event already exists with identifier …."
fn already_exists(error: &Error, identifier: &str) -> bool {
    error.api().is_some_and(|error| {
        error.status == 400
            && error.message.contains("already exists with identifier")
            && error.message.contains(identifier)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_as_each_endpoint_takes_it() {
        let event = MeterEvent::new("id-1", "documents", 1_769_860_800_999, "cus_1", 7);
        assert_eq!(
            event.form().encode(),
            "event_name=documents&identifier=id-1&timestamp=1769860800\
             &payload%5Bstripe_customer_id%5D=cus_1&payload%5Bvalue%5D=7"
        );
        assert_eq!(
            event.json().unwrap(),
            json!({
                "identifier": "id-1",
                "event_name": "documents",
                "timestamp": "2026-01-31T12:00:00.999Z",
                "payload": { "stripe_customer_id": "cus_1", "value": "7" },
            })
        );
    }

    #[test]
    fn a_time_that_cannot_be_written_is_refused() {
        let event = MeterEvent::new("id-1", "documents", i64::MAX, "cus_1", 7);
        let refused = InvalidRequest::Timestamp {
            timestamp_unix_ms: i64::MAX,
        };
        assert_eq!(event.json(), Err(refused));
    }
}

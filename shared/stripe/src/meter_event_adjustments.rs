//! Meter event adjustments (Stripe API reference: Meter Event Adjustments).

use serde::Deserialize;

use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::request::Request;

/// The cancellation of a meter event.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct MeterEventAdjustment {
    /// The name of the event that is cancelled.
    pub event_name: String,
    /// `pending`, then `complete`.
    pub status: String,
}

impl Client {
    /// Cancels the meter event `identifier`, within 24 hours of Stripe having
    /// received it.
    ///
    /// # Errors
    /// [`Error`]; `is_not_found` where Stripe has no such event.
    pub async fn create_meter_event_adjustment(
        &self,
        event_name: &str,
        identifier: &str,
        options: &RequestOptions,
    ) -> Result<MeterEventAdjustment, Error> {
        let form = Form::new()
            .with("type", "cancel")
            .with("event_name", event_name)
            .with_nested("cancel", Form::new().with("identifier", identifier));
        self.call(
            Request::post("/v1/billing/meter_event_adjustments", form),
            options,
        )
        .await
    }
}

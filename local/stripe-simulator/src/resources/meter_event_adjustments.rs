//! Meter event adjustments (Stripe API reference: Meter Event Adjustments).

use serde_json::{Value, json};

use super::Answer;
use super::meter_event_stream::refuse_unknown;
use crate::api::error::{Result, StripeError};
use crate::api::json::text;
use crate::api::params::Params;
use crate::calendar::rfc3339;
use crate::call::Call;
use crate::store::meter_events::{self, IDENTIFIER_WINDOW_MS};

/// `POST /v1/billing/meter_event_adjustments`: cancels an event within 24 hours of its receipt.
pub(crate) fn create(call: &Call<'_>, mut params: Params) -> Answer {
    let event_name = params.required("event_name")?;
    params
        .choice("type", &["cancel"])?
        .ok_or_else(|| StripeError::missing("type"))?;
    let mut cancel = params
        .hash("cancel")?
        .ok_or_else(|| StripeError::missing("cancel"))?;
    let identifier = cancel.required("identifier")?;
    cancel.finish()?;
    params.finish()?;
    take_out(call, &event_name, &identifier)?;
    Ok(json!({
        "object": "billing.meter_event_adjustment",
        "cancel": { "identifier": identifier },
        "event_name": event_name,
        "livemode": false,
        "status": "pending",
        "type": "cancel",
    }))
}

/// `POST /v2/billing/meter_event_adjustments` (Stripe API reference: v2 Meter Event Adjustments).
pub(crate) fn create_v2(call: &Call<'_>, body: &Value) -> Answer {
    refuse_unknown(body, &["cancel", "event_name", "type"])?;
    let given = |pointer, name| text(body, pointer).ok_or_else(|| StripeError::missing(name));
    let event_name = given("/event_name", "event_name")?;
    let identifier = given("/cancel/identifier", "cancel.identifier")?;
    if given("/type", "type")? != "cancel" {
        return Err(StripeError::invalid_param(
            "type",
            "Invalid type: must be cancel",
        ));
    }
    take_out(call, event_name, identifier)?;
    Ok(json!({
        "id": call.random.id("mtr_evt_adj"),
        "object": "v2.billing.meter_event_adjustment",
        "cancel": { "identifier": identifier },
        "created": rfc3339(call.now_ms),
        "event_name": event_name,
        "livemode": false,
        "status": "pending",
        "type": "cancel",
    }))
}

fn take_out(call: &Call<'_>, event_name: &str, identifier: &str) -> Result<()> {
    let found = meter_events::find_received(call.db, event_name, identifier)?;
    let Some((seq, received_ms, is_cancelled)) = found else {
        let message = format!("No meter event found with identifier {identifier}.");
        return Err(StripeError::invalid(message)
            .code("resource_missing")
            .param("cancel[identifier]"));
    };
    if call.now_ms - received_ms > IDENTIFIER_WINDOW_MS {
        let message = "A meter event can only be cancelled within 24 hours of Stripe receiving it.";
        return Err(StripeError::invalid(message).param("cancel[identifier]"));
    }
    if is_cancelled {
        let message = format!("The meter event with identifier {identifier} is already cancelled.");
        return Err(StripeError::invalid(message).param("cancel[identifier]"));
    }
    meter_events::cancel(call.db, seq)
}

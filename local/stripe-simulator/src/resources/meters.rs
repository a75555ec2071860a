//! Meters (Stripe API reference: Meters).

use rusqlite::OptionalExtension;
use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::Answer;
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::{text, text_or_empty};
use crate::api::list;
use crate::api::params::Params;
use crate::call::Call;
use crate::events;
use crate::store::objects;

/// `POST /v1/billing/meters`.
pub(crate) fn create(call: &Call<'_>, mut params: Params) -> Answer {
    let display_name = params.required("display_name")?;
    let event_name = params.required("event_name")?;
    if event_name.len() > 100 {
        let message = "Invalid string: must be at most 100 characters";
        return Err(StripeError::invalid_param("event_name", message));
    }
    let mut aggregation = params
        .hash("default_aggregation")?
        .ok_or_else(|| StripeError::missing("default_aggregation"))?;
    let formula = aggregation
        .choice("formula", &["count", "last", "sum"])?
        .ok_or_else(|| StripeError::missing("default_aggregation[formula]"))?;
    aggregation.finish()?;
    let mut customer_key = "stripe_customer_id".to_owned();
    if let Some(mut mapping) = params.hash("customer_mapping")? {
        customer_key = mapping.required("event_payload_key")?;
        mapping.choice("type", &["by_id"])?;
        mapping.finish()?;
    }
    let mut value_key = "value".to_owned();
    if let Some(mut settings) = params.hash("value_settings")? {
        value_key = settings.required("event_payload_key")?;
        settings.finish()?;
    }
    let window = params.choice("event_time_window", &["day", "hour"])?;
    params.discard(&["dimension_payload_keys"]);
    params.finish()?;
    if active_with(call, &event_name)?.is_some() {
        let message =
            format!("A meter with event_name '{event_name}' already exists and is active.");
        return Err(StripeError::invalid(message).param("event_name"));
    }
    let meter = json!({
        "id": format!("mtr_test_{}", call.random.text(32)),
        "object": "billing.meter",
        "created": call.now(),
        "customer_mapping": { "event_payload_key": customer_key, "type": "by_id" },
        "default_aggregation": { "formula": formula },
        "display_name": display_name,
        "event_name": event_name,
        "event_time_window": window,
        "livemode": false,
        "status": "active",
        "status_transitions": { "deactivated_at": null },
        "updated": call.now(),
        "value_settings": { "event_payload_key": value_key },
    });
    call.insert(&meter)?;
    events::emit(call, "billing.meter.created", &meter)?;
    present(call, &meter)
}

/// The active meter that an event name belongs to.
pub(crate) fn active_with(call: &Call<'_>, event_name: &str) -> Result<Option<Value>> {
    with_status(call, event_name, "active")
}

/// Whether an inactive meter has the event name.
pub(crate) fn is_archived(call: &Call<'_>, event_name: &str) -> Result<bool> {
    Ok(with_status(call, event_name, "inactive")?.is_some())
}

fn with_status(call: &Call<'_>, event_name: &str, status: &str) -> Result<Option<Value>> {
    let sql = "SELECT document FROM objects
        WHERE kind = 'billing.meter' AND label = ?1 AND status = ?2 ORDER BY seq DESC LIMIT 1";
    let document: Option<String> = call
        .db
        .prepare_cached(sql)?
        .query_row([event_name, status], |row| row.get(0))
        .optional()?;
    match document {
        Some(document) => Ok(Some(serde_json::from_str(&document)?)),
        None => Ok(None),
    }
}

/// `GET /v1/billing/meters/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    present(call, &call.get("billing.meter", id)?)
}

/// `POST /v1/billing/meters/{id}`.
pub(crate) fn update(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let mut meter = call.get("billing.meter", id)?;
    let before = meter.clone();
    params.copy_texts(&["display_name"], &mut meter)?;
    params.finish()?;
    save(call, &before, meter, "billing.meter.updated")
}

/// `POST /v1/billing/meters/{id}/deactivate`.
pub(crate) fn deactivate(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    let mut meter = call.get("billing.meter", id)?;
    if text(&meter, "/status") != Some("active") {
        let message = "You cannot deactivate a meter that is already inactive.";
        return Err(StripeError::invalid(message));
    }
    let before = meter.clone();
    meter["status"] = "inactive".into();
    meter["status_transitions"]["deactivated_at"] = call.now().into();
    save(call, &before, meter, "billing.meter.deactivated")
}

/// `POST /v1/billing/meters/{id}/reactivate`.
pub(crate) fn reactivate(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    let mut meter = call.get("billing.meter", id)?;
    let event_name = text_or_empty(&meter, "/event_name");
    if active_with(call, &event_name)?.is_some() {
        let message =
            format!("A meter with event_name '{event_name}' already exists and is active.");
        return Err(StripeError::invalid(message));
    }
    let before = meter.clone();
    meter["status"] = "active".into();
    meter["status_transitions"]["deactivated_at"] = Value::Null;
    save(call, &before, meter, "billing.meter.reactivated")
}

fn save(call: &Call<'_>, before: &Value, mut meter: Value, event_type: &str) -> Answer {
    meter["updated"] = call.now().into();
    objects::update(call.db, &meter)?;
    events::emit_update(call, event_type, before, &meter)?;
    present(call, &meter)
}

/// `GET /v1/billing/meters`.
pub(crate) fn list(call: &Call<'_>, mut params: Params) -> Answer {
    let mut filters = Vec::new();
    if let Some(status) = params.choice("status", &["active", "inactive"])? {
        filters.push(("status", Sql::Text(status)));
    }
    list::answer(
        call,
        params,
        "billing.meter",
        "/v1/billing/meters",
        &filters,
    )
}

//! Events: the snapshot of an object at the moment of its change, queued for every endpoint
//! that wants it (Stripe API reference: Events).

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use crate::api::before_basil;
use crate::api::error::Result;
use crate::api::expand::present;
use crate::api::json::{array, difference, text};
use crate::api::version::{DEFAULT_VERSION, Version};
use crate::calendar::rfc3339;
use crate::call::Call;
use crate::store::{deliveries, objects};

const DESTINATION: &str = "v2.core.event_destination";

/// Something happened to an object.
pub(crate) fn emit(call: &Call<'_>, event_type: &str, object: &Value) -> Result<()> {
    emit_awaited(call, event_type, object)?;
    Ok(())
}

/// Something happened to an object. Answers whether an endpoint is to be told of it.
pub(crate) fn emit_awaited(call: &Call<'_>, event_type: &str, object: &Value) -> Result<bool> {
    let id = store(
        call,
        event_type,
        json!({ "object": present(call, object)? }),
    )?;
    Ok(deliveries::pending(call.db, &id)? > 0)
}

/// An object changed: the event also says what it was before. No change, no event.
pub(crate) fn emit_update(
    call: &Call<'_>,
    event_type: &str,
    before: &Value,
    after: &Value,
) -> Result<()> {
    let after = present(call, after)?;
    let previous = difference(&present(call, before)?, &after);
    if previous.is_empty() {
        return Ok(());
    }
    let data = json!({ "object": after, "previous_attributes": previous });
    store(call, event_type, data)?;
    Ok(())
}

fn store(call: &Call<'_>, event_type: &str, data: Value) -> Result<String> {
    let id = call.random.id("evt");
    let mut event = json!({
        "id": id,
        "object": "event",
        "api_version": DEFAULT_VERSION,
        "created": call.now(),
        "data": data,
        "livemode": false,
        "request": {
            "id": call.origin.request_id,
            "idempotency_key": call.origin.idempotency_key,
        },
        "type": event_type,
    });
    let endpoints = receivers(call, "webhook_endpoint", event_type, None)?;
    if endpoints.iter().any(is_before_basil) {
        // The snapshot of this moment, whenever it is delivered.
        let mut older = event["data"].clone();
        before_basil::shape(call, &mut older)?;
        event["_data_before_basil"] = older;
    }
    call.insert(&event)?;
    let payload = Some("snapshot");
    let destinations = receivers(call, DESTINATION, event_type, payload)?;
    queue(call, &event, &endpoints)?;
    queue(call, &event, &destinations)?;
    Ok(id)
}

/// Whether an endpoint is told in the older shape.
fn is_before_basil(endpoint: &Value) -> bool {
    text(endpoint, "/api_version")
        .and_then(|version| Version::parse(version).ok())
        .is_some_and(|version| version.is_before_basil())
}

/// A thin event of v2: the delivery says that it happened, `GET /v2/core/events/{id}` what
/// (Stripe API reference: v2 Events).
pub(crate) fn emit_thin(
    call: &Call<'_>,
    event_type: &str,
    related: Option<Value>,
    data: Value,
) -> Result<()> {
    let event = store_thin(call, event_type, related, Some(data))?;
    let destinations = receivers(call, DESTINATION, event_type, Some("thin"))?;
    queue(call, &event, &destinations)
}

/// Stores a thin event that nobody is told of yet.
pub(crate) fn store_thin(
    call: &Call<'_>,
    event_type: &str,
    related: Option<Value>,
    data: Option<Value>,
) -> Result<Value> {
    let mut event = json!({
        "id": format!("evt_test_{}", call.random.text(30)),
        "object": "v2.core.event",
        "context": null,
        "created": rfc3339(call.now_ms),
        "livemode": false,
        "reason": null,
        "type": event_type,
    });
    if let Some(data) = data {
        event["data"] = data;
    }
    if let Some(related) = related {
        event["related_object"] = related;
    }
    call.insert(&event)?;
    Ok(event)
}

/// Who wants events of a type: endpoints, or the destinations that take such a payload.
fn receivers(
    call: &Call<'_>,
    kind: &str,
    event_type: &str,
    payload: Option<&str>,
) -> Result<Vec<Value>> {
    let enabled = ("status", Sql::Text("enabled".to_owned()));
    let mut receivers = objects::all(call.db, kind, &[enabled])?;
    receivers.retain(|receiver| {
        let wants = array(receiver, "/enabled_events")
            .iter()
            .any(|wanted| wanted == "*" || wanted == event_type);
        // Invoice payments are told of since basil only.
        let knows = event_type != "invoice_payment.paid" || !is_before_basil(receiver);
        wants && knows && text(receiver, "/event_payload") == payload
    });
    Ok(receivers)
}

fn queue(call: &Call<'_>, event: &Value, receivers: &[Value]) -> Result<()> {
    for receiver in receivers {
        if let (Some(id), Some(event)) = (receiver["id"].as_str(), event["id"].as_str()) {
            deliveries::enqueue(call.db, event, id, call.now_ms)?;
        }
    }
    Ok(())
}

//! Event destinations (Stripe API reference: v2 Event Destinations), of webhook endpoints.

use serde_json::{Value, json};

use super::Answer;
use super::meter_event_stream::refuse_unknown;
use crate::api::error::StripeError;
use crate::api::expand::present;
use crate::api::json::{array, text, text_or_empty};
use crate::api::list::{self, ListV2};
use crate::api::params::Params;
use crate::api::version::DEFAULT_VERSION;
use crate::calendar::rfc3339;
use crate::call::Call;
use crate::events;
use crate::store::{deliveries, objects};

const KIND: &str = "v2.core.event_destination";

/// `POST /v2/core/event_destinations`.
pub(crate) fn create(call: &Call<'_>, body: &Value) -> Answer {
    let known = [
        "description",
        "enabled_events",
        "event_payload",
        "events_from",
        "include",
        "metadata",
        "name",
        "snapshot_api_version",
        "type",
        "webhook_endpoint",
    ];
    refuse_unknown(body, &known)?;
    for required in ["name", "type", "event_payload", "enabled_events"] {
        if body[required].is_null() {
            return Err(StripeError::missing(required));
        }
    }
    if text(body, "/type") != Some("webhook_endpoint") {
        let message = "This simulator delivers to destinations of type webhook_endpoint only.";
        return Err(StripeError::invalid(message).not_remembered());
    }
    let payload = text_or_empty(body, "/event_payload");
    if !["thin", "snapshot"].contains(&payload.as_str()) {
        return Err(
            StripeError::invalid("event_payload must be thin or snapshot.").not_remembered(),
        );
    }
    let url = text_or_empty(body, "/webhook_endpoint/url");
    if reqwest::Url::parse(&url).is_err() {
        return Err(StripeError::missing("webhook_endpoint.url"));
    }
    let snapshot_version = (payload == "snapshot").then_some(DEFAULT_VERSION);
    let destination = json!({
        "id": format!("ed_test_{}", call.random.text(30)),
        "object": KIND,
        "_secret": format!("whsec_{}", call.random.text(32)),
        "_url": url,
        "created": rfc3339(call.now_ms),
        "description": text_or_empty(body, "/description"),
        "enabled_events": body["enabled_events"],
        "event_payload": payload,
        "events_from": if body["events_from"].is_array() { body["events_from"].clone() } else { json!(["@self"]) },
        "livemode": false,
        "metadata": if body["metadata"].is_object() { body["metadata"].clone() } else { json!({}) },
        "name": body["name"],
        "snapshot_api_version": snapshot_version,
        "status": "enabled",
        "status_details": null,
        "type": "webhook_endpoint",
        "updated": rfc3339(call.now_ms),
    });
    call.insert(&destination)?;
    let includes = includes(body);
    let mut answer = shown(&destination, &includes);
    // The only answer that can hold the secret.
    if is_included("signing_secret", &includes) {
        answer["webhook_endpoint"]["signing_secret"] = destination["_secret"].clone();
    }
    Ok(answer)
}

fn includes(body: &Value) -> Vec<String> {
    array(body, "/include")
        .iter()
        .filter_map(|include| include.as_str().map(str::to_owned))
        .collect()
}

/// The URL is shown only where `include` asks for it.
fn shown(destination: &Value, includes: &[String]) -> Value {
    let mut shown = destination.clone();
    if let Some(fields) = shown.as_object_mut() {
        fields.retain(|key, _| !key.starts_with('_'));
    }
    let url = is_included("url", includes).then(|| destination["_url"].clone());
    shown["webhook_endpoint"] = json!({ "signing_secret": null, "url": url });
    shown
}

fn is_included(field: &str, includes: &[String]) -> bool {
    let name = format!("webhook_endpoint.{field}");
    includes.contains(&name)
}

/// `GET /v2/core/event_destinations/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, includes: &[String]) -> Answer {
    Ok(shown(&call.get(KIND, id)?, includes))
}

/// `POST /v2/core/event_destinations/{id}`.
pub(crate) fn update(call: &Call<'_>, id: &str, body: &Value) -> Answer {
    let known = [
        "description",
        "enabled_events",
        "include",
        "metadata",
        "name",
        "webhook_endpoint",
    ];
    refuse_unknown(body, &known)?;
    let mut destination = call.get(KIND, id)?;
    for field in ["description", "enabled_events", "metadata", "name"] {
        if !body[field].is_null() {
            destination[field] = body[field].clone();
        }
    }
    if let Some(url) = text(body, "/webhook_endpoint/url") {
        destination["_url"] = url.into();
    }
    save(call, destination, &includes(body))
}

/// `POST /v2/core/event_destinations/{id}/disable` and `/enable`.
pub(crate) fn set_enabled(call: &Call<'_>, id: &str, enabled: bool) -> Answer {
    let mut destination = call.get(KIND, id)?;
    destination["status"] = if enabled { "enabled" } else { "disabled" }.into();
    destination["status_details"] = if enabled {
        Value::Null
    } else {
        json!({ "disabled": { "reason": "user" } })
    };
    save(call, destination, &[])
}

/// `POST /v2/core/event_destinations/{id}/ping`: an event for this destination alone.
pub(crate) fn ping(call: &Call<'_>, id: &str) -> Answer {
    call.get(KIND, id)?;
    let related = json!({
        "id": id, "type": KIND, "url": format!("/v2/core/event_destinations/{id}"),
    });
    let event = events::store_thin(call, "v2.core.event_destination.ping", Some(related), None)?;
    deliveries::enqueue(call.db, &text_or_empty(&event, "/id"), id, call.now_ms)?;
    present(call, &event)
}

fn save(call: &Call<'_>, mut destination: Value, includes: &[String]) -> Answer {
    destination["updated"] = rfc3339(call.now_ms).into();
    call.save(&destination)?;
    Ok(shown(&destination, includes))
}

/// `DELETE /v2/core/event_destinations/{id}`.
pub(crate) fn delete(call: &Call<'_>, id: &str) -> Answer {
    call.get(KIND, id)?;
    deliveries::drop_for(call.db, id)?;
    objects::delete(call.db, id)?;
    Ok(json!({ "id": id, "object": KIND, "deleted": true }))
}

/// `GET /v2/core/event_destinations`.
pub(crate) fn list(call: &Call<'_>, query: &str) -> Answer {
    let mut params = Params::parse_v2(query);
    let includes = params.texts("include")?.unwrap_or_default();
    let list = ListV2 {
        kind: KIND,
        path: "/v2/core/event_destinations",
        query,
    };
    list::answer_v2(call, params, &list, &[], &[], |_, destination| {
        Ok(shown(destination, &includes))
    })
}

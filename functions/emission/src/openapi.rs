//! The routes of emission, described for `openapi.json`.

use axum::http::StatusCode;
use billing::UsageStatus;
use billing::usage_event::EVENT_ID_BYTES_MAX;
use serde_json::{Value, json};
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::{ArrayBuilder, Ref, Schema};
use utoipa::openapi::{ObjectBuilder, RefOr, Type};
use utoipa::{PartialSchema, ToSchema};
use web::openapi::{Operation, Part, schema};
use web::{BODY_BYTES_MAX, ProblemType};

use crate::BATCH_BODY_BYTES_MAX;
use crate::emitter::Emitted;
use crate::request::BATCH_EVENTS_MAX;
use crate::routes::BatchAnswer;

const DESCRIPTION: &str =
    "An agent's usage: recorded once, and brought to Stripe in the same call.";

const RETRY: &str = "A 5xx, a 429 or a lost answer means *perhaps recorded*: send the same request \
                     again, with the same `event_id`; it counts once, whenever that is.";

/// Emission's part of the document.
pub fn part() -> Part {
    Part::new("emission", DESCRIPTION)
        .operation(HttpMethod::Post, "/v1/usage", emit())
        .operation(HttpMethod::Post, "/v1/usage/batch", emit_batch())
}

fn emit() -> Operation {
    let emitted = json!({
        "event_id": "job-7", "status": "delivered", "duplicate": false, "quantity": 3,
        "customer_status": "active",
    });
    let pending = json!({
        "event_id": "job-7", "status": "pending", "duplicate": false, "quantity": 3,
        "customer_status": "active",
    });
    Operation::new("emitUsage", "Record one usage event and bring it to Stripe")
        .description(RETRY)
        .keyed()
        .idempotency_key(
            EVENT_ID_BYTES_MAX,
            "Stands in for an omitted `event_id`; where the body has one, the body's counts.",
        )
        .body::<UsageEventBody>(BODY_BYTES_MAX, &[("An event", an_event())])
        .answer::<Emitted>(StatusCode::OK, "Stripe has it.", &[("Delivered", emitted)])
        .answer::<Emitted>(
            StatusCode::ACCEPTED,
            "It is durable and not in Stripe: pending, to be delivered by itself; or held or \
             quarantined, and the operator knows of it.",
            &[("Stripe did not answer in time", pending)],
        )
        .problems(&REFUSALS)
}

fn emit_batch() -> Operation {
    let answer = json!({
        "results": [
            {
                "event_id": "job-7", "status": "delivered", "duplicate": false, "quantity": 3,
                "customer_status": "active",
            },
            {
                "event_id": "job-8", "status": "invalid",
                "error": {
                    "type": "urn:meterline:problem:invalid-field", "status": 400,
                    "title": "A field cannot be accepted",
                    "detail": "quantity must be a whole number from 1 to 1000000000",
                    "field": "quantity",
                },
            },
        ],
        "delivered": 1, "pending": 0, "duplicates": 0, "rejected": 1,
    });
    Operation::new(
        "emitUsageBatch",
        "Record up to 100 usage events, each with an outcome of its own",
    )
    .description(&format!(
        "One bad event spoils no other: what would be an error of a single event is the `error` of \
             its result. An event whose `status` is `unknown` is perhaps recorded. {RETRY}"
    ))
    .keyed()
    .body::<BatchBody>(
        BATCH_BODY_BYTES_MAX,
        &[("A batch of one", json!({ "events": [an_event()] }))],
    )
    .answer::<BatchAnswer>(
        StatusCode::OK,
        "An outcome for each event.",
        &[("Of two", answer)],
    )
}

/// What else may become of one event.
const REFUSALS: [ProblemType; 6] = [
    ProblemType::CustomerNotFound,
    ProblemType::Conflict,
    ProblemType::Voided,
    ProblemType::Rejected,
    ProblemType::StripeRefused,
    ProblemType::StripeUnavailable,
];

fn an_event() -> Value {
    json!({
        "event_id": "job-7",
        "customer_id": "cus_Q7hYc2mN4pXs1a",
        "quantity": 3,
        "action_type": "document_processed",
        "occurred_at": "2026-01-31T12:00:00Z",
    })
}

/// A usage event as an agent sends it.
struct UsageEventBody;

impl PartialSchema for UsageEventBody {
    fn schema() -> RefOr<Schema> {
        let event_id = schema::event_id();
        let item = schema::stripe_id().description(Some(
            "The subscription item that the agent expects to bill; another one is refused.",
        ));
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some(
                "Usage that an agent reports. A field that is null counts as omitted.",
            ))
            .property("event_id", schema::or_null(event_id))
            .property("customer_id", schema::customer_id())
            .property("subscription_item_id", schema::or_null(item))
            .property("quantity", schema::quantity())
            .property(
                "action_type",
                schema::action_type().description(Some("What was done, as the catalog names it.")),
            )
            .property("occurred_at", schema::wire_time_or_null())
            .required("customer_id")
            .required("quantity")
            .required("action_type")
            .additional_properties(Some(closed()))
            .into()
    }
}

impl ToSchema for UsageEventBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "UsageEvent".into()
    }
}

/// A batch of them.
struct BatchBody;

impl PartialSchema for BatchBody {
    fn schema() -> RefOr<Schema> {
        let events = ArrayBuilder::new()
            .items(Ref::from_schema_name(UsageEventBody::name()))
            .min_items(Some(1))
            .max_items(Some(BATCH_EVENTS_MAX));
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .property("events", events)
            .required("events")
            .additional_properties(Some(closed()))
            .into()
    }
}

impl ToSchema for BatchBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "UsageBatch".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((
            UsageEventBody::name().into_owned(),
            UsageEventBody::schema(),
        ));
    }
}

fn closed() -> utoipa::openapi::schema::AdditionalProperties<Schema> {
    utoipa::openapi::schema::AdditionalProperties::FreeForm(false)
}

/// What may become of an event that is durable.
pub(crate) fn emitted_status() -> ObjectBuilder {
    use UsageStatus::{Delivered, Held, Pending, Quarantined};
    schema::words([Delivered, Pending, Quarantined, Held].map(UsageStatus::as_str))
}

/// The words for an event of a batch that is not.
pub(crate) fn refusal_status() -> ObjectBuilder {
    schema::words(["conflict", "voided", "rejected", "unknown", "invalid"])
}

pub(crate) fn problem() -> Ref {
    Ref::from_schema_name("Problem")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request;

    #[test]
    fn the_fields_that_are_described_are_those_that_are_read() {
        let schema = serde_json::to_value(UsageEventBody::schema()).unwrap();
        let described = schema["properties"].as_object().unwrap();
        let mut described: Vec<&str> = described.keys().map(String::as_str).collect();
        let mut read = request::FIELDS;
        described.sort_unstable();
        read.sort_unstable();
        assert_eq!(described, read);
        assert!(request::usage_event(&an_event(), None).is_ok());
    }
}

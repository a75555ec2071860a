//! The routes of emission, described for `openapi.json`.

mod cloud_events;

use axum::http::StatusCode;
use billing::UsageStatus;
use billing::reservation::{EXPIRES_IN_S_DEFAULT, EXPIRES_IN_S_MAX, RESERVATION_ID_LENGTH_MAX};
use billing::usage_event::EVENT_ID_BYTES_MAX;
use ledger::{ReservationOutcome, ReservationState};
use serde_json::{Value, json};
use utoipa::openapi::path::{HttpMethod, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ArrayBuilder, Ref, Schema};
use utoipa::openapi::{ObjectBuilder, RefOr, Required, Type};
use utoipa::{PartialSchema, ToSchema};
use web::openapi::{Operation, Part, schema};
use web::{BODY_BYTES_MAX, ProblemType};

use crate::BATCH_BODY_BYTES_MAX;
use crate::emitter::Emitted;
use crate::request::BATCH_EVENTS_MAX;
use crate::reservations;
use crate::routes::BatchAnswer;

const DESCRIPTION: &str =
    "An agent's usage: recorded once, and brought to Stripe in the same call.";

const CUSTOMER: &str = "cus_Q7hYc2mN4pXs1a";

const RETRY: &str = "A 5xx, a 429 or a lost answer means *perhaps recorded*: send the same request \
                     again, with the same `event_id`; it counts once, whenever that is.";

/// Emission's part of the document.
pub fn part() -> Part {
    Part::new("emission", DESCRIPTION)
        .operation(HttpMethod::Post, "/v1/usage", emit())
        .operation(HttpMethod::Post, "/v1/usage/batch", emit_batch())
        .operation(HttpMethod::Post, "/v1/usage/reservations", reserve())
        .operation(
            HttpMethod::Delete,
            "/v1/usage/reservations/{reservation_id}",
            release(),
        )
        .operation(HttpMethod::Post, "/v1/events", cloud_events::receive())
}

fn emitted(status: &str) -> Value {
    json!({
        "event_id": "job-7", "status": status, "duplicate": false, "quantity": 3,
        "customer_status": "active",
    })
}

/// A batch of two, of which the second has no good quantity, by this name.
fn batch_of_two(quantity: &str) -> Value {
    json!({
        "results": [
            emitted("delivered"),
            {
                "event_id": "job-8", "status": "invalid",
                "error": {
                    "type": "urn:meterline:problem:invalid-field", "status": 400,
                    "title": "A field cannot be accepted",
                    "detail": format!("{quantity} must be a whole number from 1 to 1000000000"),
                    "field": quantity,
                },
            },
        ],
        "delivered": 1, "pending": 0, "duplicates": 0, "rejected": 1,
    })
}

fn emit() -> Operation {
    Operation::new("emitUsage", "Record one usage event and bring it to Stripe")
        .description(RETRY)
        .keyed()
        .idempotency_key(
            EVENT_ID_BYTES_MAX,
            "Stands in for an omitted `event_id`; where the body has one, the body's counts.",
        )
        .body::<UsageEventBody>(BODY_BYTES_MAX, &[("An event", an_event())])
        .answer::<Emitted>(
            StatusCode::OK,
            "Stripe has it.",
            &[("Delivered", emitted("delivered"))],
        )
        .answer::<Emitted>(
            StatusCode::ACCEPTED,
            "It is durable and not in Stripe: pending, to be delivered by itself; or held or \
             quarantined, and the operator knows of it.",
            &[("Stripe did not answer in time", emitted("pending"))],
        )
        .problems(&REFUSALS)
}

fn emit_batch() -> Operation {
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
        &[("Of two", batch_of_two("quantity"))],
    )
}

fn a_reservation(status: &str) -> Value {
    json!({
        "reservation_id": "run-7", "customer_id": CUSTOMER, "status": status,
        "quantity": 40, "action_type": "document_processed",
        "period_start": "2026-01-01T00:00:00Z", "expires_at": "2026-01-31T12:05:00Z",
    })
}

fn reserve() -> Operation {
    let body = json!({
        "reservation_id": "run-7", "customer_id": CUSTOMER, "quantity": 40,
        "action_type": "document_processed", "expires_in_s": 300,
    });
    let mut held = a_reservation("held");
    held["customer_status"] = "active".into();
    Operation::new(
        "reserveUsage",
        "Hold units of a customer's spending limit before acting",
    )
    .description(
        "So that agents that act at once do not overrun a hard limit together. Usage that names the \
         reservation settles it, whatever its quantity; else it ends by itself. A 5xx, a 429 or a lost \
         answer means *perhaps held*: send the same request again.",
    )
    .keyed()
    .idempotency_key(
        RESERVATION_ID_LENGTH_MAX,
        "Stands in for an omitted `reservation_id`; where the body has one, the body's counts.",
    )
    .body::<ReservationBody>(BODY_BYTES_MAX, &[("Forty units for five minutes", body)])
    .answer::<reservations::Answer>(
        StatusCode::CREATED,
        "The units are held.",
        &[("Held", held.clone())],
    )
    .answer::<reservations::Answer>(
        StatusCode::OK,
        "An earlier call holds them, still.",
        &[("Held", held)],
    )
    .problems(&[
        ProblemType::LimitReached,
        ProblemType::Conflict,
        ProblemType::CustomerNotFound,
        ProblemType::StripeRefused,
        ProblemType::StripeUnavailable,
    ])
}

fn release() -> Operation {
    let customer_id = ParameterBuilder::new()
        .name("customer_id")
        .parameter_in(ParameterIn::Query)
        .required(Required::True)
        .schema(Some(schema::customer_id()));
    Operation::new("releaseReservation", "Give a reservation back")
        .description(
            "One that has ended stays as it is, and its status says how; that is no error.",
        )
        .keyed()
        .path("reservation_id", reservation_id(), "run-7")
        .parameter(customer_id)
        .answer::<reservations::Answer>(
            StatusCode::OK,
            "It holds nothing.",
            &[("Given back", a_reservation("released"))],
        )
        .problems(&[ProblemType::NotFound])
}

/// A reservation as an agent asks for it.
struct ReservationBody;

impl PartialSchema for ReservationBody {
    fn schema() -> RefOr<Schema> {
        let most = usize::try_from(EXPIRES_IN_S_MAX).unwrap_or_default();
        let expires_in_s = schema::whole(1, most)
            .default(Some(EXPIRES_IN_S_DEFAULT.into()))
            .description(Some("For how many seconds the units are held."));
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some(
                "Units that an agent is about to use. A field that is null counts as omitted.",
            ))
            .property("reservation_id", schema::or_null(reservation_id()))
            .property("customer_id", schema::customer_id())
            .property("quantity", schema::quantity())
            .property(
                "action_type",
                schema::action_type().description(Some("What they are for.")),
            )
            .property("expires_in_s", schema::or_null(expires_in_s))
            .required("customer_id")
            .required("quantity")
            .required("action_type")
            .additional_properties(Some(closed()))
            .into()
    }
}

impl ToSchema for ReservationBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "ReservationRequest".into()
    }
}

/// An agent's id of a reservation.
pub(crate) fn reservation_id() -> ObjectBuilder {
    schema::pattern(&format!(
        "^[A-Za-z0-9_.:~-]{{1,{RESERVATION_ID_LENGTH_MAX}}}$"
    ))
    .description(Some(
        "The agent's own name for the reservation, unique for the customer; not `.` or `..`.",
    ))
}

/// Where a reservation stands.
pub(crate) fn reservation_state() -> ObjectBuilder {
    use ReservationState::{Expired, Held, Released, Settled};
    schema::words([Held, Settled, Released, Expired].map(ReservationState::as_str))
}

/// What became of the reservation that an event named.
pub(crate) fn reservation_outcome() -> ObjectBuilder {
    schema::words(ReservationOutcome::ALL.map(ReservationOutcome::as_str))
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
        "customer_id": CUSTOMER,
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
            .property(
                "reservation_id",
                schema::or_null(reservation_id().description(Some(
                    "The reservation that the event settles. The event is recorded in any case.",
                ))),
            )
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
        let schema = serde_json::to_value(ReservationBody::schema()).unwrap();
        let described = schema["properties"].as_object().unwrap();
        let mut described: Vec<&str> = described.keys().map(String::as_str).collect();
        let mut read = request::RESERVATION_FIELDS;
        described.sort_unstable();
        read.sort_unstable();
        assert_eq!(described, read);
    }
}

//! `POST /v1/events`, described.

use std::borrow::Cow;

use axum::http::StatusCode;
use billing::usage_event::EVENT_SOURCE_BYTES_MAX;
use serde_json::{Value, json};
use utoipa::openapi::schema::{AnyOf, ArrayBuilder, Ref, Schema};
use utoipa::openapi::{KnownFormat, Object, ObjectBuilder, RefOr, Required, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};
use web::openapi::{Operation, schema};
use web::{BODY_BYTES_MAX, ProblemType};

use super::{REFUSALS, RETRY, batch_of_two, emitted, reservation_id};
use crate::BATCH_BODY_BYTES_MAX;
use crate::cloud_events::{BATCHED, RESERVATION, SPEC_VERSION, STRUCTURED};
use crate::emitter::Emitted;
use crate::request::BATCH_EVENTS_MAX;
use crate::routes::BatchAnswer;

pub(super) fn receive() -> Operation {
    let an_event = an_event();
    Operation::new("receiveCloudEvents", "Record usage that comes as CloudEvents")
        .description(&format!(
            "CloudEvents 1.0.2 in the structured, the batched and the binary content mode: for emitters \
             that have them already. `id` is the event's id, `subject` the customer, `type` the action, \
             `time` when it happened, `data.quantity` the units, or one. Attributes and members of the \
             data that are not known are let pass. In binary mode, which is any content type of JSON \
             beside a header `ce-specversion`, the attributes are in headers, as in `ce-id: job-7`, and \
             the body is the data. The same `id` from another `source` is a conflict. A batch is \
             answered as one of `POST /v1/usage/batch`. {RETRY}"
        ))
        .keyed()
        .content::<CloudEventBody>(STRUCTURED, &[("An event", an_event.clone())])
        .content::<CloudEventBatch>(BATCHED, &[("A batch of one", json!([an_event]))])
        .content::<CloudEventData>("application/json", &[("Three units", json!({ "quantity": 3 }))])
        .body_described(
            // In binary mode an event without data has none.
            Required::False,
            &format!(
                "JSON in UTF-8, not compressed, no key of an object twice: of at most {BODY_BYTES_MAX} \
                 bytes for one event, {BATCH_BODY_BYTES_MAX} for a batch."
            ),
        )
        .answer::<CloudEventsAnswer>(
            StatusCode::OK,
            "Stripe has it. Of a batch: an outcome for each event.",
            &[
                ("Delivered", emitted("delivered")),
                ("A batch of two", batch_of_two("data.quantity")),
            ],
        )
        .answer::<Emitted>(
            StatusCode::ACCEPTED,
            "It is durable and not in Stripe: pending, to be delivered by itself; or held or \
             quarantined, and the operator knows of it.",
            &[("Stripe did not answer in time", emitted("pending"))],
        )
        .problems(&REFUSALS)
        .problems(&[ProblemType::UnsupportedMediaType])
}

fn an_event() -> Value {
    json!({
        "specversion": SPEC_VERSION,
        "id": "job-7",
        "source": "/agents/7",
        "type": "document_processed",
        "subject": "cus_Q7hYc2mN4pXs1a",
        "time": "2026-01-31T12:00:00Z",
        "data": { "quantity": 3 },
    })
}

/// An event in the JSON Event Format.
struct CloudEventBody;

impl PartialSchema for CloudEventBody {
    fn schema() -> RefOr<Schema> {
        let source = schema::short_text(EVENT_SOURCE_BYTES_MAX)
            .pattern(Some("^[A-Za-z0-9._~:/?#@!$&'()*+,;=%\\[\\]-]+$"))
            .description(Some("Where the event comes from: a URI-reference."));
        let data_base64 = schema::text().description(Some("The same data, as Base64 of JSON."));
        let time = schema::text()
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some(
                "RFC 3339 with any offset, between the years 2000 and 2100.",
            ));
        let names = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^([a-z0-9]+|data_base64)$"));
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some(
                "A CloudEvent. An attribute that is null is unset. Others than these are let pass.",
            ))
            .property("specversion", schema::words([SPEC_VERSION]))
            .property("id", schema::event_id())
            .property("source", source)
            .property("type", schema::action_type())
            .property("subject", schema::customer_id())
            .property("time", schema::or_null(time))
            .property("datacontenttype", schema::text_or_null())
            .property("dataschema", schema::text_or_null())
            .property("data", data())
            .property("data_base64", schema::or_null(data_base64))
            .property(
                RESERVATION,
                schema::or_null(reservation_id().description(Some(
                    "The reservation that the event settles. The event is recorded in any case.",
                ))),
            )
            .property_names(Some(names))
            .required("specversion")
            .required("id")
            .required("source")
            .required("type")
            .required("subject")
            .into()
    }
}

impl ToSchema for CloudEventBody {
    fn name() -> Cow<'static, str> {
        "CloudEvent".into()
    }
}

/// Several of them, in the JSON Batch Format.
struct CloudEventBatch;

impl PartialSchema for CloudEventBatch {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new()
            .items(Ref::from_schema_name(CloudEventBody::name()))
            .min_items(Some(1))
            .max_items(Some(BATCH_EVENTS_MAX))
            .into()
    }
}

impl ToSchema for CloudEventBatch {
    fn name() -> Cow<'static, str> {
        "CloudEventBatch".into()
    }
}

/// What the data of an event say.
struct CloudEventData;

impl PartialSchema for CloudEventData {
    fn schema() -> RefOr<Schema> {
        data().into()
    }
}

impl ToSchema for CloudEventData {
    fn name() -> Cow<'static, str> {
        "CloudEventData".into()
    }
}

fn data() -> Object {
    let quantity = schema::or_null(schema::quantity());
    let data = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("Other members are let pass."))
        .property("quantity", quantity);
    schema::or_null(data)
}

/// What became of one event, or of a batch.
struct CloudEventsAnswer;

impl PartialSchema for CloudEventsAnswer {
    fn schema() -> RefOr<Schema> {
        let answers = AnyOf::builder()
            .item(Ref::from_schema_name(Emitted::name()))
            .item(Ref::from_schema_name(BatchAnswer::name()));
        Schema::from(answers).into()
    }
}

impl ToSchema for CloudEventsAnswer {
    fn name() -> Cow<'static, str> {
        "CloudEventsAnswer".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Emitted::name().into_owned(), Emitted::schema()));
        schemas.push((BatchAnswer::name().into_owned(), BatchAnswer::schema()));
        BatchAnswer::schemas(schemas);
    }
}

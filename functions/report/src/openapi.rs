//! The routes of the report, described for `openapi.json`.

mod dashboard;
mod events;
mod invoices;
pub(crate) mod limits;

use audit::AuditEvent;
use axum::http::StatusCode;
use serde_json::{Value, json};
use utoipa::openapi::path::{HttpMethod, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{
    ContentBuilder, Object, ObjectBuilder, RefOr, Required, ResponseBuilder, Type,
};
use web::ProblemType;
use web::openapi::{Operation, Part, schema};

use crate::query::{DAYS_MAX, GROUPS};
use crate::{access, usage};

const DESCRIPTION: &str =
    "What a customer used, costs and may do: the audit log, the totals, Stripe's invoices.";

const CUSTOMER: &str = "cus_Q7hYc2mN4pXs1a";

/// The report's part of the document.
pub fn part() -> Part {
    use HttpMethod::{Delete, Get, Post, Put};
    Part::new("report", DESCRIPTION)
        .operation(Get, "/v1/usage/{customer_id}", find_usage_event())
        .operation(Get, "/v1/usage/{customer_id}/{event_id}", usage_event())
        .operation(Get, "/v1/customers/{customer_id}/usage", usage())
        .operation(Get, "/v1/customers/{customer_id}/events", events::list())
        .operation(
            Get,
            "/v1/customers/{customer_id}/events/export",
            events::export(),
        )
        .operation(Get, "/v1/customers/{customer_id}/access", access())
        .operation(
            Get,
            "/v1/customers/{customer_id}/spending-limit",
            limits::show(),
        )
        .operation(
            Put,
            "/v1/customers/{customer_id}/spending-limit",
            limits::set(),
        )
        .operation(
            Delete,
            "/v1/customers/{customer_id}/spending-limit",
            limits::remove(),
        )
        .operation(
            Get,
            "/v1/customers/{customer_id}/invoices",
            invoices::list(),
        )
        .operation(
            Get,
            "/v1/customers/{customer_id}/invoices/upcoming",
            invoices::upcoming(),
        )
        .operation(
            Get,
            "/v1/customers/{customer_id}/invoices/{invoice_id}/explanation",
            invoices::explanation(),
        )
        .operation(
            Post,
            "/v1/customers/{customer_id}/dashboard-links",
            dashboard::link(),
        )
        .operation(Get, "/dashboard", dashboard::page())
        .operation(Get, "/dashboard/data", dashboard::data())
        .operation(Get, "/dashboard/invoices", dashboard::invoices())
        .operation(
            Post,
            "/dashboard/billing-portal",
            dashboard::billing_portal(),
        )
        .operation(
            Get,
            "/dashboard/assets/{version}/{name}",
            dashboard::asset(),
        )
        .operation(Get, "/openapi.json", document())
}

fn of_a_customer(operation_id: &str, summary: &str) -> Operation {
    Operation::new(operation_id, summary).keyed().path(
        "customer_id",
        schema::customer_id(),
        CUSTOMER,
    )
}

/// What a customer on a test clock may meet: Stripe is asked for the time.
fn of_a_known_customer(operation_id: &str, summary: &str) -> Operation {
    of_a_customer(operation_id, summary).problems(&[
        ProblemType::CustomerNotFound,
        ProblemType::CardDeclined,
        ProblemType::StripeRefused,
        ProblemType::StripeUnavailable,
    ])
}

fn find_usage_event() -> Operation {
    of_a_customer("findUsageEvent", "One usage event, by any id")
        .description("The row of the audit log, with every status that it went through, and when.")
        .parameter(
            query("event_id", Required::True, schema::event_id()).example(Some("job 7/a".into())),
        )
        .answer::<AuditEvent>(StatusCode::OK, "It is recorded.", &[recorded()])
        .problems(&[ProblemType::UsageEventNotFound])
}

fn usage_event() -> Operation {
    let plain = schema::pattern("^[A-Za-z0-9_.:~-]{1,255}$");
    of_a_customer("getUsageEvent", "One usage event, by a plain id")
        .description(
            "For ids of letters, digits and `- _ . : ~`, other than `.` and `..`: API Gateway decodes \
             a path before the function gets it. Any other id: `GET /v1/usage/{customer_id}?event_id=…`.",
        )
        .path("event_id", plain, "job-7")
        .answer::<AuditEvent>(StatusCode::OK, "It is recorded.", &[recorded()])
        .problems(&[ProblemType::UsageEventNotFound, ProblemType::NotFound])
}

fn usage() -> Operation {
    let days = usize::try_from(DAYS_MAX).unwrap_or_default();
    let answer = json!({
        "customer_id": CUSTOMER, "period_days": 31,
        "period_start": "2026-01-01T00:00:00Z", "period_end": "2026-02-01T00:00:00Z",
        "total_units": 1005, "pending_units": 0,
        "by_action_type": { "document_processed": 1005 },
        "by_meter": [{
            "meter_event_name": "agent_operations", "subscription_item_id": "si_U1",
            "price_id": "price_1", "units": 1005, "pending_units": 0, "estimated_cost": "20.10",
        }],
        "currency": "usd", "estimated_cost": "20.10", "estimated_cost_usd": "20.10",
        "as_of": "2026-01-31T12:00:00Z",
    });
    of_a_known_customer("getUsage", "Units used, and what they cost")
        .description(
            "The subscription's current period; or `period_days` up to the end of the current hour; or \
             `from` and `to`, whole hours. Usage counts by the time that it is billed at.",
        )
        .parameter(query("period_days", Required::False, schema::whole(1, days)).example(Some(30.into())))
        .parameter(query("from", Required::False, schema::wire_time()))
        .parameter(query("to", Required::False, schema::wire_time()).description(Some(
            "With `from` only; later than it, by as many days as `period_days` has at most.",
        )))
        .parameter(
            query("group_by", Required::False, schema::words(GROUPS))
                .description(Some(
                    "What `series` has an entry for; without it there is none. At most 20,000 of them.",
                )),
        )
        .answer::<usage::Answer>(StatusCode::OK, "What was used.", &[("A period", answer)])
}

fn access() -> Operation {
    let unlimited = json!({
        "allowed": true, "reason": null, "status": "active", "units": 1005, "limit": null,
        "spending_limit": null,
    });
    let stopped = json!({
        "allowed": false, "reason": "the spending limit of the period is reached",
        "status": "active", "units": 1000, "limit": null,
        "spending_limit": limits::a_limit("20.00", 1000, "20.00", 100),
    });
    of_a_known_customer("getAccess", "Whether a customer may act")
        .description(
            "To be asked before an action: what has happened is recorded in any case. With `units`, \
             whether so many more would fit into what is left of a hard spending limit.",
        )
        .parameter(query("units", Required::False, schema::units().minimum(Some(1_usize))))
        .parameter(
            query("action_type", Required::False, schema::action_type()).description(Some(
                "What the units are for. Needed with `units` where the limit is in money and the \
                 subscription has several prices.",
            )),
        )
        .answer::<access::Answer>(
            StatusCode::OK,
            "Whether it may.",
            &[("It may", unlimited), ("A limit is reached", stopped)],
        )
        .component::<::limits::LimitView>()
        .component::<::limits::view::AlertView>()
}

fn document() -> Operation {
    let content = ContentBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::Object)))
        .build();
    let response = ResponseBuilder::new()
        .description("The document.")
        .content("application/json", content);
    let operation = Operation::new("getOpenApi", "This document")
        .open()
        .response(StatusCode::OK, response)
        .header(StatusCode::OK, "ETag", "Of this very document.")
        .header(StatusCode::OK, "Cache-Control", "How long it may be kept.");
    unless_known(operation)
}

fn unless_known(operation: Operation) -> Operation {
    let known = ParameterBuilder::new()
        .name("If-None-Match")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .schema(Some(schema::text()));
    let not_modified =
        ResponseBuilder::new().description("It is the one that `If-None-Match` names.");
    operation
        .parameter(known)
        .response(StatusCode::NOT_MODIFIED, not_modified)
}

fn query(name: &str, required: Required, schema: impl Into<RefOr<Schema>>) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(required)
        .schema(Some(schema))
}

fn recorded() -> (&'static str, Value) {
    let event = json!({
        "event_id": "job-7", "customer_id": CUSTOMER,
        "identifier": "0f3a9c51b7d2e846a1c0f59b3d7e2486f0a1b2c3d4e5f60718293a4b5c6d7e8f",
        "source": null, "action_type": "document_processed", "quantity": 3, "status": "delivered",
        "subscription_item_id": "si_U1",
        "occurred_at": "2026-01-31T12:00:00Z", "billed_at": "2026-01-31T12:00:00Z",
        "period_start": "2026-01-01T00:00:00Z", "carried_over": false, "held_reason": null,
        "meter_event_name": "agent_operations", "recorded_at": "2026-01-31T12:00:00.120Z",
        "first_attempt_at": "2026-01-31T12:00:00.120Z", "stripe_code": null,
        "stripe_record_id": null,
        "history": [
            { "status": "pending", "at": "2026-01-31T12:00:00.120Z" },
            { "status": "delivered", "at": "2026-01-31T12:00:00.291Z" },
        ],
    });
    ("Delivered", event)
}

/// A whole number as a text, so that a script keeps every digit.
pub(crate) fn digits() -> ObjectBuilder {
    schema::pattern("^[0-9]+$").examples(["1005"])
}

/// [`digits`], or null.
pub(crate) fn digits_or_null() -> Object {
    schema::or_null(digits())
}

/// Why a range has no cost.
pub(crate) fn no_range_cost() -> ObjectBuilder {
    schema::words(["tiers", "transform_quantity"])
}

//! Spending limits, described.

use axum::http::StatusCode;
use limits::LimitView;
use limits::view::{AlertView, thresholds};
use serde_json::{Value, json};
use utoipa::openapi::schema::{AnyOf, AnyOfBuilder};
use utoipa::openapi::{Object, ObjectBuilder, Type};
use web::BODY_BYTES_MAX;
use web::openapi::{Operation, schema};

use super::{CUSTOMER, of_a_known_customer};
use crate::limit;

/// A hard limit in money, of which so much is used.
pub(super) fn a_limit(
    amount: &str,
    used_units: u64,
    used_amount: &str,
    used_percent: u64,
) -> Value {
    let alerts = [50, 80, 100].map(
        |percent| json!({ "threshold_percent": percent, "raised_at": "2026-01-31T12:00:01.500Z" }),
    );
    json!({
        "units": null, "amount": amount, "currency": "usd", "enforcement": "hard",
        "thresholds_percent": [50, 80, 100], "set_at": "2026-01-02T09:00:00Z",
        "used_units": used_units, "used_amount": used_amount,
        "used_currency": "usd", "held_units": 0, "used_percent": used_percent, "left_units": null, "left_amount": "0.00",
        "alerts": alerts,
    })
}

fn a_limited_customer(spending_limit: Value) -> Value {
    json!({
        "customer_id": CUSTOMER, "period_start": "2026-01-01T00:00:00Z",
        "period_end": "2026-02-01T00:00:00Z", "spending_limit": spending_limit,
    })
}

pub(super) fn show() -> Operation {
    let limited = a_limited_customer(a_limit("20.00", 1000, "20.00", 100));
    of_a_known_customer(
        "getSpendingLimit",
        "A customer's spending limit, and what is left of it",
    )
    .answer::<limit::Answer>(
        StatusCode::OK,
        "The limit, or null.",
        &[
            ("A limit that is reached", limited),
            ("No limit", a_limited_customer(Value::Null)),
        ],
    )
    .component::<LimitView>()
    .component::<AlertView>()
}

pub(super) fn set() -> Operation {
    let limited = a_limited_customer(a_limit("20.00", 1000, "20.00", 100));
    of_a_known_customer(
        "setSpendingLimit",
        "Set how much a customer may use in a period",
    )
    .description(
        "In place of the limit before, if there was one; it holds for the current period, too. Setting \
         what is set changes nothing. Needs a key that may administer the customer.",
    )
    .body::<limit::Body>(
        BODY_BYTES_MAX,
        &[
            (
                "No more than 20 dollars a period",
                json!({ "amount": "20.00", "enforcement": "hard" }),
            ),
            (
                "Told of at 900 units",
                json!({ "units": 1000, "enforcement": "soft", "thresholds_percent": [90] }),
            ),
        ],
    )
    .answer::<limit::Answer>(StatusCode::OK, "It is set.", &[("Set", limited)])
    .component::<LimitView>()
        .component::<AlertView>()
}

pub(super) fn remove() -> Operation {
    of_a_known_customer("removeSpendingLimit", "Take a customer's limit away")
        .description(
            "Taking away what is not there is no error. Needs a key that may administer the customer.",
        )
        .answer::<limit::Answer>(
            StatusCode::OK,
            "There is none.",
            &[("No limit", a_limited_customer(Value::Null))],
        )
        .component::<LimitView>()
        .component::<AlertView>()
}

/// A limit in money.
pub(crate) fn amount_or_null() -> Object {
    schema::or_null(
        schema::pattern(r"^[0-9]+(\.[0-9]{1,3})?$")
            .max_length(Some(24))
            .description(Some(
                "A decimal text in major units, more than 0, with no more decimals than its currency.",
            ))
            .examples(["20.00"]),
    )
}

/// The amount's currency.
pub(crate) fn currency_or_null() -> Object {
    schema::or_null(schema::currency())
}

/// At how much of a limit the operator is told.
pub(crate) fn thresholds_or_null() -> AnyOfBuilder {
    let null = ObjectBuilder::new().schema_type(Type::Null);
    AnyOf::builder().item(thresholds()).item(null)
}

//! Stripe's invoices and what is behind them, described.

use audit::InvoiceExplanation;
use axum::http::StatusCode;
use serde_json::{Value, json};
use utoipa::openapi::Required;
use web::ProblemType;
use web::openapi::{Operation, schema};

use super::{CUSTOMER, of_a_known_customer, query};
use crate::invoices::{InvoiceAnswer, LIMIT_DEFAULT, LIMIT_MAX, ListAnswer};

pub(super) fn list() -> Operation {
    let limit_max = usize::try_from(LIMIT_MAX).unwrap_or_default();
    let limit = schema::whole(1, limit_max).default(Some(LIMIT_DEFAULT.into()));
    let answer = json!({ "invoices": [an_invoice("in_1".into(), "paid")], "has_more": false });
    of_a_known_customer("listInvoices", "Stripe's invoices, the newest first")
        .parameter(query("limit", Required::False, limit))
        .answer::<ListAnswer>(StatusCode::OK, "The invoices.", &[("One invoice", answer)])
}

pub(super) fn upcoming() -> Operation {
    let answer = an_invoice(Value::Null, "draft");
    of_a_known_customer(
        "getUpcomingInvoice",
        "The invoice of the current period, as it is now",
    )
    .answer::<InvoiceAnswer>(
        StatusCode::OK,
        "As Stripe would bill now.",
        &[("A draft", answer)],
    )
    .problems(&[ProblemType::NotFound])
}

pub(super) fn explanation() -> Operation {
    let (start, end) = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
    let line = json!({
        "description": "1005 × Agent operations", "price_id": "price_1", "quantity": 1005,
        "unit_amount_decimal": "2", "amount": "20.10", "period_start": start, "period_end": end,
    });
    let log = json!({
        "delivered_units": 1000, "delivered_events": 998,
        "by_day": [
            { "day": "2026-01-30T00:00:00Z", "units": 400 },
            { "day": "2026-01-31T00:00:00Z", "units": 600 },
        ],
        "by_action_type": [{ "action_type": "document_processed", "units": 1000 }],
        "credited_units": 5, "voided_units": 2, "pending_units": 0, "quarantined_units": 0,
        "rejected_units": 0,
    });
    let usage = json!({
        "meter_event_name": "agent_operations", "subscription_item_id": "si_U1",
        "period_start": start, "period_end": end, "lines": [line], "amount": "20.10",
        "stripe_units": 1005, "log_units": 1005, "log": log,
        "void_credit": { "units": 5, "amount": "0.10" },
        "carried_over": {
            "units": 3, "events": 3, "is_complete": true, "looked_back_to": "2025-11-26T00:00:00Z",
        },
        "difference": null,
        "events_url": format!(
            "/v1/customers/{CUSTOMER}/events?billed_from=2026-01-01T00%3A00%3A00Z\
             &billed_to=2026-02-01T00%3A00%3A00Z&meter_event_name=agent_operations"
        ),
    });
    let answer = json!({
        "invoice_id": "in_1", "number": "A1B2C3D4-0001", "status": "paid", "customer_id": CUSTOMER,
        "currency": "usd", "total": "20.10", "is_final": true, "agrees": true, "usage": [usage],
        "unbilled": [], "other_lines": [],
    });
    of_a_known_customer("explainInvoice", "Why an invoice's lines say what they say")
        .description(
            "For each meter that the invoice bills: Stripe's lines and units, and what the audit log has \
             behind them, by day and by action, with what was voided, credited and carried over. Where \
             both are not equal, what the difference may come from. An invoice of another customer is \
             none.",
        )
        .path("invoice_id", schema::stripe_id(), "in_1PqR7sT8uV9w")
        .answer::<InvoiceExplanation>(
            StatusCode::OK,
            "What is behind it.",
            &[("An invoice that agrees", answer)],
        )
        .problems(&[ProblemType::NotFound])
}

fn an_invoice(invoice_id: Value, status: &str) -> Value {
    let paid = status == "paid";
    let or_null = |text: &str| if paid { Value::from(text) } else { Value::Null };
    json!({
        "invoice_id": invoice_id, "number": or_null("A1B2C3D4-0001"), "status": status,
        "billing_reason": "subscription_cycle", "currency": "usd",
        "total": "20.10", "amount_due": "20.10",
        "amount_paid": if paid { "20.10" } else { "0.00" },
        "amount_remaining": if paid { "0.00" } else { "20.10" },
        "created_at": "2026-02-01T00:00:00Z", "period_start": "2026-01-01T00:00:00Z",
        "period_end": "2026-02-01T00:00:00Z", "finalized_at": or_null("2026-02-01T01:00:00Z"),
        "paid_at": or_null("2026-02-01T01:00:02Z"), "next_payment_attempt_at": null,
        "hosted_invoice_url": or_null("https://invoice.stripe.com/i/acct_1/test_1"),
        "invoice_pdf": or_null("https://pay.stripe.com/invoice/acct_1/test_1/pdf"),
        "lines": [{
            "description": "1005 × Agent operations", "quantity": 1005, "unit_amount_decimal": "2",
            "amount": "20.10", "period_start": "2026-01-01T00:00:00Z",
            "period_end": "2026-02-01T00:00:00Z",
        }],
    })
}

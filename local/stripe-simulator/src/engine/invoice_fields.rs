//! The fields of a new invoice (Stripe API reference: The Invoice object).

use serde_json::{Value, json};

use super::invoicing::{DRAFT_SECONDS, Plan};

/// Fields of an invoice that hold nothing in a draft.
const NULL_AT_FIRST: [&str; 26] = [
    "account_tax_ids",
    "application",
    "custom_fields",
    "customer_account",
    "customer_address",
    "customer_shipping",
    "default_payment_method",
    "default_source",
    "description",
    "due_date",
    "effective_at",
    "ending_balance",
    "footer",
    "from_invoice",
    "hosted_invoice_url",
    "invoice_pdf",
    "last_finalization_error",
    "latest_revision",
    "number",
    "on_behalf_of",
    "receipt_number",
    "rendering",
    "shipping_cost",
    "shipping_details",
    "statement_descriptor",
    "webhooks_delivered_at",
];
/// Lists of an invoice that stay empty: no taxes, no discounts.
const EMPTY_LISTS: [&str; 6] = [
    "customer_tax_ids",
    "default_tax_rates",
    "discounts",
    "total_discount_amounts",
    "total_pretax_credit_amounts",
    "total_taxes",
];

/// An invoice without lines.
pub(super) fn blank(
    id: &str,
    subscription: &Value,
    customer: &Value,
    plan: &Plan<'_>,
    at: i64,
) -> Value {
    let mut invoice = json!({
        "id": id,
        "object": "invoice",
        "account_country": "US",
        "account_name": "Simulated account",
        "amount_overpaid": 0,
        "amount_paid_off_stripe": 0,
        "amount_shipping": 0,
        "attempt_count": 0,
        "attempted": false,
        "_days_until_due": subscription["days_until_due"],
        "auto_advance": true,
        "automatic_tax": {
            "disabled_reason": null,
            "enabled": subscription["automatic_tax"]["enabled"],
            "liability": subscription["automatic_tax"]["liability"],
            "provider": null,
            "status": null,
        },
        "automatically_finalizes_at": at + DRAFT_SECONDS,
        "billing_reason": plan.reason,
        "collection_method": subscription["collection_method"],
        "created": at,
        "currency": subscription["currency"],
        "customer": subscription["customer"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_tax_exempt": "none",
        "issuer": { "type": "self" },
        "lines": { "object": "list", "data": [], "has_more": false, "url": format!("/v1/invoices/{id}/lines") },
        "livemode": false,
        "metadata": {},
        "next_payment_attempt": at + DRAFT_SECONDS,
        "parent": {
            "quote_details": null,
            "subscription_details": {
                "metadata": subscription["metadata"], "subscription": subscription["id"],
            },
            "type": "subscription_details",
        },
        "payment_settings": {
            "default_mandate": null, "payment_method_options": null, "payment_method_types": null,
        },
        "period_end": plan.period.1,
        "period_start": plan.period.0,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "status": "draft",
        "status_transitions": {
            "finalized_at": null, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null,
        },
        "test_clock": subscription["test_clock"],
    });
    for field in NULL_AT_FIRST {
        invoice[field] = Value::Null;
    }
    for field in EMPTY_LISTS {
        invoice[field] = json!([]);
    }
    invoice
}

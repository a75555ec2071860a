//! Charges (Stripe API reference: Charges). Each is an attempt of a payment intent.

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::Answer;
use super::balance_transactions::{self, Movement};
use crate::api::error::Result;
use crate::api::expand::present;
use crate::api::json::{integer_or_zero, text};
use crate::api::list;
use crate::api::params::Params;
use crate::call::Call;
use crate::events;

const KIND: &str = "charge";

/// Stores a charge that the bank took.
pub(super) fn succeed(call: &Call<'_>, intent: &Value, method: &Value, at: i64) -> Result<Value> {
    let mut charge = blank(call, intent, method, at);
    let movement = Movement {
        kind: "charge",
        category: "charge",
        description: text(intent, "/description").map(str::to_owned),
        amount: integer_or_zero(intent, "/amount"),
        fee: 0,
    };
    let transaction = balance_transactions::insert(call, &charge, &movement, at)?;
    charge["balance_transaction"] = transaction["id"].clone();
    call.insert(&charge)?;
    events::emit(call, "charge.succeeded", &charge)?;
    Ok(charge)
}

/// Stores a charge that the bank declined.
pub(super) fn fail(
    call: &Call<'_>,
    intent: &Value,
    method: &Value,
    decline: &Decline,
    at: i64,
) -> Result<Value> {
    let mut charge = blank(call, intent, method, at);
    charge["amount_captured"] = 0.into();
    charge["captured"] = false.into();
    charge["failure_code"] = "card_declined".into();
    charge["failure_message"] = decline.message.into();
    charge["outcome"] = json!({
        "advice_code": decline.advice,
        "network_advice_code": null,
        "network_decline_code": null,
        "network_status": "declined_by_network",
        "reason": decline.code,
        "risk_level": "normal",
        "risk_score": 16,
        "seller_message": decline.seller_message,
        "type": "issuer_declined",
    });
    charge["paid"] = false.into();
    charge["payment_method_details"]["card"]["amount_authorized"] = Value::Null;
    charge["receipt_url"] = Value::Null;
    charge["status"] = "failed".into();
    call.insert(&charge)?;
    events::emit(call, "charge.failed", &charge)?;
    Ok(charge)
}

/// Why a bank declines (Stripe's documentation: Decline codes).
pub(super) struct Decline {
    pub(super) code: &'static str,
    pub(super) message: &'static str,
    seller_message: &'static str,
    advice: Option<&'static str>,
}

impl Decline {
    pub(super) fn of(code: &'static str) -> Self {
        match code {
            "insufficient_funds" => Self {
                code,
                message: "Your card has insufficient funds.",
                seller_message: "The bank returned the decline code `insufficient_funds`.",
                advice: Some("try_again_later"),
            },
            _ => Self {
                code,
                message: "Your card was declined.",
                seller_message: "The bank did not return any further details with this decline.",
                advice: Some("try_again_later"),
            },
        }
    }
}

/// A charge that went well, as far as nobody has said otherwise.
fn blank(call: &Call<'_>, intent: &Value, method: &Value, at: i64) -> Value {
    let id = call.random.id("ch");
    let receipt = format!("https://pay.stripe.com/receipts/invoices/test_{id}");
    json!({
        "id": id,
        "object": KIND,
        "_invoice": intent["_invoice"],
        "amount": intent["amount"],
        "amount_captured": intent["amount"],
        "amount_refunded": 0,
        "application": null,
        "application_fee": null,
        "application_fee_amount": null,
        "balance_transaction": null,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": "Stripe",
        "captured": true,
        "created": at,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": false,
        "failure_balance_transaction": null,
        "failure_code": null,
        "failure_message": null,
        "fraud_details": {},
        "livemode": false,
        "metadata": intent["metadata"],
        "on_behalf_of": null,
        "outcome": {
            "advice_code": null,
            "network_advice_code": null,
            "network_decline_code": null,
            "network_status": "approved_by_network",
            "reason": null,
            "risk_level": "normal",
            "risk_score": 16,
            "seller_message": "Payment complete.",
            "type": "authorized",
        },
        "paid": true,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": { "card": card_details(intent, method), "type": "card" },
        "receipt_email": intent["receipt_email"],
        "receipt_number": null,
        "receipt_url": receipt,
        "refunded": false,
        "review": null,
        "shipping": null,
        "source": null,
        "source_transfer": null,
        "statement_descriptor": null,
        "statement_descriptor_suffix": null,
        "status": "succeeded",
        "transfer_data": null,
        "transfer_group": null,
    })
}

/// The card as it was charged.
fn card_details(intent: &Value, method: &Value) -> Value {
    let card = &method["card"];
    json!({
        "amount_authorized": intent["amount"],
        "authorization_code": null,
        "brand": card["brand"],
        "checks": card["checks"],
        "country": card["country"],
        "exp_month": card["exp_month"],
        "exp_year": card["exp_year"],
        "extended_authorization": { "status": "disabled" },
        "fingerprint": card["fingerprint"],
        "funding": card["funding"],
        "incremental_authorization": { "status": "unavailable" },
        "installments": null,
        "last4": card["last4"],
        "mandate": null,
        "multicapture": { "status": "unavailable" },
        "network": card["brand"],
        "network_token": { "used": false },
        "network_transaction_id": null,
        "overcapture": {
            "maximum_amount_capturable": intent["amount"], "status": "unavailable",
        },
        "regulated_status": card["regulated_status"],
        "three_d_secure": null,
        "transaction_link_id": null,
        "wallet": null,
    })
}

/// `GET /v1/charges/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    present(call, &call.get(KIND, id)?)
}

/// `GET /v1/charges`.
pub(crate) fn list(call: &Call<'_>, mut params: Params) -> Answer {
    let mut filters = Vec::new();
    for (param, column) in [("customer", "customer"), ("payment_intent", "parent")] {
        if let Some(value) = params.text(param)? {
            filters.push((column, Sql::Text(value)));
        }
    }
    list::answer(call, params, KIND, "/v1/charges", &filters)
}

//! Invoice payments, since basil (Stripe API reference: Invoice Payment): what ties a payment
//! intent to its invoice.

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::Answer;
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::text_or_empty;
use crate::api::list;
use crate::api::params::Params;
use crate::call::Call;
use crate::events;
use crate::store::objects;

const KIND: &str = "invoice_payment";
const URL: &str = "/v1/invoice_payments";

/// Stores the payment that Stripe makes with a finalised invoice.
pub(super) fn insert(call: &Call<'_>, invoice: &Value, intent: &Value, at: i64) -> Result<()> {
    call.insert(&json!({
        "id": call.random.id("inpay"),
        "object": KIND,
        "_customer": invoice["customer"],
        "amount_paid": null,
        "amount_requested": intent["amount"],
        "created": at,
        "currency": intent["currency"],
        "invoice": invoice["id"],
        "is_default": true,
        "livemode": false,
        "payment": { "payment_intent": intent["id"], "type": "payment_intent" },
        "status": "open",
        "status_transitions": { "canceled_at": null, "paid_at": null },
    }))
}

fn of_invoice(call: &Call<'_>, invoice: &Value) -> Result<Vec<Value>> {
    let filter = ("parent", Sql::Text(text_or_empty(invoice, "/id")));
    objects::all(call.db, KIND, &[filter])
}

/// The invoice's payment went through.
pub(super) fn pay(call: &Call<'_>, invoice: &Value, at: i64) -> Result<()> {
    for mut payment in of_invoice(call, invoice)? {
        payment["amount_paid"] = payment["amount_requested"].clone();
        payment["status"] = "paid".into();
        payment["status_transitions"]["paid_at"] = at.into();
        call.save(&payment)?;
        events::emit(call, "invoice_payment.paid", &payment)?;
    }
    Ok(())
}

/// The invoice needs no payment any more.
pub(super) fn cancel(call: &Call<'_>, invoice: &Value, at: i64) -> Result<()> {
    for mut payment in of_invoice(call, invoice)? {
        payment["status"] = "canceled".into();
        payment["status_transitions"]["canceled_at"] = at.into();
        call.save(&payment)?;
    }
    Ok(())
}

/// The list that an invoice shows where its `payments` are expanded.
pub(crate) fn list_of(call: &Call<'_>, invoice: &Value) -> Answer {
    let payments = of_invoice(call, invoice)?;
    let shown = payments.iter().map(|payment| present(call, payment));
    Ok(list::envelope(shown.collect::<Result<_>>()?, false, URL))
}

/// `GET /v1/invoice_payments/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    present(call, &call.get(KIND, id)?)
}

/// `GET /v1/invoice_payments`.
pub(crate) fn list(call: &Call<'_>, mut params: Params) -> Answer {
    let mut filters = Vec::new();
    if let Some(invoice) = params.text("invoice")? {
        filters.push(("parent", Sql::Text(invoice)));
    }
    if let Some(status) = params.choice("status", &["canceled", "open", "paid"])? {
        filters.push(("status", Sql::Text(status)));
    }
    if let Some(mut payment) = params.hash("payment")? {
        let types = ["payment_intent", "payment_record"];
        let name = payment.name("type");
        let kind = payment.choice("type", &types)?;
        let kind = kind.ok_or_else(|| StripeError::missing(&name))?;
        let id = payment.text("payment_intent")?;
        payment.finish()?;
        let column = "json_extract(document, '$.payment.type')";
        filters.push((column, Sql::Text(kind)));
        if let Some(id) = id {
            filters.push(("label", Sql::Text(id)));
        }
    }
    list::answer(call, params, KIND, URL, &filters)
}

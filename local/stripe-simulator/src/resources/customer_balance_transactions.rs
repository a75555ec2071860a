//! Customer balance transactions (Stripe API reference: Customer Balance Transaction).

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::{Answer, customers};
use crate::api::currency;
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::{integer_or_zero, text};
use crate::api::list;
use crate::api::params::Params;
use crate::call::Call;
use crate::events;

const KIND: &str = "customer_balance_transaction";

/// `POST /v1/customers/{id}/balance_transactions`: a negative amount is a credit, which the
/// next invoice that is finalised uses up.
pub(crate) fn create(call: &Call<'_>, customer_id: &str, mut params: Params) -> Answer {
    let before = customers::get_living(call, customer_id)?;
    let amount = params
        .bounded("amount", customers::BALANCES)?
        .ok_or_else(|| StripeError::missing("amount"))?;
    let currency = currency::take(&mut params)?;
    if let Some(own) = text(&before, "/currency").filter(|own| *own != currency) {
        let message = format!(
            "The customer's balance is in {own}; a transaction in {currency} cannot be applied to it."
        );
        return Err(StripeError::invalid_param("currency", message));
    }
    let mut customer = before.clone();
    let balance = integer_or_zero(&before, "/balance").saturating_add(amount);
    customer["balance"] = balance.into();
    customer["currency"] = currency.as_str().into();
    let mut transaction = blank(call, &customer, amount)?;
    params.copy_texts(&["description"], &mut transaction)?;
    params.metadata(&mut transaction)?;
    params.finish()?;
    call.insert(&transaction)?;
    call.save(&customer)?;
    events::emit_update(call, "customer.updated", &before, &customer)?;
    present(call, &transaction)
}

/// A change by `amount` of the balance that the customer has now.
fn blank(call: &Call<'_>, customer: &Value, amount: i64) -> Answer {
    Ok(json!({
        "id": call.random.id("cbtxn"),
        "object": KIND,
        "amount": amount,
        "checkout_session": null,
        "created": call.time_of(customer)?,
        "credit_note": null,
        "currency": customer["currency"],
        "customer": customer["id"],
        "customer_account": null,
        "description": null,
        "ending_balance": customer["balance"],
        "invoice": null,
        "livemode": false,
        "metadata": {},
        "type": "adjustment",
    }))
}

/// Notes that a finalised invoice has settled the customer's balance, which is `amount` more
/// now than before.
pub(crate) fn note_applied(
    call: &Call<'_>,
    customer: &Value,
    invoice: &Value,
    amount: i64,
) -> Result<()> {
    let mut transaction = blank(call, customer, amount)?;
    transaction["invoice"] = invoice["id"].clone();
    transaction["type"] = "applied_to_invoice".into();
    call.insert(&transaction)
}

/// `GET /v1/customers/{id}/balance_transactions`.
pub(crate) fn list(call: &Call<'_>, customer_id: &str, params: Params) -> Answer {
    customers::get_living(call, customer_id)?;
    let url = format!("/v1/customers/{customer_id}/balance_transactions");
    list::answer(call, params, KIND, &url, &[of(customer_id)])
}

/// `GET /v1/customers/{id}/balance_transactions/{transaction}`.
pub(crate) fn retrieve(
    call: &Call<'_>,
    customer_id: &str,
    transaction_id: &str,
    params: Params,
) -> Answer {
    params.finish()?;
    present(call, &find(call, customer_id, transaction_id)?)
}

fn find(call: &Call<'_>, customer_id: &str, transaction_id: &str) -> Result<Value> {
    let found = call.get(KIND, transaction_id)?;
    if text(&found, "/customer") != Some(customer_id) {
        return Err(StripeError::no_such(KIND, transaction_id));
    }
    Ok(found)
}

fn of(customer_id: &str) -> (&'static str, Sql) {
    ("customer", Sql::Text(customer_id.to_owned()))
}

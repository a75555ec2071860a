//! Balance transactions: what charges and disputes move on the account's balance (Stripe API
//! reference: Balance Transactions). Stripe's fees are left out, but for those of disputes.

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::Answer;
use crate::api::error::Result;
use crate::api::expand::present;
use crate::api::json::integer_or_zero;
use crate::api::list;
use crate::api::params::Params;
use crate::call::Call;

const KIND: &str = "balance_transaction";
const DAY_SECONDS: i64 = 86_400;
/// When what a charge brought in is the account's to use: a US account waits two days.
const AVAILABLE_AFTER_DAYS: i64 = 2;

/// What moves, and why.
pub(super) struct Movement<'a> {
    pub(super) kind: &'a str,
    pub(super) category: &'a str,
    pub(super) description: Option<String>,
    pub(super) amount: i64,
    pub(super) fee: i64,
}

/// Stores what a charge or a dispute, `source`, moves.
pub(super) fn insert(
    call: &Call<'_>,
    source: &Value,
    movement: &Movement<'_>,
    at: i64,
) -> Result<Value> {
    let fee = movement.fee;
    let fees = json!([{
        "amount": fee, "application": null, "currency": source["currency"],
        "description": "Dispute fee", "type": "stripe_fee",
    }]);
    let day = at - at.rem_euclid(DAY_SECONDS);
    let transaction = json!({
        "id": call.random.id("txn"),
        "object": KIND,
        "_customer": source.get("customer").or(source.get("_customer")),
        "amount": movement.amount,
        "available_on": day + AVAILABLE_AFTER_DAYS * DAY_SECONDS,
        "balance_type": "payments",
        "created": at,
        "currency": source["currency"],
        "description": movement.description,
        "exchange_rate": null,
        "fee": fee,
        "fee_details": if fee == 0 { json!([]) } else { fees },
        "net": movement.amount.saturating_sub(fee),
        "reporting_category": movement.category,
        "source": source["id"],
        "status": "pending",
        "type": movement.kind,
    });
    call.insert(&transaction)?;
    Ok(transaction)
}

/// It is `available` once its day has come.
pub(crate) fn fill_status(call: &Call<'_>, transaction: &mut Value) {
    let is_available = integer_or_zero(transaction, "/available_on") <= call.now();
    transaction["status"] = if is_available { "available" } else { "pending" }.into();
}

/// `GET /v1/balance_transactions/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    present(call, &call.get(KIND, id)?)
}

/// `GET /v1/balance_transactions`.
pub(crate) fn list(call: &Call<'_>, mut params: Params) -> Answer {
    let mut filters = Vec::new();
    for (param, column) in [("source", "parent"), ("type", "label")] {
        if let Some(value) = params.text(param)? {
            filters.push((column, Sql::Text(value)));
        }
    }
    if let Some(currency) = params.text("currency")? {
        let column = "json_extract(document, '$.currency')";
        filters.push((column, Sql::Text(currency)));
    }
    list::answer(call, params, KIND, "/v1/balance_transactions", &filters)
}

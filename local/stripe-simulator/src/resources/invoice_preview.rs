//! Create a preview invoice (Stripe API reference: Invoices).

use rusqlite::types::Value as Sql;
use serde_json::Value;

use super::{Answer, subscriptions};
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::{array, integer_or_zero, set, text, text_or_empty};
use crate::api::list::{self, Page};
use crate::api::params::Params;
use crate::calendar::Interval;
use crate::call::Call;
use crate::engine::invoicing::{self, Plan};
use crate::store::objects;

/// `POST /v1/invoices/create_preview`: the invoice that the current period would end with, as
/// far as usage is aggregated.
pub(crate) fn create(call: &Call<'_>, mut params: Params) -> Answer {
    let customer = params.text("customer")?;
    let subscription = params.text("subscription")?;
    params.discard(&["preview_mode", "automatic_tax", "currency"]);
    params.finish()?;
    let subscription = match (subscription, &customer) {
        (Some(id), _) => call.referenced("subscription", &id, "subscription")?,
        (None, Some(customer)) => sole_subscription(call, customer)?,
        (None, None) => return Err(StripeError::missing("customer")),
    };
    if customer.is_some_and(|customer| text(&subscription, "/customer") != Some(&customer)) {
        let message = "The subscription does not belong to the customer.";
        return Err(StripeError::invalid_param("subscription", message));
    }
    let ends = subscriptions::has_ended(&subscription);
    if ends {
        return Err(none_upcoming(&text_or_empty(&subscription, "/customer")));
    }
    let current = subscriptions::period(&subscription);
    let continues = subscription["cancel_at_period_end"] == false;
    let price = text_or_empty(&subscription, "/items/data/0/price");
    let price = objects::find(call.db, &price)?.unwrap_or_default();
    let anchor = integer_or_zero(&subscription, "/billing_cycle_anchor");
    let next = (current.1, Interval::of(&price).end_after(anchor, current.1));
    let plan = Plan {
        reason: "upcoming",
        period: current,
        usage: Some(current),
        advance: continues.then_some(next),
        usage_is_free: text(&subscription, "/status") == Some("trialing"),
    };
    let mut invoice = invoicing::draft(call, &subscription, &plan, current.1)?;
    rename(&mut invoice);
    set(&mut invoice, "/automatically_finalizes_at", Value::Null);
    present(call, &invoice)
}

/// `GET /v1/invoices/upcoming`, which had no id.
pub(crate) fn upcoming(call: &Call<'_>, params: Params) -> Answer {
    let mut invoice = create(call, params)?;
    if let Some(fields) = invoice.as_object_mut() {
        fields.remove("id");
    }
    Ok(invoice)
}

/// `GET /v1/invoices/upcoming/lines`.
pub(crate) fn upcoming_lines(call: &Call<'_>, mut params: Params) -> Answer {
    let page = Page::take(&mut params)?;
    let invoice = create(call, params)?;
    let lines = array(&invoice, "/lines/data").to_vec();
    list::slice(lines, &page, "line_item", "/v1/invoices/upcoming/lines")
}

/// A preview is no invoice yet: its id says so, and nothing is found under it.
fn rename(invoice: &mut Value) {
    let id = format!("upcoming_{}", text_or_empty(invoice, "/id"));
    for line in invoice["lines"]["data"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        let line_id = text_or_empty(line, "/id").replacen("il_", "il_tmp_", 1);
        line["id"] = line_id.into();
        line["invoice"] = id.as_str().into();
    }
    invoice["lines"]["url"] = format!("/v1/invoices/upcoming/lines?id={id}").into();
    invoice["id"] = id.into();
}

fn sole_subscription(call: &Call<'_>, customer: &str) -> Result<Value> {
    call.referenced("customer", customer, "customer")?;
    let filter = ("customer", Sql::Text(customer.to_owned()));
    let mut found = objects::all(call.db, "subscription", &[filter])?;
    found.retain(|subscription| !subscriptions::has_ended(subscription));
    match found.pop() {
        Some(subscription) => Ok(subscription),
        None => Err(none_upcoming(customer)),
    }
}

fn none_upcoming(customer: &str) -> StripeError {
    let message = format!("No upcoming invoices for customer: {customer}");
    StripeError::invalid(message).code("invoice_upcoming_none")
}

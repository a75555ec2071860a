//! The lines of an invoice (Stripe API reference: Invoice Line Items). A price in tiers has
//! several: the units of a tier are a line, and so is its flat amount.

use serde_json::{Value, json};

use super::invoicing::{Period, Plan};
use crate::api::error::Result;
use crate::api::json::{array, integer, integer_or_zero, text, text_or_empty};
use crate::call::Call;
use crate::pricing::{self, Overflow, Part, format_decimal};
use crate::resources::prices;
use crate::store::meter_events::{self, Formula, Scope};
use crate::store::objects;

/// The lines of a subscription item, if the plan bills such an item.
pub(super) fn of_item(
    call: &Call<'_>,
    subscription: &Value,
    item: &Value,
    plan: &Plan<'_>,
) -> Result<Vec<Value>> {
    let price_id = text_or_empty(item, "/price");
    let price = objects::find(call.db, &price_id)?.unwrap_or_default();
    let is_metered = prices::is_metered(&price);
    let Some(period) = (if is_metered { plan.usage } else { plan.advance }) else {
        return Ok(Vec::new());
    };
    let Some(period) = billed(subscription, item, &price, period) else {
        return Ok(Vec::new());
    };
    let quantity = if is_metered {
        let customer = text_or_empty(subscription, "/customer");
        usage(call, &customer, &text_or_empty(item, "/id"), &price, period)?
    } else {
        integer(item, "/quantity").unwrap_or(1)
    };
    let blank = blank(subscription, item, &price, period);
    if plan.usage_is_free && is_metered {
        return Ok(vec![free(call, blank, &price, quantity)?]);
    }
    let parts = pricing::parts(&price, quantity);
    let lines = parts
        .iter()
        .map(|part| fill(call, blank.clone(), &price, part));
    lines.collect()
}

/// What an item bills of a period. An item that was added to its subscription bills what its meter
/// counts from then on (Stripe's documentation: Manage your usage-based billing setup), so nothing
/// of a period that was over by then. A usage record says itself whose it is.
fn billed(subscription: &Value, item: &Value, price: &Value, period: Period) -> Option<Period> {
    let added_at = integer_or_zero(item, "/created");
    let was_added = added_at > integer_or_zero(subscription, "/created");
    if !was_added || text(price, "/recurring/meter").is_none() {
        return Some(period);
    }
    (added_at < period.1).then(|| (period.0.max(added_at), period.1))
}

/// The lines of a draft with its usage as of now, each of its own period. A line that stays keeps
/// its id.
pub(super) fn recount(call: &Call<'_>, invoice: &Value, lines: &Value) -> Result<Vec<Value>> {
    let customer = text_or_empty(invoice, "/customer");
    let mut recounted = Vec::new();
    for lines in array(lines, "").chunk_by(|line, next| item_of(line) == item_of(next)) {
        let first = &lines[0];
        let price = text_or_empty(first, "/pricing/price_details/price");
        let price = objects::find(call.db, &price)?.unwrap_or_default();
        if !prices::is_metered(&price) {
            recounted.extend(lines.iter().cloned());
            continue;
        }
        let period = (
            integer_or_zero(first, "/period/start"),
            integer_or_zero(first, "/period/end"),
        );
        let quantity = usage(call, &customer, &item_of(first), &price, period)?;
        if is_free(first) {
            recounted.push(free(call, first.clone(), &price, quantity)?);
            continue;
        }
        for (index, part) in pricing::parts(&price, quantity).iter().enumerate() {
            let mut line = lines.get(index).unwrap_or(first).clone();
            if index >= lines.len() {
                line["id"] = call.random.id("il").into();
            }
            recounted.push(fill(call, line, &price, part)?);
        }
    }
    Ok(recounted)
}

fn item_of(line: &Value) -> String {
    text_or_empty(line, "/parent/subscription_item_details/subscription_item")
}

fn is_free(line: &Value) -> bool {
    text(line, "/description").is_some_and(|text| text.starts_with("Trial"))
}

/// A line that bills nothing yet.
fn blank(subscription: &Value, item: &Value, price: &Value, period: Period) -> Value {
    json!({
        "object": "line_item",
        "amount": 0,
        "currency": subscription["currency"],
        "description": null,
        "discount_amounts": [],
        "discountable": true,
        "discounts": [],
        "livemode": false,
        "metadata": subscription["metadata"],
        "parent": {
            "invoice_item_details": null,
            "subscription_item_details": {
                "invoice_item": null,
                "proration": false,
                "proration_details": { "credited_items": null },
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": { "start": period.0, "end": period.1 },
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": { "price": item["price"], "product": price["product"] },
            "type": "price_details",
            "unit_amount_decimal": prices::unit_amount_decimal(price),
        },
        "quantity": 0,
        "quantity_decimal": "0",
        "subscription": subscription["id"],
        "subtotal": 0,
        "taxes": [],
    })
}

fn fill(call: &Call<'_>, line: Value, price: &Value, part: &Part) -> Result<Value> {
    let name = product_name(call, price)?;
    let name = match part.quantity {
        Some(quantity) => format!("{quantity} × {name}"),
        None => name,
    };
    let tier = match part.tier {
        Some(tier) => format!("Tier {tier} "),
        None => String::new(),
    };
    let at = format_decimal(part.at);
    let currency = text_or_empty(price, "/currency").to_uppercase();
    let interval = text_or_empty(price, "/recurring/interval");
    let description = format!("{name} ({tier}at {at} hundredths of {currency} / {interval})");
    let quantity = part.quantity.unwrap_or_default();
    Ok(set(line, amount(part), quantity, description))
}

/// Usage in a trial: counted, not billed.
fn free(call: &Call<'_>, line: Value, price: &Value, quantity: i64) -> Result<Value> {
    let description = format!("Trial period for {}", product_name(call, price)?);
    Ok(set(line, 0, quantity, description))
}

fn set(mut line: Value, amount: i64, quantity: i64, description: String) -> Value {
    line["amount"] = amount.into();
    line["subtotal"] = amount.into();
    line["quantity"] = quantity.into();
    line["quantity_decimal"] = quantity.to_string().into();
    line["description"] = description.into();
    line
}

/// An amount holds 12 digits. A larger one stays there: a period must end whatever it costs.
fn amount(part: &Part) -> i64 {
    match part.amount {
        Ok(amount) => amount.min(prices::AMOUNT_MAX),
        Err(error @ Overflow) => {
            tracing::warn!(%error, quantity = part.quantity, "an invoice line was cut");
            prices::AMOUNT_MAX
        }
    }
}

fn product_name(call: &Call<'_>, price: &Value) -> Result<String> {
    let product = objects::find(call.db, &text_or_empty(price, "/product"))?.unwrap_or_default();
    Ok(text_or_empty(&product, "/name"))
}

/// The units of a period by the events' own times, as far as they are aggregated. A negative
/// sum bills nothing.
fn usage(
    call: &Call<'_>,
    customer: &str,
    item: &str,
    price: &Value,
    period: Period,
) -> Result<i64> {
    let meter_id = text_or_empty(price, "/recurring/meter");
    let meter = objects::find(call.db, &meter_id)?.unwrap_or_default();
    let formula = Formula::parse(&text_or_empty(&meter, "/default_aggregation/formula"));
    let scope = Scope {
        // A price of acacia has no meter: its usage records stand under the item itself.
        meter: if meter_id.is_empty() { item } else { &meter_id },
        customer,
        start: period.0,
        end: period.1,
    };
    let value = meter_events::value(call.db, formula, scope)?;
    Ok(value.unwrap_or_default().max(0))
}

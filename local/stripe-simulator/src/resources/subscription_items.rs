//! Subscription items (Stripe API reference: Subscription Items).

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::{Answer, prices, subscriptions};
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::{array, text, text_or_empty};
use crate::api::list::{self, Page};
use crate::api::params::Params;
use crate::call::Call;
use crate::store::objects;

/// Parameters of a change that change nothing here: there are no prorations.
const UNUSED_IN_CHANGES: [&str; 4] = [
    "off_session",
    "payment_behavior",
    "proration_behavior",
    "proration_date",
];

/// Reads `items` of a new subscription: recurring prices of one interval and one currency.
pub(crate) fn take(call: &Call<'_>, params: &mut Params) -> Result<Vec<(Value, Value)>> {
    let mut items = Vec::new();
    for mut entry in params.hashes("items")?.unwrap_or_default() {
        items.push(make(call, &mut entry)?);
        entry.finish()?;
    }
    check(items.iter().map(|(_, price)| price))?;
    Ok(items)
}

/// A new item without its subscription and period, and its price.
pub(crate) fn make(call: &Call<'_>, entry: &mut Params) -> Result<(Value, Value)> {
    let name = entry.name("price");
    let price_id = entry.required("price")?;
    let price = call.referenced("price", &price_id, &name)?;
    if text(&price, "/type") != Some("recurring") {
        let message = "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.";
        return Err(StripeError::invalid(message).param(name));
    }
    if price["active"] == false {
        let message = "The price specified is inactive. This field only accepts active prices.";
        return Err(StripeError::invalid(message).param(name));
    }
    let quantity = entry.bounded("quantity", 0..=prices::QUANTITY_MAX)?;
    let is_metered = prices::is_metered(&price);
    if is_metered && quantity.is_some() {
        let message = "Quantity should not be specified where usage_type is `metered`. Remove quantity from the item.";
        return Err(StripeError::invalid(message).param(entry.name("quantity")));
    }
    let mut item = json!({
        "id": format!("si_{}", call.random.text(14)),
        "object": "subscription_item",
        "billing_thresholds": null,
        "created": call.now(),
        "discounts": [],
        "metadata": {},
        "price": price_id,
        "tax_rates": [],
    });
    if !is_metered {
        item["quantity"] = quantity.unwrap_or(1).into();
    }
    entry.metadata(&mut item)?;
    Ok((item, price))
}

/// The prices of a subscription are billed together.
pub(crate) fn check<'a>(prices: impl Iterator<Item = &'a Value>) -> Result<()> {
    let mut first: Option<&Value> = None;
    for price in prices {
        let Some(first) = first.replace(price) else {
            continue;
        };
        if price["currency"] != first["currency"] {
            let message = "Price currencies must match across all items of a subscription.";
            return Err(StripeError::invalid(message));
        }
        let same = ["interval", "interval_count"]
            .iter()
            .all(|key| price["recurring"][*key] == first["recurring"][*key]);
        if !same {
            let message = "Currency and interval fields must match across all plans on this subscription. Found mismatch in interval field.";
            return Err(StripeError::invalid(message));
        }
    }
    if first.is_none() {
        return Err(StripeError::missing("items"));
    }
    Ok(())
}

/// Stores where the items of a subscription are, so that each is found by its own id.
pub(crate) fn index(call: &Call<'_>, subscription: &Value) -> Result<()> {
    for item in array(subscription, "/items/data") {
        let id = text_or_empty(item, "/id");
        if objects::find(call.db, &id)?.is_none() {
            let pointer = json!({
                "id": id, "object": "subscription_item", "subscription": subscription["id"],
                "created": item["created"],
            });
            call.insert(&pointer)?;
        }
    }
    Ok(())
}

/// The item with an id, as its subscription holds it, and that subscription.
pub(crate) fn get(call: &Call<'_>, id: &str) -> Result<(Value, Value)> {
    let missing = || StripeError::no_such("subscription_item", id);
    let pointer = call.find("subscription_item", id)?.ok_or_else(missing)?;
    let subscription = text_or_empty(&pointer, "/subscription");
    let subscription = call.get("subscription", &subscription)?;
    let item = array(&subscription, "/items/data")
        .iter()
        .find(|item| item["id"] == id)
        .cloned()
        .ok_or_else(missing)?;
    Ok((item, subscription))
}

/// `POST /v1/subscription_items`: another item, in the period that the others are in.
pub(crate) fn create(call: &Call<'_>, mut params: Params) -> Answer {
    let id = params.required("subscription")?;
    let before = call.referenced("subscription", &id, "subscription")?;
    let (mut item, price) = make(call, &mut params)?;
    params.discard(&UNUSED_IN_CHANGES);
    params.finish()?;
    let (start, end) = subscriptions::period(&before);
    item["created"] = call.time_of(&before)?.into();
    item["subscription"] = id.into();
    item["current_period_start"] = start.into();
    item["current_period_end"] = end.into();
    let mut prices = prices_of(call, &before)?;
    prices.push(price);
    check(prices.iter())?;
    let mut subscription = before.clone();
    if let Some(items) = subscription["items"]["data"].as_array_mut() {
        items.push(item.clone());
    }
    subscriptions::save(call, &before, &subscription)?;
    present(call, &item)
}

/// `DELETE /v1/subscription_items/{id}`: not the last one. Usage that was not billed yet is
/// not billed any more.
pub(crate) fn delete(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    params.discard(&UNUSED_IN_CHANGES);
    params.discard(&["clear_usage"]);
    params.finish()?;
    let (_, before) = get(call, id)?;
    let mut subscription = before.clone();
    if let Some(items) = subscription["items"]["data"].as_array_mut() {
        items.retain(|item| item["id"] != id);
        if items.is_empty() {
            let message = "A subscription must have at least one active plan. All plans on this subscription have been deleted or set to cancel.";
            return Err(StripeError::invalid(message));
        }
    }
    subscriptions::save(call, &before, &subscription)?;
    Ok(json!({ "id": id, "object": "subscription_item", "deleted": true }))
}

/// The prices of a subscription's items.
pub(super) fn prices_of(call: &Call<'_>, subscription: &Value) -> Result<Vec<Value>> {
    let mut prices = Vec::new();
    for item in array(subscription, "/items/data") {
        prices.push(objects::find(call.db, &text_or_empty(item, "/price"))?.unwrap_or_default());
    }
    Ok(prices)
}

/// `GET /v1/subscription_items/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    present(call, &get(call, id)?.0)
}

/// `POST /v1/subscription_items/{id}`: metadata and quantity.
pub(crate) fn update(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let (_, before) = get(call, id)?;
    let mut subscription = before.clone();
    let quantity = params.bounded("quantity", 0..=prices::QUANTITY_MAX)?;
    let mut changed = Value::Null;
    for item in subscription["items"]["data"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        if item["id"] == id {
            params.metadata(item)?;
            if let Some(quantity) = quantity {
                item["quantity"] = quantity.into();
            }
            changed = item.clone();
        }
    }
    params.discard(&UNUSED_IN_CHANGES);
    params.finish()?;
    subscriptions::save(call, &before, &subscription)?;
    present(call, &changed)
}

/// `GET /v1/subscription_items?subscription=…`.
pub(crate) fn list(call: &Call<'_>, mut params: Params) -> Answer {
    let id = params.required("subscription")?;
    let page = Page::take(&mut params)?;
    params.finish()?;
    let subscription = call.referenced("subscription", &id, "subscription")?;
    let shown = present(call, &subscription)?;
    let items = array(&shown, "/items/data").to_vec();
    list::slice(items, &page, "subscription_item", "/v1/subscription_items")
}

/// Subscriptions that have an item of a price.
pub(crate) fn filter_by_price(price: String) -> objects::Filter {
    let condition = "EXISTS (SELECT 1 FROM json_each(document, '$.items.data')
        WHERE json_extract(value, '$.price') = ?)";
    (condition, Sql::Text(price))
}

//! Prices (Stripe API reference: Prices).

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::{Answer, products};
use crate::api::currency;
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::{integer, text};
use crate::api::list;
use crate::api::params::Params;
use crate::call::Call;
use crate::events;
use crate::pricing::{AMOUNT_DECIMAL_MAX, format_decimal, parse_decimal};
use crate::store::objects;

/// The largest amount, in cents: 12 digits.
pub(crate) const AMOUNT_MAX: i64 = 999_999_999_999;
/// The largest quantity.
pub(crate) const QUANTITY_MAX: i64 = 999_999_999_999;

/// `POST /v1/prices`.
pub(crate) fn create(call: &Call<'_>, mut params: Params) -> Answer {
    let product_data = params.hash("product_data")?;
    let product = match (params.text("product")?, product_data) {
        (Some(product), None) => {
            call.referenced("product", &product, "product")?;
            product.into()
        }
        (None, Some(data)) => products::make(call, data, None)?["id"].clone(),
        (Some(_), Some(_)) => {
            return Err(StripeError::exclusive(
                &["product", "product_data"].map(str::to_owned),
            ));
        }
        (None, None) => return Err(StripeError::missing("product")),
    };
    present(call, &make_for(call, params, &product)?)
}

/// Makes a price of a product, with the parameters of the call or of a product's
/// `default_price_data`.
pub(super) fn make_for(call: &Call<'_>, mut params: Params, product: &Value) -> Result<Value> {
    let mut price = json!({
        "id": call.random.id("price"),
        "object": "price",
        "active": params.boolean("active")?.unwrap_or(true),
        "created": call.now(),
        "currency": currency::take(&mut params)?,
        "custom_unit_amount": null,
        "livemode": false,
        "lookup_key": null,
        "metadata": {},
        "nickname": params.text("nickname")?,
        "product": product,
        "recurring": null,
        "tax_behavior": params.choice("tax_behavior", &["exclusive", "inclusive", "unspecified"])?
            .unwrap_or_else(|| "unspecified".to_owned()),
        "tiers_mode": null,
        "transform_quantity": null,
        "type": "one_time",
        "unit_amount": null,
        "unit_amount_decimal": null,
    });
    params.metadata(&mut price)?;
    take_recurring(call, &mut params, &mut price)?;
    take_amounts(&mut params, &mut price)?;
    take_lookup_key(call, &mut params, &mut price)?;
    params.discard(&["currency_options"]);
    params.finish()?;
    call.insert(&price)?;
    events::emit(call, "price.created", &price)?;
    Ok(price)
}

fn take_recurring(call: &Call<'_>, params: &mut Params, price: &mut Value) -> Result<()> {
    let Some(mut recurring) = params.hash("recurring")? else {
        return Ok(());
    };
    let interval = recurring
        .choice("interval", &["day", "week", "month", "year"])?
        .ok_or_else(|| StripeError::missing("recurring[interval]"))?;
    let usage_type = recurring
        .choice("usage_type", &["licensed", "metered"])?
        .unwrap_or_else(|| "licensed".to_owned());
    let meter = recurring.text("meter")?.filter(|meter| !meter.is_empty());
    match (usage_type.as_str(), &meter) {
        ("metered", None) if !call.version.is_before_basil() => {
            let message = "Starting with Stripe version `2025-03-31.basil`, metered prices must be backed by meters.";
            return Err(StripeError::invalid(message));
        }
        ("licensed", Some(_)) => {
            let message =
                "You can only set `recurring[meter]` when `recurring[usage_type]` is `metered`.";
            return Err(StripeError::invalid_param("recurring[meter]", message));
        }
        (_, Some(meter)) => {
            let found = call.referenced("billing.meter", meter, "recurring[meter]")?;
            if text(&found, "/status") != Some("active") {
                let message = format!("The meter {meter} is not active.");
                return Err(StripeError::invalid_param("recurring[meter]", message));
            }
        }
        _ => {}
    }
    // Three years at most.
    let longest = match interval.as_str() {
        "day" => 1095,
        "week" => 156,
        "month" => 36,
        _ => 3,
    };
    let count = recurring
        .bounded("interval_count", 1..=longest)?
        .unwrap_or(1);
    if call.version.is_before_basil()
        && !matches!(
            recurring.text("aggregate_usage")?.as_deref(),
            None | Some("sum")
        )
    {
        let message = "This simulator adds usage records up: it knows aggregate_usage=sum only.";
        return Err(StripeError::invalid_param(
            "recurring[aggregate_usage]",
            message,
        ));
    }
    recurring.discard(&["trial_period_days"]);
    recurring.finish()?;
    price["type"] = "recurring".into();
    price["recurring"] = json!({
        "interval": interval,
        "interval_count": count,
        "meter": meter,
        "trial_period_days": null,
        "usage_type": usage_type,
    });
    Ok(())
}

fn take_amounts(params: &mut Params, price: &mut Value) -> Result<()> {
    let scheme = params
        .choice("billing_scheme", &["per_unit", "tiered"])?
        .unwrap_or_else(|| "per_unit".to_owned());
    if scheme == "tiered" {
        take_tiers(params, price)?;
    } else {
        let (amount, decimal) = take_amount(params, "unit_amount")?;
        if decimal.is_null() {
            return Err(StripeError::missing("unit_amount"));
        }
        price["unit_amount"] = amount;
        price["unit_amount_decimal"] = decimal;
    }
    if let Some(mut transform) = params.hash("transform_quantity")? {
        if scheme == "tiered" {
            let message = "You cannot combine `transform_quantity` with tiers.";
            return Err(StripeError::invalid_param("transform_quantity", message));
        }
        let divide_by = transform.integer("divide_by")?.filter(|by| *by > 0);
        let round = transform.choice("round", &["up", "down"])?;
        transform.finish()?;
        price["transform_quantity"] = match (divide_by, round) {
            (Some(divide_by), Some(round)) => json!({ "divide_by": divide_by, "round": round }),
            (None, _) => return Err(StripeError::missing("transform_quantity[divide_by]")),
            (_, None) => return Err(StripeError::missing("transform_quantity[round]")),
        };
    }
    price["billing_scheme"] = scheme.into();
    Ok(())
}

/// `{key}` in whole cents, or `{key}_decimal` with up to 12 decimals. A decimal that is no whole
/// number leaves `{key}` null.
fn take_amount(params: &mut Params, key: &str) -> Result<(Value, Value)> {
    let decimal_key = format!("{key}_decimal");
    let whole = params.bounded(key, 0..=AMOUNT_MAX)?;
    let decimal = params.text(&decimal_key)?;
    match (whole, decimal) {
        (Some(_), Some(_)) => {
            let names = [params.name(key), params.name(&decimal_key)];
            Err(StripeError::exclusive(&names))
        }
        (Some(whole), None) => Ok((whole.into(), whole.to_string().into())),
        (None, Some(decimal)) => {
            let exact = parse_decimal(&decimal)
                .filter(|exact| *exact <= AMOUNT_DECIMAL_MAX)
                .ok_or_else(|| {
                let message = format!("Invalid decimal: {decimal}; must be non-negative and contain at most 12 decimal places.");
                StripeError::invalid_param(params.name(&decimal_key), message)
            })?;
            let shown = format_decimal(exact);
            let whole = shown.parse::<i64>().map_or(Value::Null, Value::from);
            Ok((whole, shown.into()))
        }
        (None, None) => Ok((Value::Null, Value::Null)),
    }
}

fn take_tiers(params: &mut Params, price: &mut Value) -> Result<()> {
    price["tiers_mode"] = params
        .choice("tiers_mode", &["graduated", "volume"])?
        .ok_or_else(|| StripeError::missing("tiers_mode"))?
        .into();
    let mut tiers = Vec::new();
    let mut below = 0;
    for mut tier in params.hashes("tiers")?.unwrap_or_default() {
        let name = tier.name("up_to");
        let up_to = match tier.required("up_to")?.as_str() {
            "inf" => None,
            text => Some(
                text.parse::<i64>()
                    .ok()
                    .filter(|up_to| *up_to > below)
                    .ok_or_else(|| {
                        StripeError::invalid_param(
                            &name,
                            "Tiers must be ascending, the last one `inf`.",
                        )
                    })?,
            ),
        };
        let (unit, unit_decimal) = take_amount(&mut tier, "unit_amount")?;
        let (flat, flat_decimal) = take_amount(&mut tier, "flat_amount")?;
        tier.finish()?;
        below = up_to.unwrap_or(i64::MAX);
        tiers.push(json!({
            "flat_amount": flat, "flat_amount_decimal": flat_decimal,
            "unit_amount": unit, "unit_amount_decimal": unit_decimal, "up_to": up_to,
        }));
    }
    match tiers.last() {
        Some(last) if last["up_to"].is_null() => {}
        Some(_) => {
            let message = "The last tier must have `up_to` set to `inf`.";
            return Err(StripeError::invalid_param("tiers", message));
        }
        None => return Err(StripeError::missing("tiers")),
    }
    // Answers leave the tiers out unless asked for by expand, so the document hides them.
    price["_tiers"] = tiers.into();
    Ok(())
}

fn take_lookup_key(call: &Call<'_>, params: &mut Params, price: &mut Value) -> Result<()> {
    let transfer = params.boolean("transfer_lookup_key")?.unwrap_or(false);
    let Some(key) = params.text("lookup_key")? else {
        return Ok(());
    };
    if key.is_empty() {
        price["lookup_key"] = Value::Null;
        return Ok(());
    }
    let holders = objects::all(call.db, "price", &[("label", Sql::Text(key.clone()))])?;
    for mut holder in holders {
        if holder["id"] == price["id"] {
            continue;
        }
        if !transfer {
            let message = format!(
                "A price (`{}`) already uses that lookup key.",
                holder["id"].as_str().unwrap_or_default()
            );
            return Err(StripeError::invalid(message).param("lookup_key"));
        }
        let before = holder.clone();
        holder["lookup_key"] = Value::Null;
        call.save(&holder)?;
        events::emit_update(call, "price.updated", &before, &holder)?;
    }
    price["lookup_key"] = key.into();
    Ok(())
}

/// `GET /v1/prices/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    present(call, &call.get("price", id)?)
}

/// `POST /v1/prices/{id}`.
pub(crate) fn update(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let before = call.get("price", id)?;
    let mut price = before.clone();
    if let Some(active) = params.boolean("active")? {
        price["active"] = active.into();
    }
    params.copy_texts(&["nickname", "tax_behavior"], &mut price)?;
    params.metadata(&mut price)?;
    take_lookup_key(call, &mut params, &mut price)?;
    params.discard(&["currency_options"]);
    params.finish()?;
    call.save(&price)?;
    events::emit_update(call, "price.updated", &before, &price)?;
    present(call, &price)
}

/// `GET /v1/prices`.
pub(crate) fn list(call: &Call<'_>, mut params: Params) -> Answer {
    let mut filters = Vec::new();
    if let Some(active) = params.boolean("active")? {
        filters.push(products::active_filter(active));
    }
    if let Some(product) = params.text("product")? {
        filters.push(("parent", Sql::Text(product)));
    }
    for (key, column) in [
        ("currency", "json_extract(document, '$.currency')"),
        ("type", "json_extract(document, '$.type')"),
    ] {
        if let Some(value) = params.text(key)? {
            filters.push((column, Sql::Text(value.to_lowercase())));
        }
    }
    if let Some(mut recurring) = params.hash("recurring")? {
        if let Some(meter) = recurring.text("meter")? {
            filters.push((
                "json_extract(document, '$.recurring.meter')",
                Sql::Text(meter),
            ));
        }
        if let Some(usage_type) = recurring.text("usage_type")? {
            filters.push((
                "json_extract(document, '$.recurring.usage_type')",
                Sql::Text(usage_type),
            ));
        }
        recurring.finish()?;
    }
    if let Some(keys) = params.texts("lookup_keys")? {
        return by_lookup_keys(call, params, &filters, &keys);
    }
    list::answer(call, params, "price", "/v1/prices", &filters)
}

/// At most ten keys, each of one price: one page holds them all.
fn by_lookup_keys(
    call: &Call<'_>,
    mut params: Params,
    filters: &[objects::Filter],
    keys: &[String],
) -> Answer {
    params.discard(&["limit"]);
    params.finish()?;
    let mut data = Vec::new();
    for key in keys {
        let mut filters = filters.to_vec();
        filters.push(("label", Sql::Text(key.clone())));
        for price in objects::all(call.db, "price", &filters)? {
            data.push(present(call, &price)?);
        }
    }
    Ok(list::envelope(data, false, "/v1/prices"))
}

/// The plan that a subscription item still carries beside its price.
pub(crate) fn plan(price: &Value) -> Value {
    json!({
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": price["recurring"]["interval"],
        "interval_count": price["recurring"]["interval_count"],
        "livemode": false,
        "metadata": price["metadata"],
        "meter": price["recurring"]["meter"],
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": price["transform_quantity"],
        "trial_period_days": null,
        "usage_type": price["recurring"]["usage_type"],
    })
}

/// Whether a price bills usage rather than a quantity that was agreed on.
pub(crate) fn is_metered(price: &Value) -> bool {
    text(price, "/recurring/usage_type") == Some("metered")
}

/// The price per unit as invoice lines show it.
pub(crate) fn unit_amount_decimal(price: &Value) -> Value {
    match text(price, "/unit_amount_decimal") {
        Some(decimal) => decimal.into(),
        None => {
            integer(price, "/unit_amount").map_or(Value::Null, |cents| cents.to_string().into())
        }
    }
}

//! What a Checkout session of mode `subscription` subscribes to. The subscription's parameters
//! are kept as the form that makes it when the session is completed.

use form_urlencoded::Serializer;
use serde_json::{Value, json};

use super::{checkout_sessions, prices, subscription_items};
use crate::api::error::{Result, StripeError};
use crate::api::json::{is_true, text_or_empty};
use crate::api::params::Params;
use crate::calendar::Interval;
use crate::call::Call;
use crate::pricing;

const LINE_ITEMS_MAX: usize = 20;
/// Checkout wants a trial to last long enough for Stripe to announce its end.
const TRIAL_SECONDS_MIN: i64 = 48 * 3_600;
const TRIAL_DAYS_MAX: i64 = 730;

/// Parameters of Stripe's that change nothing here.
const UNUSED: [&str; 6] = [
    "application_fee_percent",
    "default_tax_rates",
    "invoice_settings",
    "on_behalf_of",
    "pending_invoice_item_interval",
    "transfer_data",
];

/// A form in the making.
type Form = Serializer<'static, String>;

/// Reads what is subscribed to, and how.
pub(super) fn take(call: &Call<'_>, params: &mut Params, session: &mut Value) -> Result<()> {
    if params.has("setup_intent_data") {
        let message = "You can not pass `setup_intent_data` in `subscription` mode.";
        return Err(StripeError::invalid(message).param("setup_intent_data"));
    }
    let mut form = Serializer::new(String::new());
    let (items, found) = take_line_items(call, params, &mut form)?;
    let Some(price) = found.first() else {
        return Err(StripeError::missing("line_items"));
    };
    let has_trial = take_data(call, params, price, &mut form)?;
    if is_true(session, "/automatic_tax/enabled") {
        form.append_pair("automatic_tax[enabled]", "true");
    }
    let total = items
        .iter()
        .filter_map(|item| item["amount_total"].as_i64())
        .fold(0_i64, i64::saturating_add);
    let total = if has_trial { 0 } else { total };
    session["currency"] = price["currency"].clone();
    session["amount_subtotal"] = total.into();
    session["amount_total"] = total.into();
    session["total_details"] =
        json!({ "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 });
    session["_line_items"] = items.into();
    session["_subscription"] = form.finish().into();
    Ok(())
}

/// The line items as they are shown, and their prices.
fn take_line_items(
    call: &Call<'_>,
    params: &mut Params,
    form: &mut Form,
) -> Result<(Vec<Value>, Vec<Value>)> {
    let entries = params.hashes("line_items")?.unwrap_or_default();
    if entries.len() > LINE_ITEMS_MAX {
        let message = format!("You may only specify up to {LINE_ITEMS_MAX} line items.");
        return Err(StripeError::invalid(message).param("line_items"));
    }
    let (mut items, mut found) = (Vec::new(), Vec::new());
    for (index, mut entry) in entries.into_iter().enumerate() {
        entry.discard(&["adjustable_quantity", "metadata", "tax_rates"]);
        let quantity_name = entry.name("quantity");
        let is_counted = entry.has("quantity");
        let (item, price) = subscription_items::make(call, &mut entry)?;
        entry.finish()?;
        if !is_counted && !prices::is_metered(&price) {
            let message = format!("Quantity is required. Add `quantity` to `line_items[{index}]`.");
            return Err(StripeError::invalid(message).param(quantity_name));
        }
        let quantity = item["quantity"].as_i64();
        let id = text_or_empty(&price, "/id");
        form.append_pair(&format!("items[{index}][price]"), &id);
        if let Some(quantity) = quantity {
            let name = format!("items[{index}][quantity]");
            form.append_pair(&name, &quantity.to_string());
        }
        items.push(checkout_sessions::line_item(
            call,
            &price,
            quantity,
            amount(&price, quantity),
        ));
        found.push(price);
    }
    if !found.is_empty() {
        subscription_items::check(found.iter())?;
    }
    Ok((items, found))
}

/// What is due at once: an agreed quantity, and of usage nothing.
fn amount(price: &Value, quantity: Option<i64>) -> i64 {
    let parts = quantity.map(|quantity| pricing::parts(price, quantity));
    let amounts = parts
        .into_iter()
        .flatten()
        .filter_map(|part| part.amount.ok());
    amounts.fold(0, i64::saturating_add)
}

/// Reads `subscription_data`. Answers whether there is a trial.
fn take_data(call: &Call<'_>, params: &mut Params, price: &Value, form: &mut Form) -> Result<bool> {
    let Some(mut data) = params.hash("subscription_data")? else {
        return Ok(false);
    };
    let days = data.bounded("trial_period_days", 1..=TRIAL_DAYS_MAX)?;
    let end_name = data.name("trial_end");
    let end = data.moment("trial_end")?;
    if end.is_some() && days.is_some() {
        return Err(StripeError::exclusive(&[
            end_name,
            data.name("trial_period_days"),
        ]));
    }
    if end.is_some_and(|end| end < call.now() + TRIAL_SECONDS_MIN) {
        let message = "The `trial_end` date has to be at least 2 days in the future.";
        return Err(StripeError::invalid(message).param(end_name));
    }
    for (name, value) in [("trial_period_days", days), ("trial_end", end)] {
        if let Some(value) = value {
            form.append_pair(name, &value.to_string());
        }
    }
    let has_trial = days.is_some() || end.is_some();
    take_anchor(call, &mut data, price, has_trial, form)?;
    if let Some(mut settings) = data.hash("trial_settings")? {
        if let Some(mut behavior) = settings.hash("end_behavior")? {
            let behaviors = ["cancel", "create_invoice", "pause"];
            if let Some(word) = behavior.choice("missing_payment_method", &behaviors)? {
                let name = "trial_settings[end_behavior][missing_payment_method]";
                form.append_pair(name, &word);
            }
            behavior.finish()?;
        }
        settings.finish()?;
    }
    if let Some(mut mode) = data.hash("billing_mode")? {
        if let Some(kind) = mode.choice("type", &["classic", "flexible"])? {
            form.append_pair("billing_mode[type]", &kind);
        }
        mode.discard(&["flexible"]);
        mode.finish()?;
    }
    if let Some(description) = data.text("description")? {
        form.append_pair("description", &description);
    }
    let mut kept = json!({ "metadata": {} });
    data.metadata(&mut kept)?;
    for (key, value) in kept["metadata"].as_object().into_iter().flatten() {
        form.append_pair(
            &format!("metadata[{key}]"),
            value.as_str().unwrap_or_default(),
        );
    }
    data.discard(&UNUSED);
    data.finish()?;
    Ok(has_trial)
}

/// Reads when the billing cycle begins, and what becomes of the time before.
fn take_anchor(
    call: &Call<'_>,
    data: &mut Params,
    price: &Value,
    has_trial: bool,
    form: &mut Form,
) -> Result<()> {
    let name = data.name("billing_cycle_anchor");
    let behavior_name = data.name("proration_behavior");
    let anchor = data.moment("billing_cycle_anchor")?;
    let behavior = data.choice("proration_behavior", &["create_prorations", "none"])?;
    if behavior.is_some() && anchor.is_none() {
        let message =
            "`proration_behavior` can only be passed together with `billing_cycle_anchor`.";
        return Err(StripeError::invalid(message).param(behavior_name));
    }
    let Some(anchor) = anchor else {
        return Ok(());
    };
    if has_trial {
        let message = "You cannot set both a trial and a `billing_cycle_anchor`.";
        return Err(StripeError::invalid(message).param(name));
    }
    if anchor <= call.now() || anchor > Interval::of(price).after(call.now(), 1) {
        let message = "The `billing_cycle_anchor` has to be in the future, and not later than the next natural billing date.";
        return Err(StripeError::invalid(message).param(name));
    }
    form.append_pair("billing_cycle_anchor", &anchor.to_string());
    if let Some(behavior) = behavior {
        form.append_pair("proration_behavior", &behavior);
    }
    Ok(())
}

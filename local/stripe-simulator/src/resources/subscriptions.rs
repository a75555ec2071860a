//! Subscriptions (Stripe API reference: Subscriptions).

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::{Answer, checkout_session_fields, payment_methods, prices, setup_intents};
use super::{subscription_fields, subscription_items};
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::{array, integer_or_zero, text, text_or_empty};
use crate::api::list;
use crate::api::params::Params;
use crate::calendar::Interval;
use crate::call::Call;
use crate::engine::invoicing::{self, Period, Plan};
use crate::engine::{payments, trials};
use crate::events;

/// Parameters of Stripe's that change nothing here.
const UNUSED: [&str; 3] = ["invoice_settings", "off_session", "trial_from_plan"];

/// `POST /v1/subscriptions`.
pub(crate) fn create(call: &Call<'_>, mut params: Params) -> Answer {
    let customer_id = params.required("customer")?;
    let customer = call.referenced("customer", &customer_id, "customer")?;
    let start = call.time_of(&customer)?;
    let items = subscription_items::take(call, &mut params)?;
    let Some((_, price)) = items.first() else {
        return Err(StripeError::missing("items"));
    };
    let interval = Interval::of(price);
    let currency = price["currency"].clone();
    let times = subscription_fields::take_times(&mut params, &interval, start)?;
    let behavior = take_behavior(&mut params)?;
    let mut subscription = subscription_fields::blank(call, &customer, currency, start, &times);
    let id = subscription["id"].clone();
    let mut data = Vec::new();
    for (mut item, _) in items {
        item["subscription"] = id.clone();
        item["created"] = start.into();
        item["current_period_start"] = start.into();
        item["current_period_end"] = times.first_end.into();
        data.push(item);
    }
    subscription["items"]["data"] = data.into();
    subscription_fields::take_billing_mode(call, &mut params, &mut subscription)?;
    take_settings(call, &mut params, &mut subscription)?;
    params.text("currency")?;
    params.finish()?;
    call.insert(&subscription)?;
    subscription_items::index(call, &subscription)?;
    begin(call, subscription, &behavior, start)
}

fn take_behavior(params: &mut Params) -> Result<String> {
    let choices = [
        "allow_incomplete",
        "default_incomplete",
        "error_if_incomplete",
        "pending_if_incomplete",
    ];
    let behavior = params.choice("payment_behavior", &choices)?;
    Ok(behavior.unwrap_or_else(|| "allow_incomplete".to_owned()))
}

/// What creating and updating share.
fn take_settings(call: &Call<'_>, params: &mut Params, subscription: &mut Value) -> Result<()> {
    let customer = text_or_empty(subscription, "/customer");
    if let Some(method) = params.text("default_payment_method")? {
        subscription["default_payment_method"] = if method.is_empty() {
            Value::Null
        } else {
            payment_methods::owned_by(call, &method, &customer, "default_payment_method")?.into()
        };
    }
    let methods = ["charge_automatically", "send_invoice"];
    if let Some(method) = params.choice("collection_method", &methods)? {
        subscription["collection_method"] = method.into();
    }
    if let Some(days) = params.bounded("days_until_due", 0..=3650)? {
        subscription["days_until_due"] = days.into();
    }
    let sends = text(subscription, "/collection_method") == Some("send_invoice");
    if sends && subscription["days_until_due"].is_null() {
        return Err(StripeError::missing("days_until_due"));
    }
    if let Some(cancels) = params.boolean("cancel_at_period_end")? {
        let at = if cancels {
            call.time_of(subscription)?.into()
        } else {
            Value::Null
        };
        subscription["cancel_at_period_end"] = cancels.into();
        subscription["canceled_at"] = at;
        let end = if cancels {
            period(subscription).1.into()
        } else {
            Value::Null
        };
        subscription["cancel_at"] = end;
    }
    if params.is("cancel_at", "") {
        subscription["cancel_at"] = Value::Null;
    } else if let Some(at) = params.moment("cancel_at")? {
        subscription["cancel_at"] = at.into();
    }
    subscription_fields::take_cancellation_details(params, subscription)?;
    subscription_fields::take_payment_settings(params, subscription)?;
    take_tax(call, params, subscription)?;
    // Checked, and without effect: there are no prorations.
    params.choice(
        "proration_behavior",
        &["always_invoice", "create_prorations", "none"],
    )?;
    params.copy_texts(&["description"], subscription)?;
    params.metadata(subscription)?;
    params.discard(&UNUSED);
    Ok(())
}

/// Taxes are not computed; what Stripe needs to compute them is asked for.
fn take_tax(call: &Call<'_>, params: &mut Params, subscription: &mut Value) -> Result<()> {
    let Some(automatic) = checkout_session_fields::take_automatic_tax(params)? else {
        return Ok(());
    };
    if automatic["enabled"] == true {
        let customer = call.get("customer", &text_or_empty(subscription, "/customer"))?;
        checkout_session_fields::check_location(&customer, "")?;
    }
    subscription["automatic_tax"] = json!({
        "disabled_reason": null, "enabled": automatic["enabled"],
        "liability": automatic["liability"],
    });
    Ok(())
}

/// The first invoice is finalised and collected at once; usage alone makes it one of nothing.
fn begin(call: &Call<'_>, mut subscription: Value, behavior: &str, start: i64) -> Answer {
    let is_trial = !subscription["trial_end"].is_null();
    let plan = Plan {
        reason: "subscription_create",
        period: (start, start),
        usage: Some((start, start)),
        advance: (!is_trial).then(|| period(&subscription)),
        usage_is_free: is_trial,
    };
    let invoice = invoicing::draft(call, &subscription, &plan, start)?;
    let id = text_or_empty(&subscription, "/id");
    let is_due = integer_or_zero(&invoice, "/amount_due") > 0;
    let is_charged = text(&invoice, "/collection_method") == Some("charge_automatically");
    let waits = behavior == "default_incomplete" && is_due;
    if is_due && is_charged && !waits && !payments::has_method(call, &invoice)? {
        let message = "This customer has no attached payment source or default payment method. Please consider adding a default payment method. For more information, visit https://stripe.com/docs/billing/subscriptions/payment-methods-setting#payment-method-priority.";
        return Err(StripeError::invalid(message).code("resource_missing"));
    }
    if !is_due && is_charged && behavior == "default_incomplete" {
        ask_for_method(call, &mut subscription, &invoice)?;
    }
    if !is_due || !is_charged {
        subscription["status"] = if is_trial { "trialing" } else { "active" }.into();
    }
    subscription["latest_invoice"] = invoice["id"].clone();
    call.save(&subscription)?;
    call.insert(&invoice)?;
    events::emit(call, "customer.subscription.created", &subscription)?;
    if trials::is_announced_at(&subscription, start) {
        trials::announce(call, subscription)?;
    }
    events::emit(call, "invoice.created", &invoice)?;
    let mut invoice = invoicing::finalize(call, invoice, start)?;
    if waits {
        invoice["next_payment_attempt"] = Value::Null;
        call.save(&invoice)?;
    } else {
        invoice = payments::collect(call, invoice, start)?;
    }
    let is_incomplete = text(&invoice, "/status") == Some("open") && is_charged;
    if is_incomplete && behavior == "error_if_incomplete" {
        return Err(payments::refusal_of_first(call, &invoice)?);
    }
    if is_incomplete {
        // The customer has to act; the retry schedule is for subscriptions that were active.
        invoice["next_payment_attempt"] = Value::Null;
        call.save(&invoice)?;
    }
    present(call, &call.get("subscription", &id)?)
}

/// Nothing is to be paid yet, and nothing is there to pay with later: a setup intent asks for it
/// (Stripe API reference: The Subscription object, `pending_setup_intent`).
fn ask_for_method(call: &Call<'_>, subscription: &mut Value, invoice: &Value) -> Result<()> {
    if payments::has_method(call, invoice)? {
        return Ok(());
    }
    let mut intent = setup_intents::blank(call);
    intent["_subscription"] = subscription["id"].clone();
    intent["customer"] = subscription["customer"].clone();
    subscription["pending_setup_intent"] = intent["id"].clone();
    setup_intents::insert(call, &intent)
}

/// The setup intent of a subscription succeeded: it waits for nothing any more, and is paid by
/// that payment method where it was told to keep it.
pub(super) fn take_method(call: &Call<'_>, id: &str, method: &Value) -> Result<()> {
    let before = call.get("subscription", id)?;
    let mut subscription = before.clone();
    subscription["pending_setup_intent"] = Value::Null;
    if before["payment_settings"]["save_default_payment_method"] == "on_subscription" {
        subscription["default_payment_method"] = method.clone();
    }
    save(call, &before, &subscription)
}

/// The current period, which all items share.
pub(crate) fn period(subscription: &Value) -> Period {
    let item = array(subscription, "/items/data").first();
    let moment = |pointer| item.map_or(0, |item| integer_or_zero(item, pointer));
    (
        moment("/current_period_start"),
        moment("/current_period_end"),
    )
}

/// Whether it is over for good.
pub(crate) fn has_ended(subscription: &Value) -> bool {
    matches!(
        text(subscription, "/status"),
        Some("canceled" | "incomplete_expired")
    )
}

/// `GET /v1/subscriptions/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    present(call, &call.get("subscription", id)?)
}

/// `POST /v1/subscriptions/{id}`. Changes of items take effect at once, without prorations.
pub(crate) fn update(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let before = call.get("subscription", id)?;
    if has_ended(&before) {
        let message =
            "A canceled subscription can only update its cancellation_details and metadata.";
        return Err(StripeError::invalid(message));
    }
    let mut subscription = before.clone();
    take_behavior(&mut params)?;
    take_item_changes(call, &mut params, &mut subscription)?;
    take_settings(call, &mut params, &mut subscription)?;
    params.discard(&["proration_date"]);
    params.finish()?;
    save(call, &before, &subscription)?;
    present(call, &subscription)
}

fn take_item_changes(call: &Call<'_>, params: &mut Params, subscription: &mut Value) -> Result<()> {
    let period = period(subscription);
    let mut items = array(subscription, "/items/data").to_vec();
    for mut entry in params.hashes("items")?.unwrap_or_default() {
        let id = entry.text("id")?;
        let is_deleted = entry.boolean("deleted")?.unwrap_or(false);
        entry.discard(&["clear_usage"]);
        let place = id
            .as_ref()
            .map(|id| items.iter().position(|item| item["id"] == **id));
        match place {
            Some(None) => {
                let id = id.unwrap_or_default();
                return Err(StripeError::no_such_param(
                    "subscription_item",
                    &id,
                    &entry.name("id"),
                ));
            }
            Some(Some(index)) if is_deleted => {
                items.remove(index);
            }
            Some(Some(index)) if !entry.has("price") => {
                entry.metadata(&mut items[index])?;
                if let Some(quantity) = entry.bounded("quantity", 0..=prices::QUANTITY_MAX)? {
                    items[index]["quantity"] = quantity.into();
                }
            }
            place => {
                let (mut item, _) = subscription_items::make(call, &mut entry)?;
                item["subscription"] = subscription["id"].clone();
                item["current_period_start"] = period.0.into();
                item["current_period_end"] = period.1.into();
                match place.flatten() {
                    Some(index) => {
                        item["id"] = items[index]["id"].clone();
                        item["created"] = items[index]["created"].clone();
                        items[index] = item;
                    }
                    None => {
                        item["created"] = call.time_of(subscription)?.into();
                        items.push(item);
                    }
                }
            }
        }
        entry.finish()?;
    }
    if items.is_empty() {
        return Err(StripeError::invalid(
            "A subscription must have at least one active plan.",
        ));
    }
    subscription["items"]["data"] = items.into();
    subscription_items::check(subscription_items::prices_of(call, subscription)?.iter())
}

/// Stores a changed subscription and tells of it.
pub(crate) fn save(call: &Call<'_>, before: &Value, subscription: &Value) -> Result<()> {
    call.save(subscription)?;
    subscription_items::index(call, subscription)?;
    events::emit_update(call, "customer.subscription.updated", before, subscription)
}

/// `DELETE /v1/subscriptions/{id}`: ends it now; `invoice_now` bills the usage so far.
pub(crate) fn cancel(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let mut subscription = call.get("subscription", id)?;
    let bills = params.boolean("invoice_now")?.unwrap_or(false);
    subscription_fields::take_cancellation_details(&mut params, &mut subscription)?;
    params.discard(&["prorate"]);
    params.finish()?;
    if has_ended(&subscription) {
        return Err(StripeError::no_such("subscription", id));
    }
    let at = call.time_of(&subscription)?;
    let period = (period(&subscription).0, at);
    let mut subscription = end(call, subscription, at)?;
    if bills {
        let plan = Plan {
            reason: "subscription_update",
            period,
            usage: Some(period),
            advance: None,
            usage_is_free: false,
        };
        let invoice = invoicing::draft(call, &subscription, &plan, at)?;
        call.insert(&invoice)?;
        events::emit(call, "invoice.created", &invoice)?;
        subscription["latest_invoice"] = invoice["id"].clone();
        call.save(&subscription)?;
    }
    present(call, &subscription)
}

/// Ends a subscription for good.
pub(crate) fn end(call: &Call<'_>, mut subscription: Value, at: i64) -> Result<Value> {
    subscription["status"] = "canceled".into();
    subscription["ended_at"] = at.into();
    if subscription["canceled_at"].is_null() {
        subscription["canceled_at"] = at.into();
    }
    subscription["cancellation_details"]["reason"] = "cancellation_requested".into();
    call.save(&subscription)?;
    events::emit(call, "customer.subscription.deleted", &subscription)?;
    Ok(subscription)
}

/// `GET /v1/subscriptions`: without a status, all that have not been canceled.
pub(crate) fn list(call: &Call<'_>, mut params: Params) -> Answer {
    let mut filters = Vec::new();
    let customer = params.text("customer")?;
    let clock = params.text("test_clock")?;
    if customer.is_none() && clock.is_none() {
        filters.push(("clock IS NULL AND ? = 1", Sql::Integer(1)));
    }
    if let Some(customer) = customer {
        filters.push(("customer", Sql::Text(customer)));
    }
    if let Some(clock) = clock {
        filters.push(("clock", Sql::Text(clock)));
    }
    if let Some(price) = params.text("price")? {
        filters.push(subscription_items::filter_by_price(price));
    }
    match params.text("status")?.as_deref() {
        None => filters.push(("status <> ?", Sql::Text("canceled".to_owned()))),
        Some("all") => {}
        Some("ended") => {
            let condition = "status IN ('canceled', 'incomplete_expired') AND ? = 1";
            filters.push((condition, Sql::Integer(1)));
        }
        Some(status) => filters.push(("status", Sql::Text(status.to_owned()))),
    }
    params.discard(&["collection_method"]);
    list::answer(call, params, "subscription", "/v1/subscriptions", &filters)
}

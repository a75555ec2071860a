//! Checkout sessions (Stripe API reference: Checkout Sessions), of the modes `setup` and
//! `subscription`. Who pays comes by the simulator's own route, see `checkout_completion`.

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::{Answer, checkout_session_fields, checkout_subscription, setup_intents};
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::{array, text, text_or_empty};
use crate::api::list::{self, Page};
use crate::api::params::Params;
use crate::call::Call;
use crate::events;

/// `POST /v1/checkout/sessions`.
pub(crate) fn create(call: &Call<'_>, mut params: Params) -> Answer {
    let mode = params.choice("mode", &["payment", "setup", "subscription"])?;
    let mode = mode.ok_or_else(|| StripeError::missing("mode"))?;
    if mode == "payment" {
        let message = "The simulator has no payment intents, and so no Checkout in `payment` mode.";
        return Err(StripeError::invalid_param("mode", message));
    }
    let mut session = checkout_session_fields::blank(call, &mode);
    checkout_session_fields::take_customer(call, &mut params, &mut session)?;
    checkout_session_fields::take_addresses(call, &mut params, &mut session)?;
    checkout_session_fields::take_settings(call, &mut params, &mut session)?;
    checkout_session_fields::take_taxes(call, &mut params, &mut session)?;
    let intent = if mode == "setup" {
        Some(setup(call, &mut params, &mut session)?)
    } else {
        checkout_subscription::take(call, &mut params, &mut session)?;
        None
    };
    params.finish()?;
    if let Some(intent) = intent {
        setup_intents::insert(call, &intent)?;
    }
    call.insert(&session)?;
    present(call, &session)
}

/// Mode `setup`: a setup intent, which the session alone may confirm.
fn setup(call: &Call<'_>, params: &mut Params, session: &mut Value) -> Result<Value> {
    for param in ["line_items", "subscription_data"] {
        if params.has(param) {
            let message = format!("You can not pass `{param}` in `setup` mode.");
            return Err(StripeError::invalid(message).param(param));
        }
    }
    let mut intent = setup_intents::blank(call);
    if let Some(mut data) = params.hash("setup_intent_data")? {
        data.copy_texts(&["description", "on_behalf_of"], &mut intent)?;
        data.metadata(&mut intent)?;
        data.finish()?;
    }
    intent["_checkout_session"] = session["id"].clone();
    intent["customer"] = session["customer"].clone();
    session["setup_intent"] = intent["id"].clone();
    Ok(intent)
}

/// The session that the path names.
pub(super) fn get(call: &Call<'_>, id: &str) -> Result<Value> {
    let found = call.find("checkout.session", id)?;
    found.ok_or_else(|| StripeError::no_such("checkout.session", id).param("session"))
}

/// `GET /v1/checkout/sessions/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    present(call, &get(call, id)?)
}

/// `POST /v1/checkout/sessions/{id}`: its metadata.
pub(crate) fn update(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let mut session = get(call, id)?;
    params.metadata(&mut session)?;
    params.finish()?;
    call.save(&session)?;
    present(call, &session)
}

/// `POST /v1/checkout/sessions/{id}/expire`: nobody can complete it any more.
pub(crate) fn expire(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    let session = get(call, id)?;
    check_open(&session, "expire")?;
    present(call, &end(call, session)?)
}

/// Only an open session changes.
pub(super) fn check_open(session: &Value, what: &str) -> Result<()> {
    let status = text_or_empty(session, "/status");
    if status == "open" {
        return Ok(());
    }
    let message = format!(
        "Only Checkout Sessions with a status in [\"open\"] can be used to {what}. This Checkout Session has a status of {status}."
    );
    Err(StripeError::invalid(message))
}

/// Ends a session that was not completed, and its setup intent with it.
pub(crate) fn end(call: &Call<'_>, mut session: Value) -> Result<Value> {
    session["status"] = "expired".into();
    session["url"] = Value::Null;
    session["client_secret"] = Value::Null;
    call.save(&session)?;
    if let Some(intent) = text(&session, "/setup_intent") {
        let intent = call.get("setup_intent", intent)?;
        setup_intents::end(call, intent, None)?;
    }
    events::emit(call, "checkout.session.expired", &session)?;
    Ok(session)
}

/// `GET /v1/checkout/sessions/{id}/line_items`.
pub(crate) fn line_items(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let page = Page::take(&mut params)?;
    params.finish()?;
    let items = show_line_items(call, &get(call, id)?)?;
    let url = format!("/v1/checkout/sessions/{id}/line_items");
    list::slice(array(&items, "/data").to_vec(), &page, "item", &url)
}

/// The line items as a list object, with their prices as they are now.
pub(crate) fn show_line_items(call: &Call<'_>, session: &Value) -> Result<Value> {
    let mut items = array(session, "/_line_items").to_vec();
    for item in &mut items {
        let price = call.get("price", &text_or_empty(item, "/price"))?;
        item["price"] = present(call, &price)?;
    }
    let id = text_or_empty(session, "/id");
    let url = format!("/v1/checkout/sessions/{id}/line_items");
    Ok(list::envelope(items, false, &url))
}

/// `GET /v1/checkout/sessions`.
pub(crate) fn list(call: &Call<'_>, mut params: Params) -> Answer {
    let mut filters = Vec::new();
    for (param, column) in [("customer", "customer"), ("subscription", "parent")] {
        if let Some(value) = params.text(param)? {
            filters.push((column, Sql::Text(value)));
        }
    }
    if let Some(status) = params.choice("status", &["complete", "expired", "open"])? {
        filters.push(("status", Sql::Text(status)));
    }
    list::answer(
        call,
        params,
        "checkout.session",
        "/v1/checkout/sessions",
        &filters,
    )
}

/// A line item as the session shows it, its price by id.
pub(super) fn line_item(
    call: &Call<'_>,
    price: &Value,
    quantity: Option<i64>,
    amount: i64,
) -> Value {
    json!({
        "id": call.random.id("li"),
        "object": "item",
        "adjustable_quantity": null,
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": null,
        "metadata": {},
        "price": price["id"],
        "quantity": quantity,
    })
}

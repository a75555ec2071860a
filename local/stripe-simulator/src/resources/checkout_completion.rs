//! Somebody fills Checkout in: `POST /_simulator/checkout_sessions/{id}/complete`. What happens
//! then is Stripe's (Stripe's documentation: "How Checkout works", "Save payment details").

use serde::Deserialize;
use serde_json::Value;

use super::{Answer, checkout_session_fields, checkout_sessions, customers};
use super::{payment_methods, setup_intents, subscriptions, test_cards};
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::{integer_or_zero, is_true, set, text, text_or_empty};
use crate::api::params::Params;
use crate::call::Call;
use crate::events;

/// What the person enters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// A payment method's id or a test card's name; `null` to leave it out where Checkout lets.
    #[serde(default = "visa")]
    payment_method: Option<String>,
    /// Where Checkout does not know it yet.
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    name: Option<String>,
    /// Of the billing address, in two letters.
    #[serde(default = "country")]
    country: String,
}

fn visa() -> Option<String> {
    Some("pm_card_visa".to_owned())
}

fn country() -> String {
    "US".to_owned()
}

/// Completes an open session, or refuses as the page would: it stays open then.
pub(crate) fn complete(call: &Call<'_>, id: &str, entry: &Entry) -> Answer {
    let session = checkout_sessions::get(call, id)?;
    checkout_sessions::check_open(&session, "complete")?;
    let is_setup = text(&session, "/mode") == Some("setup");
    let session = meet(call, session, entry)?;
    let session = if is_setup {
        set_up(call, session, entry)?
    } else {
        subscribe(call, session, entry)?
    };
    let session = close(session, entry);
    call.save(&session)?;
    events::emit(call, "checkout.session.completed", &session)?;
    present(call, &session)
}

/// Who pays: the session's customer, or a new one where it wants one.
fn meet(call: &Call<'_>, mut session: Value, entry: &Entry) -> Result<Value> {
    let known = text(&session, "/customer").map(str::to_owned);
    if let Some(customer) = known {
        keep(call, &session, &customer, entry)?;
        return Ok(session);
    }
    let email = text(&session, "/customer_email")
        .map(str::to_owned)
        .or_else(|| entry.email.clone());
    let Some(email) = email else {
        return Err(StripeError::missing("email"));
    };
    set(
        &mut session,
        "/customer_details",
        checkout_session_fields::details(&Value::Null),
    );
    set(&mut session, "/customer_details/email", email.as_str());
    if text(&session, "/customer_creation") != Some("always") {
        return Ok(session);
    }
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("email", &email);
    form.append_pair("address[country]", &entry.country);
    if let Some(name) = &entry.name {
        form.append_pair("name", name);
    }
    let customer = customers::create(call, Params::parse(form.finish().as_bytes()))?;
    session["customer"] = customer["id"].clone();
    if let Some(intent) = text(&session, "/setup_intent") {
        let mut intent = call.get("setup_intent", intent)?;
        intent["customer"] = customer["id"].clone();
        call.save(&intent)?;
    }
    Ok(session)
}

/// Keeps with the customer what the session was told to keep.
fn keep(call: &Call<'_>, session: &Value, customer: &str, entry: &Entry) -> Result<()> {
    let updates =
        |field: &str| text(session, &format!("/_customer_update/{field}")) == Some("auto");
    let mut form = form_urlencoded::Serializer::new(String::new());
    if updates("address") {
        form.append_pair("address[country]", &entry.country);
    }
    if let Some(name) = entry.name.as_ref().filter(|_| updates("name")) {
        form.append_pair("name", name);
    }
    let form = form.finish();
    if !form.is_empty() {
        customers::update(call, customer, Params::parse(form.as_bytes()))?;
    }
    Ok(())
}

/// Mode `setup`: the payment method becomes the customer's. It becomes nobody's default.
fn set_up(call: &Call<'_>, session: Value, entry: &Entry) -> Result<Value> {
    let Some(method) = &entry.payment_method else {
        return Err(StripeError::missing("payment_method"));
    };
    let intent = call.get("setup_intent", &text_or_empty(&session, "/setup_intent"))?;
    setup_intents::complete(call, intent, method)?;
    Ok(session)
}

/// Mode `subscription`: the subscription begins, and is paid by what was entered.
fn subscribe(call: &Call<'_>, mut session: Value, entry: &Entry) -> Result<Value> {
    let is_due = integer_or_zero(&session, "/amount_total") > 0;
    let must = is_due || text(&session, "/payment_method_collection") == Some("always");
    if must && entry.payment_method.is_none() {
        return Err(StripeError::missing("payment_method"));
    }
    let customer = text_or_empty(&session, "/customer");
    let mut form = form_urlencoded::Serializer::new(text_or_empty(&session, "/_subscription"));
    form.append_pair("customer", &customer);
    form.append_pair("payment_behavior", "error_if_incomplete");
    if let Some(method) = &entry.payment_method {
        let mut method = payment_methods::of_card_or_id(call, method, "payment_method")?;
        let id = text_or_empty(&method, "/id");
        // The person is there, and authenticates where the bank wants it.
        test_cards::authenticate(&mut method, is_due);
        call.save(&method)?;
        payment_methods::attach_to(call, &id, &customer, "payment_method")?;
        form.append_pair("default_payment_method", &id);
    }
    let subscription = subscriptions::create(call, Params::parse(form.finish().as_bytes()))?;
    session["subscription"] = subscription["id"].clone();
    session["invoice"] = subscription["latest_invoice"].clone();
    session["payment_status"] = if is_due {
        "paid"
    } else {
        "no_payment_required"
    }
    .into();
    Ok(session)
}

fn close(mut session: Value, entry: &Entry) -> Value {
    session["status"] = "complete".into();
    session["url"] = Value::Null;
    session["client_secret"] = Value::Null;
    if session["customer_details"]["address"].is_null() {
        let mut address = serde_json::json!({
            "city": null, "line1": null, "line2": null, "postal_code": null, "state": null,
        });
        address["country"] = entry.country.as_str().into();
        session["customer_details"]["address"] = address;
    }
    if let Some(name) = &entry.name {
        session["customer_details"]["name"] = name.as_str().into();
    }
    if is_true(&session, "/automatic_tax/enabled") {
        session["automatic_tax"]["status"] = "complete".into();
    }
    session
}

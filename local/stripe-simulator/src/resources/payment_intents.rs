//! Payment intents (Stripe API reference: PaymentIntents). Each is an invoice's: made when that is
//! finalised, and confirmed when it is collected.

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::charges::{self, Decline};
use super::test_cards::{self, Charging};
use super::{Answer, disputes, invoice_payments};
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::{text, text_or_empty};
use crate::api::list;
use crate::api::params::Params;
use crate::call::Call;
use crate::events;

const KIND: &str = "payment_intent";
const NOT_AUTHENTICATED: &str = "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new PaymentMethod to attempt to fulfill this PaymentIntent again.";

/// What became of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeeded,
    Failed,
    /// The card's owner has to authenticate.
    RequiresAction,
}

/// Makes the payment intent of a finalised invoice; with a payment method it waits for no other.
pub(crate) fn create(
    call: &Call<'_>,
    invoice: &mut Value,
    method: Option<&str>,
    at: i64,
) -> Result<Value> {
    let intent = blank(call, invoice, method, at);
    call.insert(&intent)?;
    invoice["_payment_intent"] = intent["id"].clone();
    invoice_payments::insert(call, invoice, &intent, at)?;
    events::emit(call, "payment_intent.created", &intent)?;
    Ok(intent)
}

fn blank(call: &Call<'_>, invoice: &Value, method: Option<&str>, at: i64) -> Value {
    let id = call.random.id("pi");
    let is_first = text(invoice, "/billing_reason") == Some("subscription_create");
    json!({
        "id": id,
        "object": KIND,
        "_invoice": invoice["id"],
        "amount": invoice["amount_due"],
        "amount_capturable": 0,
        "amount_details": { "tip": {} },
        "amount_received": 0,
        "application": null,
        "application_fee_amount": null,
        "automatic_payment_methods": null,
        "canceled_at": null,
        "cancellation_reason": null,
        "capture_method": "automatic",
        "client_secret": format!("{id}_secret_{}", call.random.text(25)),
        "confirmation_method": "automatic",
        "created": at,
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "customer_account": null,
        "description": if is_first { "Subscription creation" } else { "Subscription update" },
        "excluded_payment_method_types": null,
        "last_payment_error": null,
        "latest_charge": null,
        "livemode": false,
        "managed_payments": { "enabled": false },
        "metadata": {},
        "next_action": null,
        "on_behalf_of": null,
        "payment_method": method,
        "payment_method_configuration_details": null,
        "payment_method_options": { "card": {
            "installments": null, "mandate_options": null, "network": null,
            "request_three_d_secure": "automatic",
        } },
        "payment_method_types": ["card"],
        "processing": null,
        "receipt_email": null,
        "review": null,
        // Who pays for a subscription first is there, and will be away when it is renewed.
        "setup_future_usage": if is_first { json!("off_session") } else { Value::Null },
        "shipping": null,
        "source": null,
        "statement_descriptor": null,
        "statement_descriptor_suffix": null,
        "status": if method.is_some() { "requires_confirmation" } else { "requires_payment_method" },
        "transfer_data": null,
        "transfer_group": null,
    })
}

/// The payment intent of an invoice, if something was due when it was finalised.
pub(crate) fn of_invoice(call: &Call<'_>, invoice: &Value) -> Result<Option<Value>> {
    match text(invoice, "/_payment_intent") {
        Some(id) => call.find(KIND, id),
        None => Ok(None),
    }
}

/// Pays an invoice with a card, whose owner is away (`is_off_session`) or there.
pub(crate) fn confirm(
    call: &Call<'_>,
    invoice: &mut Value,
    mut method: Value,
    is_off_session: bool,
    at: i64,
) -> Result<Outcome> {
    let intent = match of_invoice(call, invoice)? {
        Some(intent) => intent,
        None => create(call, invoice, text(&method, "/id"), at)?,
    };
    if test_cards::take_authentication(&mut method) {
        return authenticated(call, invoice, intent, method, at);
    }
    let charging = test_cards::charging(&method, is_off_session);
    charge(call, invoice, intent, &method, charging, at)
}

/// The owner of the card has done what the bank asks for.
pub(crate) fn authenticated(
    call: &Call<'_>,
    invoice: &mut Value,
    intent: Value,
    mut method: Value,
    at: i64,
) -> Result<Outcome> {
    if text(&intent, "/setup_future_usage") == Some("off_session") {
        test_cards::set_up(&mut method);
    }
    call.save(&method)?;
    let charging = test_cards::charging_authenticated(&method);
    charge(call, invoice, intent, &method, charging, at)
}

fn charge(
    call: &Call<'_>,
    invoice: &mut Value,
    mut intent: Value,
    method: &Value,
    charging: Charging,
    at: i64,
) -> Result<Outcome> {
    intent["next_action"] = Value::Null;
    let claim = match charging {
        Charging::Waits => {
            require_action(call, intent, method)?;
            return Ok(Outcome::RequiresAction);
        }
        Charging::Fails(code) => {
            let decline = Decline::of(code);
            let charge = charges::fail(call, &intent, method, &decline, at)?;
            invoice["_charge"] = charge["id"].clone();
            intent["latest_charge"] = charge["id"].clone();
            let error = json!({
                "advice_code": charge["outcome"]["advice_code"],
                "charge": charge["id"],
                "code": "card_declined",
                "decline_code": code,
                "doc_url": "https://stripe.com/docs/error-codes/card-declined",
                "message": decline.message,
            });
            fail(call, intent, method, error)?;
            return Ok(Outcome::Failed);
        }
        Charging::Pays => None,
        Charging::PaysThenDisputed(claim) => Some(claim),
    };
    let charge = charges::succeed(call, &intent, method, at)?;
    invoice["_charge"] = charge["id"].clone();
    if let Some(claim) = claim {
        disputes::open(call, &charge, claim, at)?;
    }
    intent["amount_received"] = intent["amount"].clone();
    intent["last_payment_error"] = Value::Null;
    intent["latest_charge"] = charge["id"].clone();
    intent["payment_method"] = method["id"].clone();
    intent["status"] = "succeeded".into();
    call.save(&intent)?;
    events::emit(call, "payment_intent.succeeded", &intent)?;
    Ok(Outcome::Succeeded)
}

fn require_action(call: &Call<'_>, mut intent: Value, method: &Value) -> Result<()> {
    intent["last_payment_error"] = Value::Null;
    intent["next_action"] = json!({ "type": "use_stripe_sdk", "use_stripe_sdk": {
        "source": call.random.id("payatt"),
        "stripe_js": "",
        "type": "three_d_secure_redirect",
    } });
    intent["payment_method"] = method["id"].clone();
    intent["status"] = "requires_action".into();
    call.save(&intent)?;
    events::emit(call, "payment_intent.requires_action", &intent)
}

/// Another payment method is needed; `error` says why.
fn fail(call: &Call<'_>, mut intent: Value, method: &Value, mut error: Value) -> Result<()> {
    error["payment_method"] = present(call, method)?;
    error["type"] = "card_error".into();
    intent["last_payment_error"] = error;
    intent["next_action"] = Value::Null;
    intent["payment_method"] = Value::Null;
    intent["status"] = "requires_payment_method".into();
    call.save(&intent)?;
    events::emit(call, "payment_intent.payment_failed", &intent)
}

/// The owner of the card has not done what the bank asks for.
pub(crate) fn refuse(call: &Call<'_>, intent: Value, method: &Value) -> Result<()> {
    let code = "payment_intent_authentication_failure";
    let error = json!({
        "code": code,
        "doc_url": "https://stripe.com/docs/error-codes/payment-intent-authentication-failure",
        "message": NOT_AUTHENTICATED,
    });
    fail(call, intent, method, error)
}

/// Ends the payment of an invoice that is out of the way: it went through, or is not needed.
pub(crate) fn close(call: &Call<'_>, invoice: &Value, reason: &str, at: i64) -> Result<()> {
    let Some(mut intent) = of_invoice(call, invoice)? else {
        return Ok(());
    };
    if text(&intent, "/status") == Some("succeeded") {
        return invoice_payments::pay(call, invoice, at);
    }
    intent["canceled_at"] = at.into();
    intent["cancellation_reason"] = reason.into();
    intent["next_action"] = Value::Null;
    intent["status"] = "canceled".into();
    call.save(&intent)?;
    events::emit(call, "payment_intent.canceled", &intent)?;
    invoice_payments::cancel(call, invoice, at)
}

/// The payment intent that the path names; Stripe calls the parameter `intent`.
pub(crate) fn get(call: &Call<'_>, id: &str) -> Result<Value> {
    let found = call.find(KIND, id)?;
    found.ok_or_else(|| StripeError::no_such(KIND, id).param("intent"))
}

/// `GET /v1/payment_intents/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let secret = params.text("client_secret")?;
    params.finish()?;
    let intent = get(call, id)?;
    if secret.is_some_and(|secret| text_or_empty(&intent, "/client_secret") != secret) {
        let message = "The client_secret provided does not match the client_secret associated with this PaymentIntent.";
        return Err(StripeError::invalid(message).param("client_secret"));
    }
    present(call, &intent)
}

/// `GET /v1/payment_intents`.
pub(crate) fn list(call: &Call<'_>, mut params: Params) -> Answer {
    let mut filters = Vec::new();
    if let Some(customer) = params.text("customer")? {
        filters.push(("customer", Sql::Text(customer)));
    }
    list::answer(call, params, KIND, "/v1/payment_intents", &filters)
}

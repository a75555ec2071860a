//! Setup intents (Stripe API reference: SetupIntents): a payment method is made ready for
//! payments to come, without one.

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::{Answer, payment_methods, subscriptions, test_cards};
use crate::api::error::{Result, StripeError};
use crate::api::expand::{adapt, present};
use crate::api::json::{text, text_or_empty};
use crate::api::list;
use crate::api::params::Params;
use crate::call::Call;
use crate::events;

/// Parameters of Stripe's that change nothing here.
const UNUSED: [&str; 5] = [
    "excluded_payment_method_types",
    "flow_directions",
    "mandate_data",
    "payment_method_configuration",
    "use_stripe_sdk",
];

/// `POST /v1/setup_intents`.
pub(crate) fn create(call: &Call<'_>, mut params: Params) -> Answer {
    let confirms = params.boolean("confirm")?.unwrap_or(false);
    let mut intent = blank(call);
    take_types(&mut params, &mut intent)?;
    take_settings(call, &mut params, &mut intent)?;
    if let Some(usage) = params.choice("usage", &["off_session", "on_session"])? {
        intent["usage"] = usage.into();
    }
    let return_url = params.text("return_url")?;
    params.finish()?;
    if return_url.is_some() && !confirms {
        let message = "The `return_url` parameter can only be provided with `confirm=true`.";
        return Err(StripeError::invalid(message).param("return_url"));
    }
    insert(call, &intent)?;
    if confirms {
        intent = confirm_with(call, intent, None, return_url)?;
    }
    present(call, &intent)
}

/// A setup intent that waits for a payment method; nobody has heard of it yet.
pub(super) fn blank(call: &Call<'_>) -> Value {
    let id = call.random.id("seti");
    json!({
        "id": id,
        "object": "setup_intent",
        "application": null,
        "automatic_payment_methods": { "allow_redirects": "always", "enabled": true },
        "cancellation_reason": null,
        "client_secret": format!("{id}_secret_{}", call.random.text(29)),
        "created": call.now(),
        "customer": null,
        "customer_account": null,
        "description": null,
        "excluded_payment_method_types": null,
        "flow_directions": null,
        "last_setup_error": null,
        "latest_attempt": null,
        "livemode": false,
        "mandate": null,
        "metadata": {},
        "next_action": null,
        "on_behalf_of": null,
        "payment_method": null,
        "payment_method_configuration_details": null,
        "payment_method_options": { "card": {
            "mandate_options": null, "network": null, "request_three_d_secure": "automatic",
        } },
        "payment_method_types": ["card"],
        "single_use_mandate": null,
        "status": "requires_payment_method",
        "usage": "off_session",
    })
}

/// Stores a new setup intent and tells of it.
pub(super) fn insert(call: &Call<'_>, intent: &Value) -> Result<()> {
    call.insert(intent)?;
    events::emit(call, "setup_intent.created", intent)
}

/// Which kinds of payment methods: cards, named or chosen automatically.
fn take_types(params: &mut Params, intent: &mut Value) -> Result<()> {
    let types = params.texts("payment_method_types")?;
    let automatic = params.hash("automatic_payment_methods")?;
    if types.is_some() && automatic.is_some() {
        return Err(StripeError::exclusive(
            &["automatic_payment_methods", "payment_method_types"].map(str::to_owned),
        ));
    }
    if let Some(types) = types {
        check_types(&types)?;
        intent["automatic_payment_methods"] = Value::Null;
    }
    let Some(mut automatic) = automatic else {
        return Ok(());
    };
    let enabled = automatic
        .boolean("enabled")?
        .ok_or_else(|| StripeError::missing("automatic_payment_methods[enabled]"))?;
    let redirects = automatic.choice("allow_redirects", &["always", "never"])?;
    automatic.finish()?;
    intent["automatic_payment_methods"] = if enabled {
        json!({ "allow_redirects": redirects.unwrap_or_else(|| "always".to_owned()), "enabled": true })
    } else {
        Value::Null
    };
    Ok(())
}

/// Every payment method here is a card.
pub(super) fn check_types(types: &[String]) -> Result<()> {
    match types.iter().position(|kind| kind != "card") {
        None => Ok(()),
        Some(index) => {
            let message = format!(
                "The payment method type \"{}\" is invalid. Please ensure the provided type is activated in your dashboard (https://dashboard.stripe.com/account/payments/settings).",
                types[index]
            );
            Err(StripeError::invalid(message).param(format!("payment_method_types[{index}]")))
        }
    }
}

/// What creating and updating share.
fn take_settings(call: &Call<'_>, params: &mut Params, intent: &mut Value) -> Result<()> {
    if let Some(customer) = params.text("customer")? {
        call.referenced("customer", &customer, "customer")?;
        intent["customer"] = customer.into();
    }
    if let Some(method) = params.text("payment_method")? {
        give(call, intent, &method)?;
    }
    params.copy_texts(&["description", "on_behalf_of"], intent)?;
    params.metadata(intent)?;
    if let Some(mut options) = params.hash("payment_method_options")? {
        options.discard(&["card"]);
        options.finish()?;
    }
    params.discard(&UNUSED);
    Ok(())
}

/// Chooses the payment method, which stays whose it is until the setup succeeds.
fn give(call: &Call<'_>, intent: &mut Value, method: &str) -> Result<()> {
    let method = payment_methods::of_card_or_id(call, method, "payment_method")?;
    let (owner, customer) = (text(&method, "/customer"), text(intent, "/customer"));
    if owner.is_some() && owner != customer {
        let message = "The payment method supplied belongs to a customer. To use it, pass the customer that it is attached to.";
        return Err(StripeError::invalid(message)
            .code("payment_method_unexpected_state")
            .param("payment_method"));
    }
    intent["payment_method"] = method["id"].clone();
    intent["status"] = "requires_confirmation".into();
    Ok(())
}

/// The setup intent that the path names; Stripe calls the parameter `intent`.
fn get(call: &Call<'_>, id: &str) -> Result<Value> {
    let found = call.find("setup_intent", id)?;
    found.ok_or_else(|| StripeError::no_such("setupintent", id).param("intent"))
}

/// `GET /v1/setup_intents/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let secret = params.text("client_secret")?;
    params.finish()?;
    let intent = get(call, id)?;
    if secret.is_some_and(|secret| text(&intent, "/client_secret") != Some(&secret)) {
        let message = "The client_secret provided does not match the client_secret associated with this SetupIntent.";
        return Err(StripeError::invalid(message).param("client_secret"));
    }
    present(call, &intent)
}

/// `POST /v1/setup_intents/{id}`.
pub(crate) fn update(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let mut intent = get(call, id)?;
    check_status(&intent, "updated")?;
    if let Some(types) = params.texts("payment_method_types")? {
        check_types(&types)?;
        intent["automatic_payment_methods"] = Value::Null;
    }
    take_settings(call, &mut params, &mut intent)?;
    params.finish()?;
    call.save(&intent)?;
    present(call, &intent)
}

/// `POST /v1/setup_intents/{id}/confirm`.
pub(crate) fn confirm(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let method = params.text("payment_method")?;
    let return_url = params.text("return_url")?;
    params.discard(&UNUSED);
    params.finish()?;
    let intent = get(call, id)?;
    check_is_free(&intent)?;
    check_status(&intent, "confirmed")?;
    present(call, &confirm_with(call, intent, method, return_url)?)
}

/// Sets the payment method up: it is ready, needs its owner to authenticate, or is declined.
/// Without a payment method given, the intent's own.
fn confirm_with(
    call: &Call<'_>,
    mut intent: Value,
    method: Option<String>,
    return_url: Option<String>,
) -> Result<Value> {
    if let Some(method) = method {
        give(call, &mut intent, &method)?;
    }
    let Some(method) = text(&intent, "/payment_method") else {
        let message = "You cannot confirm this SetupIntent because it's missing a payment method. Update the SetupIntent with a payment method and then confirm it again.";
        return Err(unexpected_state(message));
    };
    let method = call.get("payment_method", method)?;
    if !test_cards::authenticates_setup(&method) {
        return succeed(call, intent);
    }
    let action = match return_url {
        Some(return_url) => json!({
            "redirect_to_url": {
                "return_url": return_url,
                "url": format!("https://hooks.stripe.com/3d_secure_2/hosted?setup_intent={}", text_or_empty(&intent, "/id")),
            },
            "type": "redirect_to_url",
        }),
        None => json!({ "type": "use_stripe_sdk", "use_stripe_sdk": {} }),
    };
    intent["next_action"] = action;
    intent["status"] = "requires_action".into();
    call.save(&intent)?;
    events::emit(call, "setup_intent.requires_action", &intent)?;
    Ok(intent)
}

/// Ends the setup: the payment method becomes the customer's, or its bank declines.
pub(super) fn succeed(call: &Call<'_>, mut intent: Value) -> Result<Value> {
    let id = text_or_empty(&intent, "/payment_method");
    let mut method = call.get("payment_method", &id)?;
    if !test_cards::attaches(&method) {
        return fail(call, intent, &method);
    }
    if test_cards::authenticates_setup(&method) {
        // Authenticated once, it may be charged while its owner is away.
        test_cards::set_up(&mut method);
        call.save(&method)?;
    }
    if let Some(customer) = text(&intent, "/customer") {
        payment_methods::attach_to(call, &id, customer, "payment_method")?;
    }
    intent["last_setup_error"] = Value::Null;
    intent["next_action"] = Value::Null;
    intent["status"] = "succeeded".into();
    call.save(&intent)?;
    events::emit(call, "setup_intent.succeeded", &intent)?;
    if let Some(subscription) = text(&intent, "/_subscription") {
        subscriptions::take_method(call, subscription, &intent["payment_method"])?;
    }
    Ok(intent)
}

/// The bank said no. That is kept, and the next payment method may be tried.
fn fail(call: &Call<'_>, mut intent: Value, method: &Value) -> Result<Value> {
    let declined = StripeError::card_declined();
    intent["last_setup_error"] = json!({
        "code": "card_declined",
        "decline_code": "generic_decline",
        "doc_url": "https://stripe.com/docs/error-codes/card-declined",
        "message": declined.message(),
        "payment_method": present(call, method)?,
        "type": "card_error",
    });
    intent["next_action"] = Value::Null;
    intent["payment_method"] = Value::Null;
    intent["status"] = "requires_payment_method".into();
    call.save(&intent)?;
    events::emit(call, "setup_intent.setup_failed", &intent)?;
    let mut shown = present(call, &intent)?;
    adapt(call, &call.version, &mut shown)?;
    Err(declined.about("setup_intent", shown).keeping_work())
}

/// `POST /v1/setup_intents/{id}/cancel`.
pub(crate) fn cancel(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let reasons = ["abandoned", "duplicate", "requested_by_customer"];
    let reason = params.choice("cancellation_reason", &reasons)?;
    params.finish()?;
    let intent = get(call, id)?;
    check_is_free(&intent)?;
    check_status(&intent, "canceled")?;
    present(call, &end(call, intent, reason)?)
}

/// Ends a setup that did not happen.
pub(super) fn end(call: &Call<'_>, mut intent: Value, reason: Option<String>) -> Result<Value> {
    intent["cancellation_reason"] = reason.into();
    intent["next_action"] = Value::Null;
    intent["status"] = "canceled".into();
    call.save(&intent)?;
    events::emit(call, "setup_intent.canceled", &intent)?;
    Ok(intent)
}

/// The person at the other end does what the bank asks for, or refuses it.
pub(crate) fn authenticate(call: &Call<'_>, id: &str, is_refused: bool) -> Answer {
    let intent = get(call, id)?;
    if text(&intent, "/status") != Some("requires_action") {
        let message = "This SetupIntent does not wait for anybody to authenticate.";
        return Err(unexpected_state(message));
    }
    if is_refused {
        let method = call.get("payment_method", &text_or_empty(&intent, "/payment_method"))?;
        return fail(call, intent, &method);
    }
    present(call, &succeed(call, intent)?)
}

/// Chooses a payment method and sets it up in one go, its owner being there.
pub(super) fn complete(call: &Call<'_>, mut intent: Value, method: &str) -> Result<Value> {
    give(call, &mut intent, method)?;
    succeed(call, intent)
}

/// `GET /v1/setup_intents`.
pub(crate) fn list(call: &Call<'_>, mut params: Params) -> Answer {
    let mut filters = Vec::new();
    if let Some(customer) = params.text("customer")? {
        filters.push(("customer", Sql::Text(customer)));
    }
    if let Some(method) = params.text("payment_method")? {
        filters.push(("parent", Sql::Text(method)));
    }
    list::answer(call, params, "setup_intent", "/v1/setup_intents", &filters)
}

/// The setup intent of a Checkout session is the session's business.
fn check_is_free(intent: &Value) -> Result<()> {
    if intent["_checkout_session"].is_null() {
        return Ok(());
    }
    let message = "You cannot confirm or cancel this SetupIntent because it was created by Checkout. To cancel it, expire the Checkout Session.";
    Err(unexpected_state(message))
}

fn check_status(intent: &Value, what: &str) -> Result<()> {
    let status = text_or_empty(intent, "/status");
    if status != "succeeded" && status != "canceled" {
        return Ok(());
    }
    let message = format!(
        "You cannot perform this action because the SetupIntent has a status of {status}: it can no longer be {what}."
    );
    Err(unexpected_state(&message))
}

fn unexpected_state(message: &str) -> StripeError {
    StripeError::invalid(message).code("setup_intent_unexpected_state")
}

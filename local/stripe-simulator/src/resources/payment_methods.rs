//! Payment methods (Stripe API reference: PaymentMethods), of Stripe's test cards.

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::test_cards::{self, Card};
use super::{Answer, customers};
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::text;
use crate::api::list;
use crate::api::params::Params;
use crate::call::Call;
use crate::events;

fn make(call: &Call<'_>, card: &Card) -> Value {
    json!({
        "id": call.random.id("pm"),
        "object": "payment_method",
        "_card": card.name,
        "allow_redisplay": "unspecified",
        "billing_details": {
            "address": {
                "city": null, "country": null, "line1": null, "line2": null,
                "postal_code": null, "state": null,
            },
            "email": null, "name": null, "phone": null, "tax_id": null,
        },
        "card": {
            "brand": card.brand,
            "checks": {
                "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass",
            },
            "country": "US", "display_brand": card.brand, "exp_month": 8, "exp_year": 2034,
            "fingerprint": "Xt5EWLLDS7FJjR1c", "funding": "credit", "generated_from": null,
            "last4": card.last4(),
            "networks": { "available": [card.brand], "preferred": null },
            "regulated_status": "unregulated",
            "three_d_secure_usage": { "supported": true },
            "wallet": null,
        },
        "created": call.now(),
        "customer": null,
        "customer_account": null,
        "livemode": false,
        "metadata": {},
        "type": "card",
    })
}

/// The payment method that an id or a test card's name stands for, attached to the customer.
pub(crate) fn attach_to(call: &Call<'_>, id: &str, customer: &str, param: &str) -> Result<Value> {
    let (mut method, is_new) = match Card::of_alias(id) {
        Some(card) => (make(call, card), true),
        None => (call.referenced("payment_method", id, param)?, false),
    };
    match text(&method, "/customer") {
        Some(owner) if owner == customer => return Ok(method),
        Some(_) => {
            let message =
                "The payment method you provided has already been attached to a customer.";
            return Err(StripeError::invalid(message)
                .code("payment_method_unexpected_state")
                .param(param));
        }
        None => {}
    }
    if !test_cards::attaches(&method) {
        return Err(StripeError::card_declined());
    }
    method["customer"] = customer.into();
    if is_new {
        call.insert(&method)?;
    } else {
        call.save(&method)?;
    }
    events::emit(call, "payment_method.attached", &method)?;
    Ok(method)
}

/// The payment method that an id or a test card's name stands for; nobody's yet if it is new.
pub(super) fn of_card_or_id(call: &Call<'_>, id: &str, param: &str) -> Result<Value> {
    let Some(card) = Card::of_alias(id) else {
        return call.referenced("payment_method", id, param);
    };
    let method = make(call, card);
    call.insert(&method)?;
    Ok(method)
}

/// The payment method, which must be the customer's already; a test card's name is attached.
pub(crate) fn owned_by(call: &Call<'_>, id: &str, customer: &str, param: &str) -> Result<String> {
    if Card::of_alias(id).is_none() {
        let method = call.referenced("payment_method", id, param)?;
        if text(&method, "/customer") != Some(customer) {
            let message = format!(
                "The customer does not have a payment method with the ID {id}. The payment method must be attached to the customer."
            );
            return Err(StripeError::invalid(message)
                .code("resource_missing")
                .param(param));
        }
        return Ok(id.to_owned());
    }
    let method = attach_to(call, id, customer, param)?;
    Ok(text(&method, "/id").unwrap_or_default().to_owned())
}

/// `POST /v1/payment_methods`: a card of Stripe's test tokens.
pub(crate) fn create(call: &Call<'_>, mut params: Params) -> Answer {
    params
        .choice("type", &["card"])?
        .ok_or_else(|| StripeError::missing("type"))?;
    let mut card = params
        .hash("card")?
        .ok_or_else(|| StripeError::missing("card"))?;
    let kind = match (card.text("token")?, card.text("number")?) {
        (Some(token), _) => Card::of_token(&token)
            .ok_or_else(|| StripeError::no_such_param("token", &token, "card[token]"))?,
        (None, number) => number
            .and_then(|number| Card::of_number(&number))
            .ok_or_else(StripeError::card_declined)?,
    };
    card.discard(&["exp_month", "exp_year", "cvc"]);
    card.finish()?;
    let mut method = make(call, kind);
    if let Some(mut details) = params.hash("billing_details")? {
        let taken = &mut method["billing_details"];
        details.copy_texts(&["email", "name", "phone", "tax_id"], taken)?;
        customers::take_address(&mut details, taken)?;
        details.finish()?;
    }
    let displays = ["always", "limited", "unspecified"];
    if let Some(redisplay) = params.choice("allow_redisplay", &displays)? {
        method["allow_redisplay"] = redisplay.into();
    }
    params.metadata(&mut method)?;
    params.finish()?;
    call.insert(&method)?;
    present(call, &method)
}

/// `GET /v1/payment_methods/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    present(call, &call.get("payment_method", id)?)
}

/// `POST /v1/payment_methods/{id}/attach`.
pub(crate) fn attach(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let customer = params.required("customer")?;
    params.finish()?;
    call.referenced("customer", &customer, "customer")?;
    if Card::of_alias(id).is_none() {
        call.get("payment_method", id)?;
    }
    present(call, &attach_to(call, id, &customer, "payment_method")?)
}

/// `POST /v1/payment_methods/{id}/detach`.
pub(crate) fn detach(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    let before = call.get("payment_method", id)?;
    if text(&before, "/customer").is_none() {
        let message = "The payment method you provided is not attached to a customer so detachment is impossible.";
        return Err(StripeError::invalid(message));
    }
    let mut method = before.clone();
    method["customer"] = Value::Null;
    call.save(&method)?;
    if let Some(mut customer) =
        call.find("customer", text(&before, "/customer").unwrap_or_default())?
        && text(&customer, "/invoice_settings/default_payment_method") == Some(id)
    {
        customer["invoice_settings"]["default_payment_method"] = Value::Null;
        call.save(&customer)?;
    }
    events::emit_update(call, "payment_method.detached", &before, &method)?;
    present(call, &method)
}

/// `GET /v1/payment_methods`.
pub(crate) fn list(call: &Call<'_>, mut params: Params) -> Answer {
    let customer = params.required("customer")?;
    call.referenced("customer", &customer, "customer")?;
    list_of(call, params, &customer, "/v1/payment_methods")
}

/// `GET /v1/customers/{id}/payment_methods`.
pub(crate) fn list_of(call: &Call<'_>, mut params: Params, customer: &str, url: &str) -> Answer {
    params.text("type")?;
    params.discard(&["allow_redisplay"]);
    let filters = [("customer", Sql::Text(customer.to_owned()))];
    list::answer(call, params, "payment_method", url, &filters)
}

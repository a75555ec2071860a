//! Customers (Stripe API reference: Customers).

use std::ops::RangeInclusive;

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::{Answer, payment_methods, prices, subscriptions, tax_ids};
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::{is_true, set, text};
use crate::api::list;
use crate::api::params::Params;
use crate::call::Call;
use crate::events;
use crate::store::objects;

const TEXTS: [&str; 6] = [
    "business_name",
    "description",
    "email",
    "individual_name",
    "name",
    "phone",
];
const ADDRESS: [&str; 6] = ["city", "country", "line1", "line2", "postal_code", "state"];
/// Stripe's documentation: Test clocks, limitations.
const CUSTOMERS_PER_CLOCK_MAX: usize = 3;
pub(super) const BALANCES: RangeInclusive<i64> = -prices::AMOUNT_MAX..=prices::AMOUNT_MAX;
const UNUSED: [&str; 4] = ["cash_balance", "validate", "default_source", "source"];

/// `POST /v1/customers`.
pub(crate) fn create(call: &Call<'_>, mut params: Params) -> Answer {
    let clock = params.text("test_clock")?.filter(|clock| !clock.is_empty());
    if let Some(clock) = &clock {
        call.referenced("test_helpers.test_clock", clock, "test_clock")?;
        check_room_on(call, clock)?;
    }
    let mut customer = json!({
        "id": format!("cus_{}", call.random.text(14)),
        "object": "customer",
        "address": null,
        "balance": params.bounded("balance", BALANCES)?.unwrap_or_default(),
        "business_name": null,
        "created": call.time_on(clock.as_deref())?,
        "currency": null,
        "customer_account": null,
        "default_source": null,
        "delinquent": false,
        "description": null,
        "discount": null,
        "email": null,
        "individual_name": null,
        "invoice_prefix": params.text("invoice_prefix")?
            .unwrap_or_else(|| call.random.text(8).to_uppercase()),
        "invoice_settings": {
            "custom_fields": null, "default_payment_method": null, "footer": null,
            "rendering_options": null,
        },
        "livemode": false,
        "metadata": {},
        "name": null,
        "next_invoice_sequence": 1,
        "phone": null,
        "preferred_locales": [],
        "shipping": null,
        "tax_exempt": "none",
        "test_clock": clock,
    });
    let method = params.text("payment_method")?;
    let tax_ids = params.hashes("tax_id_data")?.unwrap_or_default();
    take_details(&mut params, &mut customer)?;
    let default = take_default_payment_method(&mut params)?;
    params.finish()?;
    call.insert(&customer)?;
    let id = text(&customer, "/id").unwrap_or_default().to_owned();
    for mut tax_id in tax_ids {
        tax_ids::make(call, &id, &mut tax_id)?;
        tax_id.finish()?;
    }
    let attached = match &method {
        Some(method) => Some(payment_methods::attach_to(
            call,
            method,
            &id,
            "payment_method",
        )?),
        None => None,
    };
    if let Some(default) = default.filter(|default| !default.is_empty()) {
        // The same test card named twice is one card.
        let default = match &attached {
            Some(attached) if method.as_deref() == Some(&default) => attached["id"].clone(),
            _ => payment_methods::owned_by(call, &default, &id, DEFAULT_PARAM)?.into(),
        };
        set(
            &mut customer,
            "/invoice_settings/default_payment_method",
            default,
        );
        call.save(&customer)?;
    }
    events::emit(call, "customer.created", &customer)?;
    present(call, &customer)
}

fn check_room_on(call: &Call<'_>, clock: &str) -> Result<()> {
    let on_clock = ("clock", Sql::Text(clock.to_owned()));
    if objects::all(call.db, "customer", &[on_clock])?.len() < CUSTOMERS_PER_CLOCK_MAX {
        return Ok(());
    }
    let message =
        format!("A test clock can have at most {CUSTOMERS_PER_CLOCK_MAX} customers: {clock}");
    Err(StripeError::invalid(message).param("test_clock"))
}

const DEFAULT_PARAM: &str = "invoice_settings[default_payment_method]";

fn take_details(params: &mut Params, customer: &mut Value) -> Result<()> {
    if let Some(email) = params.text("email")?.filter(|email| !email.is_empty()) {
        if !email.contains('@') {
            let message = format!("Invalid email address: {email}");
            return Err(StripeError::invalid_param("email", message).code("email_invalid"));
        }
        customer["email"] = email.into();
    }
    params.copy_texts(&TEXTS, customer)?;
    if let Some(exempt) = params.choice("tax_exempt", &["exempt", "none", "reverse"])? {
        customer["tax_exempt"] = exempt.into();
    }
    if let Some(locales) = params.texts("preferred_locales")? {
        customer["preferred_locales"] = locales.into();
    }
    if let Some(next) = params.bounded("next_invoice_sequence", 1..=i64::from(i32::MAX))? {
        customer["next_invoice_sequence"] = next.into();
    }
    take_address(params, customer)?;
    if params.is("shipping", "") {
        customer["shipping"] = Value::Null;
    } else if let Some(mut shipping) = params.hash("shipping")? {
        let mut taken = json!({ "address": null, "name": null, "phone": null });
        shipping.copy_texts(&["name", "phone"], &mut taken)?;
        take_address(&mut shipping, &mut taken)?;
        shipping.finish()?;
        customer["shipping"] = taken;
    }
    if let Some(mut tax) = params.hash("tax")? {
        if let Some(address) = tax.text("ip_address")? {
            customer["_tax_ip_address"] = address.into();
        }
        tax.discard(&["validate_location"]);
        tax.finish()?;
    }
    params.metadata(customer)?;
    params.discard(&UNUSED);
    Ok(())
}

/// An address, whole: what is not given is null.
pub(super) fn take_address(params: &mut Params, holder: &mut Value) -> Result<()> {
    if params.is("address", "") {
        holder["address"] = Value::Null;
    } else if let Some(mut address) = params.hash("address")? {
        let mut taken = json!({});
        for field in ADDRESS {
            taken[field] = Value::Null;
        }
        address.copy_texts(&ADDRESS, &mut taken)?;
        address.finish()?;
        holder["address"] = taken;
    }
    Ok(())
}

fn take_default_payment_method(params: &mut Params) -> Result<Option<String>> {
    let Some(mut settings) = params.hash("invoice_settings")? else {
        return Ok(None);
    };
    let method = settings.text("default_payment_method")?;
    settings.discard(&["custom_fields", "footer", "rendering_options"]);
    settings.finish()?;
    Ok(method)
}

/// `GET /v1/customers/{id}`; a deleted one answers that it is.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    present(call, &call.get("customer", id)?)
}

pub(super) fn get_living(call: &Call<'_>, id: &str) -> Result<Value> {
    let customer = call.get("customer", id)?;
    if is_true(&customer, "/deleted") {
        return Err(StripeError::no_such("customer", id));
    }
    Ok(customer)
}

/// `POST /v1/customers/{id}`.
pub(crate) fn update(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let before = get_living(call, id)?;
    let mut customer = before.clone();
    take_details(&mut params, &mut customer)?;
    if let Some(balance) = params.bounded("balance", BALANCES)? {
        customer["balance"] = balance.into();
    }
    if let Some(prefix) = params.text("invoice_prefix")? {
        customer["invoice_prefix"] = prefix.into();
    }
    if let Some(method) = take_default_payment_method(&mut params)? {
        let method = if method.is_empty() {
            Value::Null
        } else {
            payment_methods::owned_by(call, &method, id, DEFAULT_PARAM)?.into()
        };
        set(
            &mut customer,
            "/invoice_settings/default_payment_method",
            method,
        );
    }
    params.finish()?;
    call.save(&customer)?;
    events::emit_update(call, "customer.updated", &before, &customer)?;
    present(call, &customer)
}

/// `DELETE /v1/customers/{id}`: its subscriptions end at once.
pub(crate) fn delete(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    let customer = get_living(call, id)?;
    let filter = ("customer", Sql::Text(id.to_owned()));
    for subscription in objects::all(call.db, "subscription", &[filter])? {
        if !subscriptions::has_ended(&subscription) {
            let at = call.time_of(&customer)?;
            subscriptions::end(call, subscription, at)?;
        }
    }
    let deleted = json!({ "id": id, "object": "customer", "deleted": true });
    call.save(&deleted)?;
    events::emit(call, "customer.deleted", &customer)?;
    Ok(deleted)
}

/// `GET /v1/customers`.
pub(crate) fn list(call: &Call<'_>, mut params: Params) -> Answer {
    let mut filters = Vec::new();
    if let Some(email) = params.text("email")? {
        filters.push(("label", Sql::Text(email)));
    }
    // Customers on a test clock are listed only where the clock is named.
    filters.push(match params.text("test_clock")? {
        Some(clock) => ("clock", Sql::Text(clock)),
        None => ("clock IS NULL AND ? = 1", Sql::Integer(1)),
    });
    list::answer(call, params, "customer", "/v1/customers", &filters)
}

/// `GET /v1/customers/{id}/payment_methods`.
pub(crate) fn list_payment_methods(call: &Call<'_>, id: &str, params: Params) -> Answer {
    get_living(call, id)?;
    let url = format!("/v1/customers/{id}/payment_methods");
    payment_methods::list_of(call, params, id, &url)
}

/// `GET /v1/customers/{id}/payment_methods/{method}`.
pub(crate) fn retrieve_payment_method(
    call: &Call<'_>,
    id: &str,
    method: &str,
    params: Params,
) -> Answer {
    params.finish()?;
    get_living(call, id)?;
    let found = call.get("payment_method", method)?;
    if text(&found, "/customer") != Some(id) {
        return Err(StripeError::no_such("PaymentMethod", method));
    }
    present(call, &found)
}

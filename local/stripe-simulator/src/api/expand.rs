//! Objects as they leave: private fields gone, older versions' shapes, ids expanded.

use serde_json::{Value, json};

use super::before_basil;
use super::error::{Result, StripeError};
use super::json::text;
use crate::api::version::Version;
use crate::call::Call;
use crate::resources::{
    balance_transactions, checkout_sessions, invoice_payments, payment_intents, prices,
};
use crate::store::objects;

/// How deep an expansion may reach (Stripe API reference: Expanding responses).
const DEPTH_MAX: usize = 4;

/// An object as the API shows it.
pub(crate) fn present(call: &Call<'_>, stored: &Value) -> Result<Value> {
    let mut shown = stored.clone();
    if let Some(fields) = shown.as_object_mut() {
        fields.retain(|key, _| !key.starts_with('_'));
    }
    match text(stored, "/object") {
        // The items carry their price as it is now.
        Some("subscription") => {
            for item in shown["items"]["data"].as_array_mut().into_iter().flatten() {
                fill_price(call, item)?;
            }
        }
        Some("subscription_item") => fill_price(call, &mut shown)?,
        Some("balance_transaction") => balance_transactions::fill_status(call, &mut shown),
        Some("dispute") => {
            let transactions = shown["balance_transactions"].as_array_mut();
            for transaction in transactions.into_iter().flatten() {
                balance_transactions::fill_status(call, transaction);
            }
        }
        Some("event") => {
            let id = text(stored, "/id").unwrap_or_default();
            shown["pending_webhooks"] = crate::store::deliveries::pending(call.db, id)?.into();
        }
        _ => {}
    }
    Ok(shown)
}

fn fill_price(call: &Call<'_>, item: &mut Value) -> Result<()> {
    if let Some(price) = text(item, "/price") {
        let price = objects::find(call.db, price)?.unwrap_or_default();
        let price = present(call, &price)?;
        item["plan"] = prices::plan(&price);
        item["price"] = price;
    }
    Ok(())
}

/// Replaces the ids that the request wants expanded.
pub(crate) fn expand(call: &Call<'_>, answer: &mut Value, paths: &[String]) -> Result<()> {
    for path in paths {
        let segments: Vec<&str> = path.split('.').collect();
        if segments.len() > DEPTH_MAX + 1 {
            let message = format!(
                "You cannot expand more than {DEPTH_MAX} levels of a property. Property: {path}"
            );
            return Err(StripeError::invalid_param("expand", message));
        }
        follow(call, answer, &segments)?;
    }
    Ok(())
}

fn follow(call: &Call<'_>, value: &mut Value, segments: &[&str]) -> Result<()> {
    if let Some(elements) = value.as_array_mut() {
        for element in elements {
            follow(call, element, segments)?;
        }
        return Ok(());
    }
    let Some((key, rest)) = segments.split_first() else {
        return Ok(());
    };
    if *key == "tiers" && text(value, "/object") == Some("price") {
        let stored = objects::find(call.db, text(value, "/id").unwrap_or_default())?;
        value["tiers"] = stored.unwrap_or_default()["_tiers"].clone();
        return Ok(());
    }
    if text(value, "/object") == Some("invoice") && !call.version.is_before_basil() {
        show_payments(call, value, key)?;
    }
    if *key == "line_items" && text(value, "/object") == Some("checkout.session") {
        let stored = objects::find(call.db, text(value, "/id").unwrap_or_default())?;
        value[*key] = checkout_sessions::show_line_items(call, &stored.unwrap_or_default())?;
    }
    let Some(place) = value.get_mut(*key) else {
        let message = format!("This property cannot be expanded ({key}).");
        return Err(StripeError::invalid_param("expand", message));
    };
    if let Some(id) = place.as_str()
        && let Some(found) = objects::find(call.db, id)?
    {
        *place = present(call, &found)?;
        adapt(call, &call.version, place)?;
    }
    if place.is_null() || rest.is_empty() {
        return Ok(());
    }
    follow(call, place, rest)
}

/// Shows what an invoice has only where it is expanded, since basil.
fn show_payments(call: &Call<'_>, invoice: &mut Value, key: &str) -> Result<()> {
    let id = text(invoice, "/id").unwrap_or_default();
    let stored = objects::find(call.db, id)?.unwrap_or_default();
    match key {
        "payments" => invoice[key] = invoice_payments::list_of(call, &stored)?,
        "confirmation_secret" => {
            let intent = payment_intents::of_invoice(call, &stored)?;
            invoice[key] = intent.map_or(Value::Null, |intent| {
                json!({ "client_secret": intent["client_secret"], "type": "payment_intent" })
            });
        }
        _ => {}
    }
    Ok(())
}

/// Gives an answer the shape of a version, once: it must not have it already.
pub(crate) fn adapt(call: &Call<'_>, version: &Version, answer: &mut Value) -> Result<()> {
    if version.is_before_basil() {
        before_basil::shape(call, answer)?;
    }
    Ok(())
}

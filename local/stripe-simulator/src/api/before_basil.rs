//! Objects as the API showed them until 2025-02-24.acacia (Stripe's changelog, 2025-03-31.basil).
//! The newest shape is stored; this makes the older one of it.

use serde_json::{Map, Value, json};

use super::error::Result;
use super::expand::present;
use super::json::{array, integer_or_zero, text, text_or_empty};
use crate::call::Call;
use crate::resources::prices;
use crate::store::objects;

/// What an object has since then, and had not.
fn added_since(kind: &str) -> &'static [&'static str] {
    match kind {
        "billing_portal.session" | "tax_id" => &["customer_account"],
        "checkout.session" => &[
            "customer_account",
            "excluded_payment_method_types",
            "integration_identifier",
            "managed_payments",
            "origin_context",
            "permissions",
            "wallet_options",
        ],
        "setup_intent" => &["customer_account", "excluded_payment_method_types"],
        "balance_transaction" => &["balance_type"],
        "dispute" => &["intended_submission_method"],
        "payment_intent" => &[
            "customer_account",
            "excluded_payment_method_types",
            "managed_payments",
        ],
        "customer" => &["business_name", "customer_account", "individual_name"],
        "customer_balance_transaction" => &["checkout_session", "customer_account"],
        "invoice" => &[
            "amount_overpaid",
            "amount_paid_off_stripe",
            "customer_account",
            "parent",
            "total_taxes",
        ],
        "line_item" => &["parent", "pricing", "quantity_decimal", "subtotal", "taxes"],
        "payment_method" => &["customer_account"],
        "subscription" => &[
            "billing_mode",
            "billing_schedules",
            "customer_account",
            "managed_payments",
        ],
        "subscription_item" => &["current_period_end", "current_period_start"],
        _ => &[],
    }
}

/// Gives an answer and all objects in it the older shape.
pub(crate) fn shape(call: &Call<'_>, value: &mut Value) -> Result<()> {
    match value {
        Value::Array(elements) => elements.iter_mut().try_for_each(|one| shape(call, one)),
        Value::Object(fields) => {
            let Some(kind) = fields.get("object").and_then(Value::as_str) else {
                return shape_all(call, fields);
            };
            let kind = kind.to_owned();
            match kind.as_str() {
                // What an event shows is of the version that the event names.
                "event" => return Ok(()),
                // It takes the period of its items, before they lose it.
                "subscription" => subscription(value),
                "invoice" => invoice(call, value)?,
                "charge" => charge(call, value)?,
                "payment_intent" => value["invoice"] = stored(call, value)?["_invoice"].clone(),
                "dispute" => dispute(value),
                "line_item" => line(call, value)?,
                "checkout.session" => checkout_session(value),
                "tax_id" => forget(&mut value["owner"], &["customer_account"]),
                "item" => forget(value, &["adjustable_quantity", "metadata"]),
                "price" => aggregate_usage(&mut value["recurring"]),
                "plan" => aggregate_usage(value),
                "payment_method" => forget(&mut value["billing_details"], &["tax_id"]),
                _ => {}
            }
            forget(value, added_since(&kind));
            match value.as_object_mut() {
                Some(fields) => shape_all(call, fields),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn shape_all(call: &Call<'_>, fields: &mut Map<String, Value>) -> Result<()> {
    fields.values_mut().try_for_each(|inner| shape(call, inner))
}

fn forget(value: &mut Value, names: &[&str]) {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, _| !names.contains(&name.as_str()));
    }
}

fn subscription(value: &mut Value) {
    let item = array(value, "/items/data").first().cloned();
    let item = item.unwrap_or_default();
    for field in ["current_period_start", "current_period_end"] {
        value[field] = item[field].clone();
    }
    value["discount"] = Value::Null;
    let since = ["custom_fields", "description", "footer"];
    forget(&mut value["invoice_settings"], &since);
}

fn checkout_session(value: &mut Value) {
    forget(&mut value["automatic_tax"], &["provider"]);
    forget(
        &mut value["customer_details"],
        &["business_name", "individual_name"],
    );
    value["shipping_details"] = Value::Null;
    value["ui_mode"] = match text(value, "/ui_mode") {
        Some("embedded_page") => "embedded".into(),
        _ => "hosted".into(),
    };
}

/// The object as it is stored, with the fields that are nobody's to see.
fn stored(call: &Call<'_>, value: &Value) -> Result<Value> {
    let found = objects::find(call.db, &text_or_empty(value, "/id"))?;
    Ok(found.unwrap_or_default())
}

fn charge(call: &Call<'_>, value: &mut Value) -> Result<()> {
    value["invoice"] = stored(call, value)?["_invoice"].clone();
    forget(&mut value["billing_details"], &["tax_id"]);
    let card = &mut value["payment_method_details"]["card"];
    forget(card, &["transaction_link_id"]);
    Ok(())
}

fn dispute(value: &mut Value) {
    forget(&mut value["evidence_details"], &["submission_method"]);
    let card = &mut value["payment_method_details"]["card"];
    forget(card, &["network"]);
}

fn invoice(call: &Call<'_>, value: &mut Value) -> Result<()> {
    let stored = stored(call, value)?;
    value["charge"] = stored["_charge"].clone();
    value["payment_intent"] = stored["_payment_intent"].clone();
    let details = value["parent"]["subscription_details"].clone();
    value["subscription"] = details["subscription"].clone();
    value["subscription_details"] = json!({ "metadata": details["metadata"] });
    value["paid"] = (text(value, "/status") == Some("paid")).into();
    value["paid_out_of_band"] = (integer_or_zero(value, "/amount_paid_off_stripe") > 0).into();
    value["total_tax_amounts"] = json!([]);
    for field in [
        "application_fee_amount",
        "discount",
        "quote",
        "tax",
        "transfer_data",
    ] {
        value[field] = Value::Null;
    }
    forget(&mut value["automatic_tax"], &["provider"]);
    Ok(())
}

fn line(call: &Call<'_>, value: &mut Value) -> Result<()> {
    let details = value["parent"]["subscription_item_details"].clone();
    let id = text_or_empty(value, "/pricing/price_details/price");
    let price = objects::find(call.db, &id)?.unwrap_or_default();
    let price = present(call, &price)?;
    value["amount_excluding_tax"] = value["amount"].clone();
    value["plan"] = prices::plan(&price);
    value["unit_amount_excluding_tax"] = price["unit_amount_decimal"].clone();
    value["price"] = price;
    value["proration"] = details["proration"].clone();
    value["proration_details"] = details["proration_details"].clone();
    value["subscription_item"] = details["subscription_item"].clone();
    value["tax_amounts"] = json!([]);
    value["tax_rates"] = json!([]);
    value["type"] = "subscription".into();
    Ok(())
}

/// How a price or plan adds usage up: a meter says so for itself, usage records are summed.
fn aggregate_usage(recurring: &mut Value) {
    let is_metered = text(recurring, "/usage_type") == Some("metered");
    let sums = is_metered && text(recurring, "/meter").is_none();
    if recurring.is_object() {
        recurring["aggregate_usage"] = if sums { "sum".into() } else { Value::Null };
    }
}

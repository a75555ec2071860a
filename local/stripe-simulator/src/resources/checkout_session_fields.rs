//! The fields of a Checkout session, and how they are asked for (Stripe API reference: The
//! Checkout Session object).

use serde_json::{Value, json};

use super::setup_intents;
use crate::api::error::{Result, StripeError};
use crate::api::json::{is_true, set, text, text_or_empty};
use crate::api::params::Params;
use crate::call::Call;

const HOUR_SECONDS: i64 = 3_600;
/// A session is open for a day unless it says otherwise: half an hour to a day.
const OPEN_SECONDS: i64 = 24 * HOUR_SECONDS;
const OPEN_SECONDS_MIN: i64 = HOUR_SECONDS / 2;

/// Parameters of Stripe's that change nothing here.
const UNUSED: [&str; 16] = [
    "adaptive_pricing",
    "after_expiration",
    "allow_promotion_codes",
    "branding_settings",
    "consent_collection",
    "custom_fields",
    "custom_text",
    "excluded_payment_method_types",
    "name_collection",
    "optional_items",
    "origin_context",
    "payment_method_configuration",
    "payment_method_options",
    "permissions",
    "submit_type",
    "wallet_options",
];

/// Fields that hold nothing: what is not simulated, and what a completion fills.
const NULL_AT_FIRST: [&str; 29] = [
    "adaptive_pricing",
    "after_expiration",
    "allow_promotion_codes",
    "amount_subtotal",
    "amount_total",
    "billing_address_collection",
    "cancel_url",
    "client_reference_id",
    "client_secret",
    "collected_information",
    "consent",
    "consent_collection",
    "currency",
    "currency_conversion",
    "customer",
    "customer_account",
    "customer_creation",
    "customer_details",
    "customer_email",
    "integration_identifier",
    "invoice",
    "invoice_creation",
    "locale",
    "origin_context",
    "payment_intent",
    "payment_link",
    "payment_method_collection",
    "payment_method_configuration_details",
    "permissions",
];
const NULL_AT_FIRST_TOO: [&str; 13] = [
    "discounts",
    "excluded_payment_method_types",
    "recovered_from",
    "redirect_on_completion",
    "return_url",
    "saved_payment_method_options",
    "setup_intent",
    "shipping_address_collection",
    "shipping_cost",
    "submit_type",
    "subscription",
    "success_url",
    "total_details",
];

/// An open session that nobody has said anything about but its mode.
pub(super) fn blank(call: &Call<'_>, mode: &str) -> Value {
    let is_setup = mode == "setup";
    let mut session = json!({
        "id": format!("cs_test_a1{}", call.random.text(56)),
        "object": "checkout.session",
        "automatic_tax": { "enabled": false, "liability": null, "provider": null, "status": null },
        "created": call.now(),
        "custom_fields": [],
        "custom_text": {
            "after_submit": null, "shipping_address": null, "submit": null,
            "terms_of_service_acceptance": null,
        },
        "expires_at": call.now() + OPEN_SECONDS,
        "livemode": false,
        "managed_payments": { "enabled": false },
        "metadata": {},
        "mode": mode,
        "payment_method_options": { "card": { "request_three_d_secure": "automatic" } },
        "payment_method_types": ["card"],
        "payment_status": if is_setup { "no_payment_required" } else { "unpaid" },
        "phone_number_collection": { "enabled": false },
        "shipping_options": [],
        "status": "open",
        "tax_id_collection": { "enabled": false, "required": "never" },
        "wallet_options": null,
    });
    for field in NULL_AT_FIRST.iter().chain(&NULL_AT_FIRST_TOO) {
        session[*field] = Value::Null;
    }
    session["url"] = Value::Null;
    session
}

/// Whose session it is: a customer, an address for one to be, or nobody yet.
pub(super) fn take_customer(
    call: &Call<'_>,
    params: &mut Params,
    session: &mut Value,
) -> Result<()> {
    let customer = params.text("customer")?;
    let email = params.text("customer_email")?;
    let creation = params.choice("customer_creation", &["always", "if_required"])?;
    if customer.is_some() && email.is_some() {
        return Err(StripeError::exclusive(
            &["customer", "customer_email"].map(str::to_owned),
        ));
    }
    let is_setup = text(session, "/mode") == Some("setup");
    if creation.is_some() && !is_setup {
        let message = "`customer_creation` can only be used in `payment` and `setup` mode.";
        return Err(StripeError::invalid(message).param("customer_creation"));
    }
    let update = take_customer_update(params, session)?;
    if let Some(email) = &email
        && !email.contains('@')
    {
        let message = format!("Invalid email address: {email}");
        let error = StripeError::invalid_param("customer_email", message);
        return Err(error.code("email_invalid"));
    }
    match &customer {
        Some(customer) => {
            let found = call.referenced("customer", customer, "customer")?;
            session["customer_details"] = details(&found);
        }
        None if update => {
            let message = "`customer_update` can only be used with `customer`.";
            return Err(StripeError::invalid(message).param("customer_update"));
        }
        // A subscription is somebody's.
        None => {
            let otherwise = if is_setup { "if_required" } else { "always" };
            session["customer_creation"] = creation.unwrap_or_else(|| otherwise.to_owned()).into();
        }
    }
    session["customer"] = customer.into();
    session["customer_email"] = email.into();
    params.copy_texts(&["client_reference_id"], session)
}

/// What a customer tells Checkout may be kept with the customer.
fn take_customer_update(params: &mut Params, session: &mut Value) -> Result<bool> {
    let Some(mut update) = params.hash("customer_update")? else {
        return Ok(false);
    };
    for field in ["address", "name", "shipping"] {
        if let Some(kept) = update.choice(field, &["auto", "never"])? {
            set(session, &format!("/_customer_update/{field}"), kept);
        }
    }
    update.finish()?;
    Ok(true)
}

/// What Checkout shows of a customer.
pub(super) fn details(customer: &Value) -> Value {
    json!({
        "address": customer["address"],
        "business_name": customer["business_name"],
        "email": customer["email"],
        "individual_name": customer["individual_name"],
        "name": customer["name"],
        "phone": customer["phone"],
        "tax_exempt": customer["tax_exempt"],
        "tax_ids": null,
    })
}

/// Where Checkout is shown, and where it leads: a page of Stripe's, or a part of another one.
pub(super) fn take_addresses(
    call: &Call<'_>,
    params: &mut Params,
    session: &mut Value,
) -> Result<()> {
    // The words of before basil are the stored ones of today.
    let modes: &[&str] = if call.version.is_before_basil() {
        &["hosted", "embedded"]
    } else {
        &["hosted_page", "embedded_page", "elements"]
    };
    let mode = params.choice("ui_mode", modes)?;
    let is_hosted = mode
        .as_deref()
        .is_none_or(|mode| mode.starts_with("hosted"));
    session["ui_mode"] = match mode.as_deref() {
        None | Some("hosted") => "hosted_page".into(),
        Some("embedded") => "embedded_page".into(),
        Some(mode) => mode.into(),
    };
    let (wanted, other) = if is_hosted {
        (["success_url", "cancel_url"], "return_url")
    } else {
        (["return_url", "return_url"], "success_url")
    };
    if params.has(other) {
        let shown = if is_hosted {
            "a hosted page"
        } else {
            "an embedded page"
        };
        let message = format!("You can not pass `{other}` for {shown}.");
        return Err(StripeError::invalid(message).param(other));
    }
    for param in wanted {
        if let Some(url) = params.text(param)? {
            check_url(&url, param)?;
            session[param] = url.into();
        }
    }
    let redirects = ["always", "if_required", "never"];
    let redirect = params.choice("redirect_on_completion", &redirects)?;
    if session[wanted[0]].is_null() && redirect.as_deref() != Some("never") {
        return Err(StripeError::missing(wanted[0]));
    }
    let id = text_or_empty(session, "/id");
    if is_hosted {
        session["url"] = format!("https://checkout.stripe.com/c/pay/{id}").into();
    } else {
        session["redirect_on_completion"] = redirect.unwrap_or_else(|| "always".to_owned()).into();
        session["client_secret"] = format!("{id}_secret_{}", call.random.text(40)).into();
    }
    Ok(())
}

/// An address that a browser can be sent to.
pub(super) fn check_url(url: &str, param: &str) -> Result<()> {
    let host = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    if host.is_some_and(|host| !host.is_empty() && !host.starts_with('/')) {
        return Ok(());
    }
    let message = "Not a valid URL";
    Err(StripeError::invalid_param(param, message).code("url_invalid"))
}

/// What both modes take.
pub(super) fn take_settings(
    call: &Call<'_>,
    params: &mut Params,
    session: &mut Value,
) -> Result<()> {
    if let Some(expires_at) = params.moment("expires_at")? {
        let open_s = expires_at - call.now();
        if !(OPEN_SECONDS_MIN..=OPEN_SECONDS).contains(&open_s) {
            let message = "The `expires_at` timestamp must be at least 30 minutes and at most 24 hours from Checkout Session creation.";
            return Err(StripeError::invalid(message).param("expires_at"));
        }
        session["expires_at"] = expires_at.into();
    }
    let types = params.texts("payment_method_types")?;
    if let Some(types) = &types {
        setup_intents::check_types(types)?;
    }
    let is_setup = text(session, "/mode") == Some("setup");
    let currency = params.text("currency")?;
    if is_setup && types.is_none() && currency.is_none() {
        let message = "You must provide `currency` in `setup` mode when `payment_method_types` is not set: it says which payment methods can be offered.";
        let error = StripeError::invalid_param("currency", message);
        return Err(error.code("parameter_missing"));
    }
    session["currency"] = currency.into();
    let collects = params.choice("payment_method_collection", &["always", "if_required"])?;
    if is_setup && collects.is_some() {
        let message = "`payment_method_collection` can only be set in `subscription` mode.";
        return Err(StripeError::invalid(message).param("payment_method_collection"));
    }
    session["payment_method_collection"] = collects.unwrap_or_else(|| "always".to_owned()).into();
    if let Some(collects) = params.choice("billing_address_collection", &["auto", "required"])? {
        session["billing_address_collection"] = collects.into();
    }
    if let Some(mut phone) = params.hash("phone_number_collection")? {
        session["phone_number_collection"]["enabled"] =
            phone.boolean("enabled")?.unwrap_or(false).into();
        phone.finish()?;
    }
    if let Some(mut saved) = params.hash("saved_payment_method_options")? {
        saved.discard(&[
            "allow_redisplay_filters",
            "payment_method_remove",
            "payment_method_save",
        ]);
        saved.finish()?;
    }
    params.copy_texts(&["integration_identifier", "locale"], session)?;
    params.metadata(session)?;
    params.discard(&UNUSED);
    Ok(())
}

/// Taxes are not computed; what Stripe checks before it would is checked.
pub(super) fn take_taxes(call: &Call<'_>, params: &mut Params, session: &mut Value) -> Result<()> {
    let customer = match text(session, "/customer") {
        Some(customer) => call.find("customer", customer)?,
        None => None,
    };
    let updates =
        |field: &str| text(session, &format!("/_customer_update/{field}")) == Some("auto");
    let (updates_address, updates_name) =
        (updates("address") || updates("shipping"), updates("name"));
    if let Some(automatic) = take_automatic_tax(params)? {
        let needs = is_true(&automatic, "/enabled") && !updates_address;
        if let Some(customer) = customer.as_ref().filter(|_| needs) {
            check_location(
                customer,
                "Add a valid address to the Customer or set either `customer_update[address]` or `customer_update[shipping]` to 'auto' to save the address that is entered in Checkout.",
            )?;
        }
        session["automatic_tax"] = json!({
            "enabled": automatic["enabled"], "liability": automatic["liability"],
            "provider": if automatic["enabled"] == true { json!("stripe") } else { Value::Null },
            "status": null,
        });
    }
    let Some(mut collection) = params.hash("tax_id_collection")? else {
        return Ok(());
    };
    let enabled = collection
        .boolean("enabled")?
        .ok_or_else(|| StripeError::missing("tax_id_collection[enabled]"))?;
    let required = collection.choice("required", &["if_supported", "never"])?;
    collection.finish()?;
    if enabled && customer.is_some() && !updates_name {
        let message = "Tax ID collection requires updating business name on the customer. To enable tax ID collection for an existing customer, please set `customer_update[name]` to `auto`.";
        return Err(StripeError::invalid(message));
    }
    session["tax_id_collection"] = json!({
        "enabled": enabled, "required": required.unwrap_or_else(|| "never".to_owned()),
    });
    Ok(())
}

/// `automatic_tax`, as sessions and subscriptions take it.
pub(super) fn take_automatic_tax(params: &mut Params) -> Result<Option<Value>> {
    let Some(mut automatic) = params.hash("automatic_tax")? else {
        return Ok(None);
    };
    let enabled = automatic
        .boolean("enabled")?
        .ok_or_else(|| StripeError::missing("automatic_tax[enabled]"))?;
    let mut liability = if enabled {
        json!({ "type": "self" })
    } else {
        Value::Null
    };
    if let Some(mut given) = automatic.hash("liability")? {
        let kind = given.choice("type", &["account", "self"])?;
        let kind = kind.ok_or_else(|| StripeError::missing("automatic_tax[liability][type]"))?;
        liability = json!({ "type": kind });
        given.copy_texts(&["account"], &mut liability)?;
        given.finish()?;
    }
    automatic.finish()?;
    Ok(Some(json!({ "enabled": enabled, "liability": liability })))
}

/// Whether a customer's location is known, without which no tax is computed.
pub(super) fn check_location(customer: &Value, advice: &str) -> Result<()> {
    let knows = text(customer, "/address/country").is_some()
        || text(customer, "/shipping/address/country").is_some()
        || text(customer, "/_tax_ip_address").is_some();
    if knows {
        return Ok(());
    }
    let message = format!(
        "The customer's location isn't recognized. Set a valid customer address in order to automatically calculate tax. {advice}"
    );
    Err(StripeError::invalid(message).code("customer_tax_location_invalid"))
}

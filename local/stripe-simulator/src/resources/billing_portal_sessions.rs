//! Billing portal sessions (Stripe API reference: Customer Portal Session).

use serde_json::{Value, json};

use super::{Answer, checkout_session_fields};
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::{set, text, text_or_empty};
use crate::api::params::Params;
use crate::call::Call;

/// The account's own configuration of the portal.
const CONFIGURATION: &str = "bpc_1Simulator0000000000000";

/// The flows that lead to one subscription.
const SUBSCRIPTION_FLOWS: [&str; 3] = [
    "subscription_cancel",
    "subscription_update",
    "subscription_update_confirm",
];

/// `POST /v1/billing_portal/sessions`.
pub(crate) fn create(call: &Call<'_>, mut params: Params) -> Answer {
    let customer = params.required("customer")?;
    call.referenced("customer", &customer, "customer")?;
    let return_url = params.text("return_url")?;
    if let Some(url) = &return_url {
        checkout_session_fields::check_url(url, "return_url")?;
    }
    if let Some(configuration) = params.text("configuration")?
        && configuration != CONFIGURATION
    {
        return Err(StripeError::no_such_param(
            "configuration",
            &configuration,
            "configuration",
        ));
    }
    let flow = take_flow(call, &mut params, &customer)?;
    let mut session = json!({
        "id": call.random.id("bps"),
        "object": "billing_portal.session",
        "configuration": CONFIGURATION,
        "created": call.now(),
        "customer": customer,
        "customer_account": null,
        "flow": flow,
        "livemode": false,
        "locale": null,
        "on_behalf_of": null,
        "return_url": return_url,
        "url": format!("https://billing.stripe.com/p/session/test_{}", call.random.text(60)),
    });
    params.copy_texts(&["locale", "on_behalf_of"], &mut session)?;
    params.finish()?;
    call.insert(&session)?;
    present(call, &session)
}

/// Reads where in the portal the customer begins.
fn take_flow(call: &Call<'_>, params: &mut Params, customer: &str) -> Result<Value> {
    let Some(mut data) = params.hash("flow_data")? else {
        return Ok(Value::Null);
    };
    let mut kinds = vec!["payment_method_update"];
    kinds.extend(SUBSCRIPTION_FLOWS);
    let name = data.name("type");
    let kind = data.choice("type", &kinds)?;
    let kind = kind.ok_or_else(|| StripeError::missing(&name))?;
    let mut flow = json!({
        "after_completion": {
            "hosted_confirmation": null, "redirect": null, "type": "portal_homepage",
        },
        "subscription_cancel": null,
        "subscription_update": null,
        "subscription_update_confirm": null,
        "type": kind,
    });
    for wanted in SUBSCRIPTION_FLOWS {
        let name = data.name(wanted);
        match data.hash(wanted)? {
            Some(inner) if kind == wanted => flow[wanted] = take_target(call, inner, customer)?,
            None if kind == wanted => return Err(StripeError::missing(&name)),
            Some(_) => {
                let message = format!("`{name}` can only be passed for a flow of its type.");
                return Err(StripeError::invalid(message).param(name));
            }
            None => {}
        }
    }
    take_end(&mut data, &mut flow)?;
    data.finish()?;
    Ok(flow)
}

/// The subscription that a flow is about.
fn take_target(call: &Call<'_>, mut inner: Params, customer: &str) -> Result<Value> {
    let name = inner.name("subscription");
    let id = inner.required("subscription")?;
    let subscription = call.referenced("subscription", &id, &name)?;
    if text(&subscription, "/customer") != Some(customer) {
        return Err(StripeError::no_such_param("subscription", &id, &name));
    }
    let mut target = json!({ "subscription": text_or_empty(&subscription, "/id") });
    if let Some(items) = inner.hashes("items")? {
        let mut taken = Vec::new();
        for mut item in items {
            taken.push(json!({
                "id": item.required("id")?,
                "price": item.text("price")?,
                "quantity": item.integer("quantity")?,
            }));
            item.finish()?;
        }
        target["items"] = taken.into();
        target["discounts"] = Value::Null;
    }
    inner.discard(&["discounts", "retention"]);
    inner.finish()?;
    Ok(target)
}

/// Where a flow ends.
fn take_end(data: &mut Params, flow: &mut Value) -> Result<()> {
    let Some(mut after) = data.hash("after_completion")? else {
        return Ok(());
    };
    let name = after.name("type");
    let kinds = ["hosted_confirmation", "portal_homepage", "redirect"];
    let kind = after.choice("type", &kinds)?;
    let kind = kind.ok_or_else(|| StripeError::missing(&name))?;
    set(flow, "/after_completion/type", kind);
    if let Some(mut redirect) = after.hash("redirect")? {
        let name = redirect.name("return_url");
        let url = redirect.required("return_url")?;
        checkout_session_fields::check_url(&url, &name)?;
        set(flow, "/after_completion/redirect/return_url", url);
        redirect.finish()?;
    }
    if let Some(mut confirmation) = after.hash("hosted_confirmation")? {
        let message = confirmation.text("custom_message")?;
        set(
            flow,
            "/after_completion/hosted_confirmation/custom_message",
            message,
        );
        confirmation.finish()?;
    }
    after.finish()
}

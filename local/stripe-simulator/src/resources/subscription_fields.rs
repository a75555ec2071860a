//! The fields of a subscription (Stripe API reference: The Subscription object).

use serde_json::{Value, json};

use crate::api::error::{Result, StripeError};
use crate::api::json::set;
use crate::api::params::Params;
use crate::calendar::Interval;
use crate::call::Call;

/// When a subscription's trial ends, and what its periods count from.
pub(super) struct Times {
    trial_end: Option<i64>,
    anchor: i64,
    pub(super) first_end: i64,
}

/// Reads the trial and the anchor of a new subscription.
pub(super) fn take_times(params: &mut Params, interval: &Interval, start: i64) -> Result<Times> {
    let days = params.bounded("trial_period_days", 0..=730)?;
    let ends_now = params.is("trial_end", "now");
    let trial_end = match (params.moment("trial_end")?, days) {
        _ if ends_now => None,
        (Some(end), _) => Some(end),
        (None, Some(days)) if days > 0 => Some(start + days * 86_400),
        _ => None,
    };
    if trial_end.is_some_and(|end| end <= start) {
        let message = "The trial_end must be in the future.";
        return Err(StripeError::invalid_param("trial_end", message));
    }
    let given = params.moment("billing_cycle_anchor")?;
    if let Some(anchor) = given {
        if anchor < start {
            let message = "billing_cycle_anchor must be in the future.";
            return Err(StripeError::invalid_param("billing_cycle_anchor", message));
        }
        let latest = interval.after(start.max(trial_end.unwrap_or(start)), 1);
        if anchor > latest {
            let message = format!(
                "billing_cycle_anchor cannot be later than next natural billing date ({latest}) for plan."
            );
            return Err(StripeError::invalid_param("billing_cycle_anchor", message));
        }
    }
    let anchor = given.or(trial_end).unwrap_or(start);
    let natural = interval.end_after(anchor, start);
    Ok(Times {
        trial_end,
        anchor,
        first_end: trial_end.unwrap_or(natural),
    })
}

/// A subscription without items.
pub(super) fn blank(
    call: &Call<'_>,
    customer: &Value,
    currency: Value,
    start: i64,
    times: &Times,
) -> Value {
    let id = call.random.id("sub");
    json!({
        "id": id,
        "object": "subscription",
        "application": null,
        "application_fee_percent": null,
        "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null },
        "billing_cycle_anchor": times.anchor,
        "billing_cycle_anchor_config": null,
        "billing_mode": null,
        "billing_schedules": [],
        "billing_thresholds": null,
        "cancel_at": null,
        "cancel_at_period_end": false,
        "canceled_at": null,
        "cancellation_details": { "comment": null, "feedback": null, "reason": null },
        "collection_method": "charge_automatically",
        "created": start,
        "currency": currency,
        "customer": customer["id"],
        "customer_account": null,
        "days_until_due": null,
        "default_payment_method": null,
        "default_source": null,
        "default_tax_rates": [],
        "description": null,
        "discounts": [],
        "ended_at": null,
        "invoice_settings": {
            "account_tax_ids": null, "custom_fields": null, "description": null, "footer": null,
            "issuer": { "type": "self" },
        },
        "items": {
            "object": "list", "data": [], "has_more": false,
            "url": format!("/v1/subscription_items?subscription={id}"),
        },
        "latest_invoice": null,
        "livemode": false,
        "managed_payments": { "enabled": false },
        "metadata": {},
        "next_pending_invoice_item_invoice": null,
        "on_behalf_of": null,
        "pause_collection": null,
        "payment_settings": {
            "payment_method_options": null, "payment_method_types": null,
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": null,
        "pending_setup_intent": null,
        "pending_update": null,
        "schedule": null,
        "start_date": start,
        "status": "incomplete",
        "test_clock": customer["test_clock"],
        "transfer_data": null,
        "trial_end": times.trial_end,
        "trial_settings": { "end_behavior": { "missing_payment_method": "create_invoice" } },
        "trial_start": times.trial_end.map(|_| start),
    })
}

/// How prorations are calculated; kept and shown, because there are none.
pub(super) fn take_billing_mode(
    call: &Call<'_>,
    params: &mut Params,
    subscription: &mut Value,
) -> Result<()> {
    let mut kind = if call.version.is_before_clover() {
        "classic".to_owned()
    } else {
        "flexible".to_owned()
    };
    let mut discounts = None;
    if let Some(mut mode) = params.hash("billing_mode")? {
        kind = mode
            .choice("type", &["classic", "flexible"])?
            .ok_or_else(|| StripeError::missing("billing_mode[type]"))?;
        if let Some(mut flexible) = mode.hash("flexible")? {
            discounts = flexible.choice("proration_discounts", &["included", "itemized"])?;
            flexible.finish()?;
        }
        mode.finish()?;
    }
    let flexible = (kind == "flexible").then(
        || json!({ "proration_discounts": discounts.unwrap_or_else(|| "included".to_owned()) }),
    );
    subscription["billing_mode"] = json!({ "flexible": flexible, "type": kind });
    Ok(())
}

/// Why it is cancelled, in the customer's words.
pub(super) fn take_cancellation_details(
    params: &mut Params,
    subscription: &mut Value,
) -> Result<()> {
    let Some(mut details) = params.hash("cancellation_details")? else {
        return Ok(());
    };
    let feedback = [
        "",
        "customer_service",
        "low_quality",
        "missing_features",
        "other",
        "switched_service",
        "too_complex",
        "too_expensive",
        "unused",
    ];
    let taken = &mut subscription["cancellation_details"];
    if let Some(feedback) = details.choice("feedback", &feedback)? {
        taken["feedback"] = match feedback.as_str() {
            "" => Value::Null,
            feedback => feedback.into(),
        };
    }
    details.copy_texts(&["comment"], taken)?;
    details.finish()
}

/// How payments are to be made. Kept and shown; test cards pay all the same.
pub(super) fn take_payment_settings(params: &mut Params, subscription: &mut Value) -> Result<()> {
    if let Some(mut settings) = params.hash("payment_settings")? {
        let taken = &mut subscription["payment_settings"];
        let saves = ["off", "on_subscription"];
        if let Some(saves) = settings.choice("save_default_payment_method", &saves)? {
            taken["save_default_payment_method"] = saves.into();
        }
        if let Some(types) = settings.texts("payment_method_types")? {
            taken["payment_method_types"] = types.into();
        }
        settings.discard(&["payment_method_options"]);
        settings.finish()?;
    }
    let Some(mut settings) = params.hash("trial_settings")? else {
        return Ok(());
    };
    if let Some(mut end) = settings.hash("end_behavior")? {
        let behaviors = ["cancel", "create_invoice", "pause"];
        if let Some(behavior) = end.choice("missing_payment_method", &behaviors)? {
            set(
                subscription,
                "/trial_settings/end_behavior/missing_payment_method",
                behavior,
            );
        }
        end.finish()?;
    }
    settings.finish()
}

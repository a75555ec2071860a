//! The end of a subscription's period (Stripe's documentation: Billing cycle, Test clocks).

use serde_json::{Value, json};

use super::invoicing::{self, Plan};
use crate::api::error::Result;
use crate::api::json::{array, integer, integer_or_zero, is_true, text};
use crate::calendar::Interval;
use crate::call::Call;
use crate::events;
use crate::resources::subscriptions;
use crate::store::objects;

/// Ends the period: a new one begins, or the subscription ends with it.
pub(super) fn turn(call: &Call<'_>, mut subscription: Value, at: i64) -> Result<()> {
    let was_trialing = text(&subscription, "/status") == Some("trialing");
    let old = subscriptions::period(&subscription);
    let cancel_at = integer(&subscription, "/cancel_at");
    let ends = is_true(&subscription, "/cancel_at_period_end")
        || cancel_at.is_some_and(|cancel_at| cancel_at <= at);
    if ends {
        subscription = subscriptions::end(call, subscription, at)?;
        let plan = Plan {
            reason: "subscription_cycle",
            period: (old.0, at),
            usage: Some((old.0, at)),
            advance: None,
            usage_is_free: was_trialing,
        };
        bill(call, subscription, &plan, at)?;
        return Ok(());
    }
    let before = subscription.clone();
    if was_trialing {
        subscription["status"] = "active".into();
    }
    let new = next_period(call, &subscription, old.1)?;
    for item in subscription["items"]["data"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        item["current_period_start"] = new.0.into();
        item["current_period_end"] = new.1.into();
    }
    call.save(&subscription)?;
    let plan = Plan {
        reason: "subscription_cycle",
        period: old,
        usage: Some(old),
        advance: Some(new),
        usage_is_free: was_trialing,
    };
    let subscription = bill(call, subscription, &plan, at)?;
    events::emit_update(
        call,
        "customer.subscription.updated",
        &before,
        &subscription,
    )
}

/// Makes the draft; it is finalised an hour later, so that late usage still counts.
fn bill(call: &Call<'_>, mut subscription: Value, plan: &Plan<'_>, at: i64) -> Result<Value> {
    let mut invoice = invoicing::draft(call, &subscription, plan, at)?;
    if array(&invoice, "/lines/data").is_empty() {
        return Ok(subscription);
    }
    // The drafts of an unpaid subscription wait for somebody to decide.
    if text(&subscription, "/status") == Some("unpaid") {
        invoice["auto_advance"] = json!(false);
        invoice["automatically_finalizes_at"] = Value::Null;
    }
    subscription["latest_invoice"] = invoice["id"].clone();
    call.save(&subscription)?;
    call.insert(&invoice)?;
    if events::emit_awaited(call, "invoice.created", &invoice)? {
        invoicing::await_acknowledgement(call, invoice, at)?;
    }
    Ok(subscription)
}

/// The period that begins where another ends.
fn next_period(call: &Call<'_>, subscription: &Value, start: i64) -> Result<(i64, i64)> {
    let price = text(subscription, "/items/data/0/price").unwrap_or_default();
    let price = objects::find(call.db, price)?.unwrap_or_default();
    let anchor = integer_or_zero(subscription, "/billing_cycle_anchor");
    Ok((start, Interval::of(&price).end_after(anchor, start)))
}

//! The announcement of a trial's end (Stripe API reference: Types of events,
//! `customer.subscription.trial_will_end`).

use serde_json::Value;

use crate::api::error::Result;
use crate::api::json::{integer, is_true, text};
use crate::call::Call;
use crate::events;

/// How long before a trial's end it is announced.
const ANNOUNCED_BEFORE_SECONDS: i64 = 3 * 86_400;

/// When the end of a subscription's trial is to be announced, if it was not yet.
pub(crate) fn announcement(subscription: &Value) -> Option<i64> {
    let is_awaited = text(subscription, "/status") == Some("trialing")
        && !is_true(subscription, "/_trial_end_announced");
    let end = integer(subscription, "/trial_end").filter(|_| is_awaited)?;
    Some(end - ANNOUNCED_BEFORE_SECONDS)
}

/// Whether a trial's end is to be announced by a moment.
pub(crate) fn is_announced_at(subscription: &Value, at: i64) -> bool {
    announcement(subscription).is_some_and(|due_at| due_at <= at)
}

/// Tells that the trial is about to end.
pub(crate) fn announce(call: &Call<'_>, mut subscription: Value) -> Result<()> {
    subscription["_trial_end_announced"] = true.into();
    call.save(&subscription)?;
    events::emit(call, "customer.subscription.trial_will_end", &subscription)
}

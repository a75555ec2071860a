//! What the operator is told, whoever tells it: the payloads of `docs/webhooks.md`
//! and the topic that they go to.
//!
//! Each function has news of its own. Here is what they have in common: a version,
//! an id to drop repeats by, the customer whom the news is about.

mod channels;
mod notification;
mod notifier;
mod ways;

pub use channels::{CHANNELS, Channels, UnknownChannel};
pub use notification::{News, Origin, VERSION};
pub use notifier::{Notifier, NotifyError};
pub use ways::Ways;

/// The kinds of news that there are. Those of spending limits are Meterline's own; the
/// others come of events of Stripe's.
pub const KINDS: [&str; 13] = [
    "receipt",
    "payment_failed",
    "payment_action_required",
    "past_due",
    "suspended",
    "reactivated",
    "canceled",
    "customer_deleted",
    "trial_will_end",
    "dispute",
    "usage_rejected",
    "limit_threshold_reached",
    "limit_threshold_resolved",
];

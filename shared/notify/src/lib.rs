//! What the operator is told, whoever tells it: the payloads of `docs/webhooks.md`
//! and the topic that they go to.
//!
//! Each function has news of its own. Here is what they have in common: a version,
//! an id to drop repeats by, the customer whom the news is about.

mod channels;
mod notification;
mod notifier;

pub use channels::{CHANNELS, Channels, UnknownChannel};
pub use notification::{News, Origin, VERSION};
pub use notifier::{Notifier, NotifyError};

/// The kinds of news that there are.
pub const KINDS: [&str; 11] = [
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
];

//! Which of Stripe's events are acted upon here.

/// The types of snapshot event that the webhook function acts upon, and that
/// the endpoint of `meterline setup` asks for (Stripe API reference: Types of
/// events). Of others that come, nothing is kept. Stripe's list of events takes at
/// most twenty types at once.
pub const EVENT_TYPES: [&str; 16] = [
    "charge.dispute.created",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "customer.subscription.updated",
    "invoice.created",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.paid",
    "invoice.payment_action_required",
    "invoice.payment_failed",
    "invoice.voided",
    "setup_intent.succeeded",
];

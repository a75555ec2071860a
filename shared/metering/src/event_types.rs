//! Which of Stripe's events change a customer here.

/// The types of snapshot event that the webhook function acts upon, and that
/// the endpoint of `meterline setup` asks for (Stripe API reference: Types of
/// events). Of others that come, nothing is kept.
pub const EVENT_TYPES: [&str; 12] = [
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.updated",
    "invoice.created",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.voided",
];

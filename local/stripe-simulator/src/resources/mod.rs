//! The resources: one file each, named as in Stripe's API reference.

use serde_json::Value;

pub(crate) mod account;
pub(crate) mod balance_transactions;
pub(crate) mod billing_portal_sessions;
pub(crate) mod charges;
pub(crate) mod checkout_completion;
mod checkout_session_fields;
pub(crate) mod checkout_sessions;
mod checkout_subscription;
pub(crate) mod customer_balance_transactions;
pub(crate) mod customers;
mod dispute_fields;
pub(crate) mod disputes;
pub(crate) mod event_destinations;
pub(crate) mod events;
pub(crate) mod invoice_payments;
pub(crate) mod invoice_preview;
pub(crate) mod invoices;
pub(crate) mod meter_event_adjustments;
pub(crate) mod meter_event_stream;
pub(crate) mod meter_event_summaries;
pub(crate) mod meter_events;
pub(crate) mod meters;
pub(crate) mod payment_intents;
pub(crate) mod payment_methods;
pub(crate) mod prices;
pub(crate) mod products;
pub(crate) mod search;
pub(crate) mod setup_intents;
mod subscription_fields;
pub(crate) mod subscription_items;
pub(crate) mod subscriptions;
pub(crate) mod tax_ids;
mod test_cards;
pub(crate) mod test_clocks;
pub(crate) mod usage_records;
pub(crate) mod webhook_endpoints;

/// The answer of a handler: an object, or a list.
pub(crate) type Answer = crate::api::error::Result<Value>;

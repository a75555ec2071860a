#![doc = include_str!("../README.md")]

mod account;
mod attempt;
mod backoff;
mod billing_portal_sessions;
mod checkout_sessions;
mod client;
mod config;
mod customer_balance_transactions;
mod customers;
mod disputes;
mod error;
mod event_destinations;
mod events;
mod form;
mod idempotency_key;
mod invoice_lines;
mod invoices;
mod key_source;
mod list;
mod mac;
mod meter_error_reports;
mod meter_event_adjustments;
mod meter_event_stream;
mod meter_event_summaries;
mod meter_events;
mod meters;
mod object;
mod observer;
mod operation;
mod payment_methods;
mod prices;
mod products;
mod request;
mod rfc3339;
mod setup_intents;
mod subscription_items;
mod subscriptions;
mod test_clocks;
mod tls;
mod turns;
mod usage_api;
mod usage_record_summaries;
mod usage_records;
mod webhook_endpoints;
pub mod webhook_signature;

pub use account::Account;
pub use billing_portal_sessions::{BillingPortalSession, CreateBillingPortalSession};
pub use checkout_sessions::{CheckoutMode, CheckoutSession, CreateCheckoutSession};
pub use client::{Client, RequestOptions};
pub use config::{Config, ConfigError};
pub use customer_balance_transactions::{
    CreateCustomerBalanceTransaction, CustomerBalanceTransaction,
};
pub use customers::{
    Address, CreateCustomer, Customer, InvoiceSettings, ListCustomers, UpdateCustomer,
};
pub use disputes::Dispute;
pub use error::{ApiError, Error, InvalidRequest, Sent, TransportError};
pub use event_destinations::{
    CreateEventDestination, DestinationWebhookEndpoint, EventDestination, UpdateEventDestination,
};
pub use events::{
    Event, EventData, ListEvents, ListV2Events, ParseEventError, RelatedObject, ThinEvent,
    ThinEventPage, V2Event, WebhookEvent,
};
pub use idempotency_key::IdempotencyKey;
pub use invoice_lines::{InvoiceLine, Period};
pub use invoices::{Invoice, InvoiceStatusTransitions};
pub use key_source::{KeySource, RenewedKey};
pub use list::List;
pub use meter_error_reports::{MeterErrorReport, MeterErrorSample, MeterErrorType};
pub use meter_event_adjustments::MeterEventAdjustment;
pub use meter_event_stream::{EVENTS_PER_REQUEST_MAX, MeterEventStream};
pub use meter_event_summaries::{ListMeterEventSummaries, MeterEventSummary, ValueGroupingWindow};
pub use meter_events::{MeterEvent, MeterEventOutcome};
pub use meters::{
    Aggregation, CreateMeter, CustomerMapping, DefaultAggregation, Meter, ValueSettings,
};
pub use object::Metadata;
pub use observer::{Attempt, AttemptEnding, Observer};
pub use operation::Operation;
pub use payment_methods::PaymentMethod;
pub use prices::{CreatePrice, Price, PriceAmount, PriceTier, Recurring, TransformQuantity};
pub use products::{CreateProduct, Product};
pub use secrecy::{ExposeSecret, SecretString};
pub use setup_intents::{CreateSetupIntent, SetupIntent};
pub use subscription_items::{CreateSubscriptionItem, SubscriptionItem};
pub use subscriptions::{
    CancelSubscription, CreateSubscription, ListSubscriptions, ProrationBehavior, Subscription,
    UpdateSubscription,
};
pub use test_clocks::TestClock;
pub use tls::client_config as tls_client_config;
pub use usage_api::{UnknownUsageApi, UsageApi};
pub use usage_record_summaries::{UsageRecordPeriod, UsageRecordSummary};
pub use usage_records::{CreateUsageRecord, UsageRecord};
pub use webhook_endpoints::{CreateWebhookEndpoint, UpdateWebhookEndpoint, WebhookEndpoint};
pub use webhook_signature::SignatureError;

/// The version of Stripe's API that every request names, usage records apart
/// (Stripe API reference: Versioning).
pub const STRIPE_VERSION: &str = "2026-06-24.dahlia";

/// The last version that has usage records (Stripe API reference: Usage
/// Records).
pub const STRIPE_VERSION_WITH_USAGE_RECORDS: &str = "2025-02-24.acacia";

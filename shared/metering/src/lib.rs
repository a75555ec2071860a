//! What the ledger and Stripe do together: the delivery of recorded usage, and
//! what is known of a customer's subscription. Shared by every function that
//! sends usage or asks what period a customer is in.

mod catalog;
pub mod customers;
pub mod delivery;
mod dunning;
mod event_types;
mod in_flight;
pub mod metadata;
mod metered_price;
pub mod open_period;
mod period_invoices;
mod price;
pub mod recording;
pub mod redrive;
pub mod status;
mod usage_lines;
mod usage_sender;
pub mod void;
mod void_credit;

pub use catalog::{Billed, BilledBy, CATALOG_FRESH_MS, CatalogCache, billed_by};
pub use customers::{CustomerDirectory, CustomerError, KnownCustomer};
pub use delivery::{Delivered, Deliverer, Deliveries, Delivery, Sending};
pub use dunning::{Debt, DunningPolicy, InvalidDunningPolicy, Standing};
pub use event_types::EVENT_TYPES;
pub use in_flight::in_order;
pub use metadata::{
    METADATA_EXTERNAL_ID, METADATA_ONBOARDING, METADATA_PAYMENT_METHOD, METADATA_VOID,
};
pub use metered_price::{MeteredPrice, MeteredPriceError, added_at, is_metered, is_metered_item};
pub use open_period::{Kept, keep_billable};
pub use period_invoices::{PeriodUnknown, usage_period};
pub use price::{price_amount, price_of, with_current_items};
pub use recording::{NewUsage, NotRecorded, attempt_token};
pub use redrive::{Prospect, RedriveError, Redriven, Redriver};
pub use status::customer_status;
pub use usage_lines::{PricedUsage, UsageLines, bills_usage, is_final, lines_of};
pub use void::{Found, Void, VoidError, Voider};
pub use void_credit::CreditError;

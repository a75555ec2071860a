//! What a usage event is, when it counts and what it costs: the rules of
//! Meterline, with no I/O and nothing asynchronous.
//!
//! | module | decides |
//! | --- | --- |
//! | [`usage_event`] | what an agent may send |
//! | [`identifier`] | which key an event has, and whether a repeat says the same |
//! | [`status`] | the states of an event, and what a repeat of one means |
//! | [`window`] | which times are accepted, and how long an event may be sent |
//! | [`billing_time`] | the time that Stripe is told |
//! | [`catalog`] | which meter counts an action |
//! | [`money`] | currencies and amounts |
//! | [`reservation`] | what an agent may hold of it before it acts |
//! | [`spending_limit`] | how much a period may have, and when its operator is told |
//! | [`memory`] | what is believed for a while without asking again |
//! | [`price`] | what usage costs, rounded line by line as on Stripe's invoices |

pub mod billing_time;
pub mod catalog;
pub mod identifier;
pub mod memory;
pub mod money;
pub mod price;
pub mod reservation;
pub mod spending_limit;
pub mod status;
pub mod time;
pub mod usage_event;
pub mod window;

pub use billing_time::{
    BillingTime, EndedPeriod, HeldReason, Subscription, Trial, period_starting_at,
};
pub use catalog::{Catalog, CatalogMeter, CatalogTerms, InvalidCatalog};
pub use identifier::{ContentHash, Identifier};
pub use memory::Memory;
pub use money::{Currency, ExactAmount, InvalidCurrency, Money};
pub use price::{
    InvalidPrice, NoRangeCost, Price, PriceTerms, Round, TierTerms, TiersMode, TransformQuantity,
};
pub use reservation::ReservationId;
pub use spending_limit::{Cap, Enforcement, LimitTerms, SpendingLimit};
pub use status::{Repeat, UsageStatus};
pub use time::{Clock, DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};
pub use usage_event::{
    ActionType, CustomerId, EventId, EventSource, FieldError, Quantity, UsageEvent,
};

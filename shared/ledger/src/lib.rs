//! The tables of Meterline in DynamoDB: one file per table, every outcome of a
//! conditional write a named enum.
//!
//! The definitions of the tables are in `template.yaml`, and nowhere else.

mod already_delivered;
mod api_key_changes;
mod api_key_list;
mod api_keys;
mod billable_units;
mod billing_events;
mod carry_over;
mod catalog;
mod connection;
mod customer_list;
mod customer_row;
mod customers;
mod deliveries;
mod due;
mod erasure;
mod error;
mod event_progress;
mod event_sweep;
mod items;
mod limit_watches;
mod meter_sums;
mod outbox;
mod outbox_lease;
mod period_usage;
mod rebuild;
mod refuse;
mod reopen;
mod request_rate;
mod reservations;
mod reserved;
mod rollup;
mod settling;
mod stripe_account;
mod take_back;
mod totals_day;
mod transactions;
mod trust;
mod unnamed_refusals;
mod usage_by_customer;
mod usage_event_reader;
mod usage_event_row;
mod usage_event_scan;
mod usage_events;
mod usage_log;
mod usage_totals;
mod void_credits;

pub use api_key_changes::{Revoked, Rotated, Rotation};
pub use api_key_list::{ApiKeyCursor, ApiKeyPage};
pub use api_keys::{ApiKeyRow, InvalidApiKey, KeyState, NewApiKey, PresentedApiKey, Scope};
pub use billable_units::{BillableDay, BillableUnits};
pub use billing_events::{
    Applied, BillingEventRow, BillingEventState, Consequence, StoredNotification,
};
pub use carry_over::CarriedOver;
pub use catalog::{CatalogRow, CatalogStored};
pub use connection::{TableNames, connect};
pub use customer_list::CustomerCursor;
pub use customer_row::{CustomerRow, CustomerStatus, MeteredItem};
pub use customers::{Created, OnboardingRow, Started, Updated};
pub use deliveries::{Channel, Delivery, DeliveryState};
pub use due::{Due, DueBucket, DueCursor, DuePage, Duty};
pub use error::LedgerError;
pub use event_progress::{ListedEvent, Order, Progress};
pub use event_sweep::{EventSweep, SweepWindow, SweptList};
pub use limit_watches::{LimitWatch, RaisedAlert, UntoldAlert};
pub use meter_sums::{MeterSum, MeterSums};
pub use outbox::{ENTRY_EVENTS_MAX, OutboxCursor, OutboxEntries, OutboxEntry, OutboxKey};
pub use outbox_lease::{Leased, OutboxLease};
pub use period_usage::PeriodUsage;
pub use rebuild::{OutboxPage, PageCursor, TotalsPage};
pub use refuse::LaterRefused;
pub use reopen::{Rebilling, Reopened};
pub use request_rate::{
    InvalidRequestRate, LeaseStep, RATE_WINDOW_MS, RequestLease, RequestRate, rate_window,
};
pub use reservations::{Ended, ReservationRow, ReservationState, Reserving};
pub use reserved::{Reserved, Room};
pub use rollup::{Advance, Advanced, Poison};
pub use settling::{EventReservation, ReservationOutcome, SettledHold};
pub use stripe_account::{StripeAccount, StripeAccountRow};
pub use take_back::TakenBack;
pub use trust::{CaBundleError, TrustError};
pub use unnamed_refusals::UnnamedRefusals;
pub use usage_by_customer::IndexedUsageEvent;
pub use usage_event_reader::{
    UsageEventOrder, UsageEventPosition, UsageEventReader, UsageEventsWanted,
};
pub use usage_event_row::{HistoryEntry, UsageEventRow};
pub use usage_event_scan::{UsageEventCursor, UsageEventFilter, UsageEventPage};
pub use usage_events::{Recorded, Transition, Transitioned};
pub use usage_log::{READ_EVENTS_MAX, UsageEventFound, UsageEventsFound, UsageLogCursor};
pub use usage_totals::{Tally, Total, TotalKey};
pub use void_credits::{CreditFixed, VoidCredits};

/// The tables of one Meterline, reached through one DynamoDB client.
#[derive(Clone, Debug)]
pub struct Ledger {
    client: aws_sdk_dynamodb::Client,
    tables: TableNames,
}

impl Ledger {
    /// The tables named `tables`, reached through `client`.
    pub const fn new(client: aws_sdk_dynamodb::Client, tables: TableNames) -> Self {
        Self { client, tables }
    }

    /// The names of the tables.
    pub const fn tables(&self) -> &TableNames {
        &self.tables
    }
}

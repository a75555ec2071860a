//! A row of the audit log, and how the table holds its parts.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use billing::{
    ActionType, BillingTime, ContentHash, CustomerId, EventId, EventSource, HeldReason, Identifier,
    Timestamp, UsageEvent, UsageStatus, window,
};
use serde::{Deserialize, Serialize};

use crate::EventReservation;
use crate::items::{number, text};

/// One usage event and all that became of it. Times are in milliseconds.
///
/// A row with ids of usual length has about 700 bytes, so that recording and
/// delivering it cost one write unit each, and recording one more for the index.
/// An event id or a source of 255 bytes, or a long history, takes it past 1 KB,
/// and every write of it costs a unit more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageEventRow {
    /// The table's key, and Stripe's `identifier`.
    pub identifier: Identifier,
    /// Whose usage it is.
    pub customer_id: CustomerId,
    /// The agent's id of it.
    pub event_id: EventId,
    /// Where it comes from, if it came as a CloudEvent: part of what the agent sent,
    /// without which its fingerprint could not be made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<EventSource>,
    /// What was done.
    pub action_type: ActionType,
    /// Units used.
    pub quantity: u64,
    /// The subscription item, where the agent named it, or where usage records
    /// are added to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_item_id: Option<String>,
    /// When it happened: as said, else when it was first recorded.
    pub occurred_at: Timestamp,
    /// The time that Stripe is told; none while it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed_at: Option<Timestamp>,
    /// The start of the period that `billed_at` lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_start: Option<Timestamp>,
    /// Whether it was carried over from an earlier period, or from a time that Stripe
    /// took no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub carried_over: bool,
    /// The other times that it was to be billed at since it was recorded, or since it
    /// was last redriven: a sending may have told Stripe of any of them. Only a row that
    /// was carried over after that has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told_at: Vec<Timestamp>,
    /// Why it is held, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_reason: Option<HeldReason>,
    /// The event name of the meter that counts it. It is sent under that.
    pub meter_event_name: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// When the send window began.
    pub first_attempt_at: Timestamp,
    /// When it last became pending.
    pub pending_since: Timestamp,
    /// Where it stands.
    pub status: UsageStatus,
    /// Fingerprint of what the agent sent.
    pub content_hash: ContentHash,
    /// Names the call that recorded it, so that a repeated put knows its own row.
    pub attempt_token: String,
    /// Stripe's error code, where Stripe refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe_code: Option<String>,
    /// Stripe's id of the usage, where the way into Stripe gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe_record_id: Option<String>,
    /// What its customer was credited when it was voided too late to be taken
    /// out of its meter, in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void_credit_minor_units: Option<i64>,
    /// Whether its void credits it, and never cancels it in Stripe: an invoice that
    /// takes no more had it when the void began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_void_by_credit: bool,
    /// The reservation that it was to settle, where the agent named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<EventReservation>,
    /// Every status it went through, oldest first.
    pub history: Vec<HistoryEntry>,
    /// Key of the index `by-customer`: `{customer}#{first hex digit}`.
    pub customer_bucket: String,
    /// Sort key of that index: `{occurred_at}#{identifier}`.
    pub occurred_key: String,
}

/// A status that an event took on, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The status.
    pub status: UsageStatus,
    /// When the row took it on.
    pub at: Timestamp,
}

impl UsageEventRow {
    /// The row for `event` as it is first recorded at `now`, real time.
    /// `occurred_at` and `billing_time` are in the customer's time.
    ///
    /// `attempt_token` must differ between calls.
    pub fn new(
        event: &UsageEvent,
        occurred_at: Timestamp,
        billing_time: BillingTime,
        meter_event_name: &str,
        attempt_token: String,
        now: Timestamp,
    ) -> Self {
        let identifier = Identifier::of(&event.customer_id, &event.event_id);
        let (status, billed_at, period_start, carried_over, held_reason) = match billing_time {
            BillingTime::Billable {
                billed_at,
                period_start,
                carried_over,
            } => (
                UsageStatus::Pending,
                Some(billed_at),
                Some(period_start),
                carried_over,
                None,
            ),
            BillingTime::Held(reason) => (UsageStatus::Held, None, None, false, Some(reason)),
        };
        Self {
            customer_bucket: customer_bucket(&event.customer_id, identifier.bucket()),
            occurred_key: format!("{:013}#{identifier}", occurred_at.unix_ms()),
            customer_id: event.customer_id.clone(),
            event_id: event.event_id.clone(),
            source: event.source.clone(),
            action_type: event.action_type.clone(),
            quantity: event.quantity.get(),
            subscription_item_id: event.subscription_item_id.clone(),
            occurred_at,
            billed_at,
            period_start,
            carried_over,
            told_at: Vec::new(),
            held_reason,
            meter_event_name: meter_event_name.to_owned(),
            recorded_at: now,
            first_attempt_at: now,
            pending_since: now,
            status,
            content_hash: ContentHash::of(event),
            attempt_token,
            stripe_code: None,
            stripe_record_id: None,
            void_credit_minor_units: None,
            is_void_by_credit: false,
            reservation: None,
            history: vec![HistoryEntry { status, at: now }],
            identifier,
        }
    }

    /// The row after it is billed at `billed_at`, in the period that begins at
    /// `period_start`, instead: carried over from there.
    #[must_use]
    pub fn carried_over_to(mut self, billed_at: Timestamp, period_start: Timestamp) -> Self {
        self.told_at.extend(self.billed_at);
        self.billed_at = Some(billed_at);
        self.period_start = Some(period_start);
        self.carried_over = true;
        self
    }

    /// The time among those that Stripe may have it under, `billed_at` among them, that
    /// lies in the second of `at`: Stripe tells seconds.
    pub fn told_in_second_of(&self, at: Timestamp) -> Option<Timestamp> {
        let mut told = self.billed_at.iter().chain(&self.told_at);
        told.find(|told| told.unix_s() == at.unix_s()).copied()
    }

    /// Whether a sending that starts at `now` and takes up to `budget_ms` ends
    /// inside the send window.
    pub const fn may_send(&self, now: Timestamp, budget_ms: i64) -> bool {
        window::may_send(self.first_attempt_at, now, budget_ms)
    }
}

pub(crate) fn customer_bucket(customer_id: &CustomerId, bucket: &str) -> String {
    format!("{customer_id}#{bucket}")
}

/// A time that may be none, as the table holds it.
pub(crate) fn time_or_null(at: Option<Timestamp>) -> AttributeValue {
    at.map_or(AttributeValue::Null(true), |at| number(at.unix_ms()))
}

/// Times, as the table holds them.
pub(crate) fn times(times: &[Timestamp]) -> AttributeValue {
    AttributeValue::L(times.iter().map(|at| number(at.unix_ms())).collect())
}

pub(crate) fn history_entry(status: UsageStatus, at: Timestamp) -> AttributeValue {
    AttributeValue::L(vec![AttributeValue::M(HashMap::from([
        ("status".to_owned(), text(status.as_str())),
        ("at".to_owned(), number(at.unix_ms())),
    ]))])
}

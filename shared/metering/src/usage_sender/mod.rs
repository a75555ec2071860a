//! The three ways into Stripe, one file each, behind one question: what does
//! Stripe make of these rows?
//!
//! | way | one event | a repeat is made safe by |
//! | --- | --- | --- |
//! | [`meter_event_stream`] | a hundredth of a request | the identifier |
//! | [`meter_event`] | a request, in turn | the identifier, under a new idempotency key each time |
//! | [`usage_record`] | a request | the idempotency key, which is the identifier |

mod meter_event;
mod meter_event_stream;
mod usage_record;

use ledger::{Ledger, UsageEventRow};
use stripe::{Client, MeterEvent, MeterEventStream, Sent, UsageApi};
use tokio::time::Instant;

pub(crate) use usage_record::UsageRecords;

/// Requests under way at once, for one delivery, where each event is one.
const REQUESTS_IN_FLIGHT: usize = 16;

/// The codes by which Stripe says that this event will never be taken (Stripe
/// API reference: Meter Events, "Handle errors"). Everything else, 401 and
/// unknown codes included, leaves the event pending: it is our trouble or
/// Stripe's, not the event's.
const REJECTING_CODES: [&str; 10] = [
    "archived_meter",
    "meter_event_customer_not_found",
    "meter_event_dimension_count_too_high",
    "meter_event_invalid_value",
    "meter_event_no_customer_defined",
    "meter_event_value_too_many_digits",
    "missing_dimension_payload_keys",
    "no_meter",
    "timestamp_in_future",
    "timestamp_too_far_in_past",
];

/// What Stripe makes of a row that it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Stripe has it.
    Taken {
        /// Stripe's id of it, where it gives one.
        stripe_record_id: Option<String>,
    },
    /// Stripe refuses it for good.
    Refused {
        /// Stripe's error code.
        code: String,
        /// Whether an earlier attempt of this sending may have been taken.
        taken_before: Sent,
    },
    /// Stripe keeps to an answer that does not say whether it has it.
    Unknowable,
    /// Another sending may settle it.
    Unsettled(Trouble),
}

/// Why a sending settled nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing got through: no answer, one of trouble at Stripe or of pace, or
    /// no time left to ask.
    NotThrough,
    /// Stripe is there, and says nothing about the event: the key is refused, or
    /// a code is unknown.
    Unhelpful,
}

/// The way that an account's usage takes.
pub(crate) enum UsageSender {
    MeterEventStream(MeterEventStream),
    MeterEvent(Client),
    UsageRecord(UsageRecords),
}

impl UsageSender {
    /// The way that `stripe` is configured for.
    pub(crate) fn new(ledger: Ledger, stripe: Client) -> Self {
        match stripe.usage_api() {
            UsageApi::MeterEventStream => Self::MeterEventStream(MeterEventStream::new(stripe)),
            UsageApi::MeterEvent => Self::MeterEvent(stripe),
            UsageApi::UsageRecord => Self::UsageRecord(UsageRecords::new(ledger, stripe)),
        }
    }

    /// Whether what Stripe takes counts, and is not refused later.
    pub(crate) const fn is_checked_in_call(&self) -> bool {
        !matches!(self, Self::MeterEventStream(_))
    }

    /// Sends `rows`, which have a billing time, until `deadline`. Answers for
    /// each, in order.
    pub(crate) async fn send(&self, rows: &[&UsageEventRow], deadline: Instant) -> Vec<Answer> {
        match self {
            Self::MeterEventStream(stream) => {
                meter_event_stream::send(stream, &meter_events(rows), deadline).await
            }
            Self::MeterEvent(stripe) => {
                meter_event::send(stripe, &meter_events(rows), deadline).await
            }
            Self::UsageRecord(records) => records.send(rows, deadline).await,
        }
    }
}

impl Answer {
    /// What `error` says of an event.
    fn of(error: &stripe::Error, taken_before: Sent) -> Self {
        if let Some(code) = rejecting_code(error) {
            let in_this_call = error.api().map_or(Sent::No, |error| error.taken_before);
            return Self::Refused {
                code: code.to_owned(),
                taken_before: taken_before.max(in_this_call),
            };
        }
        Self::Unsettled(if error.is_transient() {
            Trouble::NotThrough
        } else {
            Trouble::Unhelpful
        })
    }
}

fn meter_events(rows: &[&UsageEventRow]) -> Vec<MeterEvent> {
    let events = rows.iter().filter_map(|row| meter_event(row));
    events.collect()
}

/// The meter event for `row`; none for one that has no billable time.
pub(crate) fn meter_event(row: &UsageEventRow) -> Option<MeterEvent> {
    Some(MeterEvent::new(
        row.identifier.as_str(),
        &row.meter_event_name,
        row.billed_at?.unix_ms(),
        row.customer_id.as_str(),
        row.quantity,
    ))
}

fn is_refusal(error: &stripe::Error) -> bool {
    error.status() == Some(400)
}

pub(crate) fn rejecting_code(error: &stripe::Error) -> Option<&str> {
    error
        .code()
        .filter(|code| is_refusal(error) && REJECTING_CODES.contains(code))
}

/// What will pass is a warning; what needs the operator, such as a key that
/// Stripe refuses, is an error.
fn log_refusal(events: usize, error: &stripe::Error) {
    let request_id = error.request_id();
    if error.is_transient() {
        tracing::warn!(events, error = %error, request_id, "Stripe did not take usage");
    } else {
        tracing::error!(events, error = %error, request_id, "Stripe refused usage");
    }
}

//! From the audit log into Stripe: steps two and three of an emission, and all
//! of a redelivery.

use std::sync::Arc;
use std::time::Duration;

use billing::{Clock, Timestamp, UsageStatus};
use ledger::{Ledger, LedgerError, Transition, Transitioned, UsageEventRow};
use stripe::{MeterEvent, MeterEventStream, RequestOptions};
use tokio::time::Instant;

use crate::in_flight::in_order;

/// The longest that one delivery may take, Stripe's retries included. The send
/// window keeps this much room.
pub const SEND_BUDGET_MS: i64 = 8_000;

/// Events of one request to the meter event stream (Stripe API reference:
/// Meter Event Streams).
pub const BATCH_EVENTS_MAX: usize = 100;

/// Updates of the audit log under way at once, for one delivery.
const UPDATES_IN_FLIGHT: usize = 16;

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

/// What became of one event in a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// Stripe has it, and the audit log says so.
    Delivered,
    /// Stripe refuses it for good.
    Rejected {
        /// Stripe's error code.
        stripe_code: String,
    },
    /// It is durable; redelivery will settle it. Stripe may have it already.
    Pending,
    /// The send window is over: nothing was sent.
    Quarantined,
    /// Somebody else settled it meanwhile.
    Settled(UsageStatus),
}

/// Sends recorded usage to Stripe and notes the outcome in the audit log.
pub struct Deliverer {
    ledger: Ledger,
    stream: MeterEventStream,
    clock: Arc<dyn Clock>,
}

impl Deliverer {
    /// Delivers from `ledger` into `stream`.
    pub const fn new(ledger: Ledger, stream: MeterEventStream, clock: Arc<dyn Clock>) -> Self {
        Self {
            ledger,
            stream,
            clock,
        }
    }

    /// Delivers `rows`, pending ones, at most [`BATCH_EVENTS_MAX`] a request.
    /// Answers one outcome for each row, in order. Never fails: what could not
    /// be settled is pending.
    pub async fn deliver(&self, rows: &[UsageEventRow]) -> Vec<Delivered> {
        let deadline = Instant::now() + Duration::from_millis(SEND_BUDGET_MS.unsigned_abs());
        let mut outcomes = Vec::with_capacity(rows.len());
        for batch in rows.chunks(BATCH_EVENTS_MAX) {
            outcomes.extend(self.deliver_batch(batch, deadline).await);
        }
        outcomes
    }

    async fn deliver_batch(&self, batch: &[UsageEventRow], deadline: Instant) -> Vec<Delivered> {
        let now = self.clock.now();
        let mut verdicts: Vec<Verdict> = batch
            .iter()
            .map(|row| match meter_event(row) {
                Some(event) if row.may_send(now, SEND_BUDGET_MS) => Verdict::Send(event),
                Some(_) => Verdict::Quarantine,
                None => Verdict::Unsettled,
            })
            .collect();
        self.send(&mut verdicts, deadline).await;
        let settling = batch.iter().zip(verdicts);
        let settling = settling.map(|(row, verdict)| self.settle(row, verdict));
        in_order(settling.collect(), UPDATES_IN_FLIGHT).await
    }

    /// Sends what is to be sent. A refused request of many events is halved
    /// until the guilty one is alone, so that it takes no other down with it.
    async fn send(&self, verdicts: &mut [Verdict], deadline: Instant) {
        let mut requests = vec![(0, verdicts.len())];
        while let Some((start, end)) = requests.pop() {
            let Some(part) = verdicts.get_mut(start..end) else {
                continue;
            };
            let events: Vec<MeterEvent> = part.iter().filter_map(Verdict::to_send).collect();
            if events.is_empty() {
                continue;
            }
            if Instant::now() >= deadline {
                // What has not been sent stays pending.
                break;
            }
            let options = RequestOptions::until(deadline);
            match self.stream.send(&events, &options).await {
                Ok(()) => Verdict::replace(part, &Verdict::Sent),
                Err(error) if events.len() > 1 && is_refusal(&error) => {
                    let middle = start.midpoint(end);
                    requests.push((middle, end));
                    requests.push((start, middle));
                }
                Err(error) => {
                    let verdict = match rejecting_code(&error) {
                        Some(code) => Verdict::Reject(code.to_owned()),
                        None => Verdict::Unsettled,
                    };
                    log_refusal(events.len(), &error);
                    Verdict::replace(part, &verdict);
                }
            }
        }
    }

    async fn settle(&self, row: &UsageEventRow, verdict: Verdict) -> Delivered {
        match verdict {
            Verdict::Sent => {
                self.note(row, UsageStatus::Delivered, None, Delivered::Delivered)
                    .await
            }
            Verdict::Reject(code) => {
                let outcome = Delivered::Rejected {
                    stripe_code: code.clone(),
                };
                self.note(row, UsageStatus::Rejected, Some(&code), outcome)
                    .await
            }
            Verdict::Quarantine => {
                self.note(row, UsageStatus::Quarantined, None, Delivered::Quarantined)
                    .await
            }
            Verdict::Send(_) | Verdict::Unsettled => Delivered::Pending,
        }
    }

    async fn note(
        &self,
        row: &UsageEventRow,
        to: UsageStatus,
        stripe_code: Option<&str>,
        outcome: Delivered,
    ) -> Delivered {
        let at: Timestamp = self.clock.now();
        let transition = Transition {
            from: UsageStatus::Pending,
            to,
            at,
            stripe_code,
        };
        match self
            .ledger
            .transition_usage_event(&row.identifier, transition)
            .await
        {
            Ok(Transitioned::Done) => {
                log_unbilled(row, to, stripe_code);
                outcome
            }
            Ok(Transitioned::Was(status)) if status == to => outcome,
            Ok(Transitioned::Was(status)) => Delivered::Settled(status),
            Ok(Transitioned::NoSuchEvent) => {
                tracing::error!(identifier = %row.identifier, "a usage event has vanished from the audit log");
                Delivered::Pending
            }
            Err(error) => {
                log_unnoted(row, to, &error);
                Delivered::Pending
            }
        }
    }
}

/// What is to be done with one event of a batch.
#[derive(Clone, Debug)]
enum Verdict {
    Send(MeterEvent),
    Sent,
    Reject(String),
    Quarantine,
    Unsettled,
}

impl Verdict {
    fn to_send(&self) -> Option<MeterEvent> {
        match self {
            Self::Send(event) => Some(event.clone()),
            _ => None,
        }
    }

    fn replace(part: &mut [Self], verdict: &Self) {
        for entry in part
            .iter_mut()
            .filter(|entry| matches!(entry, Self::Send(_)))
        {
            *entry = verdict.clone();
        }
    }
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

/// Nothing goes unbilled silently.
fn log_unbilled(row: &UsageEventRow, to: UsageStatus, stripe_code: Option<&str>) {
    if to != UsageStatus::Delivered {
        tracing::error!(
            identifier = %row.identifier,
            customer_id = %row.customer_id,
            quantity = row.quantity,
            status = to.as_str(),
            stripe_code,
            "usage is not billed as it stands"
        );
    }
}

/// Stripe's answer is known and the log's is not: redelivery sends the event
/// again, and its identifier makes that no second usage.
fn log_unnoted(row: &UsageEventRow, to: UsageStatus, error: &LedgerError) {
    tracing::warn!(
        identifier = %row.identifier,
        status = to.as_str(),
        error = %error,
        source = std::error::Error::source(error).map(tracing::field::display),
        "the audit log did not take a status; redelivery will repeat it"
    );
}

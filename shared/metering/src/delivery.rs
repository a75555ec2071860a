//! From the audit log into Stripe: steps two and three of an emission, and all
//! of a redelivery.

use std::sync::Arc;
use std::time::Duration;

use billing::{Clock, Timestamp, UsageStatus};
use ledger::{Ledger, LedgerError, Transition, Transitioned, UsageEventRow};
use stripe::Sent;
use tokio::time::Instant;

use crate::in_flight::in_order;
use crate::usage_sender::{Answer, Trouble, UsageSender};

/// The longest that one delivery may take, Stripe's retries included. The send
/// window keeps this much room.
pub const SEND_BUDGET_MS: i64 = 8_000;

/// Events of one request to the meter event stream (Stripe API reference:
/// Meter Event Streams).
pub const BATCH_EVENTS_MAX: usize = 100;

/// Updates of the audit log under way at once, for one delivery.
const UPDATES_IN_FLIGHT: usize = 16;

/// What became of one event in a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// Stripe has it, and the audit log says so.
    Delivered,
    /// Stripe refuses it for good, and surely never took it.
    Rejected {
        /// Stripe's error code.
        stripe_code: String,
    },
    /// It is durable; redelivery will settle it. Stripe may have it already.
    Pending,
    /// Nobody may send it any more, and nobody here knows whether Stripe has
    /// it: the send window is over, Stripe refuses a repeat of what it may have
    /// taken, or it keeps to an answer that does not say.
    Quarantined,
    /// Somebody else settled it meanwhile.
    Settled(UsageStatus),
}

/// A pending row to be sent, and whether an earlier sending of it may have
/// reached Stripe: then a refusal does not say that Stripe never took it.
#[derive(Clone, Copy, Debug)]
pub struct Sending<'a> {
    row: &'a UsageEventRow,
    sent_before: Sent,
}

impl<'a> Sending<'a> {
    /// The first sending of what this call has recorded.
    pub const fn first(row: &'a UsageEventRow) -> Self {
        Self {
            row,
            sent_before: Sent::No,
        }
    }

    /// A sending of what may have been sent before.
    pub const fn again(row: &'a UsageEventRow) -> Self {
        Self {
            row,
            sent_before: Sent::Perhaps,
        }
    }
}

/// The outcome of one sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What became of the event.
    pub outcome: Delivered,
    /// Stripe's id of the usage, where this sending brought one.
    pub stripe_record_id: Option<String>,
}

/// The outcome of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliveries {
    /// Of each sending, in order.
    pub each: Vec<Delivery>,
    /// False where something was to be sent and nothing of it got through: no
    /// answer, or none but of trouble at Stripe or of pace. Whoever has more to
    /// send may well let it be for now.
    pub got_through: bool,
}

/// Sends recorded usage to Stripe and notes the outcome in the audit log.
pub struct Deliverer {
    ledger: Ledger,
    sender: UsageSender,
    clock: Arc<dyn Clock>,
}

impl Deliverer {
    /// Delivers from `ledger` to `stripe`, by the API that it is configured for.
    pub fn new(ledger: Ledger, stripe: stripe::Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            sender: UsageSender::new(ledger.clone(), stripe),
            ledger,
            clock,
        }
    }

    /// Delivers `rows`, pending ones that may have been sent before. Answers one
    /// outcome for each, in order. Never fails: what could not be settled is
    /// pending.
    pub async fn deliver(&self, rows: &[UsageEventRow]) -> Vec<Delivered> {
        let sendings: Vec<Sending<'_>> = rows.iter().map(Sending::again).collect();
        let delivered = self.send(&sendings).await.each.into_iter();
        delivered.map(|delivery| delivery.outcome).collect()
    }

    /// Makes `sendings`, at most [`BATCH_EVENTS_MAX`] a request where a request
    /// takes many. Never fails: what could not be settled is pending.
    pub async fn send(&self, sendings: &[Sending<'_>]) -> Deliveries {
        let deadline = Instant::now() + Duration::from_millis(SEND_BUDGET_MS.unsigned_abs());
        let mut each = Vec::with_capacity(sendings.len());
        let (mut is_any_sent, mut is_any_through) = (false, false);
        for batch in sendings.chunks(BATCH_EVENTS_MAX) {
            let verdicts = self.ask(batch, deadline).await;
            let asked = verdicts.iter().filter_map(|verdict| verdict.answer());
            for answer in asked {
                is_any_sent = true;
                is_any_through |= *answer != Answer::Unsettled(Trouble::NotThrough);
            }
            let settling = batch.iter().zip(verdicts);
            let settling = settling.map(|(sending, verdict)| self.settle(*sending, verdict));
            each.extend(in_order(settling.collect(), UPDATES_IN_FLIGHT).await);
        }
        Deliveries {
            each,
            got_through: is_any_through || !is_any_sent,
        }
    }

    /// Sends what may be sent.
    async fn ask(&self, batch: &[Sending<'_>], deadline: Instant) -> Vec<Verdict> {
        let now = self.clock.now();
        let may_send = |row: &UsageEventRow| row.may_send(now, SEND_BUDGET_MS);
        let rows = batch.iter().map(|sending| sending.row);
        let to_send: Vec<&UsageEventRow> = rows
            .filter(|row| row.billed_at.is_some() && may_send(row))
            .collect();
        let mut answers = self.sender.send(&to_send, deadline).await.into_iter();
        let verdict = |sending: &Sending<'_>| match sending.row.billed_at {
            None => Verdict::Leave,
            Some(_) if may_send(sending.row) => {
                answers.next().map_or(Verdict::Leave, Verdict::Answered)
            }
            Some(_) => Verdict::TooLate,
        };
        batch.iter().map(verdict).collect()
    }

    async fn settle(&self, sending: Sending<'_>, verdict: Verdict) -> Delivery {
        let row = sending.row;
        let outcome = match verdict {
            Verdict::Answered(Answer::Taken { stripe_record_id }) => {
                return self.note_taken(row, stripe_record_id).await;
            }
            Verdict::Answered(Answer::Refused { code, taken_before }) => {
                let taken_before = taken_before.max(sending.sent_before);
                self.note_refused(row, &code, taken_before).await
            }
            Verdict::Answered(Answer::Unknowable) | Verdict::TooLate => {
                self.note(row, UsageStatus::Quarantined, None, Delivered::Quarantined)
                    .await
            }
            Verdict::Answered(Answer::Unsettled(_)) | Verdict::Leave => Delivered::Pending,
        };
        Delivery {
            outcome,
            stripe_record_id: None,
        }
    }

    /// Where Stripe has checked it in the call, its word is later than that of
    /// another call at the same time, which was refused.
    async fn note_taken(&self, row: &UsageEventRow, record_id: Option<String>) -> Delivery {
        let record = record_id.as_deref();
        let mut outcome = self.note_delivered(row, UsageStatus::Pending, record).await;
        let was_rejected = outcome == Delivered::Settled(UsageStatus::Rejected);
        if was_rejected && self.sender.is_checked_in_call() {
            tracing::warn!(identifier = %row.identifier, "Stripe took an event that is called rejected");
            outcome = self
                .note_delivered(row, UsageStatus::Rejected, record)
                .await;
        }
        Delivery {
            outcome,
            stripe_record_id: record_id,
        }
    }

    async fn note_delivered(
        &self,
        row: &UsageEventRow,
        from: UsageStatus,
        record_id: Option<&str>,
    ) -> Delivered {
        let (identifier, to, at) = (&row.identifier, UsageStatus::Delivered, self.clock.now());
        let transition = Transition {
            from,
            to,
            at,
            stripe_code: None,
        };
        let ledger = &self.ledger;
        let noted = match record_id {
            Some(id) => ledger.deliver_usage_record(identifier, from, id, at).await,
            None => ledger.transition_usage_event(identifier, transition).await,
        };
        noted_as(row, to, None, noted, Delivered::Delivered)
    }

    /// Only what Stripe surely never took is rejected. Stripe's reference does
    /// not say whether a repeat is told from a refusal first, so a refusal of
    /// what may have been taken leaves open whether it counts.
    async fn note_refused(&self, row: &UsageEventRow, code: &str, taken_before: Sent) -> Delivered {
        let (to, outcome) = match taken_before {
            Sent::No => (
                UsageStatus::Rejected,
                Delivered::Rejected {
                    stripe_code: code.to_owned(),
                },
            ),
            Sent::Perhaps => (UsageStatus::Quarantined, Delivered::Quarantined),
        };
        self.note(row, to, Some(code), outcome).await
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
        let noted = self
            .ledger
            .transition_usage_event(&row.identifier, transition)
            .await;
        noted_as(row, to, stripe_code, noted, outcome)
    }
}

/// What is to be noted of one event of a batch.
#[derive(Clone, Debug)]
enum Verdict {
    Answered(Answer),
    TooLate,
    /// It has no billing time, and is not for this code to send.
    Leave,
}

impl Verdict {
    const fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answered(answer) => Some(answer),
            Self::TooLate | Self::Leave => None,
        }
    }
}

/// What a note in the audit log makes of an event: `outcome`, if it was taken.
fn noted_as(
    row: &UsageEventRow,
    to: UsageStatus,
    stripe_code: Option<&str>,
    noted: Result<Transitioned, LedgerError>,
    outcome: Delivered,
) -> Delivered {
    match noted {
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
/// again, and that makes no second usage.
fn log_unnoted(row: &UsageEventRow, to: UsageStatus, error: &LedgerError) {
    tracing::warn!(
        identifier = %row.identifier,
        status = to.as_str(),
        error = %error,
        source = std::error::Error::source(error).map(tracing::field::display),
        "the audit log did not take a status; redelivery will repeat it"
    );
}

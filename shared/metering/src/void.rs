//! Taking back a usage event that should not have been: so that it is on no
//! invoice, or its customer is credited for it, whatever crashes on the way.
//!
//! The first step moves the row to `voiding`, and everything after follows from
//! the row: where it came from, when, and whether an invoice had it for good then.
//! A void that was cut short is resumed by the same call, in this process or another.

use std::sync::Arc;
use std::time::Duration;

use billing::{Clock, Currency, Identifier, Timestamp, UsageStatus};
use ledger::{Ledger, LedgerError, Transition, Transitioned, UsageEventRow};
use stripe::{IdempotencyKey, MeterEventOutcome, RequestOptions};
use tokio::time::Instant;

use crate::delivery::SEND_BUDGET_MS;
use crate::usage_sender::{Answer, UsageRecords, meter_event, rejecting_code};
use crate::void_credit::{self, CreditError};
use crate::{CustomerDirectory, CustomerError, PeriodUnknown};

/// Stripe keeps the answer to an idempotency key for 24 hours at least (Stripe
/// API reference: Idempotent requests); an hour less is used. Until then a
/// cancellation whose answer was lost is safely asked for again.
const CANCEL_MS: i64 = 23 * 3_600_000;

/// Looks at a row that others keep moving.
const LOOKS_MAX: usize = 5;

/// What became of a void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Void {
    /// It was voided before; nothing was done.
    Before,
    /// Stripe does not count it: there was nothing to take back.
    NeverBilled,
    /// Stripe has cancelled the meter event.
    Cancelled,
    /// It was too late to cancel it: its customer is credited.
    Credited {
        /// What the event cost, as its invoice line is rounded, in minor units.
        minor_units: i64,
        /// The customer's currency.
        currency: Currency,
        /// Stripe's customer balance transaction; none for a credit of nothing.
        transaction_id: Option<String>,
    },
}

/// What the operator has found out of an event whose fate is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Stripe counts it.
    Counted,
    /// Stripe does not count it.
    NotCounted,
}

/// Why an event is not voided, or not yet.
#[derive(Debug, thiserror::Error)]
pub enum VoidError {
    /// The audit log has no such event.
    #[error("the audit log has no such event")]
    NoSuchEvent,
    /// DynamoDB failed: the same call resumes the void.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The customer could not be looked up: the same call goes on.
    #[error(transparent)]
    Customer(#[from] CustomerError),
    /// Whether an invoice has the event for good is not known: the same call goes on.
    #[error(transparent)]
    Period(#[from] PeriodUnknown),
    /// Stripe failed: the same call resumes the void.
    #[error("Stripe did not {step}: the event is voiding, the same call goes on")]
    Stripe {
        /// What it was asked.
        step: &'static str,
        /// What it said.
        #[source]
        source: stripe::Error,
    },
    /// Stripe did not say whether it has the usage record.
    #[error("Stripe did not take the usage record: the event is voiding, the same call goes on")]
    UsageRecord,
    /// Nobody here knows whether Stripe counts it, and Stripe cancels it no more, or its
    /// invoice does not follow.
    #[error(
        "perhaps Stripe counts this event, and it is too late to cancel it: \
         run reconcile, then say what it found"
    )]
    FateUnknown,
    /// The credit could not be reckoned.
    #[error(transparent)]
    Credit(#[from] CreditError),
    /// Others keep changing the event.
    #[error("the event keeps changing: the same call goes on")]
    Contended,
}

impl VoidError {
    /// A failure of Stripe's at `step`.
    pub(crate) fn stripe(step: &'static str) -> impl Fn(stripe::Error) -> Self {
        move |source| Self::Stripe { step, source }
    }
}

/// Voids usage events.
pub struct Voider {
    ledger: Ledger,
    stripe: stripe::Client,
    customers: CustomerDirectory,
    /// Where usage goes by them: Stripe cancels none.
    usage_records: Option<UsageRecords>,
    clock: Arc<dyn Clock>,
}

/// A row that is voiding, and by its history alone where it came from, and when.
struct Voiding {
    row: UsageEventRow,
    from: UsageStatus,
    since: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Stripe never took it.
    Nothing,
    /// Make sure that Stripe has it, and cancel it.
    Cancel,
    /// Stripe counts it, and cancels it no more.
    Credit,
}

/// What a cancellation came to.
enum Cancellation {
    Cancelled,
    NotCounted,
    /// Stripe counts it, and cancels nothing of its kind.
    Counted,
    Unknown,
}

impl Voider {
    /// Voids in `ledger` and `stripe`.
    pub fn new(ledger: Ledger, stripe: stripe::Client, clock: Arc<dyn Clock>) -> Self {
        let has_meter = stripe.usage_api().has_meter();
        let usage_records = || UsageRecords::new(ledger.clone(), stripe.clone());
        Self {
            usage_records: (!has_meter).then(usage_records),
            customers: CustomerDirectory::new(ledger.clone(), stripe.clone(), Arc::clone(&clock)),
            ledger,
            stripe,
            clock,
        }
    }

    /// Voids the event `identifier`, or goes on with a void that was cut short.
    /// `found` settles an event whose fate only reconcile can tell; it is
    /// ignored for every other.
    ///
    /// # Errors
    /// A [`VoidError`]. But for [`VoidError::NoSuchEvent`] the same call again
    /// is always safe.
    pub async fn void(
        &self,
        identifier: &Identifier,
        found: Option<Found>,
    ) -> Result<Void, VoidError> {
        for _ in 0..LOOKS_MAX {
            let row = self.ledger.usage_event(identifier).await?;
            let row = row.ok_or(VoidError::NoSuchEvent)?;
            let status = row.status;
            if status == UsageStatus::Voided {
                return Ok(Void::Before);
            }
            if status == UsageStatus::Voiding {
                return self.finish(Voiding::read(row), found).await;
            }
            // Whoever moves the row first, the next look finds it.
            self.begin(&row).await?;
        }
        Err(VoidError::Contended)
    }

    /// Moves `row` to `voiding`. Where an invoice has it for good, that goes into the
    /// row now: once the void has begun, the invoice may become final after a cancellation,
    /// and nobody could tell which was first.
    async fn begin(&self, row: &UsageEventRow) -> Result<(), VoidError> {
        let (identifier, from, now) = (&row.identifier, row.status, self.clock.now());
        let may_cancel = from == UsageStatus::Delivered && self.way(row, from, now) == Way::Cancel;
        if may_cancel && self.is_invoiced(row).await? {
            let begun = self.ledger.begin_void_by_credit(identifier, from, now);
            return moved_by_anybody(begun.await?);
        }
        self.move_row(identifier, from, UsageStatus::Voiding).await
    }

    /// Whether an invoice that takes no more bills a time that Stripe was told of `row`:
    /// what is cancelled in the meter stays on it.
    async fn is_invoiced(&self, row: &UsageEventRow) -> Result<bool, VoidError> {
        let Some(customer) = self.customers.customer(&row.customer_id).await? else {
            return Ok(false);
        };
        for at in row.billed_at.iter().chain(&row.told_at) {
            if self.customers.is_invoiced(&customer, *at).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn finish(&self, voiding: Voiding, found: Option<Found>) -> Result<Void, VoidError> {
        let outcome = match self.way(&voiding.row, voiding.from, voiding.since) {
            Way::Nothing => Void::NeverBilled,
            Way::Credit => self.credit(&voiding.row).await?,
            Way::Cancel => match (self.cancel(&voiding).await?, found) {
                (Cancellation::Cancelled, _) => Void::Cancelled,
                (Cancellation::Counted, _) => self.credit(&voiding.row).await?,
                (Cancellation::NotCounted, _)
                | (Cancellation::Unknown, Some(Found::NotCounted)) => Void::NeverBilled,
                (Cancellation::Unknown, Some(Found::Counted)) => self.credit(&voiding.row).await?,
                (Cancellation::Unknown, None) => return self.give_up(&voiding).await,
            },
        };
        let identifier = &voiding.row.identifier;
        self.move_row(identifier, UsageStatus::Voiding, UsageStatus::Voided)
            .await?;
        tracing::info!(%identifier, ?outcome, "voided a usage event");
        Ok(outcome)
    }

    fn way(&self, row: &UsageEventRow, from: UsageStatus, since: Timestamp) -> Way {
        match from {
            UsageStatus::Delivered if self.usage_records.is_some() => Way::Credit,
            _ => way(row, from, since),
        }
    }

    /// Sends the event once more, while Stripe surely knows its identifier, so
    /// that its fate is known; then cancels it.
    async fn cancel(&self, voiding: &Voiding) -> Result<Cancellation, VoidError> {
        let row = &voiding.row;
        if let Some(usage_records) = &self.usage_records {
            return self.make_sure_of_record(usage_records, row).await;
        }
        if self.is_invoiced(row).await? {
            // Of what was delivered, a cancellation from before may have lost its answer.
            // What was not is on the invoice or nowhere, and a sending would bring it where
            // no invoice bills it.
            return Ok(Cancellation::Unknown);
        }
        let is_there = if row.may_send(self.clock.now(), SEND_BUDGET_MS) {
            Some(self.make_sure(row).await?)
        } else {
            None
        };
        if self.clock.now().ms_since(voiding.since) >= CANCEL_MS {
            // A cancellation of the first hours may have lost its answer, and
            // Stripe has forgotten its key.
            return Ok(Cancellation::Unknown);
        }
        match self.adjust(voiding).await {
            Ok(()) => Ok(Cancellation::Cancelled),
            Err(error) if is_cancelled_already(&error) => Ok(Cancellation::Cancelled),
            Err(error) if error.is_not_found() && is_there == Some(false) => {
                Ok(Cancellation::NotCounted)
            }
            Err(error) if is_refused(&error) && is_there != Some(true) => Ok(Cancellation::Unknown),
            Err(source) => Err(VoidError::stripe("cancel the meter event")(source)),
        }
    }

    /// Whether Stripe has the event: it has after this, unless it refuses it.
    /// By the endpoint that checks in the call; the stream would say nothing.
    async fn make_sure(&self, row: &UsageEventRow) -> Result<bool, VoidError> {
        let Some(event) = meter_event(row) else {
            return Ok(false);
        };
        let deadline = Instant::now() + Duration::from_millis(SEND_BUDGET_MS.unsigned_abs());
        let options = RequestOptions::until(deadline);
        match self.stripe.create_meter_event(&event, &options).await {
            Ok(MeterEventOutcome::Created | MeterEventOutcome::AlreadyExists) => Ok(true),
            Err(error) if rejecting_code(&error).is_some() => Ok(false),
            Err(source) => Err(VoidError::stripe("take the meter event")(source)),
        }
    }

    /// As [`make_sure`](Self::make_sure), for a usage record: while its key is
    /// known, Stripe tells what became of it.
    async fn make_sure_of_record(
        &self,
        usage_records: &UsageRecords,
        row: &UsageEventRow,
    ) -> Result<Cancellation, VoidError> {
        if !row.may_send(self.clock.now(), SEND_BUDGET_MS) {
            return Ok(Cancellation::Unknown);
        }
        let deadline = Instant::now() + Duration::from_millis(SEND_BUDGET_MS.unsigned_abs());
        match usage_records.send_one(row, deadline).await {
            Answer::Taken { .. } => Ok(Cancellation::Counted),
            Answer::Refused { .. } => Ok(Cancellation::NotCounted),
            Answer::Unknowable => Ok(Cancellation::Unknown),
            Answer::Unsettled(_) => Err(VoidError::UsageRecord),
        }
    }

    /// Under a key of this void's own, so that a lost answer is told again; and
    /// where that key is stuck with an error of Stripe's, under another.
    async fn adjust(&self, voiding: &Voiding) -> Result<(), stripe::Error> {
        let row = &voiding.row;
        let since = voiding.since.unix_ms().to_string();
        let key = IdempotencyKey::derived(&["void", row.identifier.as_str(), &since]);
        let adjust = async |options: RequestOptions| {
            self.stripe
                .create_meter_event_adjustment(
                    &row.meter_event_name,
                    row.identifier.as_str(),
                    &options,
                )
                .await
                .map(|_| ())
        };
        match adjust(RequestOptions::new().idempotency_key(key)).await {
            Err(error) if matches!(error.status(), Some(500..)) => {
                adjust(RequestOptions::new()).await
            }
            adjusted => adjusted,
        }
    }

    async fn credit(&self, row: &UsageEventRow) -> Result<Void, VoidError> {
        let credit = void_credit::give(&self.ledger, &self.stripe, row).await?;
        Ok(Void::Credited {
            minor_units: credit.minor_units,
            currency: credit.currency,
            transaction_id: credit.transaction_id,
        })
    }

    /// What was never known to be in Stripe goes back to where reconcile looks
    /// for it; anything else stays voiding, out of the totals.
    async fn give_up(&self, voiding: &Voiding) -> Result<Void, VoidError> {
        let back = match voiding.from {
            UsageStatus::Pending | UsageStatus::Quarantined => Some(UsageStatus::Quarantined),
            UsageStatus::Rejected => Some(UsageStatus::Rejected),
            _ => None,
        };
        let has_stripe_refused = self.clock.now().ms_since(voiding.since) < CANCEL_MS;
        if let Some(back) = back.filter(|_| has_stripe_refused) {
            let identifier = &voiding.row.identifier;
            self.move_row(identifier, UsageStatus::Voiding, back)
                .await?;
        }
        Err(VoidError::FateUnknown)
    }

    async fn move_row(
        &self,
        identifier: &Identifier,
        from: UsageStatus,
        to: UsageStatus,
    ) -> Result<(), VoidError> {
        let transition = Transition {
            from,
            to,
            at: self.clock.now(),
            stripe_code: None,
        };
        let moved = self.ledger.transition_usage_event(identifier, transition);
        moved_by_anybody(moved.await?)
    }
}

impl Voiding {
    fn read(row: UsageEventRow) -> Self {
        let mut history = row.history.iter().rev();
        let since = history.next().map_or(row.recorded_at, |entry| entry.at);
        // Without a history nothing is known, as of a quarantined event.
        let from = history
            .next()
            .map_or(UsageStatus::Quarantined, |entry| entry.status);
        Self { row, from, since }
    }
}

/// What is to be done with `row`, whose void came from `from` and began at `since`.
fn way(row: &UsageEventRow, from: UsageStatus, since: Timestamp) -> Way {
    let mut history = row.history.iter();
    let was_sent_from_here = history.any(|entry| entry.status == UsageStatus::Pending);
    match from {
        UsageStatus::Held => Way::Nothing,
        // Imported: Stripe has it under a name of its sender's.
        UsageStatus::Delivered if !was_sent_from_here => Way::Credit,
        UsageStatus::Delivered if !row.may_send(since, SEND_BUDGET_MS) => Way::Credit,
        UsageStatus::Delivered if row.is_void_by_credit => Way::Credit,
        _ => Way::Cancel,
    }
}

/// That somebody else was first is no failure.
const fn moved_by_anybody(moved: Transitioned) -> Result<(), VoidError> {
    match moved {
        Transitioned::Done | Transitioned::Was(_) => Ok(()),
        Transitioned::NoSuchEvent => Err(VoidError::NoSuchEvent),
    }
}

fn is_refused(error: &stripe::Error) -> bool {
    matches!(error.status(), Some(400 | 404))
}

/// Stripe's reference does not say how a second cancellation is answered. One
/// that is refused in other words leaves the event voiding.
fn is_cancelled_already(error: &stripe::Error) -> bool {
    is_refused(error)
        && error
            .api()
            .is_some_and(|error| error.message.contains("already cancel"))
}

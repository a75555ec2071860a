//! Sending again what was given up, on the operator's word: quarantined, held
//! and rejected events, each under its old identifier and in a send window of
//! its own. Or, on the operator's word too, noting that Stripe has it.

use std::sync::Arc;

use billing::{BillingTime, Clock, HeldReason, Timestamp, UsageStatus};
use ledger::{
    Ledger, LedgerError, MeteredItem, Rebilling, Reopened, TakenBack, Transition, Transitioned,
    UsageEventRow,
};

use crate::delivery::BATCH_EVENTS_MAX;
use crate::{
    BilledBy, CatalogCache, CustomerDirectory, CustomerError, Delivered, Deliverer, KnownCustomer,
    PeriodUnknown, Sending, billed_by, in_order,
};

/// Rows reopened at once.
const CALLS_IN_FLIGHT: usize = 16;

/// What a redrive of an event would come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// It would be sent, billed as this says.
    Send(Rebilling),
    /// It still is billed by nothing.
    Held(HeldReason),
    /// Its customer is not known here.
    UnknownCustomer,
    /// It is in none of the states that are redriven.
    NotGivenUp(UsageStatus),
    /// It would be noted as delivered, billed as its row says.
    Note,
    /// It would be noted as delivered, billed at another time that Stripe was told.
    NoteAt {
        /// The time that was told.
        billed_at: Timestamp,
        /// The start of the period that it falls into.
        period_start: Timestamp,
    },
    /// It was carried over after a sending: what Stripe has of it may be billed in the
    /// period before, and the row would name the wrong one.
    CarriedOver,
    /// Stripe cannot have it at the time that is named: no sending told it so, or no
    /// period bills it.
    NotAtThisTime,
}

/// What became of a redrive.
#[derive(Debug)]
pub enum Redriven {
    /// It is pending again and was sent, with this outcome. What is pending
    /// still, redelivery goes on with.
    Sent(Delivered),
    /// It is noted as delivered, and nothing was sent.
    Noted,
    /// It was not sent, for what the prospect says.
    Left(Prospect),
    /// Somebody changed it since it was listed.
    Changed,
    /// A table or a test clock failed: perhaps it is pending again.
    Failed(RedriveError),
}

/// Why an event could not be redriven.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// The audit log failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The customer could not be looked up.
    #[error(transparent)]
    Customer(#[from] CustomerError),
    /// Stripe did not tell whether its period still takes usage.
    #[error(transparent)]
    Period(#[from] PeriodUnknown),
}

/// Redrives usage events.
pub struct Redriver {
    ledger: Ledger,
    customers: CustomerDirectory,
    deliverer: Deliverer,
    catalog: CatalogCache,
    clock: Arc<dyn Clock>,
}

impl Redriver {
    /// Redrives from `ledger` to Stripe, in the ways that the parts know.
    pub fn new(
        ledger: Ledger,
        customers: CustomerDirectory,
        deliverer: Deliverer,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            catalog: CatalogCache::new(ledger.clone(), Arc::clone(&clock)),
            ledger,
            customers,
            deliverer,
            clock,
        }
    }

    /// What a redrive of `row` would come to. Its billing time is chosen anew:
    /// the period that it was chosen in may be over. So is its meter, by the
    /// catalog as it is now, unless Stripe may have it from the one before.
    ///
    /// # Errors
    /// [`RedriveError`] where the customer or the period cannot be looked up.
    pub async fn prospect(&self, row: &UsageEventRow) -> Result<Prospect, RedriveError> {
        if !is_given_up(row.status) {
            return Ok(Prospect::NotGivenUp(row.status));
        }
        let Some(customer) = self.customers.customer(&row.customer_id).await? else {
            return Ok(Prospect::UnknownCustomer);
        };
        let Some(item) = self.item_of(row, &customer).await? else {
            return Ok(Prospect::Held(HeldReason::NoSubscriptionItem));
        };
        let time = self
            .customers
            .billing_time(&customer, &item, row.occurred_at);
        Ok(match time.await? {
            BillingTime::Billable {
                billed_at,
                period_start,
                carried_over,
            } => Prospect::Send(Rebilling {
                billed_at,
                period_start,
                carried_over,
                // A repeat must name the item that the first sending named.
                subscription_item_id: (is_unsent(row.status) && item.meter_id.is_empty())
                    .then_some(item.subscription_item_id),
                meter_event_name: item.meter_event_name,
            }),
            BillingTime::Held(reason) => Prospect::Held(reason),
        })
    }

    /// The item of the customer's that bills `row`.
    async fn item_of(
        &self,
        row: &UsageEventRow,
        customer: &KnownCustomer,
    ) -> Result<Option<MeteredItem>, LedgerError> {
        let recorded = || customer.row.item_of_event(row).cloned();
        if !is_unsent(row.status) {
            return Ok(recorded());
        }
        let catalog = self.catalog.current().await?;
        let billed_by = billed_by(catalog.as_deref(), &customer.row, &row.action_type);
        Ok(match billed_by {
            BilledBy::Item(item) => Some(item.clone()),
            BilledBy::NoItem { .. } => None,
            BilledBy::Uncovered => recorded(),
        })
    }

    /// Redrives `rows`, as they were read, in requests of a hundred. Answers one
    /// outcome for each, in order.
    pub async fn redrive(&self, rows: &[UsageEventRow]) -> Vec<Redriven> {
        let mut outcomes = Vec::with_capacity(rows.len());
        for batch in rows.chunks(BATCH_EVENTS_MAX) {
            outcomes.extend(self.redrive_batch(batch).await);
        }
        outcomes
    }

    /// Notes `rows`, as they were read, as delivered: the operator knows that
    /// Stripe has them, by its own list of meter events. Nothing is sent. Only
    /// what is quarantined or rejected can be settled so: what was held never was sent.
    pub async fn note_in_stripe(&self, rows: &[UsageEventRow]) -> Vec<Redriven> {
        let noting = rows.iter().map(|row| self.note(row)).collect();
        in_order(noting, CALLS_IN_FLIGHT).await
    }

    async fn note(&self, row: &UsageEventRow) -> Redriven {
        match Self::prospect_in_stripe(row) {
            Prospect::Note => self.note_delivered(row).await,
            left => Redriven::Left(left),
        }
    }

    /// What [`note_in_stripe`](Self::note_in_stripe) would make of `row`.
    pub const fn prospect_in_stripe(row: &UsageEventRow) -> Prospect {
        if !matches!(row.status, UsageStatus::Quarantined | UsageStatus::Rejected) {
            return Prospect::NotGivenUp(row.status);
        }
        if !row.told_at.is_empty() {
            return Prospect::CarriedOver;
        }
        Prospect::Note
    }

    async fn note_delivered(&self, row: &UsageEventRow) -> Redriven {
        let transition = Transition {
            from: row.status,
            to: UsageStatus::Delivered,
            at: self.clock.now(),
            stripe_code: None,
        };
        let noted = self
            .ledger
            .transition_usage_event(&row.identifier, transition);
        match noted.await {
            Ok(Transitioned::Done) => Redriven::Noted,
            Ok(Transitioned::Was(_) | Transitioned::NoSuchEvent) => Redriven::Changed,
            Err(error) => Redriven::Failed(error.into()),
        }
    }

    /// Notes `row`, as it was read, as delivered and billed at `at`: the timestamp under
    /// which Stripe's own list of meter events has it, to the second. So what was carried
    /// over is settled, when a sending from before may have arrived. Nothing is sent. Only
    /// what is quarantined, rejected or delivered can be settled so, and only at a time that its row
    /// says Stripe was told; the one that it leaves is another, so a mistake can be undone.
    pub async fn note_in_stripe_at(&self, row: &UsageEventRow, at: Timestamp) -> Redriven {
        let (billed_at, period_start) = match self.prospect_in_stripe_at(row, at).await {
            Ok(Prospect::Note) if row.status == UsageStatus::Delivered => return Redriven::Noted,
            Ok(Prospect::Note) => return self.note_delivered(row).await,
            Ok(Prospect::NoteAt {
                billed_at,
                period_start,
            }) => (billed_at, period_start),
            Ok(left) => return Redriven::Left(left),
            Err(error) => return Redriven::Failed(error),
        };
        let now = self.clock.now();
        let taken = self
            .ledger
            .take_back_carry_over(row, billed_at, period_start, now);
        match taken.await {
            Ok(TakenBack::Done) => Redriven::Noted,
            Ok(TakenBack::Changed) => Redriven::Changed,
            Err(error) => Redriven::Failed(error.into()),
        }
    }

    /// What [`note_in_stripe_at`](Self::note_in_stripe_at) would make of `row`.
    ///
    /// # Errors
    /// [`RedriveError`] where the customer or the period cannot be looked up.
    pub async fn prospect_in_stripe_at(
        &self,
        row: &UsageEventRow,
        at: Timestamp,
    ) -> Result<Prospect, RedriveError> {
        let is_ours = matches!(
            row.status,
            UsageStatus::Quarantined | UsageStatus::Rejected | UsageStatus::Delivered
        );
        if !is_ours {
            return Ok(Prospect::NotGivenUp(row.status));
        }
        let Some(told) = row.told_in_second_of(at) else {
            return Ok(Prospect::NotAtThisTime);
        };
        if row.billed_at == Some(told) {
            return Ok(Prospect::Note);
        }
        let Some(customer) = self.customers.customer(&row.customer_id).await? else {
            return Ok(Prospect::UnknownCustomer);
        };
        let period_start = self.customers.start_of_period(&customer, told).await?;
        Ok(
            period_start.map_or(Prospect::NotAtThisTime, |period_start| Prospect::NoteAt {
                billed_at: told,
                period_start,
            }),
        )
    }

    async fn redrive_batch(&self, batch: &[UsageEventRow]) -> Vec<Redriven> {
        let reopening = batch.iter().map(|row| self.reopen(row)).collect();
        let reopened = in_order(reopening, CALLS_IN_FLIGHT).await;
        let sendings = batch
            .iter()
            .zip(&reopened)
            .filter_map(|(before, reopened)| {
                let row = reopened.as_ref().ok()?;
                Some(if is_unsent(before.status) {
                    Sending::first(row)
                } else {
                    // Quarantined: Stripe may yet know its identifier, and which item it named.
                    Sending::again(row)
                })
            });
        let sendings: Vec<Sending<'_>> = sendings.collect();
        let mut delivered = self.deliverer.send(&sendings).await.each.into_iter();
        let outcome = |reopened: Result<UsageEventRow, Redriven>| match reopened {
            // What was not answered for is pending, and redelivery's.
            Ok(_) => Redriven::Sent(
                (delivered.next()).map_or(Delivered::Pending, |delivery| delivery.outcome),
            ),
            Err(outcome) => outcome,
        };
        reopened.into_iter().map(outcome).collect()
    }

    async fn reopen(&self, row: &UsageEventRow) -> Result<UsageEventRow, Redriven> {
        let prospect = self.prospect(row).await;
        let billing = match prospect.map_err(Redriven::Failed)? {
            Prospect::Send(billing) => billing,
            left => return Err(Redriven::Left(left)),
        };
        let reopened = self
            .ledger
            .reopen_usage_event(row, billing, self.clock.now())
            .await;
        match reopened.map_err(|error| Redriven::Failed(error.into()))? {
            Reopened::Done(row) => Ok(*row),
            Reopened::Changed => Err(Redriven::Changed),
        }
    }
}

/// Whether Stripe has no event in this status: of a held one it is known, of a rejected one
/// whoever redrives it says so.
const fn is_unsent(status: UsageStatus) -> bool {
    matches!(status, UsageStatus::Held | UsageStatus::Rejected)
}

/// Whether nobody sends an event in this status any more.
pub const fn is_given_up(status: UsageStatus) -> bool {
    matches!(
        status,
        UsageStatus::Quarantined | UsageStatus::Held | UsageStatus::Rejected
    )
}

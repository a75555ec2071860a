//! Customers as the functions know them: the row, brought up to date with
//! Stripe where its period is over, and the time that the customer lives in.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use billing::{
    BillingTime, Clock, CustomerId, EndedPeriod, Memory, Timestamp, Trial, period_starting_at,
};
use ledger::{CustomerRow, CustomerStatus, Ledger, LedgerError, MeteredItem, Updated};

use crate::PeriodUnknown;
use crate::period_invoices::PeriodInvoices;

/// For how long a row is believed. Bounds how late a suspension shows in an
/// emission's answer; `access` always reads.
const ROW_FRESH_MS: i64 = 10_000;
/// How long an emission waits for Stripe to tell a customer's time or period.
const STRIPE_TIMEOUT: Duration = Duration::from_millis(2_500);
/// Rows kept at once.
const ROWS_MAX: usize = 10_000;

/// A customer, and the present in the customer's own time.
#[derive(Clone, Debug)]
pub struct KnownCustomer {
    /// The row.
    pub row: Arc<CustomerRow>,
    /// Now, for this customer: the test clock's frozen time where there is one.
    pub now: Timestamp,
}

impl KnownCustomer {
    /// Whether the customer may act now.
    pub fn status(&self) -> CustomerStatus {
        self.row.status_at(self.now)
    }

    /// The period that the customer is in: its start, and its end, which is the
    /// next one's. Where Stripe has not told of it yet it begins where the known
    /// one ends, and is taken to be as long.
    pub fn current_period(&self) -> Range<Timestamp> {
        let CustomerRow {
            period_start,
            period_end,
            ..
        } = *self.row;
        let is_last = |end: Timestamp| end <= period_end;
        if self.now < period_end || self.row.subscription_ends_at.is_some_and(is_last) {
            return period_start..period_end;
        }
        period_starting_at(period_end, &(period_start..period_end))
    }
}

/// Why a customer could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum CustomerError {
    /// The table failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Stripe did not tell the test clock's time.
    #[error("Stripe did not tell the time of a test clock")]
    TestClock(#[source] stripe::Error),
}

/// Looks customers up, remembering them for a moment.
pub struct CustomerDirectory {
    ledger: Ledger,
    stripe: stripe::Client,
    clock: Arc<dyn Clock>,
    known: Mutex<Memory<CustomerId, Remembered>>,
    invoices: PeriodInvoices,
}

#[derive(Clone)]
struct Remembered {
    row: Arc<CustomerRow>,
    /// In the customer's own time, when the row must be brought up to date
    /// before it is used: its period's end. None where that has just been tried.
    outdated_at: Option<Timestamp>,
}

impl CustomerDirectory {
    /// A directory of the customers in `ledger`.
    pub fn new(ledger: Ledger, stripe: stripe::Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            invoices: PeriodInvoices::new(stripe.clone(), Arc::clone(&clock)),
            ledger,
            stripe,
            clock,
            known: Mutex::new(Memory::of(ROWS_MAX)),
        }
    }

    /// The customer, as known for up to ten seconds. Customers who are not
    /// found are not remembered: one that is just being onboarded appears at once.
    ///
    /// # Errors
    /// [`CustomerError`] where the table, or Stripe for a test clock, fails.
    pub async fn customer(
        &self,
        customer_id: &CustomerId,
    ) -> Result<Option<KnownCustomer>, CustomerError> {
        let Some(remembered) = self.recall(customer_id) else {
            return self.current_customer(customer_id).await;
        };
        let row = remembered.row;
        let now = self.time_of(&row).await?;
        if remembered.outdated_at.is_some_and(|end| now >= end) {
            return self.current_customer(customer_id).await;
        }
        Ok(Some(KnownCustomer { row, now }))
    }

    /// The customer, read now.
    ///
    /// # Errors
    /// [`CustomerError`] where the table, or Stripe for a test clock, fails.
    pub async fn current_customer(
        &self,
        customer_id: &CustomerId,
    ) -> Result<Option<KnownCustomer>, CustomerError> {
        let Some(row) = self.ledger.customer(customer_id).await? else {
            return Ok(None);
        };
        let now = self.time_of(&row).await?;
        let row = if now < row.period_end {
            row
        } else {
            self.with_current_period(row).await?
        };
        let known = KnownCustomer {
            row: Arc::new(row),
            now,
        };
        self.remember(&known);
        Ok(Some(known))
    }

    /// When usage of `occurred_at` is billed by `item`, one of the customer's. Where it happened in a period that
    /// is over, Stripe is asked whether that period's invoice still takes it.
    /// Where Stripe does not tell, it is carried into the open period, which is
    /// always billed.
    ///
    /// # Errors
    /// [`PeriodUnknown`] where Stripe does not tell and no period is open.
    pub async fn billing_time(
        &self,
        customer: &KnownCustomer,
        item: &MeteredItem,
        occurred_at: Timestamp,
    ) -> Result<BillingTime, PeriodUnknown> {
        let unasked = customer.row.billing_time(item, occurred_at, customer.now);
        if !unasked.depends_on_invoice() {
            return Ok(unasked);
        }
        match self.ended_period(customer, occurred_at).await {
            Ok(ended) => {
                let subscription = customer.row.subscription(item);
                let now = customer.now;
                Ok(BillingTime::choose(occurred_at, now, &subscription, ended))
            }
            Err(_) if matches!(unasked, BillingTime::Billable { .. }) => Ok(unasked),
            Err(unknown) => Err(unknown),
        }
    }

    /// What Stripe's invoice says of the period that `at` lies in, one that is
    /// over for `customer`.
    ///
    /// # Errors
    /// [`PeriodUnknown`] where Stripe does not tell.
    pub async fn ended_period(
        &self,
        customer: &KnownCustomer,
        at: Timestamp,
    ) -> Result<EndedPeriod, PeriodUnknown> {
        if !self.stripe.usage_api().has_meter() {
            // Usage records are taken for the current period alone, whatever its
            // invoice is (Stripe API reference: Usage Records, `timestamp`).
            return Ok(EndedPeriod::Final);
        }
        self.invoices.ended_period(customer, at).await
    }

    /// Whether an invoice bills the period that `at` lies in and takes usage no more, or
    /// not for long.
    ///
    /// # Errors
    /// [`PeriodUnknown`] where Stripe does not tell.
    pub async fn is_invoiced(
        &self,
        customer: &KnownCustomer,
        at: Timestamp,
    ) -> Result<bool, PeriodUnknown> {
        self.invoices.is_invoiced(customer, at).await
    }

    /// The start of the period that `at` lies in; none where no period bills it.
    ///
    /// # Errors
    /// [`PeriodUnknown`] where Stripe does not tell.
    pub async fn start_of_period(
        &self,
        customer: &KnownCustomer,
        at: Timestamp,
    ) -> Result<Option<Timestamp>, PeriodUnknown> {
        let row = &customer.row;
        if (row.period_start..row.period_end).contains(&at) {
            return Ok(Some(row.period_start));
        }
        self.invoices.start_of_ended_period(customer, at).await
    }

    /// The ledger that the customers are in.
    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The present for the customer. A test clock jumps over months at once, so
    /// it is asked every time: a moment's belief would bill into a period that is
    /// over.
    ///
    /// # Errors
    /// [`CustomerError::TestClock`] where Stripe does not tell it.
    pub async fn time_of(&self, row: &CustomerRow) -> Result<Timestamp, CustomerError> {
        let Some(test_clock) = &row.test_clock else {
            return Ok(self.clock.now());
        };
        let asked = in_time(self.stripe.retrieve_test_clock(test_clock)).await;
        let test_clock = asked.map_err(CustomerError::TestClock)?;
        Ok(Timestamp::from_unix_s(test_clock.frozen_time))
    }

    /// Brings a row whose period is over up to date. Where Stripe does not
    /// answer, the row serves as it is: the next period begins where the known
    /// one ends.
    async fn with_current_period(&self, row: CustomerRow) -> Result<CustomerRow, LedgerError> {
        let asked = in_time(self.stripe.retrieve_subscription(&row.subscription_id)).await;
        let subscription = match asked {
            Ok(subscription) => subscription,
            Err(error) => {
                tracing::warn!(
                    customer_id = %row.customer_id,
                    error = %error,
                    request_id = error.request_id(),
                    "Stripe did not tell the current period"
                );
                return Ok(row);
            }
        };
        let changed = with_subscription(&row, &subscription);
        if changed == row {
            return Ok(row);
        }
        match self.ledger.update_customer(&row, changed.clone()).await? {
            Updated::Done => Ok(changed),
            Updated::VersionConflict => {
                Ok(self.ledger.customer(&row.customer_id).await?.unwrap_or(row))
            }
        }
    }

    fn recall(&self, customer_id: &CustomerId) -> Option<Remembered> {
        let now = self.clock.now();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(customer_id, now).cloned()
    }

    fn remember(&self, customer: &KnownCustomer) {
        let now = self.clock.now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = Remembered {
            row: Arc::clone(&customer.row),
            outdated_at: Some(customer.row.period_end).filter(|end| customer.now < *end),
        };
        let until = now.plus_ms(ROW_FRESH_MS);
        known.put(customer.row.customer_id.clone(), remembered, until, now);
    }
}

/// An agent waits: what Stripe does not tell at once it does not tell.
async fn in_time<T>(
    asked: impl Future<Output = Result<T, stripe::Error>>,
) -> Result<T, stripe::Error> {
    tokio::time::timeout(STRIPE_TIMEOUT, asked)
        .await
        .unwrap_or(Err(stripe::Error::DeadlineOver))
}

/// `row` with what `subscription` says of periods, trial and end. A period never moves
/// backwards: a late webhook or a slow read must not reopen one.
pub fn with_subscription(row: &CustomerRow, subscription: &stripe::Subscription) -> CustomerRow {
    let mut row = row.clone();
    // All of them have the subscription's period; the first may be gone. One that
    // was added in the period is asked last.
    let mut known = row.items();
    let item = known.find_map(|known| {
        let mut items = subscription.items.iter();
        items.find(|item| item.id == known.subscription_item_id)
    });
    let period = item.map(|item| (item.current_period_start, item.current_period_end));
    drop(known);
    if let Some((period_start_s, period_end_s)) = period {
        let period_start = Timestamp::from_unix_s(period_start_s);
        if period_start >= row.period_start {
            row.period_start = period_start;
            row.period_end = Timestamp::from_unix_s(period_end_s);
        }
    }
    row.subscription_ends_at = subscription
        .ended_at
        .or(subscription.cancel_at)
        .map(Timestamp::from_unix_s);
    row.trial = trial_of(subscription);
    row
}

/// The last free trial of `subscription`.
pub fn trial_of(subscription: &stripe::Subscription) -> Option<Trial> {
    let (start, end) = subscription.trial_start.zip(subscription.trial_end)?;
    Some(Trial {
        start: Timestamp::from_unix_s(start),
        end: Timestamp::from_unix_s(end),
    })
}

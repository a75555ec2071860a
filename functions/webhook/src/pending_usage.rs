//! An invoice was made: what is still pending of its period must reach Stripe
//! while it is a draft. The draft's hour begins with the 2xx to this event, so
//! the pending usage goes first.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use billing::{HOUR_MS, Timestamp, UsageStatus, window};
use ledger::{Tally, UsageEventRow, UsageLogCursor};
use metering::{Delivered, Kept, KnownCustomer, keep_billable, usage_period};
use stripe::Event;
use tokio::time::Instant;

use crate::Parts;
use crate::error::WebhookError;
use crate::subject::Subject;

/// After this, no further batch is started: with the one under way, the answer
/// is there before the function's time is over. Stripe's repeat goes on.
const BUDGET: Duration = Duration::from_secs(6);
/// For how long an event is not acknowledged because usage is pending. Beyond,
/// something is wrong that waiting does not mend: the draft's hour is left to
/// redelivery.
const REFUSED_MS_MAX: i64 = 60 * 60_000;

impl Parts {
    /// Delivers what is pending of the period that the new invoice bills.
    ///
    /// The totals say in which hours anything is pending, mostly in none. They
    /// follow the audit log within a second; what they do not show yet, and what
    /// was carried over into the period, redelivery sends in the draft's hour.
    ///
    /// # Errors
    /// [`WebhookError::UsagePending`] where something is left, for an hour from
    /// the event on: Stripe sends it again, and the draft waits.
    pub(crate) async fn hasten_pending_usage(
        &self,
        event: &Event,
        subject: &Subject,
    ) -> Result<(), WebhookError> {
        let Some(invoice_id) = subject.invoice_id.as_deref() else {
            return Ok(());
        };
        let customer = self.customers.current_customer(&subject.customer_id).await;
        let Some(customer) = customer? else {
            return Ok(());
        };
        let invoice = match self.stripe.retrieve_invoice(invoice_id).await {
            Ok(invoice) => invoice,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(WebhookError::stripe("retrieve invoice")(error)),
        };
        let is_draft = invoice.status.as_deref() == Some("draft");
        let Some(period) = usage_period(&invoice, &customer.row).filter(|_| is_draft) else {
            return Ok(());
        };
        let left = self.deliver_pending(&customer, &period).await?;
        if left == 0 {
            return Ok(());
        }
        let age_ms = self
            .clock
            .now()
            .ms_since(Timestamp::from_unix_s(event.created));
        if (0..REFUSED_MS_MAX).contains(&age_ms) {
            return Err(WebhookError::UsagePending);
        }
        tracing::error!(
            customer_id = %subject.customer_id,
            invoice_id,
            left,
            "an invoice's draft runs out with usage of its period pending"
        );
        Ok(())
    }

    /// How many events, or hours of them, are left pending.
    async fn deliver_pending(
        &self,
        customer: &KnownCustomer,
        period: &Range<Timestamp>,
    ) -> Result<usize, WebhookError> {
        let deadline = Instant::now() + BUDGET;
        let mut left = 0;
        for hour in self.pending_hours(customer, period.start).await? {
            // Billed in this hour is what happened in it, but for clocks.
            let from = hour.plus_ms(-window::CLOCK_MARGIN_MS);
            let to = hour.plus_ms(HOUR_MS + window::CLOCK_MARGIN_MS);
            let customer_id = customer.row.customer_id.clone();
            let mut cursor = UsageLogCursor::new(customer_id, from, to);
            while let Some(rows) = self.ledger.next_usage_events(&mut cursor).await? {
                if Instant::now() >= deadline {
                    return Ok(left + 1);
                }
                let is_due = |row: &UsageEventRow| {
                    row.status == UsageStatus::Pending && row.period_start == Some(period.start)
                };
                let rows = rows.into_iter().filter(is_due).collect();
                left += self.deliver_rows(customer, rows).await?;
            }
        }
        Ok(left)
    }

    async fn deliver_rows(
        &self,
        customer: &KnownCustomer,
        rows: Vec<UsageEventRow>,
    ) -> Result<usize, WebhookError> {
        let mut left = 0;
        let mut billable = Vec::with_capacity(rows.len());
        for row in rows {
            let now = self.clock.now();
            match keep_billable(&self.customers, Box::new(row), customer, now).await? {
                Kept::Billable(row) => billable.push(*row),
                Kept::Waits => left += 1,
                Kept::Settled(_) => {}
            }
        }
        let delivered = self.deliverer.deliver(&billable).await;
        let pending = |outcome: &&Delivered| **outcome == Delivered::Pending;
        Ok(left + delivered.iter().filter(pending).count())
    }

    /// The hours of the period in which usage is pending, by the totals.
    async fn pending_hours(
        &self,
        customer: &KnownCustomer,
        period_start: Timestamp,
    ) -> Result<Vec<Timestamp>, WebhookError> {
        let customer_id = &customer.row.customer_id;
        let totals = self
            .ledger
            .totals_of_period(customer_id, period_start)
            .await?;
        let mut hours = BTreeMap::<Timestamp, Tally>::new();
        for total in &totals {
            // Of several shards one may have seen an event come, another go.
            hours.entry(total.key.hour).or_default().add(&total.tally);
        }
        let is_pending = |(_, tally): &(Timestamp, Tally)| tally.events(UsageStatus::Pending) > 0;
        Ok(hours
            .into_iter()
            .filter(is_pending)
            .map(|(hour, _)| hour)
            .collect())
    }
}

//! All that a limit is held against, by one query: the totals of a period, and
//! what lies beside them.

use std::sync::LazyLock;

use billing::{CustomerId, Timestamp};

use crate::billable_units::{BILLABLE, BillableDay, projection};
use crate::limit_watches::LimitWatch;
use crate::reserved::Reserved;
use crate::totals_day::Counted;
use crate::usage_totals::Bounds;
use crate::{Ledger, LedgerError};

/// The attributes that are read, of three kinds of rows: an agent waits for the answer.
static PROJECTION: LazyLock<String> = LazyLock::new(|| {
    let [delivered, pending] = BILLABLE;
    let beside = [LimitWatch::ATTRIBUTES.as_slice(), &Reserved::ATTRIBUTES].concat();
    projection(&[delivered, pending, Counted::Settled], &beside)
});

/// What one period of a customer holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeriodUsage {
    /// Units that are, or will be, on the invoice, day by day.
    pub days: Vec<BillableDay>,
    /// What was told of the customer's limit.
    pub watch: Option<LimitWatch>,
    /// What was reserved; none where nothing ever was in this period.
    pub reserved: Option<Reserved>,
}

impl Ledger {
    /// What `customer_id` has used in the period that begins at `period_start`,
    /// read consistently.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or a row is unreadable.
    pub async fn usage_of_period(
        &self,
        customer_id: &CustomerId,
        period_start: Timestamp,
    ) -> Result<PeriodUsage, LedgerError> {
        let period = Bounds::of_period(Some(period_start));
        self.usage_between(customer_id, period).await
    }

    /// The same with the days alone that begin at `midnight` (UTC) or later: what
    /// lies beside the totals comes after every day.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or a row is unreadable.
    pub async fn usage_of_period_since(
        &self,
        customer_id: &CustomerId,
        period_start: Timestamp,
        midnight: Timestamp,
    ) -> Result<PeriodUsage, LedgerError> {
        let days_of_period = Bounds::of_period_since(period_start, midnight);
        self.usage_between(customer_id, days_of_period).await
    }

    async fn usage_between(
        &self,
        customer_id: &CustomerId,
        bounds: Bounds,
    ) -> Result<PeriodUsage, LedgerError> {
        let (mut days, mut watch, mut reserved) = (Vec::new(), None, None);
        self.read_totals(customer_id, bounds, Some(&PROJECTION), |item| {
            if let Some(found) = LimitWatch::from_item(item) {
                watch = Some(found);
            } else if let Some((_, found)) = Reserved::from_item(item) {
                reserved = Some(found);
            } else {
                days.extend(BillableDay::of(item));
            }
        })
        .await?;
        Ok(PeriodUsage {
            days,
            watch: watch.transpose()?,
            reserved,
        })
    }
}

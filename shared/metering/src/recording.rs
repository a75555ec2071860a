//! What a new usage event is recorded by: the one rule, for whatever brings it.

use billing::{
    BillingTime, Catalog, CustomerId, FieldError, HeldReason, Timestamp, UsageEvent, window,
};
use ledger::UsageEventRow;
use stripe::{IdempotencyKey, UsageApi};

use crate::{Billed, CustomerDirectory, KnownCustomer, PeriodUnknown};

/// Why a new event is not recorded. One that is recorded already is a repeat, however
/// late, and is not held against these.
#[derive(Debug, thiserror::Error)]
pub enum NotRecorded {
    /// The catalog does not say what counts its action.
    #[error("its action is not in the catalog of billable actions")]
    NotInCatalog,
    /// Stripe would take no usage of this customer's by the API that is set, or bill it
    /// never.
    #[error("the price of customer {customer_id} takes no usage by {usage_api}")]
    OtherUsageApi {
        /// Whose it is.
        customer_id: CustomerId,
        /// The API that is set.
        usage_api: UsageApi,
    },
    /// It names another subscription item than the one that bills its action.
    #[error("it names another subscription item than the one that bills its action")]
    OtherSubscriptionItem,
    /// It happened before the window of time in which usage is taken.
    #[error(transparent)]
    TooOld(FieldError),
    /// It happens in the future.
    #[error(transparent)]
    InFuture(FieldError),
    /// Stripe did not tell whether its period still takes usage, and no later one is
    /// open.
    #[error(transparent)]
    PeriodUnknown(#[from] PeriodUnknown),
}

/// A new event, and what is known when it comes.
#[derive(Clone, Copy, Debug)]
pub struct NewUsage<'a> {
    /// The event.
    pub event: &'a UsageEvent,
    /// When it happened, where it does not say itself: the customer's present.
    pub occurred_at: Timestamp,
    /// Whose it is.
    pub customer: &'a KnownCustomer,
    /// What counts actions; without one all usage goes to the item of onboarding.
    pub catalog: Option<&'a Catalog>,
    /// How Stripe gets usage.
    pub usage_api: UsageApi,
}

impl NewUsage<'_> {
    /// The row that it is recorded by at `now`: pending, or held where nothing bills it.
    ///
    /// # Errors
    /// [`NotRecorded`] where there is to be none.
    pub async fn row(
        &self,
        customers: &CustomerDirectory,
        now: Timestamp,
    ) -> Result<UsageEventRow, NotRecorded> {
        let billed = self.billed()?;
        let billing_time = match billed.item {
            Some(item) => {
                let time = customers.billing_time(self.customer, item, self.occurred_at);
                time.await?
            }
            None => BillingTime::Held(HeldReason::NoSubscriptionItem),
        };
        let mut row = UsageEventRow::new(
            self.event,
            self.occurred_at,
            billing_time,
            billed.meter_event_name,
            attempt_token(),
            now,
        );
        if let Some(item) = billed.item.filter(|_| !self.usage_api.has_meter()) {
            // A repeat must name the item that the first sending named.
            row.subscription_item_id = Some(item.subscription_item_id.clone());
        }
        Ok(row)
    }

    /// What counts and bills it, if it is to be recorded.
    fn billed(&self) -> Result<Billed<'_>, NotRecorded> {
        let (event, customer) = (self.event, self.customer);
        let billed = Billed::by(self.catalog, &customer.row, &event.action_type);
        let billed = billed.ok_or(NotRecorded::NotInCatalog)?;
        if billed.is_of_other_api(self.usage_api) {
            return Err(NotRecorded::OtherUsageApi {
                customer_id: event.customer_id.clone(),
                usage_api: self.usage_api,
            });
        }
        // Where nothing bills it yet, what it names is no reason to lose it: it is held, and
        // what bills it is chosen anew when it is sent.
        if let (Some(named), Some(item)) = (&event.subscription_item_id, billed.item)
            && *named != item.subscription_item_id
        {
            return Err(NotRecorded::OtherSubscriptionItem);
        }
        let in_window = window::check_occurred_at(self.occurred_at, customer.now);
        in_window.map_err(|refusal| match self.occurred_at < customer.now {
            true => NotRecorded::TooOld(refusal),
            false => NotRecorded::InFuture(refusal),
        })?;
        Ok(billed)
    }
}

/// Names the call that records a row, so that its writer knows the row for its own.
pub fn attempt_token() -> String {
    IdempotencyKey::random().as_str().to_owned()
}

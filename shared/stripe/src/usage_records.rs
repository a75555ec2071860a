//! Usage records, for accounts that still bill by them (Stripe API reference:
//! Usage Records, of versions before `2025-03-31.basil`).

use serde::Deserialize;

use crate::STRIPE_VERSION_WITH_USAGE_RECORDS;
use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::request::{Request, segment};

/// Usage that was added to a subscription item.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UsageRecord {
    /// `mbur_…`.
    pub id: String,
    /// Units.
    pub quantity: u64,
    /// Unix seconds.
    pub timestamp: i64,
}

/// Usage to add to a subscription item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateUsageRecord {
    /// The item, `si_…`, of a metered price without a meter.
    pub subscription_item: String,
    /// Units.
    pub quantity: u64,
    /// Unix seconds, within the current period.
    pub timestamp: i64,
}

impl Client {
    /// Adds usage (`action=increment`). Nothing but the idempotency key keeps
    /// a repeat from adding it again: give one that a repeat can find again.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_usage_record(
        &self,
        record: &CreateUsageRecord,
        options: &RequestOptions,
    ) -> Result<UsageRecord, Error> {
        let item = segment(&record.subscription_item)?;
        let form = Form::new()
            .with("quantity", record.quantity)
            .with("timestamp", record.timestamp)
            .with("action", "increment");
        let request = Request::post(format!("/v1/subscription_items/{item}/usage_records"), form)
            .with_version(STRIPE_VERSION_WITH_USAGE_RECORDS);
        self.call(request, options).await
    }
}

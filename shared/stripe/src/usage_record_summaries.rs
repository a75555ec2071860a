//! Usage record summaries, for accounts that still bill by usage records
//! (Stripe API reference: Usage Record Summaries, of versions before
//! `2025-03-31.basil`).

use serde::Deserialize;

use crate::STRIPE_VERSION_WITH_USAGE_RECORDS;
use crate::client::Client;
use crate::error::Error;
use crate::form::Form;
use crate::list::{List, listed};
use crate::object::{optional_id, or_default};
use crate::request::{Request, segment};

/// The most that one page has.
const PAGE_MAX: u32 = 100;

/// What Stripe counts of a subscription item's usage in one billing period.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UsageRecordSummary {
    /// `sis_…`.
    pub id: String,
    /// The invoice that bills it, `in_…`; none for the current period.
    #[serde(default, deserialize_with = "optional_id")]
    pub invoice: Option<String>,
    /// The billing period.
    #[serde(default, deserialize_with = "or_default")]
    pub period: UsageRecordPeriod,
    /// Units.
    pub total_usage: u64,
}

/// A billing period, in unix seconds; Stripe leaves out what is not settled yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct UsageRecordPeriod {
    /// Its first second.
    pub start: Option<i64>,
    /// The second past its last one.
    pub end: Option<i64>,
}

listed!(UsageRecordSummary);

impl Client {
    /// The newest billing periods of a subscription item, `si_…`, up to a
    /// hundred: the current one first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_usage_record_summaries(
        &self,
        subscription_item: &str,
    ) -> Result<List<UsageRecordSummary>, Error> {
        let item = segment(subscription_item)?;
        let path = format!("/v1/subscription_items/{item}/usage_record_summaries");
        let query = Form::new().with("limit", PAGE_MAX);
        let request = Request::get(path, &query).with_version(STRIPE_VERSION_WITH_USAGE_RECORDS);
        self.read(request).await
    }
}

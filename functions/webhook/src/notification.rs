//! What the operator is told of an event, at least once.

use ledger::CustomerRow;
use serde::Serialize;

/// Something to tell the operator. Stored with the event before it goes out,
/// and repeated as it stands: `id` is the same each time, to drop repeats by.
#[derive(Debug, Serialize)]
pub(crate) struct Notification<'a> {
    /// The Stripe event's id.
    pub(crate) id: &'a str,
    /// The Stripe event's type.
    pub(crate) event_type: &'a str,
    #[serde(flatten)]
    pub(crate) news: News<'a>,
}

impl Notification<'_> {
    /// As it is stored and sent.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// The news in it.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum News<'a> {
    /// A customer's status changed, or a payment failed again.
    CustomerStatus {
        customer_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        external_id: Option<&'a str>,
        status_before: &'static str,
        status: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        invoice_id: Option<&'a str>,
    },
    /// Stripe took usage and refused it afterwards.
    UsageRefused {
        /// Events that Stripe says it refused.
        refused_events: u64,
        /// Those that it named, whose rows are rejected now.
        rejected_rows: u64,
        /// The codes.
        codes: Vec<&'a str>,
    },
}

impl<'a> News<'a> {
    /// What `after` says that `before` did not; a failed payment is news of
    /// its own, even where the status stays.
    pub(crate) fn of_customer(
        event_type: &str,
        invoice_id: Option<&'a str>,
        before: &'a CustomerRow,
        after: &'a CustomerRow,
    ) -> Option<Self> {
        let is_news = before.status != after.status || event_type == "invoice.payment_failed";
        is_news.then_some(Self::CustomerStatus {
            customer_id: before.customer_id.as_str(),
            external_id: before.external_id.as_deref(),
            status_before: before.status.as_str(),
            status: after.status.as_str(),
            invoice_id,
        })
    }
}

/// Sends a stored notification: a line in the log, for a subscription filter
/// or a metric to pick up.
pub(crate) fn send(notification: &str) {
    tracing::warn!(notification, "to the operator");
}

//! Usage that Stripe had before the audit log: imported, never sent.

use billing::{BillingTime, Timestamp, UsageEvent, UsageStatus};

use crate::{HistoryEntry, UsageEventRow};

impl UsageEventRow {
    /// The row for `event`, which Stripe has already: under the id
    /// `stripe_record_id`, at `occurred_at`, in the period that began at
    /// `period_start`. It is delivered from the start, so nobody ever sends it.
    ///
    /// `now` is real time; `attempt_token` must differ between calls.
    pub fn already_delivered(
        event: &UsageEvent,
        (occurred_at, period_start): (Timestamp, Timestamp),
        stripe_record_id: &str,
        meter_event_name: &str,
        attempt_token: String,
        now: Timestamp,
    ) -> Self {
        let billing_time = BillingTime::Billable {
            billed_at: occurred_at,
            period_start,
            carried_over: false,
        };
        let status = UsageStatus::Delivered;
        Self {
            status,
            stripe_record_id: Some(stripe_record_id.to_owned()),
            history: vec![HistoryEntry { status, at: now }],
            ..Self::new(
                event,
                occurred_at,
                billing_time,
                meter_event_name,
                attempt_token,
                now,
            )
        }
    }
}

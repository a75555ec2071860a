//! Usage that Stripe has, and the audit log had not: imported, never sent.

use billing::{BillingTime, Timestamp, UsageEvent, UsageStatus};

use crate::{HistoryEntry, UsageEventRow};

impl UsageEventRow {
    /// The row for `event`, which Stripe has already: at `occurred_at`, in the
    /// period that began at `period_start`, and, where Stripe gave it one, under the
    /// id `stripe_record_id`. It is delivered from the start, so nobody ever sends it.
    ///
    /// `now` is real time; `attempt_token` must differ between calls.
    pub fn already_delivered(
        event: &UsageEvent,
        (occurred_at, period_start): (Timestamp, Timestamp),
        stripe_record_id: Option<&str>,
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
            stripe_record_id: stripe_record_id.map(str::to_owned),
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

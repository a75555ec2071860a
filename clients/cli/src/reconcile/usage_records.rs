//! Customers who are billed by usage records. Stripe tells no minute of them,
//! only the sum of each billing period: the period stands where the minute
//! stands for the others.

use metering::KnownCustomer;

use super::ReconcileError;
use super::log::CustomerLog;
use super::narrowing::{Difference, Narrowed, Window};

/// What Stripe counts of a customer's usage records, by billing period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsagePeriods(Vec<UsagePeriod>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct UsagePeriod {
    window: Window,
    stripe_units: i64,
}

impl UsagePeriods {
    /// Asks Stripe for the periods that `range` touches.
    pub(super) async fn ask(
        stripe: &stripe::Client,
        customer: &KnownCustomer,
        range: Window,
    ) -> Result<Self, ReconcileError> {
        let row = &customer.row;
        let summaries = stripe
            .list_usage_record_summaries(&row.item.subscription_item_id)
            .await;
        let summaries = summaries.map_err(ReconcileError::stripe("usage record summaries"))?;
        let periods = summaries.iter().map(|summary| UsagePeriod {
            // What Stripe leaves open is the current period's.
            window: Window {
                start: summary.period.start.unwrap_or(row.period_start.unix_s()),
                end: summary.period.end.unwrap_or(row.period_end.unix_s()),
            },
            stripe_units: i64::try_from(summary.total_usage).unwrap_or(i64::MAX),
        });
        let touches = |period: &UsagePeriod| {
            period.window.start < range.end && range.start < period.window.end
        };
        Ok(Self(periods.filter(touches).collect()))
    }

    /// `range`, with all of each period that it touches.
    pub(super) fn widen(&self, range: Window) -> Window {
        self.0.iter().fold(range, |range, period| Window {
            start: range.start.min(period.window.start),
            end: range.end.max(period.window.end),
        })
    }

    /// The start of the period that holds `at`, in unix seconds; none where
    /// Stripe tells nothing of it.
    pub(super) fn start_of(&self, at: i64) -> Option<i64> {
        let mut windows = self.0.iter().map(|period| period.window);
        windows
            .find(|window| (window.start..window.end).contains(&at))
            .map(|window| window.start)
    }

    /// Compares each period with what the log has of it.
    pub(super) fn compare(&self, log: &CustomerLog) -> Narrowed {
        let by_period = log.by_minute();
        let mut narrowed = Narrowed::default();
        for period in &self.0 {
            let stripe_units = period.stripe_units;
            narrowed.stripe_units = narrowed.stripe_units.saturating_add(stripe_units);
            let start = period.window.start;
            let log_units = by_period.get(&start).copied().unwrap_or(0);
            if log_units != stripe_units {
                narrowed.differences.push(Difference {
                    minute: start,
                    stripe_units,
                    log_units,
                });
            }
        }
        narrowed
    }
}

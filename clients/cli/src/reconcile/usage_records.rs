//! Customers who are billed by usage records. Stripe tells no minute of them,
//! only the sum of each billing period: the period stands where the minute
//! stands for the others.

use std::collections::BTreeMap;

use metering::KnownCustomer;

use super::ReconcileError;
use super::log::MeterLog;
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
    /// Asks Stripe for the periods of `subscription_item_ids`, which one meter's
    /// usage is added to, the newest hundred.
    pub(super) async fn ask(
        stripe: &stripe::Client,
        customer: &KnownCustomer,
        subscription_item_ids: &[String],
    ) -> Result<Self, ReconcileError> {
        let row = &customer.row;
        let mut units: BTreeMap<Window, i64> = BTreeMap::new();
        for item_id in subscription_item_ids {
            let summaries = stripe.list_usage_record_summaries(item_id).await;
            let summaries = summaries.map_err(ReconcileError::stripe("usage record summaries"))?;
            for summary in &summaries {
                // What Stripe leaves open is the current period's.
                let window = Window {
                    start: summary.period.start.unwrap_or(row.period_start.unix_s()),
                    end: summary.period.end.unwrap_or(row.period_end.unix_s()),
                };
                let usage = i64::try_from(summary.total_usage).unwrap_or(i64::MAX);
                let sum = units.entry(window).or_default();
                *sum = sum.saturating_add(usage);
            }
        }
        let periods = units.into_iter().map(|(window, stripe_units)| UsagePeriod {
            window,
            stripe_units,
        });
        Ok(Self(periods.collect()))
    }

    /// Leaves out the periods that do not lie in `range`.
    pub(super) fn keep_within(&mut self, range: Window) {
        let lies_in = |window: Window| range.start <= window.start && window.end <= range.end;
        self.0.retain(|period| lies_in(period.window));
    }

    /// `range`, with all of each period that it touches.
    pub(super) fn widen(&self, range: Window) -> Window {
        let touched = self.0.iter().filter(|period| period.window.touches(range));
        touched.fold(range, |widened, period| widened.around(period.window))
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
    pub(super) fn compare(&self, log: &MeterLog) -> Narrowed {
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

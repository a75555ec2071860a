//! `meterline reconcile`: whether the audit log, the totals, Stripe's meters and
//! Stripe's final invoices agree, customer by customer and meter by meter; and if
//! not, where.
//!
//! | module | does |
//! | --- | --- |
//! | [`meters`] | says which meters count a customer's usage |
//! | [`log`] | reads a customer's audit log, by the meter and the minute |
//! | [`narrowing`] | finds the minutes that differ, by few questions to Stripe |
//! | [`usage_records`] | stands in for that where a customer is billed by them |
//! | [`subset`], [`explanation`] | says which events a minute's difference points to |
//! | `closer` | looks more closely where days agree and a decision rests on a minute |
//! | `carried` | finds what was carried over though Stripe had it |
//! | `totals`, `invoices` | compares those |
//! | `comparison` | what was compared, and which rows it speaks of |
//! | `findings` | what is found in it, and repaired |
//! | `repair` | what a repair may do |
//! | [`report`] | what is said |

mod carried;
mod closer;
mod comparison;
pub mod explanation;
mod findings;
mod invoices;
pub mod log;
pub mod meters;
pub mod narrowing;
mod repair;
pub mod report;
pub mod subset;
mod totals;
pub mod usage_records;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use billing::{Clock, CustomerId, Timestamp};
use ledger::{Ledger, LedgerError};
use metering::{
    CustomerDirectory, CustomerError, Deliverer, KnownCustomer, Redriver, UsageLines, in_order,
};
use stripe::ListMeterEventSummaries;

use closer::Closer;
use comparison::{Comparison, MeterComparison};
use invoices::UsageInvoices;
use log::{CustomerLog, MeterLog};
use meters::{ComparedMeter, Meters, Source};
use narrowing::{Difference, MINUTE_S, Narrowed, Narrowing, Question, Window};
pub use report::{CustomerReport, Finding, FindingKind, HeldUsage, MeterReport, NamedEvent};

/// Meters of a customer that Stripe is asked about at once.
const METERS_IN_FLIGHT: usize = 4;

/// From when to when, in the customers' own time, and whether to repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconcileOptions {
    range: Window,
    repair: Repair,
}

/// What may be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repair {
    /// Nothing.
    #[default]
    Nothing,
    /// What is open and points to one set of events only.
    Open,
    /// That, and on the operator's word: what is called delivered and is not in
    /// Stripe is sent again.
    OpenAndLost,
}

/// A range that holds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the range must begin before it ends")]
pub struct EmptyRange;

impl ReconcileOptions {
    /// What is billed in `from..to`, widened to whole minutes, which is what
    /// Stripe sums up by. Nothing is repaired.
    ///
    /// # Errors
    /// [`EmptyRange`].
    pub fn new(from: Timestamp, to: Timestamp) -> Result<Self, EmptyRange> {
        if from >= to {
            return Err(EmptyRange);
        }
        let range = Window {
            start: narrowing::round_down(from.unix_s(), MINUTE_S),
            end: narrowing::round_up(to.plus_ms(999).unix_s(), MINUTE_S),
        };
        Ok(Self {
            range,
            repair: Repair::Nothing,
        })
    }

    /// Repairs what it may.
    #[must_use]
    pub const fn with_repair(self, repair: Repair) -> Self {
        Self { repair, ..self }
    }
}

/// Why a customer could not be reconciled.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// There is none of this id.
    #[error("there is no customer {0}")]
    NoSuchCustomer(CustomerId),
    /// The customer could not be looked up.
    #[error(transparent)]
    Customer(#[from] CustomerError),
    /// The tables failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Stripe failed.
    #[error("Stripe could not be asked for {what}: {source}")]
    Stripe {
        /// What was asked for.
        what: &'static str,
        /// Its error, which names no secret.
        source: stripe::Error,
    },
}

impl ReconcileError {
    const fn stripe(what: &'static str) -> impl Fn(stripe::Error) -> Self {
        move |source| Self::Stripe { what, source }
    }
}

/// Compares, and repairs.
pub struct Reconciler {
    ledger: Ledger,
    stripe: stripe::Client,
    customers: CustomerDirectory,
    redriver: Redriver,
    clock: Arc<dyn Clock>,
    usage_lines: UsageLines,
}

impl Reconciler {
    /// Compares `ledger` with `stripe`.
    pub fn new(ledger: Ledger, stripe: stripe::Client, clock: Arc<dyn Clock>) -> Self {
        let customers =
            || CustomerDirectory::new(ledger.clone(), stripe.clone(), Arc::clone(&clock));
        let deliverer = Deliverer::new(ledger.clone(), stripe.clone(), Arc::clone(&clock));
        let redriver = Redriver::new(ledger.clone(), customers(), deliverer, Arc::clone(&clock));
        Self {
            customers: customers(),
            redriver,
            ledger,
            stripe,
            clock,
            usage_lines: UsageLines::default(),
        }
    }

    /// Reconciles one customer.
    ///
    /// # Errors
    /// A [`ReconcileError`]. What was repaired stays repaired.
    pub async fn customer(
        &self,
        customer_id: &CustomerId,
        options: ReconcileOptions,
    ) -> Result<CustomerReport, ReconcileError> {
        let found = self.customers.current_customer(customer_id).await?;
        let customer = found.ok_or_else(|| ReconcileError::NoSuchCustomer(customer_id.clone()))?;
        let quick = self.compare(&customer, options.range, false).await?;
        let comparison = if quick.is_clear() {
            quick
        } else {
            // An event may have been redriven long after it happened.
            self.compare(&customer, options.range, true).await?
        };
        self.report(&customer, comparison, options.repair).await
    }

    async fn compare(
        &self,
        customer: &KnownCustomer,
        range: Window,
        is_thorough: bool,
    ) -> Result<Comparison, ReconcileError> {
        let (row, now) = (&customer.row, self.clock.now());
        let mut meters = Meters::ask(&self.stripe, customer).await?;
        let range = meters.widen(range);
        let id = &row.customer_id;
        let log = CustomerLog::read(&self.ledger, id, range, now, is_thorough, &meters);
        let mut log = log.await?;
        let named = log.meters.keys();
        meters.add_without_items(&self.stripe, named).await?;
        let invoices = UsageInvoices::ask(&self.stripe, &self.usage_lines, row, range).await?;
        let totals = totals::compare(&self.ledger, id, &log, range).await?;
        let compared: Vec<_> = meters
            .iter()
            .map(|meter| (meter, log.meters.remove(&meter.event_name)))
            .map(|(meter, log)| (meter, log.unwrap_or_default()))
            .map(|(meter, log)| self.compare_meter(customer, meter, log, &invoices, range))
            .collect();
        let compared = in_order(compared, METERS_IN_FLIGHT).await;
        Ok(Comparison {
            meters: compared.into_iter().collect::<Result<_, _>>()?,
            totals,
            held: log.held,
        })
    }

    async fn compare_meter(
        &self,
        customer: &KnownCustomer,
        meter: &ComparedMeter,
        log: MeterLog,
        invoices: &UsageInvoices,
        range: Window,
    ) -> Result<MeterComparison, ReconcileError> {
        let (narrowed, unknown) = match &meter.source {
            Source::UsageRecords(periods) => (periods.compare(&log), BTreeSet::new()),
            Source::Meters(ids) => {
                let delivered = log.by_minute();
                let periods = invoices.split(range);
                let mut narrowed = self.narrow(customer, ids, &delivered, &periods).await?;
                let closer = Closer::new(&log, &delivered, range, &narrowed.differences);
                let found = &mut narrowed.differences;
                let unknown = self.look_closer(customer, ids, closer, found).await?;
                (narrowed, unknown)
            }
        };
        Ok(MeterComparison {
            event_name: meter.event_name.clone(),
            explained: carried::explain(&narrowed.differences, &log, &unknown),
            unknown,
            invoices: invoices.compare(customer, meter, &log, range),
            range,
            log,
            stripe_units: narrowed.stripe_units,
        })
    }

    async fn narrow(
        &self,
        customer: &KnownCustomer,
        meter_ids: &[String],
        delivered: &BTreeMap<i64, i64>,
        windows: &[Window],
    ) -> Result<Narrowed, ReconcileError> {
        let mut narrowed = Narrowed::default();
        for window in windows {
            let mut narrowing = Narrowing::new(delivered, *window);
            while let Some(question) = narrowing.question() {
                let answer = self.ask(customer, meter_ids, &question).await?;
                narrowing.answer(question, &answer);
            }
            narrowed.add(narrowing.narrowed());
        }
        narrowed.differences.sort_by_key(|found| found.minute);
        Ok(narrowed)
    }

    /// Adds to `differences` what minutes that a decision rests on differ by, though
    /// their days agree. Answers those that were too many to ask for.
    async fn look_closer(
        &self,
        customer: &KnownCustomer,
        meter_ids: &[String],
        mut closer: Closer<'_>,
        differences: &mut Vec<Difference>,
    ) -> Result<BTreeSet<i64>, ReconcileError> {
        while let Some(minute) = closer.question(differences) {
            let question = Question::of(minute);
            let answer = self.ask(customer, meter_ids, &question).await?;
            differences.extend(closer.answer(minute, answer.values().sum()));
        }
        differences.sort_by_key(|found| found.minute);
        Ok(closer.unknown(differences))
    }

    async fn ask(
        &self,
        customer: &KnownCustomer,
        meter_ids: &[String],
        question: &Question,
    ) -> Result<BTreeMap<i64, i64>, ReconcileError> {
        let window = ListMeterEventSummaries {
            customer: customer.row.customer_id.as_str().to_owned(),
            start_time: question.window.start,
            end_time: question.window.end,
            value_grouping_window: question.grouping,
        };
        let mut units: BTreeMap<i64, i64> = BTreeMap::new();
        for meter_id in meter_ids {
            let summaries = self.stripe.list_meter_event_summaries(meter_id, &window);
            let summaries = summaries.await;
            let summaries = summaries.map_err(ReconcileError::stripe("meter event summaries"))?;
            for summary in &summaries {
                let sum = units.entry(summary.start_time).or_default();
                *sum = sum.saturating_add(summary.aggregated_value);
            }
        }
        Ok(units)
    }
}

//! `meterline reconcile`: whether the audit log, the totals, Stripe's meter and
//! Stripe's final invoices agree, customer by customer; and if not, where.
//!
//! | module | does |
//! | --- | --- |
//! | [`log`] | reads a customer's audit log, by the minute |
//! | [`narrowing`] | finds the minutes that differ, by few questions to Stripe |
//! | [`usage_records`] | stands in for that where a customer is billed by them |
//! | [`subset`], [`explanation`] | says which events a minute's difference points to |
//! | `totals`, `invoices` | compares those |
//! | `comparison` | what was compared, and which rows it speaks of |
//! | `repair` | what a repair may do |
//! | [`report`] | what is said |

mod comparison;
pub mod explanation;
mod invoices;
pub mod log;
pub mod narrowing;
mod repair;
pub mod report;
pub mod subset;
mod totals;
pub mod usage_records;

use std::collections::BTreeMap;
use std::sync::Arc;

use billing::{Clock, CustomerId, Identifier, Timestamp, UsageStatus};
use ledger::{Ledger, LedgerError};
use metering::{CustomerDirectory, CustomerError, Deliverer, KnownCustomer, Redriver};
use stripe::ListMeterEventSummaries;

use comparison::Comparison;
use explanation::Explanation;
use log::{CustomerLog, LogRow};
use narrowing::{MINUTE_S, Narrowed, Narrowing, Question, Window};
pub use report::{CustomerReport, Finding, FindingKind, NamedEvent};
use usage_records::UsagePeriods;

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
        let (id, now) = (&customer.row.customer_id, self.clock.now());
        let periods = match customer.row.item.meter_id.as_str() {
            "" => Some(UsagePeriods::ask(&self.stripe, customer, range).await?),
            _ => None,
        };
        let periods = periods.as_ref();
        let range = periods.map_or(range, |periods| periods.widen(range));
        let log = CustomerLog::read(&self.ledger, id, range, now, is_thorough, periods).await?;
        let narrowed = match periods {
            Some(periods) => periods.compare(&log),
            None => self.narrow(customer, &log, range).await?,
        };
        let explained = narrowed
            .differences
            .iter()
            .map(|difference| {
                let rows = log.rows.get(&difference.minute);
                let rows = rows.map(Vec::as_slice).unwrap_or_default();
                (*difference, Explanation::of(difference.units(), rows))
            })
            .collect();
        let totals = totals::compare(&self.ledger, id, &log, range).await?;
        let invoices = invoices::compare(&self.stripe, customer, &log, range).await?;
        Ok(Comparison {
            range,
            log,
            stripe_units: narrowed.stripe_units,
            explained,
            totals,
            invoices,
        })
    }

    async fn narrow(
        &self,
        customer: &KnownCustomer,
        log: &CustomerLog,
        range: Window,
    ) -> Result<Narrowed, ReconcileError> {
        let delivered = log.by_minute();
        let mut narrowing = Narrowing::new(&delivered, range);
        while let Some(question) = narrowing.question() {
            let answer = self.ask(customer, &question).await?;
            narrowing.answer(question, &answer);
        }
        let mut narrowed = narrowing.narrowed();
        narrowed.differences.sort_by_key(|found| found.minute);
        Ok(narrowed)
    }

    async fn ask(
        &self,
        customer: &KnownCustomer,
        question: &Question,
    ) -> Result<BTreeMap<i64, i64>, ReconcileError> {
        let window = ListMeterEventSummaries {
            customer: customer.row.customer_id.as_str().to_owned(),
            start_time: question.window.start,
            end_time: question.window.end,
            value_grouping_window: question.grouping,
        };
        let meter_id = &customer.row.item.meter_id;
        let summaries = self.stripe.list_meter_event_summaries(meter_id, &window);
        let summaries = summaries.await;
        let summaries = summaries.map_err(ReconcileError::stripe("meter event summaries"))?;
        let summaries = summaries.iter();
        Ok(summaries
            .map(|summary| (summary.start_time, summary.aggregated_value))
            .collect())
    }

    async fn report(
        &self,
        customer: &KnownCustomer,
        comparison: Comparison,
        repair: Repair,
    ) -> Result<CustomerReport, ReconcileError> {
        let mut findings = Vec::new();
        for (difference, explanation) in &comparison.explained {
            let rows = comparison.rows_of(difference);
            let (kind, places) = match explanation {
                Explanation::InFlight => continue,
                Explanation::Altered(places) => (FindingKind::Altered, places.as_slice()),
                Explanation::StripeHas(places) => (FindingKind::StripeHas, places.as_slice()),
                Explanation::StripeLacks(places) => (FindingKind::StripeLacks, places.as_slice()),
                Explanation::Ambiguous(places) => (FindingKind::Ambiguous, places.as_slice()),
                Explanation::PerhapsDoubled(places) => {
                    (FindingKind::PerhapsDoubled, places.as_slice())
                }
                Explanation::Unexplained => (FindingKind::Unexplained, &[][..]),
            };
            let meant: Vec<&LogRow> = places.iter().filter_map(|at| rows.get(*at)).collect();
            let mut finding = self.finding(kind, &meant).await?;
            finding.from = Some(Timestamp::from_unix_s(difference.minute).to_string());
            finding.log_units = Some(difference.log_units);
            finding.other_units = Some(difference.stripe_units);
            finding.is_repaired = self.settle(kind, &meant, repair).await?;
            findings.push(finding);
        }
        let (undelivered, uncertain) = comparison.undelivered();
        if !undelivered.is_empty() {
            let finding = self.finding(FindingKind::Undelivered, &undelivered);
            let mut finding = finding.await?;
            finding.is_repaired = self
                .settle(FindingKind::Undelivered, &undelivered, repair)
                .await?;
            findings.push(finding);
        }
        if !uncertain.is_empty() {
            let finding = self.finding(FindingKind::Uncertain, &uncertain);
            findings.push(finding.await?);
        }
        let altered = comparison.altered_elsewhere();
        if !altered.is_empty() {
            findings.push(self.finding(FindingKind::Altered, &altered).await?);
        }
        let invoices_compared = comparison.invoices.compared;
        findings.extend(comparison.totals.iter().cloned());
        findings.extend(comparison.invoices.findings.iter().cloned());
        let log = &comparison.log;
        Ok(CustomerReport {
            customer_id: customer.row.customer_id.clone(),
            now: customer.now.to_string(),
            log_units: log.by_minute().values().sum(),
            stripe_units: comparison.stripe_units,
            usage_record_units: log.usage_record_units,
            in_flight_units: comparison.in_flight_units(),
            unbilled_units: [UsageStatus::Rejected, UsageStatus::Voided]
                .map(|status| log.tally.units(status))
                .iter()
                .sum(),
            invoices_compared,
            findings,
        })
    }

    /// Repairs a finding of `kind` about `rows`, if that may be; whether it is.
    async fn settle(
        &self,
        kind: FindingKind,
        rows: &[&LogRow],
        repair: Repair,
    ) -> Result<bool, LedgerError> {
        let (ledger, now) = (&self.ledger, self.clock.now());
        match kind {
            FindingKind::StripeHas if repair >= Repair::Open => {
                repair::mark_delivered(ledger, rows, now).await
            }
            FindingKind::Undelivered if repair >= Repair::Open => {
                repair::redrive(ledger, &self.redriver, rows).await
            }
            FindingKind::StripeLacks if repair >= Repair::OpenAndLost => {
                repair::send_again(ledger, &self.redriver, rows, now).await
            }
            _ => Ok(false),
        }
    }

    /// A finding of `kind` about `rows`, the first of which are named.
    async fn finding(
        &self,
        kind: FindingKind,
        rows: &[&LogRow],
    ) -> Result<Finding, ReconcileError> {
        let named = rows.iter().take(report::NAMED_MAX);
        let named: Vec<Identifier> = named.map(|row| row.identifier.clone()).collect();
        let mut events = Vec::with_capacity(named.len());
        if !named.is_empty() {
            let rows = self.ledger.usage_events(&named).await?;
            events.extend(rows.iter().map(NamedEvent::from));
            events.sort_by(|a, b| a.event_id.cmp(&b.event_id));
        }
        Ok(Finding {
            kind,
            from: None,
            log_units: None,
            other_units: None,
            more_events: rows.len().saturating_sub(named.len()),
            events,
            is_repaired: false,
        })
    }
}

//! What is found in a comparison, meter by meter, and what is repaired of it.

use std::collections::BTreeSet;

use billing::{Identifier, Timestamp, UsageStatus};
use ledger::LedgerError;
use metering::KnownCustomer;

use super::comparison::{Comparison, MeterComparison};
use super::explanation::Explanation;
use super::log::LogRow;
use super::report::{
    CustomerReport, Finding, FindingKind, HeldUsage, MeterReport, NAMED_MAX, NamedEvent,
};
use super::{ReconcileError, Reconciler, Repair, repair};

impl Reconciler {
    pub(super) async fn report(
        &self,
        customer: &KnownCustomer,
        comparison: Comparison,
        repair: Repair,
    ) -> Result<CustomerReport, ReconcileError> {
        let Comparison {
            meters,
            totals,
            held,
        } = comparison;
        let mut findings = Vec::new();
        for meter in &meters {
            let mut found = self.differences(customer, meter, repair).await?;
            found.extend(
                self.altered_and_undelivered(customer, meter, repair)
                    .await?,
            );
            found.extend(meter.invoices.findings.iter().cloned());
            for finding in &mut found {
                finding.meter_event_name = Some(meter.event_name.clone());
            }
            findings.extend(found);
        }
        findings.extend(totals);
        let periods = meters.iter().flat_map(|meter| &meter.invoices.compared);
        let invoices_compared = periods.collect::<BTreeSet<_>>().len();
        let mut meters: Vec<MeterReport> = meters.iter().map(MeterReport::from).collect();
        let sum = MeterReport::sum(&meters);
        if let [meter] = meters.as_slice() {
            // That it is about the only one there is goes without saying.
            let only = Some(meter.meter_event_name.clone());
            for finding in findings.iter_mut().filter(|it| it.meter_event_name == only) {
                finding.meter_event_name = None;
            }
            meters.clear();
        }
        Ok(CustomerReport {
            customer_id: customer.row.customer_id.clone(),
            now: customer.now.to_string(),
            log_units: sum.log_units,
            stripe_units: sum.stripe_units,
            usage_record_units: sum.usage_record_units,
            in_flight_units: sum.in_flight_units,
            unbilled_units: sum.unbilled_units,
            invoices_compared,
            held: held.iter().map(HeldUsage::from).collect(),
            meters,
            findings,
        })
    }

    /// A finding for each minute that differs, but for what is in flight.
    async fn differences(
        &self,
        customer: &KnownCustomer,
        compared: &MeterComparison,
        repair: Repair,
    ) -> Result<Vec<Finding>, ReconcileError> {
        let mut findings = Vec::new();
        for (difference, explanation) in &compared.explained {
            let rows = compared.rows_of(difference);
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
            let meant = places.iter().filter_map(|at| rows.get(*at));
            let kind_of = |row: &LogRow| match kind {
                FindingKind::StripeHas if row.carried_to.is_some() => FindingKind::BilledBefore,
                FindingKind::StripeLacks if !compared.is_here_alone(row) => FindingKind::Uncertain,
                kind => kind,
            };
            let mut by_kind: Vec<(FindingKind, Vec<&LogRow>)> = Vec::new();
            if places.is_empty() {
                by_kind.push((kind, Vec::new()));
            }
            for row in meant {
                let kind = kind_of(row);
                match by_kind.iter_mut().find(|(known, _)| *known == kind) {
                    Some((_, rows)) => rows.push(row),
                    None => by_kind.push((kind, vec![row])),
                }
            }
            for (kind, rows) in by_kind {
                let mut finding = self.finding(kind, &rows).await?;
                finding.from = Some(Timestamp::from_unix_s(difference.minute).to_string());
                finding.log_units = Some(difference.log_units);
                finding.other_units = Some(difference.stripe_units);
                finding.is_repaired = self.settle(kind, &rows, customer, repair).await?;
                findings.push(finding);
            }
        }
        Ok(findings)
    }

    async fn altered_and_undelivered(
        &self,
        customer: &KnownCustomer,
        compared: &MeterComparison,
        repair: Repair,
    ) -> Result<Vec<Finding>, ReconcileError> {
        let (undelivered, uncertain) = compared.undelivered();
        let mut findings = Vec::new();
        for (kind, rows) in [
            (FindingKind::Undelivered, undelivered),
            (FindingKind::Uncertain, uncertain),
            (FindingKind::Altered, compared.altered_elsewhere()),
        ] {
            if !rows.is_empty() {
                let mut finding = self.finding(kind, &rows).await?;
                finding.is_repaired = self.settle(kind, &rows, customer, repair).await?;
                findings.push(finding);
            }
        }
        Ok(findings)
    }

    /// Repairs a finding of `kind` about `rows`, if that may be; whether it is.
    async fn settle(
        &self,
        kind: FindingKind,
        rows: &[&LogRow],
        customer: &KnownCustomer,
        repair: Repair,
    ) -> Result<bool, LedgerError> {
        let (ledger, now) = (&self.ledger, self.clock.now());
        match kind {
            FindingKind::StripeHas if repair >= Repair::Open => {
                repair::mark_delivered(ledger, rows, now).await
            }
            FindingKind::BilledBefore if repair >= Repair::Open => {
                let start_of = async |at| self.customers.start_of_period(customer, at).await;
                repair::bill_as_before(ledger, rows, start_of, now).await
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
        let named = rows.iter().take(NAMED_MAX);
        let named: Vec<Identifier> = named.map(|row| row.identifier.clone()).collect();
        let mut events = Vec::with_capacity(named.len());
        if !named.is_empty() {
            let rows = self.ledger.usage_events(&named).await?;
            events.extend(rows.iter().map(NamedEvent::from));
            events.sort_by(|a, b| a.event_id.cmp(&b.event_id));
        }
        Ok(Finding {
            more_events: rows.len().saturating_sub(named.len()),
            events,
            ..Finding::of(kind)
        })
    }
}

impl From<&MeterComparison> for MeterReport {
    fn from(compared: &MeterComparison) -> Self {
        let log = &compared.log;
        let unbilled = [UsageStatus::Rejected, UsageStatus::Voided];
        Self {
            meter_event_name: compared.event_name.clone(),
            log_units: log.by_minute().values().sum(),
            stripe_units: compared.stripe_units,
            usage_record_units: log.usage_record_units,
            in_flight_units: compared.in_flight_units(),
            unbilled_units: unbilled.map(|status| log.tally.units(status)).iter().sum(),
            invoices_compared: compared.invoices.compared.len(),
        }
    }
}

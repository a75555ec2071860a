//! Whether final invoices bill what the log has: delivered is not yet invoiced.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use billing::Timestamp;
use ledger::CustomerRow;
use metering::{KnownCustomer, UsageLines, bills_usage, is_final, lines_of};

use super::ReconcileError;
use super::log::{LogRow, MeterLog};
use super::meters::{ComparedMeter, Source};
use super::narrowing::{MINUTE_S, Window, round_down};
use super::report::{Finding, FindingKind};

/// How long after its period's end an invoice may still be a draft, or not be
/// made yet (Stripe documentation: "Automatically finalize invoices").
const DRAFT_MS_MAX: i64 = 73 * 3_600_000;

/// The invoices of one customer's subscription, as far as they may bill usage of
/// a range.
#[derive(Clone, Debug, Default)]
pub(super) struct UsageInvoices {
    lines: Vec<UsageLine>,
    /// The billing periods of all invoices, in unix seconds.
    periods: Vec<Range<i64>>,
    /// Periods of invoices that have no line for any item, in unix seconds.
    without_items: Vec<Range<i64>>,
}

/// A line that bills an item of the subscription, or a meter without one: an
/// invoice item bills what an item was removed, or repriced, from.
#[derive(Clone, Debug)]
struct UsageLine {
    subscription_item_id: Option<String>,
    /// The meter behind its price, `mtr_…`; none where that is not known, and
    /// where the price bills usage records.
    meter_id: Option<String>,
    /// In unix seconds.
    period: Range<i64>,
    units: i64,
    is_final: bool,
}

/// The invoices of one customer, compared with one meter's usage.
#[derive(Clone, Debug, Default)]
pub(super) struct Invoices {
    /// The ends of the periods that were compared, in unix seconds. Their starts
    /// differ where an item was added: it bills from then on.
    pub(super) compared: BTreeSet<i64>,
    /// One for each period that differs.
    pub(super) findings: Vec<Finding>,
}

impl UsageInvoices {
    /// Asks Stripe for the invoices of `customer`, and reads the lines of those
    /// that may bill usage of `range`.
    pub(super) async fn ask(
        stripe: &stripe::Client,
        usage_lines: &UsageLines,
        customer: &CustomerRow,
        range: Window,
    ) -> Result<Self, ReconcileError> {
        let listed = stripe.list_all_invoices(customer.customer_id.as_str());
        let listed = listed.await.map_err(ReconcileError::stripe("invoices"))?;
        let mut invoices = Self::default();
        for invoice in listed
            .iter()
            .filter(|invoice| bills_usage(invoice, customer))
        {
            let mut has_items = false;
            let lines = lines_of(stripe, invoice).await;
            for line in &lines.map_err(ReconcileError::stripe("invoice lines"))? {
                let item_id = &line.subscription_item;
                has_items |= item_id.is_some();
                let period = line.period.start..line.period.end;
                if !touches(&period, range) {
                    continue;
                }
                let usage = usage_lines.usage_of(stripe, customer, line).await;
                let usage =
                    usage.map_err(ReconcileError::stripe("the price of an invoice's line"))?;
                let meter_id = usage.meter_id().map(str::to_owned);
                if item_id.is_none() && meter_id.is_none() {
                    continue;
                }
                has_items = true;
                invoices.lines.push(UsageLine {
                    subscription_item_id: item_id.clone(),
                    meter_id,
                    period,
                    units: line.quantity.unwrap_or(0),
                    is_final: is_final(invoice),
                });
            }
            // Its own period looks back by one, as usage does (Stripe API
            // reference: The Invoice object, `period_end`).
            let period = invoice.period_start..invoice.period_end;
            if !has_items {
                invoices.without_items.push(period.clone());
            }
            invoices.periods.push(period);
        }
        Ok(invoices)
    }

    /// `range`, in parts that lie within one billing period each: what one period has
    /// too much must not make up for what the next one lacks on the same day. The
    /// minute in which a period ends goes with the next one.
    pub(super) fn split(&self, range: Window) -> Vec<Window> {
        let bounds = self.periods.iter().flat_map(|it| [it.start, it.end]);
        let bounds = bounds.map(|at| round_down(at, MINUTE_S));
        let mut bounds: BTreeSet<i64> = bounds
            .filter(|at| range.start < *at && *at < range.end)
            .collect();
        bounds.insert(range.end);
        let mut start = range.start;
        let parts = bounds.into_iter().map(|end| Window {
            start: std::mem::replace(&mut start, end),
            end,
        });
        parts.collect()
    }

    /// Compares the units on the lines of final invoices for `meter`, whose
    /// periods lie in `range`, with the log's, and finds usage that got on none.
    pub(super) fn compare(
        &self,
        customer: &KnownCustomer,
        meter: &ComparedMeter,
        log: &MeterLog,
        range: Window,
    ) -> Invoices {
        let lines: Vec<&UsageLine> = self
            .lines
            .iter()
            .filter(|it| it.is_of(meter, log))
            .collect();
        let mut compared = Invoices::default();
        for ((start, end), units) in final_periods(&lines, range) {
            compared.compared.insert(end);
            let log_units = log.units_between(start, end);
            if log_units != units {
                let kind = FindingKind::InvoiceDiffers;
                let differs = finding(kind, start, log_units, units);
                compared.findings.push(differs);
            }
        }
        let missed = if meter.has_item() {
            let lines = lines.iter().map(|line| &line.period);
            let periods: Vec<_> = lines.chain(&self.without_items).collect();
            not_invoiced(&periods, customer, log)
        } else {
            let periods: Vec<_> = lines.iter().map(|line| &line.period).collect();
            no_item(&periods, customer, log)
        };
        compared.findings.extend(missed);
        compared
    }
}

impl UsageLine {
    /// Whether it bills usage of `meter`, whose rows are in `log`.
    fn is_of(&self, meter: &ComparedMeter, log: &MeterLog) -> bool {
        match (&meter.source, &self.meter_id) {
            (Source::Meters(ids), Some(meter_id)) => ids.contains(meter_id),
            (Source::UsageRecords(_), None) => {
                self.subscription_item_id.as_ref().is_some_and(|item_id| {
                    meter.subscription_item_ids.contains(item_id)
                        || (!meter.has_item() && log.subscription_item_ids.contains(item_id))
                })
            }
            (Source::Meters(_), None) | (Source::UsageRecords(_), Some(_)) => false,
        }
    }
}

fn finding(kind: FindingKind, from_s: i64, log_units: i64, other_units: i64) -> Finding {
    Finding {
        from: Some(Timestamp::from_unix_s(from_s).to_string()),
        log_units: Some(log_units),
        other_units: Some(other_units),
        ..Finding::of(kind)
    }
}

/// Usage of periods that are over for so long that their invoices would be
/// final, and that no invoice bills, not even a draft: such as of a subscription
/// that was canceled in its period.
fn not_invoiced(
    periods: &[&Range<i64>],
    customer: &KnownCustomer,
    log: &MeterLog,
) -> Option<Finding> {
    let row = &customer.row;
    let is_due = |at: &Timestamp| customer.now >= at.plus_ms(DRAFT_MS_MAX);
    let ended = row.subscription_ends_at.filter(is_due);
    let due_before = ended.or(Some(row.period_start).filter(is_due))?.unix_s();
    let missed = outside(periods, row, log).filter(|row| row.billed_at_s < due_before);
    all_of(FindingKind::NotInvoiced, missed)
}

/// Usage of a meter that the customer has no item of: unless an invoice has it
/// already, none ever will.
fn no_item(periods: &[&Range<i64>], customer: &KnownCustomer, log: &MeterLog) -> Option<Finding> {
    let missed = outside(periods, &customer.row, log);
    all_of(FindingKind::NoSubscriptionItem, missed)
}

/// What Stripe has of the subscription's usage outside of the `periods`.
fn outside<'a>(
    periods: &'a [&Range<i64>],
    customer: &CustomerRow,
    log: &'a MeterLog,
) -> impl Iterator<Item = &'a LogRow> {
    let started = round_down(customer.subscription_started_at.unix_s(), MINUTE_S);
    let is_inside = |at: i64| periods.iter().any(|period| period.contains(&at));
    log.rows_from(started)
        .filter(move |row| row.is_in_stripe() && !is_inside(row.billed_at_s))
}

fn all_of<'a>(kind: FindingKind, rows: impl Iterator<Item = &'a LogRow>) -> Option<Finding> {
    let rows: Vec<&LogRow> = rows.collect();
    let first = rows.iter().map(|row| row.billed_at_s).min()?;
    let units = rows.iter().map(|row| row.units()).sum();
    Some(finding(kind, first, units, 0))
}

/// Units that are billed for good, by the period's start and end in unix
/// seconds. A price in tiers has several lines; and where a period's usage was
/// billed in parts, before and after a change of price, the parts that overlap
/// are taken together.
fn final_periods(lines: &[&UsageLine], range: Window) -> BTreeMap<(i64, i64), i64> {
    let mut lines: Vec<&&UsageLine> = lines.iter().filter(|line| line.is_final).collect();
    lines.sort_by_key(|line| line.period.start);
    let mut periods: Vec<(Range<i64>, i64)> = Vec::new();
    for line in lines {
        match periods.last_mut() {
            Some((period, units)) if line.period.start < period.end => {
                period.end = period.end.max(line.period.end);
                *units += line.units;
            }
            _ => periods.push((line.period.clone(), line.units)),
        }
    }
    let lies_in = |period: &Range<i64>| range.start <= period.start && period.end <= range.end;
    let within = periods.into_iter().filter(|(period, _)| lies_in(period));
    within
        .map(|(period, units)| ((period.start, period.end), units))
        .collect()
}

fn touches(period: &Range<i64>, range: Window) -> bool {
    let Range { start, end } = *period;
    Window { start, end }.touches(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(period: Range<i64>, units: i64) -> UsageLine {
        UsageLine {
            subscription_item_id: None,
            meter_id: Some("mtr_1".to_owned()),
            period,
            units,
            is_final: true,
        }
    }

    #[test]
    fn a_range_is_split_where_billing_periods_end() {
        let invoices = UsageInvoices {
            periods: vec![61..185, 185..400],
            ..UsageInvoices::default()
        };
        let window = |start, end| Window { start, end };
        let parts = [window(0, 60), window(60, 180), window(180, 300)];
        assert_eq!(invoices.split(window(0, 300)), parts);
        assert_eq!(
            UsageInvoices::default().split(window(0, 300)),
            [window(0, 300)]
        );
    }

    #[test]
    fn parts_of_a_period_that_overlap_are_compared_together() {
        let range = Window { start: 0, end: 300 };
        let draft = UsageLine {
            is_final: false,
            ..line(0..100, 9)
        };
        let lines = [
            line(100..200, 5),
            line(0..100, 3),
            line(0..60, 4),
            draft,
            line(200..400, 7),
        ];
        let lines: Vec<&UsageLine> = lines.iter().collect();
        let periods: Vec<_> = final_periods(&lines, range).into_iter().collect();
        assert_eq!(periods, [((0, 100), 7), ((100, 200), 5)]);
    }
}

//! Whether final invoices bill what the log has: delivered is not yet invoiced.

use std::collections::BTreeMap;

use billing::Timestamp;
use ledger::CustomerRow;
use metering::{KnownCustomer, usage_period};
use stripe::{Invoice, List};

use super::ReconcileError;
use super::log::{CustomerLog, LogRow};
use super::narrowing::{MINUTE_S, Window, round_down};
use super::report::{Finding, FindingKind};

/// What the invoice at the start of a subscription is made for. Its lines are
/// for what is paid ahead: no usage has happened yet.
const SUBSCRIPTION_CREATE: &str = "subscription_create";

/// How long after its period's end an invoice may still be a draft, or not be
/// made yet (Stripe documentation: "Automatically finalize invoices").
const DRAFT_MS_MAX: i64 = 73 * 3_600_000;

/// The invoices of one customer, compared.
#[derive(Clone, Debug, Default)]
pub(super) struct Invoices {
    /// Periods that were compared.
    pub(super) compared: usize,
    /// One for each period that differs.
    pub(super) findings: Vec<Finding>,
}

/// Compares the units on the lines of final invoices whose periods lie in
/// `range` with the log's, and finds usage of a period that got no invoice.
pub(super) async fn compare(
    stripe: &stripe::Client,
    customer: &KnownCustomer,
    log: &CustomerLog,
    range: Window,
) -> Result<Invoices, ReconcileError> {
    let customer_id = customer.row.customer_id.as_str();
    let listed = stripe.list_all_invoices(customer_id).await;
    let listed = listed.map_err(ReconcileError::stripe("invoices"))?;
    let mut compared = Invoices::default();
    for ((start, end), units) in billed_periods(stripe, &listed, &customer.row, range).await? {
        compared.compared += 1;
        let log_units = log.units_between(start, end);
        if log_units != units {
            let kind = FindingKind::InvoiceDiffers;
            compared
                .findings
                .push(finding(kind, start, log_units, units));
        }
    }
    compared
        .findings
        .extend(not_invoiced(&listed, customer, log));
    Ok(compared)
}

fn finding(kind: FindingKind, from_s: i64, log_units: i64, other_units: i64) -> Finding {
    Finding {
        kind,
        from: Some(Timestamp::from_unix_s(from_s).to_string()),
        log_units: Some(log_units),
        other_units: Some(other_units),
        events: Vec::new(),
        more_events: 0,
        is_repaired: false,
    }
}

/// Usage of periods that are over for so long that their invoices would be
/// final, and that no invoice bills, not even a draft: such as of a subscription
/// that was canceled in its period.
fn not_invoiced(
    invoices: &List<Invoice>,
    customer: &KnownCustomer,
    log: &CustomerLog,
) -> Option<Finding> {
    let row = &customer.row;
    let is_due = |at: &Timestamp| customer.now >= at.plus_ms(DRAFT_MS_MAX);
    let ended = row.subscription_ends_at.filter(is_due);
    let due_before = ended.or(Some(row.period_start).filter(is_due))?.unix_s();
    let invoices = invoices.iter();
    let periods: Vec<_> = invoices
        .filter_map(|invoice| usage_period(invoice, row))
        .collect();
    let is_missed = |row: &&LogRow| {
        let at = Timestamp::from_unix_s(row.billed_at_s);
        row.is_in_stripe() && !periods.iter().any(|period| period.contains(&at))
    };
    let started = round_down(row.subscription_started_at.unix_s(), MINUTE_S);
    let missed: Vec<&LogRow> = log
        .rows_from(started)
        .filter(|row| row.billed_at_s < due_before)
        .filter(is_missed)
        .collect();
    let first = missed.iter().map(|row| row.billed_at_s).min()?;
    let units = missed.iter().map(|row| row.units()).sum();
    Some(finding(FindingKind::NotInvoiced, first, units, 0))
}

/// Units that are billed for good, by the period's start and end in unix
/// seconds. A price in tiers has several lines.
async fn billed_periods(
    stripe: &stripe::Client,
    invoices: &List<Invoice>,
    customer: &CustomerRow,
    range: Window,
) -> Result<BTreeMap<(i64, i64), i64>, ReconcileError> {
    let mut periods = BTreeMap::new();
    for invoice in invoices.iter().filter(|invoice| bills(invoice, customer)) {
        let lines = stripe.list_invoice_lines(&invoice.id).await;
        let lines = lines.map_err(ReconcileError::stripe("invoice lines"))?;
        for line in &lines {
            let period = line.period;
            let is_usage = line.subscription_item.as_deref()
                == Some(customer.item.subscription_item_id.as_str());
            if is_usage && range.start <= period.start && period.end <= range.end {
                let units = periods.entry((period.start, period.end)).or_default();
                *units += line.quantity.unwrap_or(0);
            }
        }
    }
    Ok(periods)
}

/// Whether `invoice` is final and bills usage of the customer's subscription.
fn bills(invoice: &Invoice, customer: &CustomerRow) -> bool {
    invoice.subscription.as_deref() == Some(customer.subscription_id.as_str())
        && invoice.billing_reason.as_deref() != Some(SUBSCRIPTION_CREATE)
        && invoice.status_transitions.finalized_at.is_some()
        && invoice.status.as_deref() != Some("void")
}

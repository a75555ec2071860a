//! Whether final invoices bill what the log has: delivered is not yet invoiced.

use std::collections::BTreeMap;

use billing::Timestamp;
use ledger::CustomerRow;
use stripe::Invoice;

use super::ReconcileError;
use super::log::CustomerLog;
use super::narrowing::Window;
use super::report::{Finding, FindingKind};

/// What the invoice at the start of a subscription is made for. Its lines are
/// for what is paid ahead: no usage has happened yet.
const SUBSCRIPTION_CREATE: &str = "subscription_create";

/// The invoices of one customer, compared.
#[derive(Clone, Debug, Default)]
pub(super) struct Invoices {
    /// Periods that were compared.
    pub(super) compared: usize,
    /// One for each period that differs.
    pub(super) findings: Vec<Finding>,
}

/// Compares the units on the lines of final invoices whose periods lie in
/// `range` with the log's.
pub(super) async fn compare(
    stripe: &stripe::Client,
    customer: &CustomerRow,
    log: &CustomerLog,
    range: Window,
) -> Result<Invoices, ReconcileError> {
    let mut compared = Invoices::default();
    for ((start, end), units) in billed_periods(stripe, customer, range).await? {
        compared.compared += 1;
        let log_units = log.units_between(start, end);
        if log_units != units {
            compared.findings.push(Finding {
                kind: FindingKind::InvoiceDiffers,
                from: Some(Timestamp::from_unix_s(start).to_string()),
                log_units: Some(log_units),
                other_units: Some(units),
                events: Vec::new(),
                more_events: 0,
                is_repaired: false,
            });
        }
    }
    Ok(compared)
}

/// Units that are billed for good, by the period's start and end in unix
/// seconds. A price in tiers has several lines.
async fn billed_periods(
    stripe: &stripe::Client,
    customer: &CustomerRow,
    range: Window,
) -> Result<BTreeMap<(i64, i64), i64>, ReconcileError> {
    let listed = stripe
        .list_all_invoices(customer.customer_id.as_str())
        .await;
    let listed = listed.map_err(ReconcileError::stripe("invoices"))?;
    let mut periods = BTreeMap::new();
    for invoice in listed.iter().filter(|invoice| bills(invoice, customer)) {
        let lines = stripe.list_invoice_lines(&invoice.id).await;
        let lines = lines.map_err(ReconcileError::stripe("invoice lines"))?;
        for line in &lines {
            let period = line.period;
            let is_usage =
                line.subscription_item.as_deref() == Some(customer.subscription_item_id.as_str());
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

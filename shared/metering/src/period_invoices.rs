//! Whether a period that is over still takes usage: read from its invoice, not
//! from the clock. An account may keep drafts for an hour or for three days,
//! and the hour begins with the answer to a webhook (Stripe documentation:
//! "Automatically finalize invoices").

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use billing::{Clock, CustomerId, EndedPeriod, Memory, Timestamp};
use ledger::CustomerRow;
use stripe::Invoice;

use crate::KnownCustomer;

/// For how long what Stripe said is believed: a batch asks once. Far less than
/// a draft surely lasts from any answer on.
const FRESH_MS: i64 = 10_000;
/// For how long nobody asks again after Stripe did not answer.
const FAILED_MS: i64 = 1_000;
/// How long a sender waits for Stripe to tell.
const STRIPE_TIMEOUT: Duration = Duration::from_millis(2_500);
/// A draft that is finalised sooner than this counts as final: the sending
/// takes a while, clocks differ, and what Stripe took it has yet to aggregate.
const FINAL_MARGIN_MS: i64 = 15 * 60_000;
/// A draft stays one for this long at least, where Stripe does not say until when.
const DRAFT_MS_MIN: i64 = 60 * 60_000;
/// For how long after a subscription's end its last invoice may yet be made.
const LAST_INVOICE_MS_MAX: i64 = 45 * 60_000;
/// For how long a customer is remembered who is not asked about: longer than any answer
/// is believed.
const KEPT_MS: i64 = 60_000;
/// Customers that are remembered at once.
const CUSTOMERS_MAX: usize = 10_000;

/// Stripe did not tell, or cannot tell yet, whether a period's invoice is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Stripe did not tell whether a period's invoice is final")]
pub struct PeriodUnknown;

/// The invoices of customers, remembered for a moment.
pub(crate) struct PeriodInvoices {
    stripe: stripe::Client,
    clock: Arc<dyn Clock>,
    asked: Mutex<Memory<CustomerId, Arc<Asked>>>,
}

/// One customer's invoices. Whoever asks while somebody asks waits for that answer.
#[derive(Default)]
struct Asked(tokio::sync::Mutex<Option<Answer>>);

struct Answer {
    invoices: Result<Invoices, PeriodUnknown>,
    until: Timestamp,
}

/// A subscription's newest invoices of usage.
#[derive(Clone)]
struct Invoices {
    newest: Arc<[PeriodInvoice]>,
    /// Whether there are older ones.
    has_more: bool,
}

/// The invoice of a period, as far as it matters here. Times are the customer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PeriodInvoice {
    start: Timestamp,
    end: Timestamp,
    /// Until when late usage surely gets onto it; none where it is final.
    takes_until: Option<Timestamp>,
}

impl PeriodInvoices {
    pub(crate) fn new(stripe: stripe::Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            stripe,
            clock,
            asked: Mutex::new(Memory::of(CUSTOMERS_MAX)),
        }
    }

    /// The period that `at` lies in, one that is over for `customer`.
    pub(crate) async fn ended_period(
        &self,
        customer: &KnownCustomer,
        at: Timestamp,
    ) -> Result<EndedPeriod, PeriodUnknown> {
        let invoices = self.invoices_of(&customer.row, at).await?;
        ended_period(&invoices, customer, at)
    }

    /// Whether the period that `at` lies in has an invoice, and no draft takes its usage.
    pub(crate) async fn is_invoiced(
        &self,
        customer: &KnownCustomer,
        at: Timestamp,
    ) -> Result<bool, PeriodUnknown> {
        let invoices = self.invoices_of(&customer.row, at).await?;
        let of_period = || invoices.iter().filter(|invoice| invoice.bills(at));
        let takes_usage = of_period().any(|invoice| invoice.takes_usage(customer.now));
        Ok(of_period().next().is_some() && !takes_usage)
    }

    /// The start of the period that `at` lies in, which is over, by its invoice; none
    /// where no invoice bills it.
    pub(crate) async fn start_of_ended_period(
        &self,
        customer: &KnownCustomer,
        at: Timestamp,
    ) -> Result<Option<Timestamp>, PeriodUnknown> {
        let invoices = self.invoices_of(&customer.row, at).await?;
        let mut invoices = invoices.iter();
        let invoice = invoices.find(|invoice| invoice.bills(at));
        Ok(invoice.map(|invoice| invoice.start))
    }

    /// The invoices of usage, the newest first, with all that may bill usage of `at`.
    async fn invoices_of(
        &self,
        customer: &CustomerRow,
        at: Timestamp,
    ) -> Result<Arc<[PeriodInvoice]>, PeriodUnknown> {
        let asked = self.asked_of(&customer.customer_id);
        let mut answer = asked.0.lock().await;
        if let Some(known) = answer.as_ref()
            && self.clock.now() < known.until
            && known.reaches(at)
        {
            return known.invoices.clone().map(|known| known.newest);
        }
        let invoices = self.ask(customer, at).await;
        let fresh_ms = match (&invoices, &customer.test_clock) {
            (Err(_), _) => FAILED_MS,
            // A test clock jumps over an invoice's whole life.
            (Ok(_), Some(_)) => 0,
            (Ok(_), None) => FRESH_MS,
        };
        *answer = Some(Answer {
            invoices: invoices.clone(),
            until: self.clock.now().plus_ms(fresh_ms),
        });
        invoices.map(|asked| asked.newest)
    }

    fn asked_of(&self, customer_id: &CustomerId) -> Arc<Asked> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        Arc::clone(asked.keep(customer_id.clone(), now.plus_ms(KEPT_MS), now))
    }

    async fn ask(&self, customer: &CustomerRow, at: Timestamp) -> Result<Invoices, PeriodUnknown> {
        // One that is missing would be taken for one that is yet to be made. Of a period a day
        // there are hundreds: those before one that ended by then cannot matter.
        let ended_by_then = |invoice: &Invoice| {
            PeriodInvoice::of(invoice, customer).is_some_and(|invoice| invoice.end <= at)
        };
        let listed = self
            .stripe
            .list_subscription_invoices_until(&customer.subscription_id, ended_by_then);
        let listed = match tokio::time::timeout(STRIPE_TIMEOUT, listed).await {
            Ok(listed) => listed,
            Err(_) => Err(stripe::Error::DeadlineOver),
        };
        let invoices = listed.map_err(|error| {
            tracing::warn!(
                customer_id = %customer.customer_id,
                error = %error,
                request_id = error.request_id(),
                "Stripe did not tell a customer's invoices"
            );
            PeriodUnknown
        })?;
        let newest = invoices.iter();
        Ok(Invoices {
            newest: newest
                .filter_map(|invoice| PeriodInvoice::of(invoice, customer))
                .collect(),
            has_more: invoices.has_more,
        })
    }
}

impl Answer {
    /// Whether it tells of all invoices that may bill usage of `at`.
    fn reaches(&self, at: Timestamp) -> bool {
        self.invoices.as_ref().map_or(true, |known| {
            !known.has_more || known.newest.iter().any(|invoice| invoice.end <= at)
        })
    }
}

impl PeriodInvoice {
    fn of(invoice: &Invoice, customer: &CustomerRow) -> Option<Self> {
        let Range { start, end } = usage_period(invoice, customer)?;
        let draft_until = match invoice.automatically_finalizes_at {
            Some(unix_s) => Timestamp::from_unix_s(unix_s),
            None => Timestamp::from_unix_s(invoice.created).plus_ms(DRAFT_MS_MIN),
        };
        let is_draft = invoice.status.as_deref() == Some("draft");
        Some(Self {
            start,
            end,
            takes_until: is_draft.then(|| draft_until.plus_ms(-FINAL_MARGIN_MS)),
        })
    }

    /// Whether its period is the one that `at` lies in.
    fn bills(&self, at: Timestamp) -> bool {
        (self.start..self.end).contains(&at)
    }

    fn takes_usage(&self, now: Timestamp) -> bool {
        self.takes_until.is_some_and(|until| now < until)
    }
}

/// The period whose usage `invoice` bills; none where it bills no usage of the
/// customer's subscription.
pub fn usage_period(invoice: &Invoice, customer: &CustomerRow) -> Option<Range<Timestamp>> {
    if invoice.subscription.as_deref() != Some(customer.subscription_id.as_str()) {
        return None;
    }
    let is_usage = |line: &&stripe::InvoiceLine| {
        let mut items = customer.items();
        items.any(|item| line.subscription_item.as_deref() == Some(&item.subscription_item_id))
    };
    let lines = invoice.lines.iter().filter(is_usage);
    let line = lines.min_by_key(|line| line.period.start);
    // The invoice's own period looks back by one, as usage does (Stripe API
    // reference: The Invoice object, `period_end`).
    let own = (invoice.period_start, invoice.period_end);
    let (start, end) = line.map_or(own, |line| (line.period.start, line.period.end));
    // The line of an item that was added in the period begins with that.
    let start = if end == own.1 {
        start.min(own.0)
    } else {
        start
    };
    (start < end).then(|| Timestamp::from_unix_s(start)..Timestamp::from_unix_s(end))
}

fn ended_period(
    invoices: &[PeriodInvoice],
    customer: &KnownCustomer,
    at: Timestamp,
) -> Result<EndedPeriod, PeriodUnknown> {
    let now = customer.now;
    let mut is_invoiced = false;
    for invoice in invoices {
        if !invoice.bills(at) {
            continue;
        }
        is_invoiced = true;
        if invoice.takes_usage(now) {
            let period_start = invoice.start;
            return Ok(EndedPeriod::TakesUsage { period_start });
        }
    }
    let invoiced_until = invoices.iter().map(|invoice| invoice.end).max();
    let invoiced_until = invoiced_until.unwrap_or(customer.row.subscription_started_at);
    if is_invoiced || at < invoiced_until {
        return Ok(EndedPeriod::Final);
    }
    match customer.row.subscription_ends_at {
        // Canceled in its period, it gets no invoice at all; at its period's
        // end, one that is a moment away.
        Some(end) if now >= end.plus_ms(LAST_INVOICE_MS_MAX) => Ok(EndedPeriod::Final),
        Some(end) if now >= end => Err(PeriodUnknown),
        // It is about to be made, as a draft.
        _ => Ok(EndedPeriod::TakesUsage {
            period_start: invoiced_until,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const START_S: i64 = 1_769_860_800;
    const END_S: i64 = START_S + 30 * 86_400;

    /// A customer of the items `si_1` and `si_2`.
    fn a_customer() -> CustomerRow {
        let item = |n: u8| {
            json!({
                "subscription_item_id": format!("si_{n}"), "price_id": format!("price_{n}"),
                "currency": "usd", "unit_amount_decimal": "2",
                "meter_id": format!("mtr_{n}"), "meter_event_name": format!("meter_{n}"),
            })
        };
        let mut row = item(1);
        let fields = json!({
            "customer_id": "cus_1", "subscription_id": "sub_1", "more_items": [item(2)],
            "subscription_started_at": START_S * 1_000, "period_start": START_S * 1_000,
            "period_end": END_S * 1_000, "status": "active", "version": 1,
            "created_at": START_S * 1_000,
        });
        for (name, value) in fields.as_object().unwrap() {
            row[name] = value.clone();
        }
        serde_json::from_value(row).unwrap()
    }

    /// An invoice with lines of items, each from some day of the period on.
    fn an_invoice(lines: &[(&str, i64)]) -> Invoice {
        let line = |(item, day): &(&str, i64)| {
            json!({
                "id": format!("il_{item}"), "amount": 2, "currency": "usd", "quantity": 1,
                "description": null, "period": { "start": START_S + day * 86_400, "end": END_S },
                "parent": { "type": "subscription_item_details", "subscription_item_details":
                    { "subscription": "sub_1", "subscription_item": item } },
            })
        };
        let lines: Vec<Value> = lines.iter().map(line).collect();
        let invoice = json!({
            "id": "in_1", "number": null, "customer": "cus_1", "status": "draft",
            "billing_reason": "subscription_cycle", "currency": "usd", "amount_due": 2,
            "amount_paid": 0, "amount_remaining": 2, "total": 2, "period_start": START_S,
            "period_end": END_S, "created": END_S, "automatically_finalizes_at": null,
            "status_transitions": {}, "attempt_count": 0, "next_payment_attempt": null,
            "hosted_invoice_url": null, "invoice_pdf": null, "livemode": false,
            "parent": { "type": "subscription_details",
                "subscription_details": { "subscription": "sub_1" } },
            "lines": { "data": lines, "has_more": false },
        });
        serde_json::from_value(invoice).unwrap()
    }

    #[test]
    fn an_item_that_was_added_in_a_period_does_not_begin_it() {
        let whole = Timestamp::from_unix_s(START_S)..Timestamp::from_unix_s(END_S);
        for lines in [
            &[("si_1", 0), ("si_2", 12)][..],
            &[("si_2", 12), ("si_1", 0)],
            // The first item was taken out since.
            &[("si_2", 12)],
        ] {
            let period = usage_period(&an_invoice(lines), &a_customer());
            assert_eq!(period, Some(whole.clone()), "{lines:?}");
        }
    }
}

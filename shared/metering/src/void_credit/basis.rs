//! What the credits of a period are reckoned from: the lines of its final
//! invoice that bill the event's meter. By the meter, since an item that was
//! removed and added again has another id, and one that is gone has none.

use std::collections::HashMap;

use billing::{Currency, NoRangeCost, Price, Timestamp};
use ledger::{CustomerRow, MeteredItem, UsageEventRow, VoidCredits};
use stripe::{Invoice, InvoiceLine};

use super::CreditError;
use crate::{is_metered, price_of};

/// Why Stripe makes the invoice of a period that is over. Its own period is that
/// one (Stripe API reference: The Invoice object, `period_start`).
const SUBSCRIPTION_CYCLE: &str = "subscription_cycle";

/// What a period's credits are reckoned from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// The period's invoice is final: this is on its lines.
    Billed {
        invoice_id: String,
        price: Price,
        units: u64,
        amount: i64,
    },
    /// It is not yet.
    Open { price: Price },
    /// It is not yet, and nothing tells a price.
    NoItem { meter_event_name: String },
    /// It is final, and void or without a line for the meter; or it is that of a free trial.
    Unbilled,
}

impl Basis {
    /// Asks Stripe for the invoice that has the usage of `row`, of `billed_at`, on it.
    pub(super) async fn ask(
        stripe: &stripe::Client,
        customer: &CustomerRow,
        row: &UsageEventRow,
        billed_at: Timestamp,
    ) -> Result<Self, CreditError> {
        let invoices = stripe.list_all_invoices(customer.customer_id.as_str());
        let invoices = invoices.await;
        let invoices = invoices.map_err(CreditError::stripe("list the customer's invoices"))?;
        let mut usage = Usage::of(stripe, customer, row).await?;
        let at_s = billed_at.unix_s();
        let (mut is_over, mut found) = (false, Vec::new());
        for invoice in invoices.iter().filter(|it| is_final_after(it, at_s)) {
            let lines = usage.lines_of(invoice, at_s).await?;
            is_over |= !lines.is_empty() || is_of_period(invoice, customer, at_s);
            if invoice.status.as_deref() != Some("void") {
                found.extend(lines.into_iter().map(|line| (&*invoice.id, line)));
            }
        }
        match narrowest(found) {
            Some((invoice_id, lines)) => usage.billed(invoice_id, &lines).await,
            None if is_over => Ok(Self::Unbilled),
            None => Ok(Self::open(customer, row, billed_at)),
        }
    }

    fn open(customer: &CustomerRow, row: &UsageEventRow, billed_at: Timestamp) -> Self {
        if customer
            .trial
            .is_some_and(|trial| trial.contains(billed_at))
        {
            return Self::Unbilled;
        }
        // An item that was added later will not bill it.
        let was_there = |item: &&MeteredItem| item.added_at.is_none_or(|at| at <= billed_at);
        match customer.item_of_event(row).filter(was_there) {
            Some(item) => Self::Open {
                price: item.price.clone(),
            },
            None => Self::NoItem {
                meter_event_name: row.meter_event_name.clone(),
            },
        }
    }

    /// What the usage is billed in; none where it is not.
    pub(super) const fn currency(&self) -> Option<&Currency> {
        match self {
            Self::Billed { price, .. } | Self::Open { price } => Some(price.currency()),
            Self::NoItem { .. } | Self::Unbilled => None,
        }
    }

    /// What is still to be credited for `quantity` more voided units, beside
    /// the credits that `read` holds. All credits of a period together come to
    /// what its lines cost less without the voided units, rounded as they are.
    pub(super) fn credit(&self, read: &VoidCredits, quantity: u64) -> Result<i64, CreditError> {
        let voided = read.units.saturating_add(quantity);
        let owed = match self {
            Self::Billed {
                invoice_id,
                price,
                units,
                amount,
            } => {
                check(invoice_id, price, *units, *amount)?;
                amount.saturating_sub(cost(price, units.saturating_sub(voided))?)
            }
            Self::Open { price } => match price.cost_of_range(voided) {
                Ok(cost) => cost.minor_units().ok_or(CreditError::TooMuch)?,
                Err(NoRangeCost::Tiers | NoRangeCost::TransformQuantity) => {
                    return Err(CreditError::NotFinal);
                }
            },
            Self::NoItem { meter_event_name } => {
                return Err(CreditError::NoItem(meter_event_name.clone()));
            }
            Self::Unbilled => 0,
        };
        Ok(owed.saturating_sub(read.minor_units).max(0))
    }
}

/// What was billed for nothing, as in a trial, is not credited. Else the credit
/// rests on the lines being what they are taken for.
fn check(invoice_id: &str, price: &Price, units: u64, amount: i64) -> Result<(), CreditError> {
    if amount == 0 || price.cost_of_range(units).is_ok() {
        return Ok(());
    }
    let cost = cost(price, units)?;
    if cost == amount {
        return Ok(());
    }
    Err(CreditError::Unexplained {
        invoice_id: invoice_id.to_owned(),
        billed: amount,
        units,
        cost,
    })
}

fn cost(price: &Price, units: u64) -> Result<i64, CreditError> {
    let cost = price.cost(units).minor_units();
    cost.ok_or(CreditError::TooMuch)
}

/// Whether `invoice` is final, and was not before `at_s`: else it cannot bill
/// usage of that time.
fn is_final_after(invoice: &Invoice, at_s: i64) -> bool {
    let finalized_at = invoice.status_transitions.finalized_at;
    finalized_at.is_some_and(|finalized_at| finalized_at >= at_s)
}

/// Whether `invoice` is the one that bills the subscription's period of `at_s`.
fn is_of_period(invoice: &Invoice, customer: &CustomerRow, at_s: i64) -> bool {
    invoice.subscription.as_deref() == Some(customer.subscription_id.as_str())
        && invoice.billing_reason.as_deref() == Some(SUBSCRIPTION_CYCLE)
        && (invoice.period_start..invoice.period_end).contains(&at_s)
}

/// Of lines that all bill the same moment, those of the shortest period, which
/// names it best, on one invoice and of one price. A price in tiers has several.
fn narrowest(lines: Vec<(&str, InvoiceLine)>) -> Option<(&str, Vec<InvoiceLine>)> {
    let length_s = |line: &InvoiceLine| line.period.end.saturating_sub(line.period.start);
    let (invoice_id, first) = lines
        .iter()
        .min_by_key(|(_, line)| length_s(line))
        .cloned()?;
    let same = lines.into_iter().filter(|(id, line)| {
        *id == invoice_id && line.period == first.period && line.price == first.price
    });
    Some((invoice_id, same.map(|(_, line)| line).collect()))
}

/// What tells the lines that bill an event's usage from others.
struct Usage<'a> {
    stripe: &'a stripe::Client,
    customer: &'a CustomerRow,
    /// The meters that listened to the event's name, `mtr_…`.
    meter_ids: Vec<String>,
    /// What a usage record was added to, `si_…`.
    subscription_item_id: Option<&'a str>,
    /// Prices that the customer's items do not have, or not any more.
    prices: HashMap<String, stripe::Price>,
}

impl<'a> Usage<'a> {
    async fn of(
        stripe: &'a stripe::Client,
        customer: &'a CustomerRow,
        row: &'a UsageEventRow,
    ) -> Result<Self, CreditError> {
        let has_meter = stripe.usage_api().has_meter();
        let mut meter_ids = Vec::new();
        if has_meter {
            let meters = stripe.list_meters().await;
            let meters = meters.map_err(CreditError::stripe("list the meters"))?;
            let same = meters
                .iter()
                .filter(|it| it.event_name == row.meter_event_name);
            meter_ids.extend(same.map(|meter| meter.id.clone()));
        }
        let item = || customer.item_of_event(row).filter(|_| !has_meter);
        let named = row.subscription_item_id.as_deref();
        Ok(Self {
            stripe,
            customer,
            meter_ids,
            subscription_item_id: named
                .or_else(|| item().map(|item| item.subscription_item_id.as_str())),
            prices: HashMap::new(),
        })
    }

    /// The lines of `invoice` that bill the usage at `at_s`, in unix seconds.
    async fn lines_of(
        &mut self,
        invoice: &Invoice,
        at_s: i64,
    ) -> Result<Vec<InvoiceLine>, CreditError> {
        let lines = if invoice.lines.has_more {
            let lines = self.stripe.list_invoice_lines(&invoice.id).await;
            lines.map_err(CreditError::stripe("list the lines of an invoice"))?
        } else {
            invoice.lines.clone()
        };
        let mut of_usage = Vec::new();
        for line in lines.iter() {
            let is_of_time = (line.period.start..line.period.end).contains(&at_s);
            if is_of_time && self.is_billed_by(line).await? {
                of_usage.push(line.clone());
            }
        }
        Ok(of_usage)
    }

    async fn is_billed_by(&mut self, line: &InvoiceLine) -> Result<bool, CreditError> {
        let Some(price_id) = &line.price else {
            return Ok(false);
        };
        let meter_id = match self.item_at(price_id) {
            Some(item) => Some(item.meter_id.clone()).filter(|id| !id.is_empty()),
            None => {
                let price = self.price(price_id).await?;
                if !is_metered(price) {
                    return Ok(false);
                }
                price.recurring.as_ref().and_then(|it| it.meter.clone())
            }
        };
        Ok(match (meter_id, self.subscription_item_id) {
            (Some(meter_id), _) => self.meter_ids.contains(&meter_id),
            (None, Some(item_id)) => line.subscription_item.as_deref() == Some(item_id),
            (None, None) => false,
        })
    }

    /// `lines`, at the price that they were billed at: the item may have another
    /// by now.
    async fn billed(
        &mut self,
        invoice_id: &str,
        lines: &[InvoiceLine],
    ) -> Result<Basis, CreditError> {
        let price_id = lines.iter().find_map(|line| line.price.as_deref());
        let price_id = price_id.ok_or_else(|| CreditError::NoPrice(invoice_id.to_owned()))?;
        let price = match self.item_at(price_id) {
            Some(item) => item.price.clone(),
            None => price_of(self.price(price_id).await?)?,
        };
        // A price in tiers has lines of units, and of amounts without any.
        let units = lines.iter().filter_map(|line| line.quantity);
        let units = units.filter_map(|units| u64::try_from(units).ok()).sum();
        Ok(Basis::Billed {
            invoice_id: invoice_id.to_owned(),
            price,
            units,
            amount: lines.iter().map(|line| line.amount).sum(),
        })
    }

    fn item_at(&self, price_id: &str) -> Option<&'a MeteredItem> {
        let mut items = self.customer.items();
        items.find(|item| item.price_id == price_id)
    }

    async fn price(&mut self, price_id: &str) -> Result<&stripe::Price, CreditError> {
        if !self.prices.contains_key(price_id) {
            let price = self.stripe.retrieve_price(price_id).await;
            let price =
                price.map_err(CreditError::stripe("tell the price of an invoice's line"))?;
            self.prices.insert(price_id.to_owned(), price);
        }
        let price = self.prices.get(price_id);
        price.ok_or_else(|| CreditError::NoPrice(price_id.to_owned()))
    }
}

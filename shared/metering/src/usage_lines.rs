//! Which usage the lines of invoices bill: the meter behind each, also where its
//! item was removed or repriced since.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ledger::{CustomerRow, MeteredItem};
use stripe::{Error, Invoice, InvoiceLine, List, Price};

use crate::is_metered;

/// What the invoice at the start of a subscription is made for. Its lines are
/// for what is paid ahead: no usage has happened yet.
const SUBSCRIPTION_CREATE: &str = "subscription_create";

/// What a price is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PricedUsage {
    /// What this meter counts, `mtr_…`.
    Meter(String),
    /// Usage records, which no meter counts.
    UsageRecords,
    /// No usage: it is paid ahead.
    None,
}

impl PricedUsage {
    fn of_price(price: Price) -> Self {
        if !is_metered(&price) {
            return Self::None;
        }
        let meter_id = price.recurring.and_then(|recurring| recurring.meter);
        meter_id.map_or(Self::UsageRecords, Self::Meter)
    }

    fn of_item(item: &MeteredItem) -> Self {
        if item.meter_id.is_empty() {
            Self::UsageRecords
        } else {
            Self::Meter(item.meter_id.clone())
        }
    }

    /// The meter, if there is one.
    pub fn meter_id(&self) -> Option<&str> {
        match self {
            Self::Meter(meter_id) => Some(meter_id),
            Self::UsageRecords | Self::None => None,
        }
    }
}

/// Tells what lines bill. Of prices that no customer's row names any more Stripe
/// is asked, once: what a price is for never changes (Stripe API reference: Update
/// a price).
#[derive(Debug, Default)]
pub struct UsageLines(Mutex<HashMap<String, PricedUsage>>);

impl UsageLines {
    /// What `line`, of an invoice of `customer`, bills.
    ///
    /// # Errors
    /// That of Stripe, asked for the line's price.
    pub async fn usage_of(
        &self,
        stripe: &stripe::Client,
        customer: &CustomerRow,
        line: &InvoiceLine,
    ) -> Result<PricedUsage, Error> {
        let item_id = line.subscription_item.as_ref();
        let mut items = customer.items();
        let item = items.find(|item| Some(&item.subscription_item_id) == item_id);
        match (&line.price, item) {
            // A price that the item had before, or of an item that was removed.
            (Some(price_id), item) if item.is_none_or(|item| item.price_id != *price_id) => {
                self.usage_of_price(stripe, price_id).await
            }
            (_, Some(item)) => Ok(PricedUsage::of_item(item)),
            (_, None) => Ok(PricedUsage::None),
        }
    }

    async fn usage_of_price(
        &self,
        stripe: &stripe::Client,
        price_id: &str,
    ) -> Result<PricedUsage, Error> {
        let known = self.lock().get(price_id).cloned();
        if let Some(usage) = known {
            return Ok(usage);
        }
        let usage = PricedUsage::of_price(stripe.retrieve_price(price_id).await?);
        self.lock().insert(price_id.to_owned(), usage.clone());
        Ok(usage)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, PricedUsage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All of the lines of `invoice`: it has the first of them itself.
///
/// # Errors
/// That of Stripe, asked for the others.
pub async fn lines_of(
    stripe: &stripe::Client,
    invoice: &Invoice,
) -> Result<List<InvoiceLine>, Error> {
    if !invoice.lines.has_more {
        return Ok(invoice.lines.clone());
    }
    stripe.list_invoice_lines(&invoice.id).await
}

/// Whether `invoice` bills usage of the customer's subscription.
pub fn bills_usage(invoice: &Invoice, customer: &CustomerRow) -> bool {
    invoice.subscription.as_deref() == Some(customer.subscription_id.as_str())
        && invoice.billing_reason.as_deref() != Some(SUBSCRIPTION_CREATE)
}

/// Whether the lines of `invoice` are what is billed for good.
pub fn is_final(invoice: &Invoice) -> bool {
    invoice.status_transitions.finalized_at.is_some() && invoice.status.as_deref() != Some("void")
}

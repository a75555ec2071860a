//! The credit for a voided event that can no longer be taken out of its meter:
//! what it cost, to the rounding of its invoice line, owed to its customer.

use billing::{Currency, CustomerId, InvalidPrice, NoRangeCost, Price, Timestamp};
use ledger::{CreditFixed, Ledger, LedgerError, MeteredItem, UsageEventRow, VoidCredits};
use stripe::{CreateCustomerBalanceTransaction, IdempotencyKey, InvoiceLine, RequestOptions};

use crate::metadata::METADATA_VOID;
use crate::price_of;

/// Attempts at a sum that others keep changing.
const ATTEMPTS_MAX: usize = 10;

/// A credit that was given.
pub(crate) struct Credit {
    pub(crate) minor_units: i64,
    pub(crate) currency: Currency,
    pub(crate) transaction_id: Option<String>,
}

/// Why there is no credit yet: the same void again goes on.
#[derive(Debug, thiserror::Error)]
pub enum CreditError {
    /// DynamoDB failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Stripe failed.
    #[error("Stripe did not {step}: the event is voiding, the same call goes on")]
    Stripe {
        /// What it was asked.
        step: &'static str,
        /// What it said.
        #[source]
        source: stripe::Error,
    },
    /// The customer's row is gone.
    #[error("{0} is no customer here: the credit has no price")]
    UnknownCustomer(CustomerId),
    /// Nothing bills the event's meter any more.
    #[error(
        "the customer's subscription has no item that bills {0:?}, and the credit no price: \
         run `meterline catalog subscribe`, or credit in Stripe what an invoice has of it"
    )]
    NoItem(String),
    /// The row has no period to be credited in.
    #[error("the event was billed in no period that is known")]
    NoPeriod,
    /// The price is none to reckon with.
    #[error("the event's price cannot be reckoned with")]
    Price(#[from] InvalidPrice),
    /// The invoice line names no price.
    #[error("line {0} of the period's invoice names no price")]
    NoPrice(String),
    /// What an event costs is not known before its period's invoice is final:
    /// in tiers and packages it depends on all usage of the period.
    #[error(
        "what the event costs is known once its period's invoice is final: the same call goes on then"
    )]
    NotFinal,
    /// The invoice's lines are not what the price makes of their units.
    #[error(
        "invoice {invoice_id} bills {billed} for {units} units, for which its price is {cost}: \
         credit the event in Stripe by hand"
    )]
    Unexplained {
        /// The invoice.
        invoice_id: String,
        /// What it bills, in minor units.
        billed: i64,
        /// The units of its lines.
        units: u64,
        /// What they should cost, in minor units.
        cost: i64,
    },
    /// The amount is beyond Stripe's.
    #[error("the credit is more than an amount of Stripe's holds")]
    TooMuch,
    /// Other voids of the same period were always faster.
    #[error("other voids of the same period are under way: the same call goes on")]
    Contended,
}

impl CreditError {
    fn stripe(step: &'static str) -> impl Fn(stripe::Error) -> Self {
        move |source| Self::Stripe { step, source }
    }
}

/// Gives the credit for `row`, a voiding one, or finds the one that was given.
pub(crate) async fn give(
    ledger: &Ledger,
    stripe: &stripe::Client,
    row: &UsageEventRow,
) -> Result<Credit, CreditError> {
    let customer = ledger.customer(&row.customer_id).await?;
    let customer = customer.ok_or_else(|| CreditError::UnknownCustomer(row.customer_id.clone()))?;
    let item = customer.item_of_event(row);
    let item = item.ok_or_else(|| CreditError::NoItem(row.meter_event_name.clone()))?;
    let minor_units = match row.void_credit_minor_units {
        Some(minor_units) => minor_units,
        None => fix(ledger, stripe, row, item).await?,
    };
    let transaction_id = if minor_units == 0 {
        None
    } else {
        Some(transaction(stripe, row, item.price.currency(), minor_units).await?)
    };
    Ok(Credit {
        minor_units,
        currency: item.price.currency().clone(),
        transaction_id,
    })
}

/// Reckons the credit and fixes it in the row, before Stripe is told of it.
async fn fix(
    ledger: &Ledger,
    stripe: &stripe::Client,
    row: &UsageEventRow,
    item: &MeteredItem,
) -> Result<i64, CreditError> {
    let (Some(billed_at), Some(period_start)) = (row.billed_at, row.period_start) else {
        return Err(CreditError::NoPeriod);
    };
    let basis = basis(stripe, &row.customer_id, item, billed_at).await?;
    for _ in 0..ATTEMPTS_MAX {
        let read = ledger.void_credits(row, period_start).await?;
        let minor_units = basis.credit(&read, row.quantity)?;
        let fixed = ledger.fix_void_credit(row, period_start, &read, minor_units);
        if fixed.await? == CreditFixed::Done {
            return Ok(minor_units);
        }
        let now = ledger.usage_event(&row.identifier).await?;
        if let Some(minor_units) = now.and_then(|row| row.void_credit_minor_units) {
            return Ok(minor_units);
        }
    }
    Err(CreditError::Contended)
}

/// What a period's credits are reckoned from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Basis {
    /// The period's invoice is final: this is on its lines.
    Billed {
        price: Price,
        units: u64,
        amount: i64,
    },
    /// It is not yet.
    Open { price: Price },
    /// The period's invoice is void: nothing was billed.
    Unbilled,
}

impl Basis {
    /// What is still to be credited for `quantity` more voided units, beside
    /// the credits that `read` holds. All credits of a period together come to
    /// what its lines cost less without the voided units, rounded as they are.
    fn credit(&self, read: &VoidCredits, quantity: u64) -> Result<i64, CreditError> {
        let voided = read.units.saturating_add(quantity);
        let owed = match self {
            Self::Billed {
                price,
                units,
                amount,
            } => amount.saturating_sub(cost(price, units.saturating_sub(voided))?),
            Self::Open { price } => match price.cost_of_range(voided) {
                Ok(cost) => cost.minor_units().ok_or(CreditError::TooMuch)?,
                Err(NoRangeCost::Tiers | NoRangeCost::TransformQuantity) => {
                    return Err(CreditError::NotFinal);
                }
            },
            Self::Unbilled => 0,
        };
        Ok(owed.saturating_sub(read.minor_units).max(0))
    }
}

fn cost(price: &Price, units: u64) -> Result<i64, CreditError> {
    let cost = price.cost(units).minor_units();
    cost.ok_or(CreditError::TooMuch)
}

/// The invoice that has the usage of `billed_at` on it, if it is final.
async fn basis(
    stripe: &stripe::Client,
    customer_id: &CustomerId,
    item: &MeteredItem,
    billed_at: Timestamp,
) -> Result<Basis, CreditError> {
    let invoices = stripe.list_all_invoices(customer_id.as_str()).await;
    let invoices = invoices.map_err(CreditError::stripe("list the customer's invoices"))?;
    let mut basis = Basis::Open {
        price: item.price.clone(),
    };
    for invoice in &invoices {
        if invoice.status_transitions.finalized_at.is_none() {
            continue;
        }
        let lines = if invoice.lines.has_more {
            let lines = stripe.list_invoice_lines(&invoice.id).await;
            lines.map_err(CreditError::stripe("list the lines of an invoice"))?
        } else {
            invoice.lines.clone()
        };
        let is_usage = |line: &&InvoiceLine| {
            line.subscription_item.as_deref() == Some(&item.subscription_item_id)
                && (line.period.start..line.period.end).contains(&billed_at.unix_s())
        };
        let lines: Vec<&InvoiceLine> = lines.iter().filter(is_usage).collect();
        match lines.first() {
            Some(_) if invoice.status.as_deref() == Some("void") => basis = Basis::Unbilled,
            Some(line) => {
                let price = price_of_line(stripe, item, line).await?;
                return billed(&invoice.id, &lines, price);
            }
            None => {}
        }
    }
    Ok(basis)
}

/// The price that a line was billed at: the item may have another by now.
async fn price_of_line(
    stripe: &stripe::Client,
    item: &MeteredItem,
    line: &InvoiceLine,
) -> Result<Price, CreditError> {
    let price_id = line.price.as_ref();
    let price_id = price_id.ok_or_else(|| CreditError::NoPrice(line.id.clone()))?;
    if *price_id == item.price_id {
        return Ok(item.price.clone());
    }
    let price = stripe.retrieve_price(price_id).await;
    let price = price.map_err(CreditError::stripe("tell the price of an invoice's line"))?;
    Ok(price_of(&price)?)
}

/// A price in tiers has several lines: units, and amounts without any.
fn billed(invoice_id: &str, lines: &[&InvoiceLine], price: Price) -> Result<Basis, CreditError> {
    let units = lines.iter().filter_map(|line| line.quantity);
    let units = units.filter_map(|units| u64::try_from(units).ok()).sum();
    let amount = lines.iter().map(|line| line.amount).sum();
    // What was billed for nothing, as in a trial, is not credited. Else the credit
    // rests on the lines being what they are taken for.
    if amount != 0 && price.cost_of_range(units).is_err() {
        let cost = cost(&price, units)?;
        if cost != amount {
            return Err(CreditError::Unexplained {
                invoice_id: invoice_id.to_owned(),
                billed: amount,
                units,
                cost,
            });
        }
    }
    Ok(Basis::Billed {
        price,
        units,
        amount,
    })
}

/// The customer balance transaction of `row`: the one that was made before,
/// which its idempotency key may have been forgotten of, or a new one.
async fn transaction(
    stripe: &stripe::Client,
    row: &UsageEventRow,
    currency: &Currency,
    minor_units: i64,
) -> Result<String, CreditError> {
    let customer_id = row.customer_id.as_str();
    let identifier = row.identifier.as_str();
    let known = stripe.list_customer_balance_transactions(customer_id).await;
    let known = known.map_err(CreditError::stripe("list the customer's balance"))?;
    let found = known.into_iter().find(|transaction| {
        transaction.metadata.get(METADATA_VOID).map(String::as_str) == Some(identifier)
    });
    if let Some(found) = found {
        return Ok(found.id);
    }
    let credit = CreateCustomerBalanceTransaction {
        amount: minor_units.saturating_neg(),
        currency: currency.as_str().to_owned(),
        description: Some(format!("Voided usage: {}", row.action_type.as_str())),
        metadata: [(METADATA_VOID.to_owned(), identifier.to_owned())].into(),
    };
    let key = IdempotencyKey::derived(&["void credit", identifier]);
    let options = RequestOptions::new().idempotency_key(key);
    let made = stripe
        .create_customer_balance_transaction(customer_id, &credit, &options)
        .await;
    let made = made.map_err(CreditError::stripe("credit the customer"))?;
    Ok(made.id)
}

#[cfg(test)]
mod tests;

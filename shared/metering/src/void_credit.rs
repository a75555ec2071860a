//! The credit for a voided event that can no longer be taken out of its meter:
//! what it cost, to the rounding of its invoice line, owed to its customer.

mod basis;
#[cfg(test)]
mod tests;

use billing::{Currency, CustomerId, InvalidPrice, Timestamp};
use ledger::{CreditFixed, Ledger, LedgerError, UsageEventRow};
use stripe::{CreateCustomerBalanceTransaction, IdempotencyKey, RequestOptions};

use crate::metadata::METADATA_VOID;
use basis::Basis;

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
    /// The period's invoice is not final, and the item that billed the event is gone.
    #[error(
        "the subscription has no item any more that bills {0:?} as of the event's time, and \
         the credit no price: the same call goes on once the period's invoice is final"
    )]
    NoItem(String),
    /// The row has no period to be credited in.
    #[error("the event was billed in no period that is known")]
    NoPeriod,
    /// The price is none to reckon with.
    #[error("the event's price cannot be reckoned with")]
    Price(#[from] InvalidPrice),
    /// The invoice's lines name no price.
    #[error("the lines of {0} name no price")]
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
    let (Some(billed_at), Some(period_start)) = (row.billed_at, row.period_start) else {
        return Err(CreditError::NoPeriod);
    };
    let customer = ledger.customer(&row.customer_id).await?;
    let customer = customer.ok_or_else(|| CreditError::UnknownCustomer(row.customer_id.clone()))?;
    let basis = Basis::ask(stripe, &customer, row, billed_at).await?;
    let minor_units = match row.void_credit_minor_units {
        Some(minor_units) => minor_units,
        None => fix(ledger, row, period_start, &basis).await?,
    };
    // Where no line and no item tells, what the subscription is billed in.
    let currency = basis.currency().unwrap_or(customer.item.price.currency());
    let transaction_id = if minor_units == 0 {
        None
    } else {
        Some(transaction(stripe, row, currency, minor_units).await?)
    };
    Ok(Credit {
        minor_units,
        currency: currency.clone(),
        transaction_id,
    })
}

/// Reckons the credit and fixes it in the row, before Stripe is told of it.
async fn fix(
    ledger: &Ledger,
    row: &UsageEventRow,
    period_start: Timestamp,
    basis: &Basis,
) -> Result<i64, CreditError> {
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

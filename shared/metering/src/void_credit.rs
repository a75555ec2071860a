//! The credit for a voided event that can no longer be taken out of its meter:
//! what it cost, to the rounding of its invoice line, owed to its customer.

use billing::money::InvalidPrice;
use billing::{Currency, CustomerId, Timestamp, UnitPrice};
use ledger::{CreditFixed, CustomerRow, Ledger, LedgerError, UsageEventRow, VoidCredits};
use stripe::{CreateCustomerBalanceTransaction, IdempotencyKey, InvoiceLine, RequestOptions};

use crate::metadata::METADATA_VOID;

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
    /// The row has no period to be credited in.
    #[error("the event was billed in no period that is known")]
    NoPeriod,
    /// The price is none that a unit has.
    #[error("the event's price cannot be reckoned with")]
    Price(#[from] InvalidPrice),
    /// The invoice line names no price of a unit.
    #[error("line {0} has no unit price: its tiers are for Stripe to reckon with")]
    NoUnitPrice(String),
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
    let minor_units = match row.void_credit_minor_units {
        Some(minor_units) => minor_units,
        None => fix(ledger, stripe, row, &customer).await?,
    };
    let transaction_id = if minor_units == 0 {
        None
    } else {
        Some(transaction(stripe, row, &customer.currency, minor_units).await?)
    };
    Ok(Credit {
        minor_units,
        currency: customer.currency,
        transaction_id,
    })
}

/// Reckons the credit and fixes it in the row, before Stripe is told of it.
async fn fix(
    ledger: &Ledger,
    stripe: &stripe::Client,
    row: &UsageEventRow,
    customer: &CustomerRow,
) -> Result<i64, CreditError> {
    let (Some(billed_at), Some(period_start)) = (row.billed_at, row.period_start) else {
        return Err(CreditError::NoPeriod);
    };
    let basis = basis(stripe, customer, billed_at).await?;
    for _ in 0..ATTEMPTS_MAX {
        let read = ledger.void_credits(&row.customer_id, period_start).await?;
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
    /// The period's invoice is final: this is its line.
    Line {
        price: UnitPrice,
        units: u64,
        amount: i64,
    },
    /// It is not yet.
    Open { price: UnitPrice },
    /// The period's invoice is void: nothing was billed.
    Unbilled,
}

impl Basis {
    /// What is still to be credited for `quantity` more voided units, beside
    /// the credits that `read` holds. All credits of a period together come to
    /// what its line costs less without the voided units, rounded once.
    fn credit(&self, read: &VoidCredits, quantity: u64) -> Result<i64, CreditError> {
        let voided = read.units.saturating_add(quantity);
        let amount = |price: &UnitPrice, units: u64| {
            let amount = price.line_amount(units).minor_units();
            amount.ok_or(CreditError::TooMuch)
        };
        let owed = match self {
            Self::Line {
                price,
                units,
                amount: billed,
            } => {
                let left = amount(price, units.saturating_sub(voided))?;
                billed.saturating_sub(left)
            }
            Self::Open { price } => amount(price, voided)?,
            Self::Unbilled => 0,
        };
        Ok(owed.saturating_sub(read.minor_units).max(0))
    }
}

/// The invoice line that has the usage of `billed_at` on it, if it is final.
async fn basis(
    stripe: &stripe::Client,
    customer: &CustomerRow,
    billed_at: Timestamp,
) -> Result<Basis, CreditError> {
    let invoices = stripe
        .list_all_invoices(customer.customer_id.as_str())
        .await;
    let invoices = invoices.map_err(CreditError::stripe("list the customer's invoices"))?;
    let mut basis = Basis::Open {
        price: UnitPrice::parse(&customer.unit_amount_decimal, customer.currency.clone())?,
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
        let line = lines.iter().find(|line| {
            line.subscription_item.as_deref() == Some(&customer.subscription_item_id)
                && (line.period.start..line.period.end).contains(&billed_at.unix_s())
        });
        match line {
            Some(_) if invoice.status.as_deref() == Some("void") => basis = Basis::Unbilled,
            Some(line) => return basis_of(line),
            None => {}
        }
    }
    Ok(basis)
}

fn basis_of(line: &InvoiceLine) -> Result<Basis, CreditError> {
    let price = line.unit_amount_decimal.as_deref();
    let price = price.ok_or_else(|| CreditError::NoUnitPrice(line.id.clone()))?;
    Ok(Basis::Line {
        price: UnitPrice::parse(price, Currency::parse(&line.currency)?)?,
        units: u64::try_from(line.quantity.unwrap_or_default()).unwrap_or_default(),
        amount: line.amount,
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(unit_amount_decimal: &str) -> UnitPrice {
        UnitPrice::parse(unit_amount_decimal, Currency::parse("usd").unwrap()).unwrap()
    }

    fn cents(unit_amount_decimal: &str, units: u64) -> i64 {
        price(unit_amount_decimal)
            .line_amount(units)
            .minor_units()
            .unwrap()
    }

    fn line(unit_amount_decimal: &str, units: u64) -> Basis {
        Basis::Line {
            price: price(unit_amount_decimal),
            units,
            amount: cents(unit_amount_decimal, units),
        }
    }

    fn open(unit_amount_decimal: &str) -> Basis {
        Basis::Open {
            price: price(unit_amount_decimal),
        }
    }

    /// Credits one void after the other.
    fn credits(voids: &[(Basis, u64)]) -> VoidCredits {
        let mut given = VoidCredits::default();
        for (basis, quantity) in voids {
            given.minor_units += basis.credit(&given, *quantity).unwrap();
            given.units += quantity;
        }
        given
    }

    #[test]
    fn a_credit_is_what_the_line_costs_less() {
        // 3 units of 0.4 cents are a cent, 2 are a cent too.
        assert_eq!(credits(&[(line("0.4", 3), 1)]).minor_units, 0);
        assert_eq!(credits(&[(line("0.4", 3), 2)]).minor_units, 1);
        assert_eq!(credits(&[(line("2", 5), 5)]).minor_units, 10);
    }

    #[test]
    fn many_small_credits_lose_nothing_to_rounding() {
        let voids = vec![(open("0.4"), 1); 10];
        assert_eq!(credits(&voids).minor_units, 4);
    }

    #[test]
    fn nothing_is_credited_that_was_not_billed() {
        let free = Basis::Line {
            price: price("2"),
            units: 5,
            amount: 0,
        };
        assert_eq!(credits(&[(free, 5)]).minor_units, 0);
        assert_eq!(credits(&[(Basis::Unbilled, 5)]).minor_units, 0);
        assert_eq!(credits(&[(line("2", 5), 9)]).minor_units, 10);
    }

    proptest! {
        /// However many, and however many of them before the invoice was final:
        /// once the last is credited, all come to what the line costs less.
        #[test]
        fn the_credits_of_a_period_come_to_the_difference(
            micro in 0_u64..3_000_000,
            early in prop::collection::vec(1_u64..50, 0..8),
            late in prop::collection::vec(1_u64..50, 1..8),
            kept in 0_u64..1_000,
        ) {
            let price = format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
            let voided = early.iter().chain(&late).sum::<u64>();
            let units = kept + voided;
            let mut voids: Vec<_> = early.iter().map(|n| (open(&price), *n)).collect();
            voids.extend(late.iter().map(|n| (line(&price, units), *n)));
            let given = credits(&voids).minor_units;
            let due = cents(&price, units) - cents(&price, kept);
            // Early credits may have been rounded up by less than one unit.
            prop_assert!(given == due || given == due + 1, "{given} for {due}");
            if early.is_empty() {
                prop_assert_eq!(given, due);
            }
        }
    }
}

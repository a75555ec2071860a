//! Sets a customer's limit: for the API and the operator's command alike.

use billing::{CustomerId, FieldError, LimitTerms, Timestamp};
use ledger::{CustomerRow, Ledger, LedgerError, Updated};

/// How often a row that others change meanwhile is read again.
const ATTEMPTS_MAX: u32 = 16;
/// When the change is looked at: by then it is stored, and whoever believes the
/// former row has forgotten it.
const LOOK_AFTER_MS: i64 = 30_000;

/// Why a limit is as it was.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// The table failed: perhaps it is set.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// It can be no limit of this customer's.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// No such customer is onboarded.
    #[error("no customer with the id {0} is onboarded")]
    NoCustomer(CustomerId),
    /// Others change the row again and again.
    #[error("the customer's row is being changed by others: try again")]
    Contended,
}

/// Sets the limit of `customer_id` to what `terms` say, or takes it away where
/// there are none, and answers the row. Setting what is set changes nothing.
///
/// The row is the webhook's too: it is changed on the condition that nobody else
/// changed it since it was read.
///
/// # Errors
/// A [`LimitError`].
pub async fn set_limit(
    ledger: &Ledger,
    customer_id: &CustomerId,
    terms: Option<&LimitTerms>,
    now: Timestamp,
) -> Result<CustomerRow, LimitError> {
    let mut is_watched = false;
    for _ in 0..ATTEMPTS_MAX {
        let read = ledger.customer(customer_id).await?;
        let read = read.ok_or_else(|| LimitError::NoCustomer(customer_id.clone()))?;
        let currency = read.item.price.currency();
        // That of the row as it will be: no two settings have the same.
        let revision = read.version.saturating_add(1);
        let limit = terms.map(|terms| terms.limit(currency, revision, now));
        let limit = limit.transpose()?;
        let is_same = match (&read.spending_limit, &limit) {
            (Some(set), Some(limit)) => set.asks_the_same(limit),
            (None, None) => true,
            _ => false,
        };
        if is_same {
            return Ok(read);
        }
        if !is_watched {
            // First, so that no crash leaves a change that nobody looks at.
            let look_at = now.plus_ms(LOOK_AFTER_MS);
            let watched = ledger.watch_limit(customer_id, read.period_start, look_at);
            watched.await?;
            is_watched = true;
        }
        let row = CustomerRow {
            spending_limit: limit,
            ..read.clone()
        };
        if ledger.update_customer(&read, row.clone()).await? == Updated::Done {
            return Ok(row);
        }
    }
    Err(LimitError::Contended)
}

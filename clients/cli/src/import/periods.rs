//! The period that usage of any time belongs to.

use std::collections::HashMap;

use billing::{CustomerId, Timestamp};
use ledger::CustomerRow;

/// The periods of customers, read from their invoices.
pub(super) struct Periods {
    stripe: stripe::Client,
    /// Starts and ends, in unix seconds.
    known: HashMap<CustomerId, Vec<(i64, i64)>>,
}

impl Periods {
    pub(super) fn new(stripe: stripe::Client) -> Self {
        Self {
            stripe,
            known: HashMap::new(),
        }
    }

    /// The start of the period of `customer`'s that holds `at`. What lies in
    /// none, such as usage from before the subscription, is a period of its own.
    pub(super) async fn start_of(
        &mut self,
        customer: &CustomerRow,
        at: Timestamp,
    ) -> Result<Timestamp, stripe::Error> {
        if at >= customer.period_start {
            return Ok(if at < customer.period_end {
                customer.period_start
            } else {
                customer.period_end
            });
        }
        if !self.known.contains_key(&customer.customer_id) {
            let periods = invoiced(&self.stripe, customer).await?;
            self.known.insert(customer.customer_id.clone(), periods);
        }
        let periods = self.known.get(&customer.customer_id).into_iter().flatten();
        let holds = |(start, end): &&(i64, i64)| (*start..*end).contains(&at.unix_s());
        let period = periods.filter(holds).max();
        Ok(period.map_or_else(
            || at.start_of_hour(),
            |(start, _)| Timestamp::from_unix_s(*start),
        ))
    }
}

/// The periods on the lines of the customer's invoices.
async fn invoiced(
    stripe: &stripe::Client,
    customer: &CustomerRow,
) -> Result<Vec<(i64, i64)>, stripe::Error> {
    let invoices = stripe
        .list_all_invoices(customer.customer_id.as_str())
        .await?;
    let invoices = invoices.iter();
    let own =
        invoices.filter(|invoice| invoice.subscription.as_ref() == Some(&customer.subscription_id));
    let lines = own.flat_map(|invoice| invoice.lines.iter());
    let usage = lines
        .filter(|line| line.subscription_item.as_ref() == Some(&customer.subscription_item_id));
    Ok(usage
        .map(|line| (line.period.start, line.period.end))
        .collect())
}

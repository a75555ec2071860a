//! The period that usage of any time belongs to.

use std::collections::HashMap;
use std::ops::Range;

use billing::{CustomerId, Timestamp};
use ledger::CustomerRow;
use metering::usage_period;

/// The periods of customers, read from their invoices.
pub(super) struct Periods {
    stripe: stripe::Client,
    known: HashMap<CustomerId, Vec<Range<Timestamp>>>,
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
        let periods = self.known.get(&customer.customer_id);
        let mut periods = periods.into_iter().flatten();
        let period = periods.find(|period| period.contains(&at));
        Ok(period.map_or_else(|| at.start_of_hour(), |period| period.start))
    }
}

/// The periods that the customer's invoices bill usage of.
async fn invoiced(
    stripe: &stripe::Client,
    customer: &CustomerRow,
) -> Result<Vec<Range<Timestamp>>, stripe::Error> {
    let invoices = stripe
        .list_all_invoices(customer.customer_id.as_str())
        .await?;
    let invoices = invoices.iter();
    Ok(invoices
        .filter_map(|invoice| usage_period(invoice, customer))
        .collect())
}

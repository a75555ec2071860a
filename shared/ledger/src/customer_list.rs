//! Every customer, page by page: for the operator's commands. No function of
//! Meterline reads the whole table.

use aws_sdk_dynamodb::types::AttributeValue;

use crate::customers::TABLE;
use crate::items::{Item, from_item};
use crate::{CustomerRow, Ledger, LedgerError};

/// Customers of one page.
const PAGE_ITEMS: i32 = 500;

/// What every key of this table holds that is no customer's: onboardings', void
/// credits' and the Stripe account's. No customer id can.
const NOT_IN_A_CUSTOMER_ID: char = '#';

/// How far a reader of the customers' table has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CustomerCursor {
    last_key: Option<Item>,
    is_at_end: bool,
}

impl Ledger {
    /// The next customers after `cursor`, in no order; none where all have been
    /// read. `cursor` moves on.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or a row is unreadable.
    pub async fn next_customers(
        &self,
        cursor: &mut CustomerCursor,
    ) -> Result<Option<Vec<CustomerRow>>, LedgerError> {
        if cursor.is_at_end {
            return Ok(None);
        }
        let page = self
            .client
            .scan()
            .table_name(&self.tables.customers)
            .set_exclusive_start_key(cursor.last_key.take())
            .limit(PAGE_ITEMS)
            .send()
            .await
            .map_err(LedgerError::unavailable("list customers"))?;
        cursor.is_at_end = page.last_evaluated_key.is_none();
        cursor.last_key = page.last_evaluated_key;
        let items = page.items.unwrap_or_default().into_iter();
        let customers = items.filter(is_customer);
        let customers: Result<_, _> = customers.map(|item| from_item(TABLE, item)).collect();
        Ok(Some(customers?))
    }
}

fn is_customer(item: &Item) -> bool {
    !matches!(
        item.get("customer_id"),
        Some(AttributeValue::S(key)) if key.contains(NOT_IN_A_CUSTOMER_ID)
    )
}

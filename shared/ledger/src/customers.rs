//! Who may be billed, and how: one row per Stripe customer, and one per
//! onboarding, so that it can be finished after a crash.

use billing::{CustomerId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::is_condition_failure;
use crate::items::{from_item, number, text, to_item};
use crate::{CustomerRow, Ledger, LedgerError};

pub(crate) const TABLE: &str = "customers";

/// An onboarding, from its first call on. It shares the customers' table; its
/// key holds a `#`, which no customer id can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnboardingRow {
    /// `onboarding#{hash of the external id or idempotency key}`.
    #[serde(rename = "customer_id")]
    pub onboarding_key: String,
    /// Fingerprint of the request, so that another one under the same id is told apart.
    pub request_hash: String,
    /// When the first call came.
    pub started_at: Timestamp,
    /// What is to be done, in JSON as the onboarding function reads it: so that
    /// the webhook can finish what waits for a payment method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<String>,
    /// The customer that it led to, once all is done.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "onboarded_customer_id"
    )]
    pub customer_id: Option<CustomerId>,
}

/// What became of starting an onboarding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// This call is the first.
    New,
    /// There was one before; its row, as it stands.
    Before(OnboardingRow),
}

/// What became of storing a new customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The row is stored.
    Done,
    /// There is a row of this customer already; it was left alone.
    Exists,
}

/// What became of a customer's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated {
    /// The row has the new content.
    Done,
    /// Somebody changed the row since it was read: nothing was written.
    VersionConflict,
}

impl Ledger {
    /// What the customers' table has under `key`: a customer, or one of the few
    /// rows beside them, whose keys hold a `#`.
    pub(crate) async fn row_of_customers<R: DeserializeOwned>(
        &self,
        key: &str,
        operation: &'static str,
    ) -> Result<Option<R>, LedgerError> {
        let got = self
            .client
            .get_item()
            .table_name(&self.tables.customers)
            .key("customer_id", text(key))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::unavailable(operation))?;
        got.item.map(|item| from_item(TABLE, item)).transpose()
    }

    /// The row of `customer_id`.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or the row is unreadable.
    pub async fn customer(
        &self,
        customer_id: &CustomerId,
    ) -> Result<Option<CustomerRow>, LedgerError> {
        self.row_of_customers(customer_id.as_str(), "read customer")
            .await
    }

    /// Stores a new customer's row, unless there is one.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps stored.
    pub async fn create_customer(&self, row: &CustomerRow) -> Result<Created, LedgerError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.customers)
            .set_item(Some(to_item(TABLE, row)?))
            .condition_expression("attribute_not_exists(customer_id)")
            .send()
            .await;
        match put {
            Ok(_) => Ok(Created::Done),
            Err(error) if is_condition_failure(&error) => Ok(Created::Exists),
            Err(error) => Err(LedgerError::unavailable("create customer")(error)),
        }
    }

    /// Replaces the row that was read as `read` by `row`, with the next version.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps replaced.
    pub async fn update_customer(
        &self,
        read: &CustomerRow,
        row: CustomerRow,
    ) -> Result<Updated, LedgerError> {
        let row = CustomerRow {
            version: read.version.saturating_add(1),
            ..row
        };
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.customers)
            .set_item(Some(to_item(TABLE, &row)?))
            .condition_expression("#version = :read")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":read", number(read.version))
            .send()
            .await;
        match put {
            Ok(_) => Ok(Updated::Done),
            Err(error) if is_condition_failure(&error) => Ok(Updated::VersionConflict),
            Err(error) => Err(LedgerError::unavailable("update customer")(error)),
        }
    }

    /// Notes the start of an onboarding, unless its key has one.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps noted.
    pub async fn start_onboarding(&self, row: &OnboardingRow) -> Result<Started, LedgerError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.customers)
            .set_item(Some(to_item(TABLE, row)?))
            .condition_expression("attribute_not_exists(customer_id)")
            .send()
            .await;
        let Err(error) = put else {
            return Ok(Started::New);
        };
        if !is_condition_failure(&error) {
            return Err(LedgerError::unavailable("start onboarding")(error));
        }
        match self.onboarding(&row.onboarding_key).await? {
            Some(before) => Ok(Started::Before(before)),
            None => Err(LedgerError::unavailable("start onboarding")(error)),
        }
    }

    /// The onboarding with a key.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or the row is unreadable.
    pub async fn onboarding(
        &self,
        onboarding_key: &str,
    ) -> Result<Option<OnboardingRow>, LedgerError> {
        self.row_of_customers(onboarding_key, "read onboarding")
            .await
    }

    /// Notes which customer an onboarding led to. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps noted.
    pub async fn finish_onboarding(
        &self,
        onboarding_key: &str,
        customer_id: &CustomerId,
    ) -> Result<(), LedgerError> {
        self.client
            .update_item()
            .table_name(&self.tables.customers)
            .key("customer_id", text(onboarding_key))
            .update_expression("SET onboarded_customer_id = :customer")
            .condition_expression("attribute_exists(customer_id)")
            .expression_attribute_values(":customer", text(customer_id.as_str()))
            .send()
            .await
            .map(|_| ())
            .map_err(LedgerError::unavailable("finish onboarding"))
    }
}

//! The catalog of actions, meters and prices, changed without a deployment. A
//! row of the customers' table: who may read a customer may read what applies
//! to all of them, in the same request's time.

use billing::{Catalog, Timestamp};
use serde::{Deserialize, Serialize};

use crate::customers::TABLE;
use crate::error::is_condition_failure;
use crate::items::{number, text, to_item};
use crate::{Ledger, LedgerError};

/// The row's key. It holds a `#`, which no customer id can.
const KEY: &str = "catalog#actions";

/// The catalog as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogRow {
    /// What it says.
    pub catalog: Catalog,
    /// Counts its changes from 1 on, so that none overwrites another.
    pub version: u64,
    /// When it was stored.
    pub changed_at: Timestamp,
}

/// What became of storing a catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogStored {
    /// It is what counts now.
    Done,
    /// It was so already: nothing was written.
    Same,
    /// Somebody stored another one since it was read: nothing was written.
    VersionConflict,
}

impl Ledger {
    /// The catalog; none where every action goes to a customer's one meter.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or the row is unreadable.
    pub async fn catalog(&self) -> Result<Option<CatalogRow>, LedgerError> {
        self.row_of_customers(KEY, "read catalog").await
    }

    /// Stores `catalog` at `now`, where the one before is as it was `read`.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps stored.
    pub async fn store_catalog(
        &self,
        read: Option<&CatalogRow>,
        catalog: Catalog,
        now: Timestamp,
    ) -> Result<CatalogStored, LedgerError> {
        if read.is_some_and(|read| read.catalog == catalog) {
            return Ok(CatalogStored::Same);
        }
        let before = read.map_or(0, |read| read.version);
        let row = CatalogRow {
            catalog,
            version: before.saturating_add(1),
            changed_at: now,
        };
        let mut item = to_item(TABLE, &row)?;
        item.insert("customer_id".to_owned(), text(KEY));
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.customers)
            .set_item(Some(item));
        let put = match read {
            None => put.condition_expression("attribute_not_exists(customer_id)"),
            Some(read) => put
                .condition_expression("#version = :read")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":read", number(read.version)),
        };
        match put.send().await {
            Ok(_) => Ok(CatalogStored::Done),
            Err(error) if is_condition_failure(&error) => Ok(CatalogStored::VersionConflict),
            Err(error) => Err(LedgerError::unavailable("store catalog")(error)),
        }
    }
}

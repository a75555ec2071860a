//! Whose the tables are: the one Stripe account, in one mode, that every id in
//! them belongs to. A row of the customers' table, so that it is lost only with
//! the customers.

use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};

use crate::customers::TABLE;
use crate::error::is_condition_failure;
use crate::items::{text, to_item};
use crate::{Ledger, LedgerError};

/// The row's key. It holds a `#`, which no customer id can.
const KEY: &str = "account#stripe";

/// A key for each use, and each a second time while it is rolled.
const KNOWN_KEYS_MAX: usize = 8;

/// An account of Stripe's, in one of its two modes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeAccount {
    /// `acct_…`.
    pub account_id: String,
    /// Whether it is the live mode.
    pub livemode: bool,
}

/// The owner, and which of its keys were seen here before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StripeAccountRow {
    /// The owner.
    #[serde(flatten)]
    pub account: StripeAccount,
    /// A digest of each key, as its caller makes it, the newest last.
    #[serde(default)]
    pub known_keys: Vec<String>,
}

impl fmt::Display for StripeAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.livemode { "live" } else { "test" };
        write!(f, "{} in {mode} mode", self.account_id)
    }
}

impl Ledger {
    /// The account that the tables belong to; none where they are new.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or the row is unreadable.
    pub async fn stripe_account(&self) -> Result<Option<StripeAccount>, LedgerError> {
        let row = self.stripe_account_row().await?;
        Ok(row.map(|row| row.account))
    }

    /// As [`stripe_account`](Self::stripe_account), with the keys that are known.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or the row is unreadable.
    pub async fn stripe_account_row(&self) -> Result<Option<StripeAccountRow>, LedgerError> {
        self.row_of_customers(KEY, "read Stripe account").await
    }

    /// Adds a key's digest to the known ones of `row`. Two at once are not
    /// merged: the key that is lost is only asked after once more.
    ///
    /// # Errors
    /// [`LedgerError`], also where the tables belong to another account by now.
    pub async fn remember_stripe_key(
        &self,
        row: &StripeAccountRow,
        known_key: String,
    ) -> Result<(), LedgerError> {
        let mut row = row.clone();
        row.known_keys.push(known_key);
        let surplus = row.known_keys.len().saturating_sub(KNOWN_KEYS_MAX);
        row.known_keys.drain(..surplus);
        let mut item = to_item(TABLE, &row)?;
        item.insert("customer_id".to_owned(), text(KEY));
        self.client
            .put_item()
            .table_name(&self.tables.customers)
            .set_item(Some(item))
            .condition_expression("account_id = :account_id AND livemode = :livemode")
            .expression_attribute_values(":account_id", text(&row.account.account_id))
            .expression_attribute_values(":livemode", AttributeValue::Bool(row.account.livemode))
            .send()
            .await
            .map_err(LedgerError::unavailable("store Stripe key"))?;
        Ok(())
    }

    /// Gives the tables to `account`, unless they belong to one. Returns the
    /// account that they belong to now, and for good.
    ///
    /// # Errors
    /// [`LedgerError`]; after [`LedgerError::Unavailable`] they are perhaps given.
    pub async fn claim_for_stripe_account(
        &self,
        account: &StripeAccount,
    ) -> Result<StripeAccount, LedgerError> {
        let mut item = to_item(TABLE, account)?;
        item.insert("customer_id".to_owned(), AttributeValue::S(KEY.to_owned()));
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.customers)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(customer_id)")
            .send()
            .await;
        match put {
            Ok(_) => Ok(account.clone()),
            Err(error) if is_condition_failure(&error) => match self.stripe_account().await? {
                Some(owner) => Ok(owner),
                None => Err(LedgerError::unavailable("store Stripe account")(error)),
            },
            Err(error) => Err(LedgerError::unavailable("store Stripe account")(error)),
        }
    }
}

//! Customer balance transactions (Stripe API reference: Customer Balance
//! Transaction): what a customer is owed, and Stripe takes off its next invoice.

use serde::Deserialize;

use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::list::{List, listed};
use crate::object::{Metadata, or_default};
use crate::request::{Request, segment};

/// One change of a customer's balance.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CustomerBalanceTransaction {
    /// `cbtxn_…`.
    pub id: String,
    /// In minor units; negative for a credit, which the customer is owed.
    pub amount: i64,
    /// Three lower-case letters.
    pub currency: String,
    /// `adjustment` for one that was made by [`Client::create_customer_balance_transaction`].
    #[serde(rename = "type")]
    pub transaction_type: String,
    /// Unix seconds.
    pub created: i64,
    /// Your own keys.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
}

listed!(CustomerBalanceTransaction);

/// A change of a customer's balance, to be made.
#[derive(Clone, Debug, Default)]
pub struct CreateCustomerBalanceTransaction {
    /// In minor units; negative for a credit.
    pub amount: i64,
    /// Three lower-case letters: the currency that the customer is billed in.
    pub currency: String,
    /// What it is for.
    pub description: Option<String>,
    /// Your own keys.
    pub metadata: Metadata,
}

fn path(customer_id: &str) -> Result<String, Error> {
    let customer_id = segment(customer_id)?;
    Ok(format!("/v1/customers/{customer_id}/balance_transactions"))
}

impl Client {
    /// Changes the balance of `customer_id`. Nothing takes it back but another
    /// transaction.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_customer_balance_transaction(
        &self,
        customer_id: &str,
        transaction: &CreateCustomerBalanceTransaction,
        options: &RequestOptions,
    ) -> Result<CustomerBalanceTransaction, Error> {
        let form = Form::new()
            .with("amount", transaction.amount)
            .with("currency", &transaction.currency)
            .with_some("description", transaction.description.as_deref())
            .with_metadata(&transaction.metadata);
        let request = Request::post(path(customer_id)?, form);
        self.call(request, options).await
    }

    /// Every change of the balance of `customer_id`, the newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_customer_balance_transactions(
        &self,
        customer_id: &str,
    ) -> Result<List<CustomerBalanceTransaction>, Error> {
        self.list_all(&path(customer_id)?, &Form::new()).await
    }
}

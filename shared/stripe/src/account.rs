//! Accounts (Stripe API reference: Accounts).

use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;
use crate::form::Form;
use crate::request::Request;

/// The account that a key belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Account {
    /// `acct_…`.
    pub id: String,
    /// Two letters.
    pub country: Option<String>,
    /// Three lower-case letters.
    pub default_currency: Option<String>,
}

impl Client {
    /// The account that this client's key belongs to.
    ///
    /// # Errors
    /// [`Error`]; `is_unauthorized` for a key that Stripe does not know.
    pub async fn retrieve_account(&self) -> Result<Account, Error> {
        self.read(Request::get("/v1/account", &Form::new())).await
    }
}

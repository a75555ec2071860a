//! Billing portal sessions: Stripe's page where a customer sees invoices and
//! changes how they pay (Stripe API reference: Customer Portal Session).

use secrecy::SecretString;
use serde::Deserialize;

use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::request::Request;

const PATH: &str = "/v1/billing_portal/sessions";

/// A way into the portal, for one customer and a few minutes.
#[derive(Clone, Debug, Deserialize)]
pub struct BillingPortalSession {
    /// `bps_…`.
    pub id: String,
    /// Whose, `cus_…`.
    pub customer: String,
    /// The way in. Whoever has it is the customer, as far as the portal goes.
    pub url: SecretString,
    /// Where the portal leads back to.
    pub return_url: Option<String>,
    /// Unix seconds.
    pub created: i64,
}

/// A session to be.
#[derive(Clone, Debug, Default)]
pub struct CreateBillingPortalSession {
    /// Whose, `cus_…`.
    pub customer: String,
    /// Where the portal shall lead back to; if none, where its configuration says.
    pub return_url: Option<String>,
}

impl Client {
    /// Opens the portal for a customer.
    ///
    /// # Errors
    /// [`Error`]; a 400 where the account has no configuration of the portal.
    pub async fn create_billing_portal_session(
        &self,
        session: &CreateBillingPortalSession,
        options: &RequestOptions,
    ) -> Result<BillingPortalSession, Error> {
        let form = Form::new()
            .with("customer", &session.customer)
            .with_some("return_url", session.return_url.as_deref());
        self.call(Request::post(PATH, form), options).await
    }
}

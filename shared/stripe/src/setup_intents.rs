//! Setup intents: a payment method made ready for payments to come (Stripe API
//! reference: SetupIntents).

use secrecy::SecretString;
use serde::Deserialize;

use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::list::{List, listed};
use crate::object::{Metadata, optional_id, or_default};
use crate::request::{Request, segment};

const PATH: &str = "/v1/setup_intents";

/// A setup of a payment method, done or not yet.
#[derive(Clone, Debug, Deserialize)]
pub struct SetupIntent {
    /// `seti_…`.
    pub id: String,
    /// `requires_payment_method`, `requires_confirmation`, `requires_action`,
    /// `processing`, `succeeded` or `canceled`.
    pub status: String,
    /// Whose the payment method shall be, `cus_…`.
    #[serde(default, deserialize_with = "optional_id")]
    pub customer: Option<String>,
    /// The payment method, `pm_…`, once one was chosen.
    #[serde(default, deserialize_with = "optional_id")]
    pub payment_method: Option<String>,
    /// Lets whoever has it complete the setup, in a browser: for the person
    /// who pays and nobody else.
    pub client_secret: Option<SecretString>,
    /// Your own keys.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
}

listed!(SetupIntent);

impl SetupIntent {
    /// Whether it waits for the person who pays.
    pub fn is_open(&self) -> bool {
        self.status.starts_with("requires_")
    }

    /// The payment method that can be charged from now on.
    pub fn ready_payment_method(&self) -> Option<&str> {
        let is_ready = self.status == "succeeded";
        self.payment_method.as_deref().filter(|_| is_ready)
    }
}

/// A setup to be, for charges while the customer is away.
#[derive(Clone, Debug, Default)]
pub struct CreateSetupIntent {
    /// Whose the payment method shall be, `cus_…`.
    pub customer: String,
    /// Your own keys.
    pub metadata: Metadata,
}

impl Client {
    /// Makes a setup intent, for all payment methods that the account offers.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_setup_intent(
        &self,
        setup_intent: &CreateSetupIntent,
        options: &RequestOptions,
    ) -> Result<SetupIntent, Error> {
        let form = Form::new()
            .with("customer", &setup_intent.customer)
            .with("usage", "off_session")
            .with_nested(
                "automatic_payment_methods",
                Form::new().with("enabled", true),
            )
            .with_metadata(&setup_intent.metadata);
        self.call(Request::post(PATH, form), options).await
    }

    /// The setup intent `id`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn retrieve_setup_intent(&self, id: &str) -> Result<SetupIntent, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        self.read(Request::get(path, &Form::new())).await
    }

    /// All setup intents of a customer, the newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_setup_intents(&self, customer_id: &str) -> Result<List<SetupIntent>, Error> {
        let query = Form::new().with("customer", customer_id);
        self.list_all(PATH, &query).await
    }
}

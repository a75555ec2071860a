//! Checkout sessions: a page of Stripe's on which a person enters how they pay
//! (Stripe API reference: Checkout Sessions).

use serde::Deserialize;

use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::list::{List, listed};
use crate::object::{Metadata, optional_id, or_default};
use crate::request::{Request, segment};

const PATH: &str = "/v1/checkout/sessions";

/// What somebody is asked to complete.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CheckoutSession {
    /// `cs_…`.
    pub id: String,
    /// `setup`, `subscription` or `payment`.
    pub mode: String,
    /// `open`, `complete` or `expired`.
    pub status: Option<String>,
    /// Where to send the person while the session is open.
    pub url: Option<String>,
    /// When it expires, in unix seconds.
    pub expires_at: i64,
    /// Unix seconds.
    pub created: i64,
    /// Who pays, `cus_…`.
    #[serde(default, deserialize_with = "optional_id")]
    pub customer: Option<String>,
    /// What became of the payment method in mode `setup`, `seti_…`.
    #[serde(default, deserialize_with = "optional_id")]
    pub setup_intent: Option<String>,
    /// What a completed session of mode `subscription` made, `sub_…`.
    #[serde(default, deserialize_with = "optional_id")]
    pub subscription: Option<String>,
    /// Your own keys.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
}

listed!(CheckoutSession);

impl CheckoutSession {
    /// Whether somebody can complete it yet.
    pub fn is_open(&self) -> bool {
        self.status.as_deref() == Some("open")
    }

    /// Whether somebody has completed it.
    pub fn is_complete(&self) -> bool {
        self.status.as_deref() == Some("complete")
    }
}

/// A session to be, on a page of Stripe's own.
#[derive(Clone, Debug, Default)]
pub struct CreateCheckoutSession {
    /// What it is for.
    pub mode: CheckoutMode,
    /// Who pays, `cus_…`.
    pub customer: String,
    /// Where the person is led afterwards. Stripe puts the session's id in the
    /// place of `{CHECKOUT_SESSION_ID}`.
    pub success_url: String,
    /// Where the person is led who turns back.
    pub cancel_url: Option<String>,
    /// When it expires, in unix seconds: half an hour to a day from now; a day if none.
    pub expires_at: Option<i64>,
    /// Whether the address that is entered is kept with the customer, which
    /// automatic tax needs.
    pub keeps_address: bool,
    /// Your own keys, on the session and on what it makes.
    pub metadata: Metadata,
}

/// What a session is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckoutMode {
    /// A payment method for later.
    Setup {
        /// What it will be charged in, three lower-case letters: Stripe offers
        /// the payment methods that can be.
        currency: String,
    },
    /// A subscription that begins with the completion.
    Subscription {
        /// The prices and their quantities; none for a metered price.
        line_items: Vec<(String, Option<u64>)>,
        /// Days before the first period, 1 to 730.
        trial_period_days: Option<u32>,
        /// What the periods count from, in unix seconds.
        billing_cycle_anchor: Option<i64>,
        /// Whether Stripe computes the tax.
        automatic_tax: bool,
    },
}

impl Default for CheckoutMode {
    fn default() -> Self {
        Self::Setup {
            currency: "usd".to_owned(),
        }
    }
}

impl CheckoutMode {
    /// The mode's parameters; what it makes has `metadata`.
    fn form(&self, metadata: &Metadata) -> Form {
        let data = Form::new();
        match self {
            Self::Setup { currency } => Form::new()
                .with("mode", "setup")
                .with("currency", currency)
                .with_nested("setup_intent_data", data.with_metadata(metadata)),
            Self::Subscription {
                line_items,
                trial_period_days,
                billing_cycle_anchor,
                automatic_tax,
            } => {
                let items = line_items.iter().map(|(price, quantity)| {
                    Form::new()
                        .with("price", price)
                        .with_some("quantity", *quantity)
                });
                let data = data
                    .with_some("trial_period_days", *trial_period_days)
                    .with_some("billing_cycle_anchor", *billing_cycle_anchor)
                    .with_metadata(metadata);
                let enabled = automatic_tax.then_some(true);
                Form::new()
                    .with("mode", "subscription")
                    .with_nested_array("line_items", items)
                    .with_nested("automatic_tax", Form::new().with_some("enabled", enabled))
                    .with_nested("subscription_data", data)
            }
        }
    }
}

impl Client {
    /// Makes a session.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_checkout_session(
        &self,
        session: &CreateCheckoutSession,
        options: &RequestOptions,
    ) -> Result<CheckoutSession, Error> {
        let kept = session.keeps_address.then_some("auto");
        let form = session
            .mode
            .form(&session.metadata)
            .with("customer", &session.customer)
            .with("success_url", &session.success_url)
            .with_some("cancel_url", session.cancel_url.as_deref())
            .with_some("expires_at", session.expires_at)
            .with_nested("customer_update", Form::new().with_some("address", kept))
            .with_some(
                "billing_address_collection",
                session.keeps_address.then_some("required"),
            )
            .with_metadata(&session.metadata);
        self.call(Request::post(PATH, form), options).await
    }

    /// The session `id`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn retrieve_checkout_session(&self, id: &str) -> Result<CheckoutSession, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        self.read(Request::get(path, &Form::new())).await
    }

    /// Ends an open session: nobody can complete it any more.
    ///
    /// # Errors
    /// [`Error`]; a 400 where it is not open.
    pub async fn expire_checkout_session(
        &self,
        id: &str,
        options: &RequestOptions,
    ) -> Result<CheckoutSession, Error> {
        let path = format!("{PATH}/{}/expire", segment(id)?);
        self.call(Request::post(path, Form::new()), options).await
    }

    /// All sessions of a customer, the newest first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_checkout_sessions(
        &self,
        customer_id: &str,
    ) -> Result<List<CheckoutSession>, Error> {
        let query = Form::new().with("customer", customer_id);
        self.list_all(PATH, &query).await
    }
}

//! `meterline setup`: what Stripe must hold before the first customer comes.
//! Everything is found again, so that a second run changes nothing.

pub(crate) mod parts;

use billing::{InvalidPrice, PriceTerms};
use serde::Serialize;
use stripe::{Client, Metadata};

use crate::webhook_setup::{WebhookOptions, WebhookReport, set_up_webhook};
use parts::Parts;
pub use parts::product_id;

/// What is to be in Stripe.
#[derive(Clone, Debug)]
pub struct SetupOptions {
    /// What invoices call it.
    pub product_name: String,
    /// The name of the meter's events.
    pub event_name: String,
    /// The name by which the price is found.
    pub lookup_key: String,
    /// What usage costs.
    pub price: PriceTerms,
    /// Whether the price is to have no meter and to bill usage records, as in
    /// accounts whose API version is older than `2025-03-31.basil`.
    pub legacy: bool,
    /// Keys of your own for a product and a price that have to be made. (A meter
    /// takes none.)
    pub metadata: Metadata,
    /// Where Stripe is to send its events, if anywhere.
    pub webhook: Option<WebhookOptions>,
}

impl Default for SetupOptions {
    /// "Agent Operations" at $0.02 a unit, and no webhook.
    fn default() -> Self {
        Self {
            product_name: "Agent Operations".to_owned(),
            event_name: "agent_operations".to_owned(),
            lookup_key: "agent_operations_monthly".to_owned(),
            price: PriceTerms::per_unit("2", "usd"),
            legacy: false,
            metadata: Metadata::new(),
            webhook: None,
        }
    }
}

/// Whether something had to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// It was there, as it should be.
    Found,
    /// It was there and had to be changed.
    Changed,
    /// It was made.
    Created,
    /// It is not there: nothing was to be made.
    Missing,
}

impl Found {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Changed => "changed",
            Self::Created => "created",
            Self::Missing => "to be created",
        }
    }
}

/// What is in Stripe now.
#[derive(Debug, Serialize)]
pub struct SetupReport {
    /// Stripe's account, `acct_…`.
    pub account_id: String,
    /// Whether it is live mode.
    pub livemode: bool,
    /// The product and whether it was there.
    pub product: (String, Found),
    /// The meter and whether it was there; none for a price without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<(String, Found)>,
    /// The price and whether it was there.
    pub price: (String, Found),
    /// What usage costs, for people: `0.02 usd a unit`.
    pub terms: String,
    /// The webhook, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookReport>,
}

/// Why Stripe is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A call failed.
    #[error("Stripe could not be asked to {operation}: {source}")]
    Stripe {
        /// What was being done.
        operation: &'static str,
        /// Stripe's error, which names no secret.
        source: stripe::Error,
    },
    /// The price makes no sense.
    #[error(transparent)]
    Price(#[from] InvalidPrice),
    /// The lookup key belongs to a price that is another.
    #[error(
        "the price {id} has the lookup key {lookup_key}, but {difference}; \
         choose another lookup key, or take it from that price in Stripe"
    )]
    OtherPrice {
        /// The price.
        id: String,
        /// The lookup key.
        lookup_key: String,
        /// What differs.
        difference: String,
    },
    /// The event name belongs to a meter that is another.
    #[error(
        "the meter {id} takes the events {event_name}, but {difference}; choose another event name"
    )]
    OtherMeter {
        /// The meter.
        id: String,
        /// The event name.
        event_name: String,
        /// What differs.
        difference: String,
    },
    /// The event name's meter was deactivated. Another one of that name would
    /// count usage that no item of the first one's prices bills.
    #[error(
        "the meter {id} takes the events {event_name}, and is inactive; reactivate it in Stripe \
         (POST /v1/billing/meters/{id}/reactivate, or its dashboard), or choose another event \
         name. A second meter of the name is not made: what it counts, the items of customers \
         who have the first would not bill"
    )]
    InactiveMeter {
        /// The meter.
        id: String,
        /// The event name.
        event_name: String,
    },
    /// The endpoint exists, and nobody knows its secret.
    #[error(
        "the webhook endpoint {id} exists and its signing secret is not in {kept}: Stripe shows it \
         once only. Copy it there from Stripe's dashboard, or make a new endpoint with --replace-webhook"
    )]
    SecretLost {
        /// The endpoint or destination.
        id: String,
        /// Where the secret should be.
        kept: String,
    },
    /// Stripe made an endpoint and did not say its secret.
    #[error("Stripe did not say the signing secret of {0}")]
    NoSecret(String),
    /// The secrets could not be read or written.
    #[error("{path}: {source}")]
    SecretFile {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl SetupError {
    pub(crate) const fn stripe(operation: &'static str) -> impl Fn(stripe::Error) -> Self {
        move |source| Self::Stripe { operation, source }
    }
}

/// Brings Stripe to what `options` say, making what is missing.
///
/// # Errors
/// A [`SetupError`]. Run again, it goes on where it stopped.
pub async fn setup(stripe: &Client, options: &SetupOptions) -> Result<SetupReport, SetupError> {
    let asked = billing::Price::try_from(options.price.clone())?;
    let account = stripe.retrieve_account().await;
    let account = account.map_err(SetupError::stripe("tell the account"))?;
    let known = parts::find(stripe, options, &asked).await?;
    let Parts {
        product,
        meter,
        price,
    } = parts::make(stripe, options, &asked, known).await?;
    let webhook = match &options.webhook {
        Some(webhook) => Some(set_up_webhook(stripe, webhook).await?),
        None => None,
    };
    Ok(SetupReport {
        account_id: account.id,
        livemode: stripe.livemode(),
        product,
        meter,
        price,
        terms: asked.to_string(),
        webhook,
    })
}

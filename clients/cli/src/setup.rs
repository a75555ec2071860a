//! `meterline setup`: what Stripe must hold before the first customer comes.
//! Everything is found again, so that a second run changes nothing.

use billing::{InvalidPrice, PriceTerms};
use metering::{price_amount, price_of};
use serde::Serialize;
use stripe::{
    Aggregation, Client, CreateMeter, CreatePrice, CreateProduct, IdempotencyKey, Metadata, Meter,
    Price, RequestOptions,
};

use crate::webhook_setup::{WebhookOptions, WebhookReport, set_up_webhook};

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
}

impl Found {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Changed => "changed",
            Self::Created => "created",
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
         choose another --lookup-key, or take it from that price in Stripe"
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
        "the meter {id} takes the events {event_name}, but {difference}; choose another --event-name"
    )]
    OtherMeter {
        /// The meter.
        id: String,
        /// The event name.
        event_name: String,
        /// What differs.
        difference: String,
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
    let known = stripe.list_prices_by_lookup_key(&options.lookup_key).await;
    let known = known.map_err(SetupError::stripe("find the price"))?;
    let (product, meter, price) = match known.into_iter().next() {
        Some(price) => {
            let meter_id = check_price(&price, &asked, options)?;
            if let Some(meter_id) = &meter_id {
                let meter = stripe.retrieve_meter(meter_id).await;
                let meter = meter.map_err(SetupError::stripe("find the meter"))?;
                check_meter(&meter, options)?;
            }
            (
                (price.product, Found::Found),
                meter_id.map(|id| (id, Found::Found)),
                (price.id, Found::Found),
            )
        }
        None => {
            let product = product(stripe, options).await?;
            let meter = match options.legacy {
                true => None,
                false => Some(meter(stripe, options).await?),
            };
            let meter_id = meter.as_ref().map(|(id, _)| id.as_str());
            let price = create_price(stripe, options, &asked, (&product.0, meter_id)).await?;
            (product, meter, (price, Found::Created))
        }
    };
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

/// The price's meter, if the price is the one that is asked for; none for one
/// that is to have none.
fn check_price(
    price: &Price,
    asked: &billing::Price,
    options: &SetupOptions,
) -> Result<Option<String>, SetupError> {
    let other = |difference: String| SetupError::OtherPrice {
        id: price.id.clone(),
        lookup_key: options.lookup_key.clone(),
        difference,
    };
    // 2 and 2.000 are one price.
    match price_of(price) {
        Ok(found) if found == *asked => {}
        Ok(found) => return Err(other(format!("it is {found}, not {asked}"))),
        Err(error) => return Err(other(format!("it cannot be computed with: {error}"))),
    }
    let recurring = price.recurring.as_ref();
    let Some(recurring) = recurring.filter(|recurring| recurring.interval == "month") else {
        return Err(other("it does not recur monthly".to_owned()));
    };
    let difference = match (&recurring.meter, options.legacy) {
        (Some(_), false) => return Ok(recurring.meter.clone()),
        (None, true) if recurring.usage_type == "metered" => return Ok(None),
        (Some(_), true) => "it has a meter, and usage records are for prices without one",
        (None, true) => "it is not metered",
        (None, false) => "it has no meter: --legacy takes such a price",
    };
    Err(other(difference.to_owned()))
}

fn check_meter(meter: &Meter, options: &SetupOptions) -> Result<(), SetupError> {
    let other = |difference: String| SetupError::OtherMeter {
        id: meter.id.clone(),
        event_name: meter.event_name.clone(),
        difference,
    };
    if meter.event_name != options.event_name {
        return Err(other(format!("{} are asked for", options.event_name)));
    }
    if !meter.is_active() {
        return Err(other("it is inactive".to_owned()));
    }
    if meter.default_aggregation.formula != Aggregation::Sum {
        let formula = meter.default_aggregation.formula;
        return Err(other(format!("its formula is {formula} and not sum")));
    }
    if !meter.has_default_payload_keys() {
        return Err(other("it has payload keys of its own".to_owned()));
    }
    Ok(())
}

/// The id of the product whose usage is counted under `event_name`.
pub fn product_id(event_name: &str) -> String {
    format!("meterline_{event_name}")
}

/// The product has an id of ours, so that it is found without a price.
async fn product(stripe: &Client, options: &SetupOptions) -> Result<(String, Found), SetupError> {
    let id = product_id(&options.event_name);
    match stripe.retrieve_product(&id).await {
        Ok(product) => return Ok((product.id, Found::Found)),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(SetupError::stripe("find the product")(error)),
    }
    let product = CreateProduct {
        id: Some(id.clone()),
        name: options.product_name.clone(),
        unit_label: Some("operation".to_owned()),
        metadata: options.metadata.clone(),
    };
    let key = key(&["product", &id, &options.product_name]);
    let created = stripe.create_product(&product, &key).await;
    let created = created.map_err(SetupError::stripe("make the product"))?;
    Ok((created.id, Found::Created))
}

async fn meter(stripe: &Client, options: &SetupOptions) -> Result<(String, Found), SetupError> {
    let meters = stripe.list_meters().await;
    let meters = meters.map_err(SetupError::stripe("list the meters"))?;
    // An event name belongs to one active meter at most.
    let known = meters
        .iter()
        .find(|meter| meter.is_active() && meter.event_name == options.event_name);
    if let Some(meter) = known {
        check_meter(meter, options)?;
        return Ok((meter.id.clone(), Found::Found));
    }
    let meter = CreateMeter {
        display_name: options.product_name.clone(),
        event_name: options.event_name.clone(),
        formula: Aggregation::Sum,
    };
    // How many there are is part of the intent: a meter that was made and
    // archived within a day must not come back as an old answer.
    let count = meters.data.len().to_string();
    let key = key(&["meter", &options.event_name, &options.product_name, &count]);
    let created = stripe.create_meter(&meter, &key).await;
    let created = created.map_err(SetupError::stripe("make the meter"))?;
    Ok((created.id, Found::Created))
}

async fn create_price(
    stripe: &Client,
    options: &SetupOptions,
    asked: &billing::Price,
    (product, meter): (&str, Option<&str>),
) -> Result<String, SetupError> {
    let terms = PriceTerms::from(asked.clone());
    // The lookup key names the price, and what it says is said once more, so that
    // another price under it is another request.
    let parts = [
        "price",
        &options.lookup_key,
        &asked.to_string(),
        product,
        meter.unwrap_or("no meter"),
    ];
    let key = key(&parts);
    let price = CreatePrice {
        product: product.to_owned(),
        currency: asked.currency().as_str().to_owned(),
        amount: price_amount(&terms),
        interval: "month".to_owned(),
        meter: meter.map(str::to_owned),
        lookup_key: Some(options.lookup_key.clone()),
        metadata: options.metadata.clone(),
        ..CreatePrice::default()
    };
    let created = stripe.create_price(&price, &key).await;
    Ok(created.map_err(SetupError::stripe("make the price"))?.id)
}

/// Derived from what is made: two runs at once make it once.
pub(crate) fn key(parts: &[&str]) -> RequestOptions {
    let parts = [&["meterline setup"], parts].concat();
    RequestOptions::new().idempotency_key(IdempotencyKey::derived(&parts))
}

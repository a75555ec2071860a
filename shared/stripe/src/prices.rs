//! Prices (Stripe API reference: Prices).

use serde::Deserialize;

use crate::STRIPE_VERSION_WITH_USAGE_RECORDS;
use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::list::{List, listed};
use crate::object::{Metadata, id, optional_id, or_default};
use crate::request::{Request, segment};

const PATH: &str = "/v1/prices";

/// What a unit costs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Price {
    /// `price_…`.
    pub id: String,
    /// Whether it can be used for something new.
    pub active: bool,
    /// `per_unit` or `tiered`.
    pub billing_scheme: Option<String>,
    /// Three lower-case letters.
    pub currency: String,
    /// A name of your own, by which one price of the account is found.
    pub lookup_key: Option<String>,
    /// Your own keys.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
    /// What it is for, `prod_…`.
    #[serde(deserialize_with = "id")]
    pub product: String,
    /// How often, and by what; none for a price paid once.
    pub recurring: Option<Recurring>,
    /// The tiers of a price in tiers, lowest first. Stripe leaves them out of
    /// what is not asked for with them: of a subscription's items, for one.
    pub tiers: Option<Vec<PriceTier>>,
    /// How the tiers apply: `graduated` or `volume`.
    pub tiers_mode: Option<String>,
    /// For packages of units rather than units. None where each unit counts.
    pub transform_quantity: Option<TransformQuantity>,
    /// In minor units, with up to 12 decimals. None for a price in tiers.
    pub unit_amount_decimal: Option<String>,
}

/// One tier of a price. Amounts are in minor units, with up to 12 decimals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PriceTier {
    /// Its last unit; none for the last tier.
    pub up_to: Option<u64>,
    /// What a unit in it costs.
    pub unit_amount_decimal: Option<String>,
    /// What the tier itself costs, once it is reached.
    pub flat_amount_decimal: Option<String>,
}

/// How a quantity becomes the number that is multiplied by the amount.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TransformQuantity {
    /// Units in a package.
    pub divide_by: u64,
    /// `up` or `down`: whether a begun package counts.
    pub round: String,
}

/// How a price recurs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Recurring {
    /// `day`, `week`, `month` or `year`.
    pub interval: String,
    /// How many of them are a period; one if none.
    #[serde(default)]
    pub interval_count: Option<u32>,
    /// `metered` or `licensed`.
    pub usage_type: String,
    /// The meter whose units are billed, `mtr_…`.
    #[serde(default, deserialize_with = "optional_id")]
    pub meter: Option<String>,
}

listed!(Price);

/// What a price to be asks. Amounts are in minor units, with up to 12 decimals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PriceAmount {
    /// The same for each unit (`billing_scheme: per_unit`).
    PerUnit {
        /// For a unit, or for a package of them.
        unit_amount_decimal: String,
        /// Packages rather than units.
        transform_quantity: Option<TransformQuantity>,
    },
    /// In tiers (`billing_scheme: tiered`).
    Tiered {
        /// `graduated` or `volume`.
        tiers_mode: String,
        /// The tiers, lowest first.
        tiers: Vec<PriceTier>,
    },
}

/// Nothing for a unit.
impl Default for PriceAmount {
    fn default() -> Self {
        Self::PerUnit {
            unit_amount_decimal: "0".to_owned(),
            transform_quantity: None,
        }
    }
}

/// A metered price to be.
#[derive(Clone, Debug, Default)]
pub struct CreatePrice {
    /// What it is for, `prod_…`.
    pub product: String,
    /// Three lower-case letters.
    pub currency: String,
    /// What it asks.
    pub amount: PriceAmount,
    /// `day`, `week`, `month` or `year`.
    pub interval: String,
    /// The meter whose units are billed, `mtr_…`. A price without one bills
    /// usage records.
    pub meter: Option<String>,
    /// A name of your own to find it by.
    pub lookup_key: Option<String>,
    /// Whether to take the lookup key from the price that has it.
    pub transfer_lookup_key: bool,
    /// Your own keys.
    pub metadata: Metadata,
}

impl PriceAmount {
    fn add_to(&self, form: Form) -> Form {
        match self {
            Self::PerUnit {
                unit_amount_decimal,
                transform_quantity,
            } => {
                let form = form
                    .with("billing_scheme", "per_unit")
                    .with("unit_amount_decimal", unit_amount_decimal);
                let Some(transform) = transform_quantity else {
                    return form;
                };
                let transform = Form::new()
                    .with("divide_by", transform.divide_by)
                    .with("round", &transform.round);
                form.with_nested("transform_quantity", transform)
            }
            Self::Tiered { tiers_mode, tiers } => form
                .with("billing_scheme", "tiered")
                .with("tiers_mode", tiers_mode)
                .with_nested_array("tiers", tiers.iter().map(PriceTier::form)),
        }
    }
}

impl PriceTier {
    fn form(&self) -> Form {
        let form = match self.up_to {
            Some(up_to) => Form::new().with("up_to", up_to),
            None => Form::new().with("up_to", "inf"),
        };
        form.with_some("unit_amount_decimal", self.unit_amount_decimal.as_deref())
            .with_some("flat_amount_decimal", self.flat_amount_decimal.as_deref())
    }
}

impl Client {
    /// Makes a price.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_price(
        &self,
        price: &CreatePrice,
        options: &RequestOptions,
    ) -> Result<Price, Error> {
        let recurring = Form::new()
            .with("interval", &price.interval)
            .with("usage_type", "metered")
            .with_some("meter", price.meter.as_deref());
        let transfers = price.transfer_lookup_key.then_some(true);
        let form = Form::new()
            .with("product", &price.product)
            .with("currency", &price.currency);
        let form = price
            .amount
            .add_to(form)
            .with_nested("recurring", recurring)
            .with_some("lookup_key", price.lookup_key.as_deref())
            .with_some("transfer_lookup_key", transfers)
            .with_metadata(&price.metadata);
        let mut request = Request::post(PATH, form);
        if price.meter.is_none() {
            request = request.with_version(STRIPE_VERSION_WITH_USAGE_RECORDS);
        }
        self.call(request, options).await
    }

    /// The price `id`, with its tiers.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn retrieve_price(&self, id: &str) -> Result<Price, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        let query = Form::new().with_array("expand", &["tiers"]);
        self.read(Request::get(path, &query)).await
    }

    /// The active price that has the lookup key, with its tiers: one item or none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_prices_by_lookup_key(&self, lookup_key: &str) -> Result<List<Price>, Error> {
        let query = Form::new()
            .with_array("lookup_keys", &[lookup_key])
            .with("active", true)
            .with_array("expand", &["data.tiers"]);
        self.list_all(PATH, &query).await
    }
}

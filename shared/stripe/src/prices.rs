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
    /// For packages of units rather than units. None where each unit counts.
    pub transform_quantity: Option<TransformQuantity>,
    /// In minor units, with up to 12 decimals. None for a price in tiers.
    pub unit_amount_decimal: Option<String>,
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
    /// `metered` or `licensed`.
    pub usage_type: String,
    /// The meter whose units are billed, `mtr_…`.
    #[serde(default, deserialize_with = "optional_id")]
    pub meter: Option<String>,
}

listed!(Price);

/// A metered price to be, per unit.
#[derive(Clone, Debug, Default)]
pub struct CreatePrice {
    /// What it is for, `prod_…`.
    pub product: String,
    /// Three lower-case letters.
    pub currency: String,
    /// In minor units, with up to 12 decimals.
    pub unit_amount_decimal: String,
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
            .with("currency", &price.currency)
            .with("billing_scheme", "per_unit")
            .with("unit_amount_decimal", &price.unit_amount_decimal)
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

    /// The price `id`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn retrieve_price(&self, id: &str) -> Result<Price, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        self.read(Request::get(path, &Form::new())).await
    }

    /// The active price that has the lookup key: one item or none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_prices_by_lookup_key(&self, lookup_key: &str) -> Result<List<Price>, Error> {
        let query = Form::new()
            .with_array("lookup_keys", &[lookup_key])
            .with("active", true);
        self.list_all(PATH, &query).await
    }
}

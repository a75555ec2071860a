//! How a customer is billed, and what Stripe needs to know of taxes: passed
//! through to Stripe, which knows best what it takes; what is wrong in itself
//! is refused before anything is made.

use std::collections::BTreeMap;

use billing::FieldError;
use billing::time::WireTime;
use serde::{Deserialize, Serialize};
use stripe::{Address, ProrationBehavior};
use utoipa::ToSchema;
use web::openapi::schema;

use crate::body::check_stripe_id;

/// Stripe API reference: Subscriptions, `trial_period_days`.
pub(crate) const TRIAL_DAYS_MAX: u32 = 730;
/// Stripe takes twenty items; one is the metered price.
pub(crate) const ADDITIONAL_PRICES_MAX: usize = 19;
/// Stripe API reference: Metadata. Some of its fifty keys are Meterline's.
pub(crate) const METADATA_KEYS_MAX: usize = 40;
pub(crate) const METADATA_KEY_CHARS_MAX: usize = 40;
pub(crate) const METADATA_VALUE_CHARS_MAX: usize = 500;
/// What Meterline's own keys begin with.
pub(crate) const METADATA_OWN: &str = "meterline_";
pub(crate) const TAX_IDS_MAX: usize = 5;

/// The part of a request's body that says how somebody is billed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TermsBody {
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) trial_period_days: Option<u32>,
    pub(crate) billing_cycle_anchor: Option<WireTime>,
    pub(crate) proration_behavior: Option<ProrationBehavior>,
    pub(crate) additional_prices: Vec<String>,
    pub(crate) automatic_tax: bool,
}

/// How somebody is billed. It is kept with an onboarding that waits for a
/// payment method, so it holds nothing personal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// The operator's own keys, on the customer and the subscription.
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) trial_period_days: Option<u32>,
    /// Unix seconds.
    pub(crate) billing_cycle_anchor: Option<i64>,
    pub(crate) proration_behavior: Option<ProrationBehavior>,
    /// Prices beside the metered one, such as a base fee.
    pub(crate) additional_prices: Vec<String>,
    pub(crate) automatic_tax: bool,
}

impl TermsBody {
    pub(crate) fn check(self) -> Result<Terms, FieldError> {
        check_metadata(&self.metadata)?;
        if let Some(days) = self.trial_period_days
            && !(1..=TRIAL_DAYS_MAX).contains(&days)
        {
            let reason = format!("must be 1 to {TRIAL_DAYS_MAX}");
            return Err(FieldError::new("trial_period_days", reason));
        }
        if self.proration_behavior.is_some() && self.billing_cycle_anchor.is_none() {
            let reason = "has a meaning with a billing_cycle_anchor only";
            return Err(FieldError::new("proration_behavior", reason));
        }
        if self.additional_prices.len() > ADDITIONAL_PRICES_MAX {
            let reason = format!("must be at most {ADDITIONAL_PRICES_MAX}");
            return Err(FieldError::new("additional_prices", reason));
        }
        for price in &self.additional_prices {
            check_stripe_id("additional_prices", "price_", price)?;
        }
        Ok(Terms {
            metadata: self.metadata,
            trial_period_days: self.trial_period_days,
            billing_cycle_anchor: self.billing_cycle_anchor.map(|at| at.0.unix_s()),
            proration_behavior: self.proration_behavior,
            additional_prices: self.additional_prices,
            automatic_tax: self.automatic_tax,
        })
    }
}

fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), FieldError> {
    let refuse = |reason: String| Err(FieldError::new("metadata", reason));
    if metadata.len() > METADATA_KEYS_MAX {
        return refuse(format!("must have at most {METADATA_KEYS_MAX} keys"));
    }
    for (key, value) in metadata {
        if key.is_empty() || key.chars().count() > METADATA_KEY_CHARS_MAX {
            return refuse(format!(
                "must have keys of 1 to {METADATA_KEY_CHARS_MAX} characters"
            ));
        }
        if key.contains(['[', ']']) {
            return refuse("must have no brackets in its keys".to_owned());
        }
        if key.starts_with(METADATA_OWN) {
            return refuse(format!(
                "must have no keys of Meterline's own, {METADATA_OWN}…"
            ));
        }
        if value.is_empty() || value.chars().count() > METADATA_VALUE_CHARS_MAX {
            return refuse(format!(
                "must have values of 1 to {METADATA_VALUE_CHARS_MAX} characters"
            ));
        }
    }
    Ok(())
}

/// The part of a request's body that says who and where somebody is, for taxes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TaxBody {
    pub(crate) address: Option<AddressBody>,
    pub(crate) tax_exempt: Option<TaxExempt>,
    pub(crate) tax_ids: Vec<TaxIdBody>,
}

/// Where somebody is, for taxes.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = Address)]
pub(crate) struct AddressBody {
    /// ISO 3166-1 alpha-2.
    #[schema(required, schema_with = crate::openapi::country)]
    country: String,
    state: Option<String>,
    city: Option<String>,
    postal_code: Option<String>,
    line1: Option<String>,
    line2: Option<String>,
}

/// Stripe API reference: Customers, `tax_exempt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TaxExempt {
    None,
    Exempt,
    Reverse,
}

impl TaxExempt {
    const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Exempt => "exempt",
            Self::Reverse => "reverse",
        }
    }
}

/// A tax id, as Stripe takes it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TaxId)]
pub(crate) struct TaxIdBody {
    #[serde(rename = "type")]
    #[schema(schema_with = schema::not_empty)]
    kind: String,
    #[schema(schema_with = schema::not_empty)]
    value: String,
}

/// What Stripe is told of a new customer's taxes. Stripe keeps it, Meterline
/// does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TaxSettings {
    pub(crate) address: Option<Address>,
    pub(crate) tax_exempt: Option<&'static str>,
    pub(crate) tax_ids: Vec<(String, String)>,
}

impl TaxBody {
    pub(crate) fn check(self) -> Result<TaxSettings, FieldError> {
        let address = self.address.map(check_address).transpose()?;
        if self.tax_ids.len() > TAX_IDS_MAX {
            let reason = format!("must be at most {TAX_IDS_MAX}");
            return Err(FieldError::new("tax_ids", reason));
        }
        if self
            .tax_ids
            .iter()
            .any(|id| id.kind.is_empty() || id.value.is_empty())
        {
            return Err(FieldError::new(
                "tax_ids",
                "must each have a type and a value",
            ));
        }
        Ok(TaxSettings {
            address,
            tax_exempt: self.tax_exempt.map(TaxExempt::as_str),
            tax_ids: self
                .tax_ids
                .into_iter()
                .map(|id| (id.kind, id.value))
                .collect(),
        })
    }
}

fn check_address(address: AddressBody) -> Result<Address, FieldError> {
    let is_code = address.country.len() == 2
        && address
            .country
            .bytes()
            .all(|byte| byte.is_ascii_uppercase());
    if !is_code {
        let reason = "must have a country of two capital letters (ISO 3166-1 alpha-2)";
        return Err(FieldError::new("address", reason));
    }
    Ok(Address {
        country: Some(address.country),
        state: address.state,
        city: address.city,
        postal_code: address.postal_code,
        line1: address.line1,
        line2: address.line2,
    })
}

impl TaxSettings {
    /// All of it, for a fingerprint: what is not given is empty.
    pub(crate) fn parts(&self) -> Vec<&str> {
        let address = self.address.as_ref();
        let lines = address.map(|address| {
            [
                &address.country,
                &address.state,
                &address.city,
                &address.postal_code,
                &address.line1,
                &address.line2,
            ]
        });
        let lines = lines.into_iter().flatten();
        let mut parts: Vec<&str> = lines
            .map(|line| line.as_deref().unwrap_or_default())
            .collect();
        parts.push(self.tax_exempt.unwrap_or_default());
        for (kind, value) in &self.tax_ids {
            parts.extend([kind.as_str(), value.as_str()]);
        }
        parts
    }
}

impl Terms {
    /// As they are kept, and as a fingerprint takes them.
    pub(crate) fn to_json(&self) -> String {
        // Texts and numbers alone: there is nothing in it that JSON cannot hold.
        serde_json::to_string(self).unwrap_or_default()
    }
}

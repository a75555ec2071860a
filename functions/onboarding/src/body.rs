//! The body of `POST /v1/customers`, and what is refused of it at once.

use std::collections::BTreeMap;

use billing::FieldError;
use billing::time::WireTime;
use billing::usage_event::parse_stripe_id;
use serde::Deserialize;
use stripe::{IdempotencyKey, ProrationBehavior};
use utoipa::ToSchema;
use web::openapi::schema;

use crate::openapi;
use crate::request::{OnboardingKey, Payment, Who};
use crate::terms::{AddressBody, TaxBody, TaxExempt, TaxIdBody, Terms, TermsBody};

/// The longest address that mail can have (RFC 3696, erratum 1690).
pub(crate) const EMAIL_BYTES_MAX: usize = 254;
/// Stripe keeps up to 500 characters in a metadata value.
pub(crate) const EXTERNAL_ID_BYTES_MAX: usize = 255;
/// More than any browser's address bar is known to take.
pub(crate) const URL_BYTES_MAX: usize = 2_048;

/// The body of `POST /v1/customers`. Unknown fields are refused: a misspelt
/// `external_id` would make a second customer at the next try.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = NewCustomer)]
pub(crate) struct Body {
    #[schema(required = false, schema_with = openapi::email)]
    pub(crate) email: Option<String>,
    #[schema(required = false, schema_with = openapi::payment_method)]
    pub(crate) payment_method: Option<String>,
    #[schema(required = false, schema_with = openapi::checkout)]
    pub(crate) checkout: Option<CheckoutBody>,
    /// Asks the person for one in a form of yours, made with Stripe.js.
    pub(crate) setup_intent: bool,
    #[schema(required = false, schema_with = openapi::stripe_customer_id)]
    pub(crate) stripe_customer_id: Option<String>,
    #[schema(required = false, schema_with = openapi::external_id)]
    pub(crate) external_id: Option<String>,
    #[schema(required = false, schema_with = openapi::test_clock)]
    pub(crate) test_clock: Option<String>,
    #[schema(required = false, schema_with = openapi::metadata)]
    pub(crate) metadata: BTreeMap<String, String>,
    #[schema(required = false, schema_with = openapi::trial_period_days)]
    pub(crate) trial_period_days: Option<u32>,
    #[schema(required = false, schema_with = schema::wire_time_or_null)]
    pub(crate) billing_cycle_anchor: Option<WireTime>,
    #[schema(required = false, schema_with = openapi::proration_behavior)]
    pub(crate) proration_behavior: Option<ProrationBehavior>,
    #[schema(required = false, schema_with = openapi::additional_prices)]
    pub(crate) additional_prices: Vec<String>,
    /// Whether Stripe reckons taxes.
    pub(crate) automatic_tax: bool,
    #[schema(required = false, schema_with = openapi::address)]
    pub(crate) address: Option<AddressBody>,
    #[schema(required = false, schema_with = openapi::tax_exempt)]
    pub(crate) tax_exempt: Option<TaxExempt>,
    #[schema(required = false, schema_with = openapi::tax_ids)]
    pub(crate) tax_ids: Vec<TaxIdBody>,
}

/// Where Stripe's Checkout page leads to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Checkout)]
pub(crate) struct CheckoutBody {
    #[schema(schema_with = openapi::web_address)]
    pub(crate) success_url: String,
    #[schema(required = false, schema_with = openapi::web_address_or_null)]
    pub(crate) cancel_url: Option<String>,
}

impl Body {
    pub(crate) fn payment(&self) -> Result<Payment, FieldError> {
        let ways = usize::from(self.payment_method.is_some())
            + usize::from(self.checkout.is_some())
            + usize::from(self.setup_intent);
        if ways > 1 {
            let reason = "excludes checkout and setup_intent, and these each other";
            return Err(FieldError::new("payment_method", reason));
        }
        if let Some(payment_method) = &self.payment_method {
            let id = check_stripe_id("payment_method", "pm_", payment_method)?;
            return Ok(Payment::Given(id));
        }
        if let Some(checkout) = &self.checkout {
            return Ok(Payment::Checkout {
                success_url: check_url("checkout.success_url", &checkout.success_url)?,
                cancel_url: checkout
                    .cancel_url
                    .as_deref()
                    .map(|url| check_url("checkout.cancel_url", url))
                    .transpose()?,
            });
        }
        match (self.setup_intent, &self.stripe_customer_id) {
            (true, _) => Ok(Payment::SetupIntent),
            (false, Some(_)) => Ok(Payment::Known),
            (false, None) => {
                let reason = "is needed, or checkout or setup_intent to ask the person for one";
                Err(FieldError::new("payment_method", reason))
            }
        }
    }

    pub(crate) fn onboarding(
        &self,
        idempotency_key: Option<&str>,
    ) -> Result<OnboardingKey, FieldError> {
        Ok(
            match (&self.external_id, idempotency_key, &self.stripe_customer_id) {
                (Some(id), ..) => {
                    OnboardingKey::given("external_id", check_length("external_id", id)?)
                }
                (None, Some(key), _) => OnboardingKey::given("idempotency_key", key),
                // Adopting one customer is one intent, whoever says it how often.
                (None, None, Some(id)) => OnboardingKey::given("stripe_customer_id", id),
                (None, None, None) => OnboardingKey::OneCall(IdempotencyKey::random().to_string()),
            },
        )
    }

    pub(crate) fn who_and_terms(self, livemode: bool) -> Result<(Who, Terms), FieldError> {
        let terms = TermsBody {
            metadata: self.metadata,
            trial_period_days: self.trial_period_days,
            billing_cycle_anchor: self.billing_cycle_anchor,
            proration_behavior: self.proration_behavior,
            additional_prices: self.additional_prices,
            automatic_tax: self.automatic_tax,
        };
        let terms = terms.check()?;
        let tax = TaxBody {
            address: self.address,
            tax_exempt: self.tax_exempt,
            tax_ids: self.tax_ids,
        };
        let tax = tax.check()?;
        let test_clock = match &self.test_clock {
            Some(_) if livemode => {
                return Err(FieldError::new("test_clock", "works in test mode only"));
            }
            Some(test_clock) => Some(check_stripe_id("test_clock", "clock_", test_clock)?),
            None => None,
        };
        let Some(customer_id) = self.stripe_customer_id else {
            let email = self.email.unwrap_or_default();
            check_email(&email)?;
            let who = Who::New {
                email,
                test_clock,
                tax: Box::new(tax),
            };
            return Ok((who, terms));
        };
        let fields = [
            ("email", self.email.is_some()),
            ("test_clock", test_clock.is_some()),
            ("address", tax.address.is_some()),
            ("tax_exempt", tax.tax_exempt.is_some()),
            ("tax_ids", !tax.tax_ids.is_empty()),
        ];
        if let Some((field, _)) = fields.into_iter().find(|(_, is_given)| *is_given) {
            let reason = "is Stripe's already where stripe_customer_id is given";
            return Err(FieldError::new(field, reason));
        }
        let customer_id = check_stripe_id("stripe_customer_id", "cus_", &customer_id)?;
        Ok((Who::Existing { customer_id }, terms))
    }
}

/// An address that Stripe can send a browser to.
pub(crate) fn check_url(field: &'static str, url: &str) -> Result<String, FieldError> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let is_usable = url.len() <= URL_BYTES_MAX
        && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && url.bytes().all(|byte| byte.is_ascii_graphic());
    if is_usable {
        Ok(url.to_owned())
    } else {
        let reason = "must be an address that begins with https:// (or http://)";
        Err(FieldError::new(field, reason))
    }
}

/// Only what cannot be an address is refused; whether mail arrives, nobody
/// learns from its form.
fn check_email(email: &str) -> Result<(), FieldError> {
    let plausible = email.len() <= EMAIL_BYTES_MAX
        && !email.chars().any(|c| c.is_whitespace() || c.is_control())
        && matches!(
            email.split('@').collect::<Vec<_>>().as_slice(),
            [local, domain] if !local.is_empty() && !domain.is_empty()
        );
    if plausible {
        Ok(())
    } else {
        Err(FieldError::new("email", "must be one email address"))
    }
}

pub(crate) fn check_stripe_id(
    field: &'static str,
    prefix: &str,
    text: &str,
) -> Result<String, FieldError> {
    let id = parse_stripe_id(field, text)?;
    if id.len() > prefix.len() && id.starts_with(prefix) {
        Ok(id)
    } else {
        Err(FieldError::new(
            field,
            format!("must be the id of one: {prefix}…"),
        ))
    }
}

fn check_length<'a>(field: &'static str, id: &'a str) -> Result<&'a str, FieldError> {
    if (1..=EXTERNAL_ID_BYTES_MAX).contains(&id.len()) {
        Ok(id)
    } else {
        let reason = format!("must be 1 to {EXTERNAL_ID_BYTES_MAX} bytes long");
        Err(FieldError::new(field, reason))
    }
}

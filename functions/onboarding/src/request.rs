//! What an operator may ask for, and the name under which it is asked only once.

use billing::FieldError;
use stripe::IdempotencyKey;

use crate::body::Body;
use crate::terms::{TaxSettings, Terms};

/// A customer to be onboarded, with every field valid in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) who: Who,
    pub(crate) payment: Payment,
    pub(crate) external_id: Option<String>,
    pub(crate) terms: Terms,
    pub(crate) onboarding: OnboardingKey,
}

/// Whom Stripe is to bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A customer whom Stripe does not have yet.
    New {
        email: String,
        test_clock: Option<String>,
        tax: Box<TaxSettings>,
    },
    /// One whom Stripe has, `cus_…`.
    Existing { customer_id: String },
}

/// How somebody is to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payment {
    /// By this payment method, `pm_…`.
    Given(String),
    /// By what the person enters on Stripe's page.
    Checkout {
        success_url: String,
        cancel_url: Option<String>,
    },
    /// By what the person enters in a form of the operator's own, made with
    /// Stripe.js and a client secret.
    SetupIntent,
    /// By what Stripe has already.
    Known,
}

/// The name of an onboarding, from which every idempotency key of it is derived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OnboardingKey {
    /// Given by the caller: the same one finishes or returns the same customer.
    Given(String),
    /// Made for this call alone, which named nothing: a repeat of it is another
    /// customer, and nothing but the customer is kept.
    OneCall(String),
}

impl OnboardingKey {
    /// `kind` keeps an external id from meeting an equal idempotency key.
    pub(crate) fn given(kind: &str, id: &str) -> Self {
        Self::Given(IdempotencyKey::derived(&[kind, id]).to_string())
    }

    /// What stands for it in Stripe's metadata and in idempotency keys.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Given(key) | Self::OneCall(key) => key,
        }
    }

    /// The idempotency key of the `attempt`th try to create `object`.
    pub(crate) fn creation(&self, object: &str, attempt: u32) -> IdempotencyKey {
        let attempt = attempt.to_string();
        IdempotencyKey::derived(&["onboarding", self.as_str(), object, &attempt])
    }
}

/// The idempotency key of the `attempt`th try to create `object`, by whichever onboarding:
/// two for one customer, under two names, have the same one.
pub(crate) fn creation_by_any(object: &str, attempt: u32) -> IdempotencyKey {
    IdempotencyKey::derived(&["any onboarding", object, &attempt.to_string()])
}

impl Request {
    /// Checks what was sent. The onboarding is named by the external id, else
    /// by the `Idempotency-Key` header, else by the customer that is adopted.
    pub(crate) fn check(
        body: Body,
        idempotency_key: Option<&str>,
        livemode: bool,
    ) -> Result<Self, FieldError> {
        let payment = body.payment()?;
        let onboarding = body.onboarding(idempotency_key)?;
        let waits = matches!(payment, Payment::Checkout { .. } | Payment::SetupIntent);
        if waits && matches!(onboarding, OnboardingKey::OneCall(_)) {
            // Nothing could finish it but the same call again.
            let reason = "is needed where the payment method comes later";
            return Err(FieldError::new("external_id", reason));
        }
        let external_id = body.external_id.clone();
        let (who, terms) = body.who_and_terms(livemode)?;
        Ok(Self {
            who,
            payment,
            external_id,
            terms,
            onboarding,
        })
    }

    /// The test clock that a new customer is to live on.
    pub(crate) fn test_clock(&self) -> Option<&str> {
        match &self.who {
            Who::New { test_clock, .. } => test_clock.as_deref(),
            Who::Existing { .. } => None,
        }
    }

    /// Whether Stripe is told where a new customer is.
    pub(crate) fn has_address(&self) -> bool {
        match &self.who {
            Who::New { tax, .. } => tax.address.is_some(),
            Who::Existing { .. } => false,
        }
    }

    /// Fingerprint of what may not change between calls of one onboarding. The
    /// payment method is not in it: a declined one must be replaceable.
    pub(crate) fn fingerprint(&self) -> String {
        let terms = self.terms.to_json();
        let parts = match &self.who {
            Who::New {
                email,
                test_clock,
                tax,
            } => {
                let clock = test_clock.as_deref().unwrap_or_default();
                let mut parts = vec!["onboarding request 1", email, clock];
                if **tax != TaxSettings::default() || self.terms != Terms::default() {
                    parts.extend(tax.parts());
                    parts.push(&terms);
                }
                parts
            }
            Who::Existing { customer_id } => vec!["adoption request 1", customer_id, &terms],
        };
        IdempotencyKey::derived(&parts).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Body {
        Body {
            email: Some("ada@example.com".to_owned()),
            payment_method: Some("pm_card_visa".to_owned()),
            external_id: Some("acme".to_owned()),
            ..Body::default()
        }
    }

    fn refused_field(body: Body) -> &'static str {
        Request::check(body, None, true).unwrap_err().field
    }

    #[test]
    fn what_stripe_could_not_use_is_refused_by_name() {
        let long = format!("{}@example.com", "a".repeat(250));
        for email in [
            "", "ada", "@b.c", "a@", "a@b@c", "a b@c.d", "a@b.c\n", &long,
        ] {
            let email = Some(email.to_owned());
            assert_eq!(refused_field(Body { email, ..body() }), "email");
        }
        for payment_method in ["", "pm_", "card_1", "pm_1/attach", "pm_ä"] {
            let payment_method = Some(payment_method.to_owned());
            assert_eq!(
                refused_field(Body {
                    payment_method,
                    ..body()
                }),
                "payment_method"
            );
        }
        for external_id in [String::new(), "x".repeat(256)] {
            let external_id = Some(external_id);
            assert_eq!(
                refused_field(Body {
                    external_id,
                    ..body()
                }),
                "external_id"
            );
        }
    }

    #[test]
    fn a_test_clock_needs_a_test_key() {
        let with_clock = || Body {
            test_clock: Some("clock_1".to_owned()),
            ..body()
        };
        assert_eq!(refused_field(with_clock()), "test_clock");
        assert!(Request::check(with_clock(), None, false).is_ok());
    }

    #[test]
    fn one_name_is_one_onboarding_and_no_name_is_one_each() {
        let unnamed = || Body {
            external_id: None,
            ..body()
        };
        let key = |body, header| Request::check(body, header, false).unwrap().onboarding;
        assert_eq!(key(body(), None), key(body(), Some("other")));
        assert_eq!(key(unnamed(), Some("acme")), key(unnamed(), Some("acme")));
        assert_ne!(key(unnamed(), Some("acme")), key(body(), None));
        assert_ne!(key(unnamed(), None), key(unnamed(), None));
    }

    #[test]
    fn the_payment_method_may_change_until_all_is_done() {
        let fingerprint = |body| Request::check(body, None, false).unwrap().fingerprint();
        let other_card = Body {
            payment_method: Some("pm_card_us".to_owned()),
            ..body()
        };
        assert_eq!(fingerprint(body()), fingerprint(other_card));
        let other_email = Body {
            email: Some("bob@example.com".to_owned()),
            ..body()
        };
        assert_ne!(fingerprint(body()), fingerprint(other_email));
    }
}

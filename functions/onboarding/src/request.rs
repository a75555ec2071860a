//! What an operator may ask for, and the name under which it is asked only once.

use billing::FieldError;
use billing::usage_event::parse_stripe_id;
use serde::Deserialize;
use stripe::IdempotencyKey;

/// The longest address that mail can have (RFC 3696, erratum 1690).
const EMAIL_BYTES_MAX: usize = 254;
/// Stripe keeps up to 500 characters in a metadata value.
const EXTERNAL_ID_BYTES_MAX: usize = 255;

/// The body of `POST /v1/customers`. Unknown fields are refused: a misspelt
/// `external_id` would make a second customer at the next try.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    email: String,
    payment_method: String,
    external_id: Option<String>,
    test_clock: Option<String>,
}

/// A customer to be onboarded, with every field valid in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) email: String,
    pub(crate) payment_method: String,
    pub(crate) external_id: Option<String>,
    pub(crate) test_clock: Option<String>,
    pub(crate) onboarding: OnboardingKey,
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
    fn given(kind: &str, id: &str) -> Self {
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

impl Request {
    /// Checks what was sent. The onboarding is named by the external id, else
    /// by the `Idempotency-Key` header.
    pub(crate) fn check(
        body: Body,
        idempotency_key: Option<&str>,
        livemode: bool,
    ) -> Result<Self, FieldError> {
        check_email(&body.email)?;
        let payment_method = check_stripe_id("payment_method", "pm_", &body.payment_method)?;
        let test_clock = match &body.test_clock {
            Some(_) if livemode => {
                return Err(FieldError::new("test_clock", "works in test mode only"));
            }
            Some(test_clock) => Some(check_stripe_id("test_clock", "clock_", test_clock)?),
            None => None,
        };
        let onboarding = match (&body.external_id, idempotency_key) {
            (Some(id), _) => OnboardingKey::given("external_id", check_length("external_id", id)?),
            (None, Some(key)) => {
                OnboardingKey::given("idempotency_key", check_length("Idempotency-Key", key)?)
            }
            (None, None) => OnboardingKey::OneCall(IdempotencyKey::random().to_string()),
        };
        Ok(Self {
            email: body.email,
            payment_method,
            external_id: body.external_id,
            test_clock,
            onboarding,
        })
    }

    /// Fingerprint of what may not change between calls of one onboarding. The
    /// payment method is not in it: a declined one must be replaceable.
    pub(crate) fn fingerprint(&self) -> String {
        let test_clock = self.test_clock.as_deref().unwrap_or_default();
        IdempotencyKey::derived(&["onboarding request 1", &self.email, test_clock]).to_string()
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

fn check_stripe_id(field: &'static str, prefix: &str, text: &str) -> Result<String, FieldError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Body {
        Body {
            email: "ada@example.com".to_owned(),
            payment_method: "pm_card_visa".to_owned(),
            external_id: Some("acme".to_owned()),
            test_clock: None,
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
            let email = email.to_owned();
            assert_eq!(refused_field(Body { email, ..body() }), "email");
        }
        for payment_method in ["", "pm_", "card_1", "pm_1/attach", "pm_ä"] {
            let payment_method = payment_method.to_owned();
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
            payment_method: "pm_card_us".to_owned(),
            ..body()
        };
        assert_eq!(fingerprint(body()), fingerprint(other_card));
        let other_email = Body {
            email: "bob@example.com".to_owned(),
            ..body()
        };
        assert_ne!(fingerprint(body()), fingerprint(other_email));
    }
}

//! Why a customer could not be onboarded, and what the caller is told.

use billing::FieldError;
use ledger::LedgerError;
use metering::MeteredPriceError;
use web::{Problem, ProblemType};

/// An onboarding that has not come to its end. Repeating it with the same
/// external id goes on where it stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OnboardingError {
    /// The tables failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Stripe failed or refused.
    #[error("Stripe failed at: {operation}")]
    Stripe {
        /// What was being done.
        operation: &'static str,
        /// Stripe's error.
        #[source]
        source: stripe::Error,
    },
    /// The time for one call is over.
    #[error("Stripe took too long")]
    OutOfTime,
    /// Stripe does not know what a field names, or not as what it should be.
    #[error("Stripe does not take the field {field}")]
    Field {
        /// The field.
        field: &'static str,
        /// Stripe's error. Its message may quote the field.
        #[source]
        source: stripe::Error,
    },
    /// The external id belongs to another customer.
    #[error("the external id is in use for a request with another {0}")]
    Conflict(&'static str),
    /// A field holds what Stripe takes and Meterline does not.
    #[error("additional_prices must be active, recurring and not metered")]
    AdditionalPrice,
    /// More prices than a subscription has room for beside the metered ones.
    #[error("additional_prices must be at most {0} beside the metered ones")]
    AdditionalPrices(usize),
    /// The price to change to cannot be changed to.
    #[error("price_lookup_key {0}")]
    NextPrice(&'static str),
    /// A change of price would forgive what was used before it.
    #[error(
        "proration_behavior none would forgive the usage of this period so far, which Stripe bills \
         at a change of price as a proration"
    )]
    ForgivenUsage,
    /// The subscription has ended, for good.
    #[error("the subscription has ended: onboard the customer anew")]
    Ended,
    /// Nobody with this id was onboarded.
    #[error("no such customer")]
    Unknown,
    /// An adopted customer has nothing to pay by.
    #[error("the customer has no default payment method")]
    NoPaymentMethod,
    /// The customer was deleted in Stripe.
    #[error("the customer was deleted in Stripe: onboard under another external_id")]
    Deleted,
    /// The customer to adopt came by another onboarding.
    #[error("the Stripe customer is onboarded already, under another external_id")]
    Onboarded,
    /// Another onboarding of the customer makes its subscription, or tried to within the
    /// last day.
    #[error("the Stripe customer is being onboarded by another call: repeat this one")]
    UnderWay,
    /// An adopted customer pays for the same usage twice, or would.
    #[error(
        "several subscriptions of the Stripe customer bill usage that goes to Meterline's meters: \
         leave one"
    )]
    SeveralSubscriptions,
    /// An adopted customer's subscription cannot have the catalog's prices.
    #[error(
        "the subscription of the Stripe customer is in {subscription}, and the price {price_id} in \
         {price}: a subscription has one currency"
    )]
    Currency {
        /// The subscription's currency.
        subscription: String,
        /// A price that it lacks.
        price_id: String,
        /// The price's currency.
        price: String,
    },
    /// The account is not set up.
    #[error("the price {name:?} {reason}")]
    Price {
        /// The price's lookup key, or its id.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An object of Stripe's lacks what it must have.
    #[error("Stripe's {0}")]
    Unusable(&'static str),
}

impl OnboardingError {
    /// Wraps Stripe's error at the creation of a Checkout session.
    pub(crate) fn checkout(source: stripe::Error) -> Self {
        let param = source.api().and_then(|error| error.param.as_deref());
        let field = match param {
            Some("success_url") => "checkout.success_url",
            Some("cancel_url") => "checkout.cancel_url",
            _ => return Self::stripe("create Checkout session")(source),
        };
        Self::Field { field, source }
    }

    /// Wraps Stripe's error at `operation`.
    pub(crate) fn stripe(operation: &'static str) -> impl FnOnce(stripe::Error) -> Self {
        move |source| Self::Stripe { operation, source }
    }
}

impl From<MeteredPriceError> for OnboardingError {
    fn from(error: MeteredPriceError) -> Self {
        match error {
            MeteredPriceError::Stripe { operation, source } => Self::Stripe { operation, source },
            MeteredPriceError::Unusable { name, reason } => Self::Price { name, reason },
        }
    }
}

impl From<OnboardingError> for Problem {
    fn from(error: OnboardingError) -> Self {
        match error {
            OnboardingError::Ledger(error) => error.into(),
            OnboardingError::Stripe { operation, source } => Self::from_stripe(operation, &source),
            OnboardingError::OutOfTime => {
                tracing::error!("an onboarding took too long");
                let detail = "Stripe took too long: the same external_id goes on where it stopped";
                Self::new(ProblemType::StripeUnavailable, detail)
            }
            OnboardingError::Field { field, source } => refused_field(field, &source),
            OnboardingError::Conflict(_)
            | OnboardingError::Deleted
            | OnboardingError::Ended
            | OnboardingError::Onboarded
            | OnboardingError::UnderWay
            | OnboardingError::SeveralSubscriptions
            | OnboardingError::Currency { .. } => {
                Self::new(ProblemType::Conflict, error.to_string())
            }
            OnboardingError::AdditionalPrice => Self::field(&FieldError::new(
                "additional_prices",
                "must be active, recurring and not metered",
            )),
            OnboardingError::AdditionalPrices(at_most) => Self::field(&FieldError::new(
                "additional_prices",
                format!("must be at most {at_most}, beside the metered ones"),
            )),
            OnboardingError::NextPrice(reason) => {
                Self::field(&FieldError::new("price_lookup_key", reason))
            }
            OnboardingError::ForgivenUsage => Self::field(&FieldError::new(
                "proration_behavior",
                "must not be none at a change to another price: Stripe would not bill what was \
                 used in this period before the change",
            )),
            OnboardingError::Unknown => Self::new(ProblemType::CustomerNotFound, error.to_string()),
            OnboardingError::NoPaymentMethod => Self::field(&FieldError::new(
                "payment_method",
                "is needed, or checkout or setup_intent: the customer has no default one",
            )),
            OnboardingError::Price { .. } => {
                tracing::error!(%error, "Stripe is not set up");
                let detail = format!("{error}; its operator must run `meterline setup`");
                Self::new(ProblemType::Internal, detail)
            }
            OnboardingError::Unusable(_) => {
                tracing::error!(%error, "an object of Stripe's cannot be used");
                Self::new(ProblemType::Internal, "Stripe's answer cannot be used")
            }
        }
    }
}

fn refused_field(field: &'static str, source: &stripe::Error) -> Problem {
    let (code, request_id) = (source.code(), source.request_id());
    tracing::info!(field, code, request_id, "Stripe refused a field");
    let reason = "is not taken by Stripe: unknown, malformed, or in use elsewhere";
    let problem = Problem::field(&FieldError::new(field, reason));
    match code {
        Some(code) => problem.with("code", code),
        None => problem,
    }
}

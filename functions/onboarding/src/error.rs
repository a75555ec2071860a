//! Why a customer could not be onboarded, and what the caller is told.

use billing::FieldError;
use ledger::LedgerError;
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
    /// Stripe does not know the payment method, or it is another customer's.
    #[error("Stripe does not take the payment method")]
    PaymentMethod(#[source] stripe::Error),
    /// Stripe does not know the test clock.
    #[error("Stripe does not take the test clock")]
    TestClock(#[source] stripe::Error),
    /// The external id belongs to another customer.
    #[error("the external id is in use for a request with another {0}")]
    Conflict(&'static str),
    /// The account is not set up.
    #[error("the price {name:?} {reason}")]
    Price {
        /// The price's lookup key, or its id.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An object of Stripe's lacks what it must have.
    #[error("Stripe's {0}")]
    Unusable(&'static str),
}

impl OnboardingError {
    /// Wraps Stripe's error at `operation`.
    pub(crate) fn stripe(operation: &'static str) -> impl FnOnce(stripe::Error) -> Self {
        move |source| Self::Stripe { operation, source }
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
            OnboardingError::PaymentMethod(source) => refused_field("payment_method", &source),
            OnboardingError::TestClock(source) => refused_field("test_clock", &source),
            OnboardingError::Conflict(_) => Self::new(ProblemType::Conflict, error.to_string()),
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
    tracing::info!(field, error = %source, request_id = source.request_id(), "Stripe refused a field");
    let reason = "is not known to Stripe, or belongs to something else";
    let problem = Problem::field(&FieldError::new(field, reason));
    match source.code() {
        Some(code) => problem.with("code", code),
        None => problem,
    }
}

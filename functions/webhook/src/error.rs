//! Why an event is not acknowledged. Stripe sends it again, for three days.

use billing::money::InvalidCurrency;
use ledger::LedgerError;
use metering::CustomerError;
use notify::NotifyError;
use web::{Problem, ProblemType};

/// An event that could not be dealt with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    /// The tables failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Stripe failed.
    #[error("Stripe failed at: {operation}")]
    Stripe {
        /// What was being done.
        operation: &'static str,
        /// Stripe's error.
        #[source]
        source: stripe::Error,
    },
    /// The object is one of ours and its customer is not stored yet.
    #[error("the customer is just being onboarded")]
    NotOnboardedYet,
    /// An onboarding could not be finished yet.
    #[error("an onboarding could not be finished yet")]
    Onboarding(#[source] Problem),
    /// The period of a new invoice has usage that is not in Stripe yet.
    #[error("usage of the invoice's period is still pending")]
    UsagePending,
    /// Others changed the customer at each try.
    #[error("the customer keeps changing")]
    Contended,
    /// An event says what no event of its type can say.
    #[error("the event cannot be read")]
    Unreadable(#[from] serde_json::Error),
    /// An amount is in what is no currency.
    #[error(transparent)]
    Currency(#[from] InvalidCurrency),
    /// All is applied, and the operator is not told of it.
    #[error("the operator could not be told")]
    NotTold(#[from] NotifyError),
}

impl WebhookError {
    /// Wraps Stripe's error at `operation`.
    pub(crate) fn stripe(operation: &'static str) -> impl FnOnce(stripe::Error) -> Self {
        move |source| Self::Stripe { operation, source }
    }
}

impl From<CustomerError> for WebhookError {
    fn from(error: CustomerError) -> Self {
        match error {
            CustomerError::Ledger(error) => error.into(),
            CustomerError::TestClock(source) => Self::stripe("retrieve test clock")(source),
        }
    }
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Ledger(error) => error.into(),
            // Whatever Stripe says now, the event is not dealt with.
            WebhookError::Stripe { operation, source } => {
                let problem = Self::from_stripe(operation, &source);
                Self::new(ProblemType::StripeUnavailable, problem.to_string())
            }
            // It says itself what failed, and has said it in the log.
            WebhookError::Onboarding(problem) => problem,
            WebhookError::NotOnboardedYet
            | WebhookError::UsagePending
            | WebhookError::Contended => {
                tracing::warn!(%error, "Stripe is asked to send an event again");
                Self::new(ProblemType::Unavailable, error.to_string())
            }
            WebhookError::NotTold(source) => {
                tracing::error!(error = %source, "a notification is not out: Stripe's repeat sends it again");
                Self::new(ProblemType::Unavailable, "the operator could not be told")
            }
            WebhookError::Unreadable(_) | WebhookError::Currency(_) => {
                tracing::error!(%error, "an event cannot be read");
                Self::new(ProblemType::Internal, "the event cannot be read")
            }
        }
    }
}

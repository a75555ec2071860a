//! Why an event is not acknowledged. Stripe sends it again, for three days.

use ledger::LedgerError;
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
    /// The period of a new invoice has usage that is not in Stripe yet.
    #[error("usage of the invoice's period is still pending")]
    UsagePending,
    /// Others changed the customer at each try.
    #[error("the customer keeps changing")]
    Contended,
    /// An event says what no event of its type can say.
    #[error("the event cannot be read")]
    Unreadable(#[source] serde_json::Error),
}

impl WebhookError {
    /// Wraps Stripe's error at `operation`.
    pub(crate) fn stripe(operation: &'static str) -> impl FnOnce(stripe::Error) -> Self {
        move |source| Self::Stripe { operation, source }
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
            WebhookError::NotOnboardedYet
            | WebhookError::UsagePending
            | WebhookError::Contended => {
                tracing::warn!(%error, "Stripe is asked to send an event again");
                Self::new(ProblemType::Unavailable, error.to_string())
            }
            WebhookError::Unreadable(source) => {
                tracing::error!(error = %source, "an event cannot be read");
                Self::new(ProblemType::Internal, "the event cannot be read")
            }
        }
    }
}

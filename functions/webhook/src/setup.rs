//! `setup_intent.succeeded`: somebody has entered a payment method, on Stripe's
//! page or in the operator's form, and an onboarding that waited for it goes on.

use onboarding::Finished;
use stripe::Event;

use crate::error::WebhookError;
use crate::{Outcome, Parts};

/// The type of event. Checkout's setups succeed by it, too.
pub(crate) const SETUP_SUCCEEDED: &str = "setup_intent.succeeded";

impl Parts {
    /// Finishes the onboarding. No row says that the event was applied: what it
    /// causes is done once however often it comes.
    pub(crate) async fn finish_onboarding(&self, event: &Event) -> Result<Outcome, WebhookError> {
        let Some(customer_id) = event.customer() else {
            return Ok(Outcome::Foreign);
        };
        let finished =
            onboarding::finish(&self.ledger, &self.stripe, &self.clock, customer_id).await;
        match finished {
            Ok(Finished::Done) => Ok(Outcome::Applied),
            Ok(Finished::Nothing) => Ok(Outcome::Foreign),
            // No repeat of the event would end otherwise. The repeat of the call
            // that began the onboarding tells its caller why.
            Err(problem) if problem.problem_type().status().is_client_error() => {
                tracing::error!(%problem, customer_id, "an onboarding cannot be finished");
                Ok(Outcome::Foreign)
            }
            Err(problem) => Err(WebhookError::Onboarding(problem)),
        }
    }
}

//! The end of an onboarding that waited for a payment method, brought about by
//! Stripe's word that there is one: the person need not come back, and nobody
//! need repeat the call.

use std::sync::Arc;

use billing::Clock;
use ledger::Ledger;
use metering::{METADATA_EXTERNAL_ID, METADATA_ONBOARDING};
use serde::{Deserialize, Serialize};
use web::{Problem, ProblemType};

use crate::error::OnboardingError;
use crate::onboard::{Onboarder, row_key};
use crate::outcome::Outcome;
use crate::request::{OnboardingKey, Payment, Request, Who};
use crate::terms::Terms;

/// What became of an onboarding that may have waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It has come to its end, by this call or before it.
    Done,
    /// There is none of this customer to finish.
    Nothing,
}

/// What is kept of a request with its onboarding. Nothing in it is personal.
#[derive(Serialize, Deserialize)]
struct Kept {
    price_lookup_key: String,
    terms: Terms,
}

impl Onboarder {
    /// What [`finish`] needs to know of a request.
    pub(crate) fn kept(&self, request: &Request) -> String {
        let kept = Kept {
            price_lookup_key: self.price_lookup_key.clone(),
            terms: request.terms.clone(),
        };
        // Texts and numbers alone: there is nothing in it that JSON cannot hold.
        serde_json::to_string(&kept).unwrap_or_default()
    }
}

/// Finishes the onboarding that marked the Stripe customer `customer_id`, if
/// the customer has something to pay by. It does what the repeat of
/// `POST /v1/customers` would, under the same idempotency keys: it may come
/// late, twice, and beside that repeat.
///
/// # Errors
/// A [`Problem`], logged already. Below 500, another try will end the same way;
/// the operator learns of it from the repeat.
pub async fn finish(
    ledger: &Ledger,
    stripe: &stripe::Client,
    clock: &Arc<dyn Clock>,
    customer_id: &str,
) -> Result<Finished, Problem> {
    let customer = match stripe.retrieve_customer(customer_id).await {
        Ok(customer) if !customer.deleted => customer,
        Ok(_) => return Ok(Finished::Nothing),
        Err(error) if error.is_not_found() => return Ok(Finished::Nothing),
        Err(error) => return Err(OnboardingError::stripe("retrieve customer")(error).into()),
    };
    let Some(key) = customer.metadata.get(METADATA_ONBOARDING) else {
        return Ok(Finished::Nothing);
    };
    let onboarding = OnboardingKey::Given(key.clone());
    let Some(row) = ledger.onboarding(&row_key(&onboarding)).await? else {
        return Ok(Finished::Nothing);
    };
    if row.customer_id.is_some() {
        return Ok(Finished::Done);
    }
    // An onboarding of before this was kept is finished by its caller.
    let kept = row.terms.as_deref().map(serde_json::from_str::<Kept>);
    let Some(Ok(kept)) = kept else {
        return Ok(Finished::Nothing);
    };
    let onboarder = Onboarder {
        ledger: ledger.clone(),
        stripe: stripe.clone(),
        price_lookup_key: kept.price_lookup_key,
        clock: Arc::clone(clock),
    };
    let request = Request {
        who: Who::Existing {
            customer_id: customer.id,
        },
        payment: Payment::Known,
        external_id: customer.metadata.get(METADATA_EXTERNAL_ID).cloned(),
        terms: kept.terms,
        onboarding,
    };
    match onboarder.go_on(&request, true).await {
        Ok(Outcome::Onboarded(_)) => Ok(Finished::Done),
        Ok(Outcome::Awaits(_)) => Ok(Finished::Nothing),
        // The other one may yet come to nothing.
        Err(error @ OnboardingError::UnderWay) => {
            Err(Problem::new(ProblemType::Unavailable, error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

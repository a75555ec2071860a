//! What an agent is told of usage that is not recorded, or not billed.

use billing::{CustomerId, FieldError};
use metering::{CustomerError, NotRecorded, PeriodUnknown};
use stripe::UsageApi;
use web::{Problem, ProblemType};

/// Of a new event. A repeat is answered as one, however late.
pub(crate) fn not_recorded(reason: NotRecorded) -> Problem {
    match reason {
        NotRecorded::NotInCatalog => not_in_catalog().into(),
        NotRecorded::OtherUsageApi {
            customer_id,
            usage_api,
        } => other_usage_api(&customer_id, usage_api),
        NotRecorded::OtherSubscriptionItem => {
            let reason = "must be the customer's subscription item that bills the action";
            FieldError::new("subscription_item_id", reason).into()
        }
        NotRecorded::TooOld(refusal) | NotRecorded::InFuture(refusal) => refusal.into(),
        NotRecorded::PeriodUnknown(unknown) => period_unknown(&unknown),
    }
}

pub(crate) fn not_in_catalog() -> FieldError {
    let reason = "is not in the catalog of billable actions; nothing was recorded";
    FieldError::new("action_type", reason)
}

pub(crate) fn customer_problem(error: CustomerError) -> Problem {
    match error {
        CustomerError::Ledger(error) => error.into(),
        CustomerError::TestClock(error) => Problem::from_stripe("retrieve test clock", &error),
    }
}

fn period_unknown(unknown: &PeriodUnknown) -> Problem {
    let detail = format!("{unknown}, and no later period is open; nothing was recorded");
    Problem::new(ProblemType::StripeUnavailable, detail)
}

/// Stripe would take no usage of this customer's, or bill it never.
fn other_usage_api(customer_id: &CustomerId, usage_api: UsageApi) -> Problem {
    tracing::error!(%customer_id, %usage_api, "a customer's price takes no usage by this API");
    let detail = format!(
        "the price of customer {customer_id} takes no usage by {usage_api}: Meterline's operator \
         must set USAGE_API to what its prices need; nothing was recorded"
    );
    Problem::new(ProblemType::Internal, detail)
}

pub(crate) fn customer_not_found(customer_id: &CustomerId) -> Problem {
    let detail = format!("there is no customer {customer_id}; onboard it first");
    Problem::new(ProblemType::CustomerNotFound, detail)
}

pub(crate) fn conflict() -> Problem {
    let detail = "the customer has an event of this event_id with other content; \
                  nothing was recorded";
    Problem::new(ProblemType::Conflict, detail)
}

pub(crate) fn voided() -> Problem {
    let detail = "the event of this event_id was voided; its id is used up";
    Problem::new(ProblemType::Voided, detail)
}

pub(crate) fn rejected(stripe_code: Option<&str>) -> Problem {
    let code = stripe_code.unwrap_or("unknown");
    let detail = format!("Stripe refused the event for good ({code}); it is not billed");
    Problem::new(ProblemType::Rejected, detail).with("stripe_code", stripe_code)
}

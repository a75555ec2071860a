//! The customer that a request is about.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRef, FromRequestParts, Path};
use axum::http::request::Parts as RequestParts;
use billing::CustomerId;
use ledger::Scope;
use metering::{CustomerError, KnownCustomer};
use web::{Authenticator, Caller, Problem, ProblemType};

use crate::Parts;

/// The customer in the path, whom the caller may read.
pub(crate) struct Readable(pub(crate) CustomerId);

impl<S> FromRequestParts<S> for Readable
where
    Arc<Authenticator>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut RequestParts, state: &S) -> Result<Self, Problem> {
        let readable = ReadableBy::from_request_parts(parts, state).await?;
        Ok(Self(readable.customer_id))
    }
}

/// The same, and who the caller is: some may do more than read.
pub(crate) struct ReadableBy {
    pub(crate) customer_id: CustomerId,
    pub(crate) caller: Caller,
}

impl<S> FromRequestParts<S> for ReadableBy
where
    Arc<Authenticator>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut RequestParts, state: &S) -> Result<Self, Problem> {
        let (customer_id, caller) = in_path(parts, state, Scope::Read).await?;
        Ok(Self {
            customer_id,
            caller,
        })
    }
}

/// The customer in the path, whom the caller may administer.
pub(crate) struct Administered(pub(crate) CustomerId);

impl<S> FromRequestParts<S> for Administered
where
    Arc<Authenticator>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut RequestParts, state: &S) -> Result<Self, Problem> {
        let (customer_id, _) = in_path(parts, state, Scope::Admin).await?;
        Ok(Self(customer_id))
    }
}

async fn in_path<S>(
    parts: &mut RequestParts,
    state: &S,
    scope: Scope,
) -> Result<(CustomerId, Caller), Problem>
where
    Arc<Authenticator>: FromRef<S>,
    S: Send + Sync,
{
    let caller = Caller::from_request_parts(parts, state).await?;
    let path: Result<Path<HashMap<String, String>>, _> =
        Path::from_request_parts(parts, state).await;
    let Path(path) = path.map_err(unreadable_path)?;
    let customer_id = path.get("customer_id").map_or("", String::as_str);
    let customer_id = CustomerId::parse(customer_id)?;
    web::telemetry::note_customer(&customer_id);
    caller.require(scope, Some(&customer_id))?;
    Ok((customer_id, caller))
}

pub(crate) fn unreadable_path(_: PathRejection) -> Problem {
    Problem::new(
        ProblemType::InvalidRequest,
        "the path is not percent-encoded UTF-8",
    )
}

impl Parts {
    /// The customer as it is now.
    pub(crate) async fn customer(
        &self,
        customer_id: &CustomerId,
    ) -> Result<KnownCustomer, Problem> {
        let known = self.directory.current_customer(customer_id).await;
        known.map_err(of_error)?.ok_or_else(not_onboarded)
    }

    /// Refuses a customer that is none, for what needs no more than that: Stripe
    /// is not asked.
    pub(crate) async fn require_customer(&self, customer_id: &CustomerId) -> Result<(), Problem> {
        let found = self.ledger.customer(customer_id).await?;
        found.map(|_| ()).ok_or_else(not_onboarded)
    }
}

/// Why a customer could not be looked up.
pub(crate) fn of_error(error: CustomerError) -> Problem {
    match error {
        CustomerError::Ledger(error) => error.into(),
        CustomerError::TestClock(error) => Problem::from_stripe("retrieve test clock", &error),
    }
}

pub(crate) fn not_onboarded() -> Problem {
    Problem::new(
        ProblemType::CustomerNotFound,
        "no customer with this id is onboarded",
    )
}

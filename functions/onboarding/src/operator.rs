//! Who may call: operators, for the customer in the path or for all. Decided before
//! a body is read.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use billing::CustomerId;
use ledger::Scope;
use web::{Authenticator, Caller, Problem, ProblemType};

use crate::State;

/// A caller who is an operator for all customers, those that are yet to come too.
pub(crate) struct Operator;

impl FromRequestParts<State> for Operator
where
    Arc<Authenticator>: axum::extract::FromRef<State>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        caller.require(Scope::Admin, None)?;
        Ok(Self)
    }
}

/// The id in `/v1/customers/{customer_id}/…`; the caller is an operator.
pub(crate) struct CustomerPath(pub(crate) CustomerId);

impl FromRequestParts<State> for CustomerPath
where
    Arc<Authenticator>: axum::extract::FromRef<State>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let path: Result<Path<HashMap<String, String>>, _> =
            Path::from_request_parts(parts, state).await;
        let Path(path) = path.map_err(|_| {
            let detail = "the path is not percent-encoded UTF-8";
            Problem::new(ProblemType::InvalidRequest, detail)
        })?;
        let customer_id = path.get("customer_id").map_or("", String::as_str);
        let customer_id = CustomerId::parse(customer_id)?;
        web::telemetry::note_customer(&customer_id);
        caller.require(Scope::Admin, Some(&customer_id))?;
        Ok(Self(customer_id))
    }
}

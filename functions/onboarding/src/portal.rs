//! `POST /v1/customers/{customer_id}/billing-portal-sessions`: a way into
//! Stripe's page where a customer sees invoices and changes how they pay.

use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use stripe::{CreateBillingPortalSession, ExposeSecret, RequestOptions};
use utoipa::ToSchema;
use web::openapi::schema;
use web::{JsonBody, Problem};

use crate::State;
use crate::body::check_url;
use crate::error::OnboardingError;
use crate::operator::CustomerPath;

/// What `POST …/billing-portal-sessions` takes.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = BillingPortalRequest)]
pub(crate) struct Body {
    /// Where Stripe's page leads back to.
    #[schema(required = false, schema_with = crate::openapi::web_address_or_null)]
    return_url: Option<String>,
}

/// A way into Stripe's billing portal, for minutes.
#[derive(Serialize, ToSchema)]
#[schema(as = BillingPortalSession)]
pub(crate) struct Answer<'a> {
    #[schema(schema_with = schema::url)]
    url: &'a str,
}

/// Whoever has the answer's address acts as the customer in the portal, so it
/// is made anew for each call, lasts minutes, and is kept nowhere.
pub(crate) async fn create_session(
    Shared(state): Shared<State>,
    CustomerPath(customer_id): CustomerPath,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, Problem> {
    let return_url = body
        .return_url
        .map(|url| check_url("return_url", &url))
        .transpose()?;
    let customer = state.onboarder.known(&customer_id).await?;
    let create = CreateBillingPortalSession {
        customer: customer.customer_id.to_string(),
        return_url,
    };
    let options = RequestOptions::until(state.onboarder.deadline());
    let session = state
        .onboarder
        .stripe
        .create_billing_portal_session(&create, &options)
        .await
        .map_err(|error| match error.is_not_found() {
            true => OnboardingError::Deleted,
            false => OnboardingError::stripe("create billing portal session")(error),
        })?;
    let answer = Answer {
        url: session.url.expose_secret(),
    };
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, no_store, axum::Json(answer)).into_response())
}

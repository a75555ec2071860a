//! JSON request bodies whose refusal is a problem document.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;

use crate::{Problem, ProblemType};

/// A request's body, read as JSON whatever its content type says: agents forget
/// the header, and no form or text would pass as JSON.
///
/// Refused are bodies over the route's limit ([`crate::BODY_BYTES_MAX`] unless it
/// has another) with 413, and what is no JSON of this shape, or nested deeper
/// than 128 levels, with 400.
#[derive(Clone, Debug)]
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|refusal| {
                if refusal.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
                    Problem::new(ProblemType::BodyTooLarge, "the body is too large")
                } else {
                    Problem::new(ProblemType::InvalidRequest, "the body could not be read")
                }
            })?;
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            let detail = format!("the body is not the JSON that is expected: {error}");
            Problem::new(ProblemType::InvalidRequest, detail)
        })
    }
}

//! JSON request bodies whose refusal is a problem document.

use axum::extract::{FromRequest, OptionalFromRequest, Request};
use axum::http::header::CONTENT_ENCODING;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::unique_keys::check_unique_keys;
use crate::{Problem, ProblemType};

/// A request's body, read as JSON whatever its content type says: agents forget
/// the header, and no form or text would pass as JSON.
///
/// Refused are bodies over the route's limit ([`crate::BODY_BYTES_MAX`] unless it
/// has another) with 413, those that say they are compressed with 415, and what
/// is no JSON of this shape, nested deeper than 128 levels, or has a key twice in
/// an object, with 400.
#[derive(Clone, Debug)]
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Self::read(&bytes(request, state).await?)
    }
}

/// None where there is no body: for routes that need nothing to be said.
impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        let body = bytes(request, state).await?;
        (!body.is_empty()).then(|| Self::read(&body)).transpose()
    }
}

impl<T: DeserializeOwned> JsonBody<T> {
    fn read(body: &[u8]) -> Result<Self, Problem> {
        from_json(body).map(Self).map_err(|error| {
            let detail = format!("the body is not the JSON that is expected: {error}");
            Problem::new(ProblemType::InvalidRequest, detail)
        })
    }
}

/// Reads JSON that came in something else than a body, and refuses in it what
/// [`JsonBody`] refuses.
///
/// # Errors
/// Where it is no JSON of this shape, nested too deep, or has a key twice.
pub fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    check_unique_keys(json)?;
    serde_json::from_slice(json)
}

async fn bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    refuse_encoded(request.headers())?;
    let body = Bytes::from_request(request, state).await;
    body.map_err(|refusal| {
        if refusal.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
            Problem::new(ProblemType::BodyTooLarge, "the body is too large")
        } else {
            Problem::new(ProblemType::InvalidRequest, "the body could not be read")
        }
    })
}

/// Bodies are small: unpacking one would only open a way to make a large one of
/// it. And a body that says it is packed, and is not, was meant otherwise.
fn refuse_encoded(headers: &HeaderMap) -> Result<(), Problem> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    if encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    let detail = "send the body as it is, without a Content-Encoding";
    Err(Problem::new(ProblemType::UnsupportedEncoding, detail))
}

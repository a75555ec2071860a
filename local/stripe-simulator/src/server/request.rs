//! Reading a request: authentication, version, idempotency key, body (Stripe API reference:
//! Authentication, Versioning, Idempotent requests).

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method};
use sha2::{Digest, Sha256};

use crate::api::error::{Result, StripeError};
use crate::api::version::Version;
use crate::control;
use crate::core::Core;
use crate::resources::account;

const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
const KEY_CHARS_MAX: usize = 255;
const STREAM_PATH: &str = "/v2/billing/meter_event_stream";

/// A request that may be answered.
#[derive(Debug)]
pub(crate) struct ApiRequest {
    pub(crate) id: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Bytes,
    pub(crate) version: Version,
    pub(crate) idempotency_key: Option<String>,
    /// What opens the meter event stream, which takes no secret key.
    pub(crate) session_token: Option<String>,
}

impl ApiRequest {
    pub(crate) fn is_v2(&self) -> bool {
        self.path.starts_with("/v2/")
    }

    /// v1 takes parameters in the query and in the body alike.
    pub(crate) fn form(&self) -> Vec<u8> {
        let mut form = self.query.clone().into_bytes();
        if !form.is_empty() && !self.body.is_empty() {
            form.push(b'&');
        }
        form.extend_from_slice(&self.body);
        form
    }

    /// What must be equal in a repeat under the same key.
    pub(crate) fn fingerprint(&self) -> Vec<u8> {
        let mut hash = Sha256::new();
        for part in [self.method.as_str(), &self.path, &self.query] {
            hash.update(part.as_bytes());
            hash.update(b"\n");
        }
        hash.update(&self.body);
        hash.finalize().to_vec()
    }
}

/// Reads a request, or refuses it before anything runs.
pub(super) async fn read(core: &Core, id: String, request: Request) -> Result<ApiRequest> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let bearer = bearer(&parts.headers)?;
    let session_token = (path == STREAM_PATH).then(|| bearer.to_owned());
    if session_token.is_none() {
        core.secret_keys.check(bearer)?;
        account::check(header(&parts.headers, "stripe-account"))?;
    }
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        let message = "The request body could not be read, or is too large.";
        StripeError::new(413, "invalid_request_error", message).not_remembered()
    })?;
    let is_v1 = !path.starts_with("/v2/") && !path.starts_with(control::PREFIX);
    if is_v1 && !body.is_empty() {
        check_content_type(&parts.headers)?;
    }
    Ok(ApiRequest {
        id,
        version: version(&parts.headers, path.starts_with("/v2/"))?,
        idempotency_key: idempotency_key(&parts.headers, &parts.method)?,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        method: parts.method,
        path,
        body,
        session_token,
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn bearer(headers: &HeaderMap) -> Result<&str> {
    let given = header(headers, AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, credentials) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| credentials.trim())
    });
    given.filter(|key| !key.is_empty()).ok_or_else(|| {
        StripeError::unauthenticated("You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for details, or we can help at https://support.stripe.com/.")
    })
}

fn check_content_type(headers: &HeaderMap) -> Result<()> {
    let given = header(headers, CONTENT_TYPE.as_str()).unwrap_or_default();
    if given.starts_with("application/x-www-form-urlencoded") {
        return Ok(());
    }
    let message = "Invalid request (check that your POST content type is application/x-www-form-urlencoded). If you have any questions, we can help at https://support.stripe.com/.";
    Err(StripeError::invalid(message).not_remembered())
}

fn version(headers: &HeaderMap, is_required: bool) -> Result<Version> {
    match header(headers, "stripe-version") {
        Some(version) => Version::parse(version),
        None if is_required => {
            let message = "Please provide an API version in the Stripe-Version header; v2 endpoints have no default.";
            Err(StripeError::invalid(message).not_remembered())
        }
        None => Ok(Version::newest()),
    }
}

/// Reading is idempotent by itself: a key on it is ignored.
fn idempotency_key(headers: &HeaderMap, method: &Method) -> Result<Option<String>> {
    if method != Method::POST && method != Method::DELETE {
        return Ok(None);
    }
    let key = header(headers, "idempotency-key").filter(|key| !key.is_empty());
    if key.is_some_and(|key| key.len() > KEY_CHARS_MAX) {
        let message = format!("Idempotency-Key must be at most {KEY_CHARS_MAX} characters.");
        let error = StripeError::new(400, "idempotency_error", message);
        return Err(error.not_remembered());
    }
    Ok(key.map(str::to_owned))
}

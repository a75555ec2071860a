//! Requests to Stripe that the functions do not make, and whose answers are
//! wanted as they come: events as Stripe words them, and the end of what a run
//! has made.

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use stripe::STRIPE_VERSION;

use crate::http::{self, HttpClientError, percent_encoded};

/// Why there is no answer to use.
#[derive(Debug, thiserror::Error)]
pub enum StripeRequestError {
    /// None came.
    #[error("Stripe does not answer")]
    Http(#[source] reqwest::Error),
    /// Stripe refused.
    #[error("Stripe answered {status} {code} to {request}")]
    Refused {
        /// Method and path.
        request: String,
        /// The status.
        status: u16,
        /// Stripe's code or type for the error.
        code: String,
    },
}

impl StripeRequestError {
    /// Whether what was named is not there.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether the same request may be answered otherwise a little later.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Http(_) => true,
            Self::Refused { status, .. } => matches!(*status, 409 | 429 | 500..),
        }
    }
}

/// Stripe's API, under a key.
pub(crate) struct StripeRequests {
    http: Client,
    api_base: String,
    key: SecretString,
}

impl StripeRequests {
    pub(crate) fn new(api_base: &str, key: SecretString) -> Result<Self, HttpClientError> {
        Ok(Self {
            http: http::client()?,
            api_base: api_base.trim_end_matches('/').to_owned(),
            key,
        })
    }

    /// `GET path`, which may have a query.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, StripeRequestError> {
        let request = self.http.get(self.url(path));
        self.send(format!("GET {path}"), request).await
    }

    /// All of a v1 list, whose path has a query.
    pub(crate) async fn list(&self, list: &str) -> Result<Vec<Value>, StripeRequestError> {
        let mut objects = Vec::new();
        let mut path = list.to_owned();
        loop {
            let page = self.get(&path).await?;
            let data = page["data"].as_array().cloned().unwrap_or_default();
            let last = data.last().and_then(|last| last["id"].as_str());
            let last = last.map(percent_encoded);
            objects.extend(data);
            match last {
                Some(last) if page["has_more"] == true => {
                    path = format!("{list}&starting_after={last}");
                }
                _ => return Ok(objects),
            }
        }
    }

    /// All of a v2 list.
    pub(crate) async fn list_v2(&self, list: &str) -> Result<Vec<Value>, StripeRequestError> {
        let mut objects = Vec::new();
        let mut next = Some(list.to_owned());
        while let Some(path) = next {
            let page = self.get(&path).await?;
            objects.extend(page["data"].as_array().cloned().unwrap_or_default());
            // Only the path counts: the key goes to no other host.
            next = page["next_page_url"].as_str().and_then(|url| {
                let start = url.find("/v2/")?;
                Some(url[start..].to_owned())
            });
        }
        Ok(objects)
    }

    /// `POST path` with a form that is encoded already.
    pub(crate) async fn post(&self, path: &str, form: &str) -> Result<Value, StripeRequestError> {
        let request = self
            .http
            .post(self.url(path))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.to_owned());
        self.send(format!("POST {path}"), request).await
    }

    /// `DELETE path`.
    pub(crate) async fn delete(&self, path: &str) -> Result<Value, StripeRequestError> {
        let request = self.http.delete(self.url(path));
        self.send(format!("DELETE {path}"), request).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.api_base)
    }

    async fn send(
        &self,
        name: String,
        request: RequestBuilder,
    ) -> Result<Value, StripeRequestError> {
        let request = request
            .bearer_auth(self.key.expose_secret())
            .header("Stripe-Version", STRIPE_VERSION);
        let answer = async {
            let response: Response = request.send().await?;
            Ok((response.status(), response.bytes().await?))
        };
        let (status, body) = answer
            .await
            .map_err(|error: reqwest::Error| StripeRequestError::Http(error.without_url()))?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(body);
        }
        let error = &body["error"];
        let code = error["code"].as_str().or_else(|| error["type"].as_str());
        Err(StripeRequestError::Refused {
            request: name,
            status: status.as_u16(),
            code: code.unwrap_or_default().to_owned(),
        })
    }
}

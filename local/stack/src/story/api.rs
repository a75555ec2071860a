//! Meterline's API, as any caller sees it.

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::StoryError;
use crate::http;

/// Meterline over HTTP, under one key.
pub struct Api {
    http: Client,
    base_url: String,
    key: SecretString,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, where it is JSON; null otherwise.
    pub body: Value,
}

impl Answer {
    /// The member of the body at a JSON pointer, in plain words: a string
    /// without its quotes, anything else as JSON.
    pub fn text(&self, pointer: &str) -> String {
        match self.body.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => "(absent)".to_owned(),
        }
    }
}

impl Api {
    /// The API at `base_url`, under `key`.
    ///
    /// # Errors
    /// [`StoryError::HttpClient`] where no client can be built.
    pub fn new(base_url: &str, key: SecretString) -> Result<Self, StoryError> {
        Ok(Self {
            http: http::client()?,
            base_url: base_url.trim_end_matches('/').to_owned(),
            key,
        })
    }

    /// `GET path`.
    ///
    /// # Errors
    /// [`StoryError::Http`] where no answer comes.
    pub async fn get(&self, path: &str) -> Result<Answer, StoryError> {
        self.send(self.request(Method::GET, path)).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// [`StoryError::Http`] where no answer comes.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, StoryError> {
        self.post_text(path, body.to_string()).await
    }

    /// `POST path` with any body, JSON or not.
    ///
    /// # Errors
    /// [`StoryError::Http`] where no answer comes.
    pub async fn post_text(&self, path: &str, body: String) -> Result<Answer, StoryError> {
        let request = self.request(Method::POST, path);
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        self.send(request).await
    }

    /// A call of any method, without a body.
    ///
    /// # Errors
    /// [`StoryError::Http`] where no answer comes.
    pub async fn call(&self, method: &str, path: &str) -> Result<Answer, StoryError> {
        let method = Method::from_bytes(method.as_bytes());
        let method = method.map_err(|_| StoryError::Unexpected("the method".to_owned()))?;
        self.send(self.request(method, path)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.base_url);
        self.http
            .request(method, url)
            .bearer_auth(self.key.expose_secret())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, StoryError> {
        let response = request.send().await?;
        let status = response.status().as_u16();
        let body = response.bytes().await?;
        Ok(Answer {
            status,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        })
    }
}

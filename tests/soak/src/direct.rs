//! The databases as they are, asked past the proxies and past the functions'
//! own clients: plain JSON over HTTP.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::SoakError;

/// DynamoDB wants a signature and an emulator does not check it.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 \
    Credential=soak/20260101/us-east-1/dynamodb/aws4_request, \
    SignedHeaders=host;x-amz-date, Signature=0";

/// The most meter events that the simulator gives at once.
const METER_EVENTS_PAGE: usize = 10_000;

/// Whatever is asked here has a whole database behind it.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A direct way to DynamoDB and to the Stripe simulator.
#[derive(Clone, Debug)]
pub(crate) struct Direct {
    http: Client,
    dynamodb_url: String,
    stripe_url: String,
}

impl Direct {
    pub(crate) fn new(dynamodb_url: &str, stripe_url: &str) -> Result<Self, SoakError> {
        // Somebody else in this process may have chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            http: Client::builder().timeout(TIMEOUT).build()?,
            dynamodb_url: dynamodb_url.to_owned(),
            stripe_url: stripe_url.to_owned(),
        })
    }

    /// An operation of DynamoDB's, or of its streams (`DynamoDBStreams.…`).
    pub(crate) async fn dynamodb<T: DeserializeOwned>(
        &self,
        operation: &str,
        body: &Value,
    ) -> Result<T, SoakError> {
        let target = match operation.strip_prefix("Streams.") {
            Some(operation) => format!("DynamoDBStreams_20120810.{operation}"),
            None => format!("DynamoDB_20120810.{operation}"),
        };
        let request = self
            .http
            .post(&self.dynamodb_url)
            .header("x-amz-target", target)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-date", "20260101T000000Z")
            .header("authorization", AUTHORIZATION)
            .body(body.to_string());
        answer(request).await
    }

    /// Every item of a table for which `filter` holds, if there is one, page by
    /// page, to `take`.
    pub(crate) async fn scan(
        &self,
        table: &str,
        parameters: &Value,
        mut take: impl FnMut(&Value) -> Result<(), SoakError>,
    ) -> Result<(), SoakError> {
        let mut request = parameters.clone();
        request["TableName"] = json!(table);
        request["ConsistentRead"] = json!(true);
        // Without a limit the embedded database reads all that is left of a table
        // for every page, of which it answers a megabyte.
        request["Limit"] = json!(1_000);
        loop {
            let page: Value = self.dynamodb("Scan", &request).await?;
            for item in page["Items"].as_array().into_iter().flatten() {
                take(item)?;
            }
            match &page["LastEvaluatedKey"] {
                Value::Null => return Ok(()),
                last => request["ExclusiveStartKey"] = last.clone(),
            }
        }
    }

    /// `GET` at Stripe.
    pub(crate) async fn stripe(&self, path: &str) -> Result<Value, SoakError> {
        answer(self.stripe_request(Method::GET, path)).await
    }

    /// `POST` of a form at Stripe.
    pub(crate) async fn stripe_post(
        &self,
        path: &str,
        form: &[(&str, String)],
    ) -> Result<Value, SoakError> {
        let form: Vec<String> = form
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = self
            .stripe_request(Method::POST, path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.join("&"));
        answer(request).await
    }

    fn stripe_request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.stripe_url);
        let request = self.http.request(method, url);
        request.bearer_auth(stripe_simulator::DEFAULT_SECRET_KEY)
    }

    /// Everything that Stripe would do by itself by now.
    pub(crate) async fn settle(&self) -> Result<(), SoakError> {
        self.stripe_post("/_simulator/settle", &[])
            .await
            .map(|_| ())
    }

    /// Every meter event that counts, to `take`.
    pub(crate) async fn meter_events(
        &self,
        mut take: impl FnMut(&Value) -> Result<(), SoakError>,
    ) -> Result<(), SoakError> {
        let mut after = 0;
        loop {
            let path = format!("/_simulator/meter_events?limit={METER_EVENTS_PAGE}&after={after}");
            let page = self.stripe(&path).await?;
            let events = page["data"].as_array().map_or(&[][..], Vec::as_slice);
            for event in events {
                take(event)?;
            }
            match events.last() {
                Some(last) => after = integer(last, "seq")?,
                None => return Ok(()),
            }
        }
    }
}

/// The whole number in `field`.
pub(crate) fn integer(value: &Value, field: &'static str) -> Result<i64, SoakError> {
    value[field].as_i64().ok_or(SoakError::Missing(field))
}

/// The text in `field`.
pub(crate) fn text<'a>(value: &'a Value, field: &'static str) -> Result<&'a str, SoakError> {
    value[field].as_str().ok_or(SoakError::Missing(field))
}

async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, SoakError> {
    let answer = request.send().await?;
    let status = answer.status();
    let body = answer.bytes().await?;
    if status.is_success() {
        return Ok(serde_json::from_slice(&body)?);
    }
    Err(SoakError::Refused {
        status: status.as_u16(),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

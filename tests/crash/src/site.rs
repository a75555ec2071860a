//! Crash sites by name: a call to DynamoDB, SNS, SES, Stripe or the operator's own
//! receiver, and a moment of it.

use std::fmt;

use axum::http::Method;
use axum::http::request::Parts;
use serde_json::Value;

/// Prefixes of Stripe's ids, which paths hold and names do not.
const STRIPE_IDS: [&str; 7] = ["clock_", "cus_", "evt_", "in_", "mtr_", "si_", "sub_"];

/// Where SES takes mails.
const SEND_EMAIL: &str = "/v2/email/outbound-emails";
/// What the paths of the operator's receiver begin with.
pub const OPERATOR: &str = "/operator/";

/// A moment of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// The call never arrives.
    Before,
    /// The call is still on its way when the process ends, and arrives after
    /// everything that follows the crash.
    OnItsWay,
    /// The work is done, and its answer is lost.
    AfterCommit,
    /// The answer was taken in, and nothing that the handler did next got out:
    /// no further call, and no answer to its own caller.
    After,
}

impl Moment {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Before, Self::OnItsWay, Self::AfterCommit, Self::After];
}

/// A place where a process can end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// The call, as [`call`] names it.
    pub call: String,
    /// The moment of it.
    pub moment: Moment,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.moment {
            Moment::Before => write!(f, "before {}", self.call),
            Moment::OnItsWay => write!(f, "with {} on its way, late", self.call),
            Moment::AfterCommit => write!(f, "after the commit of {}, answer lost", self.call),
            Moment::After => write!(f, "after {}", self.call),
        }
    }
}

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// It has an `X-Amz-Target`.
    DynamoDb,
    /// It names its action in a form.
    Sns,
    /// It has a path of its own.
    Ses,
    /// Its path begins with [`OPERATOR`].
    Operator,
    /// Everything else.
    Stripe,
}

/// The name of a call: DynamoDB's operation and table (a transaction's first),
/// SNS's or SES's action, or Stripe's method and path without ids.
pub fn call(parts: &Parts, body: &[u8]) -> (Service, String) {
    let target = parts.headers.get("x-amz-target");
    match target.and_then(|target| target.to_str().ok()) {
        Some(target) => {
            let operation = target.rsplit('.').next().unwrap_or(target);
            (
                Service::DynamoDb,
                format!("{operation} {}", table(body).unwrap_or_default()),
            )
        }
        None if body.starts_with(b"Action=") => {
            let action = String::from_utf8_lossy(&body["Action=".len()..]);
            let action = action.split('&').next().unwrap_or_default();
            (Service::Sns, format!("{action} Topic"))
        }
        None if parts.uri.path() == SEND_EMAIL => (Service::Ses, "SendEmail".to_owned()),
        None if parts.uri.path().starts_with(OPERATOR) => {
            let (method, path) = (&parts.method, parts.uri.path());
            (Service::Operator, format!("{method} {path}"))
        }
        None => (
            Service::Stripe,
            stripe_call(&parts.method, parts.uri.path()),
        ),
    }
}

fn table(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    if let Some(tables) = body.get("RequestItems") {
        return tables.as_object()?.keys().next().cloned();
    }
    let named = match body.get("TransactItems") {
        Some(items) => items.get(0)?.as_object()?.values().next()?,
        None => &body,
    };
    Some(named.get("TableName")?.as_str()?.to_owned())
}

fn stripe_call(method: &Method, path: &str) -> String {
    let named = |segment: &str| {
        let is_id = STRIPE_IDS.iter().any(|prefix| segment.starts_with(prefix));
        if is_id { "{id}" } else { segment }.to_owned()
    };
    let segments: Vec<String> = path.split('/').map(named).collect();
    format!("{method} {}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn named(request: &Request<&str>) -> String {
        let (parts, body) = request.clone().into_parts();
        call(&parts, body.as_bytes()).1
    }

    #[test]
    fn a_call_is_named_by_what_it_does_and_not_to_whom() {
        let put = Request::post("/").header("x-amz-target", "DynamoDB_20120810.PutItem");
        let put = put.body(r#"{"TableName":"A","Item":{}}"#).unwrap();
        assert_eq!(named(&put), "PutItem A");
        let transact =
            Request::post("/").header("x-amz-target", "DynamoDB_20120810.TransactWriteItems");
        let transact = transact
            .body(r#"{"TransactItems":[{"Update":{"TableName":"A"}},{"Put":{"TableName":"B"}}]}"#)
            .unwrap();
        assert_eq!(named(&transact), "TransactWriteItems A");
        let read = Request::post("/").header("x-amz-target", "DynamoDB_20120810.BatchGetItem");
        let read = read.body(r#"{"RequestItems":{"A":{"Keys":[]}}}"#).unwrap();
        assert_eq!(named(&read), "BatchGetItem A");
        let publish = Request::post("/").body("Action=Publish&Version=2010-03-31");
        assert_eq!(named(&publish.unwrap()), "Publish Topic");
        let mail = Request::post(SEND_EMAIL).body("{}");
        assert_eq!(named(&mail.unwrap()), "SendEmail");
        let hook = Request::post("/operator/hooks").body("{}");
        assert_eq!(named(&hook.unwrap()), "POST /operator/hooks");
        let subscription = Request::get("/v1/subscriptions/sub_1?expand[]=x");
        assert_eq!(
            named(&subscription.body("").unwrap()),
            "GET /v1/subscriptions/{id}"
        );
    }
}

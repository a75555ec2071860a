//! What DynamoDB and Stripe say when they refuse.

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::proxy::Service;
use crate::wire::Message;

/// An answer that takes the place of the work, as bytes; none where `fault` is
/// not of that kind.
pub(crate) fn refusal(
    service: Service,
    fault: Fault,
    request: &Message,
    detail: u64,
) -> Option<Vec<u8>> {
    match service {
        Service::DynamoDb => dynamodb(fault, request, detail),
        Service::Stripe => stripe(fault, detail),
    }
}

/// Amazon DynamoDB Developer Guide: "Error handling with DynamoDB".
fn dynamodb(fault: Fault, request: &Message, detail: u64) -> Option<Vec<u8>> {
    let error = |name: &str| {
        json!({
            "__type": format!("com.amazonaws.dynamodb.v20120810#{name}"),
            "message": "ordered by the simulation",
        })
    };
    let (status, body) = match fault {
        Fault::InternalError | Fault::InternalErrorAfterCommit => {
            (500, error("InternalServerError"))
        }
        Fault::Unavailable => (503, error("ServiceUnavailable")),
        Fault::Throttled if detail.is_multiple_of(2) => (400, error("ThrottlingException")),
        Fault::Throttled => (400, error("ProvisionedThroughputExceededException")),
        Fault::TransactionConflict => (400, transaction_conflict(request)),
        _ => return None,
    };
    Some(answer(status, "application/x-amz-json-1.0", "", &body))
}

/// One reason for each item, the first of which another transaction holds.
fn transaction_conflict(request: &Message) -> Value {
    let body = serde_json::from_slice(request.body()).unwrap_or(Value::Null);
    let items = body["TransactItems"].as_array().map_or(1, Vec::len);
    let mut reasons = vec![json!({ "Code": "None" }); items];
    if let Some(first) = reasons.first_mut() {
        *first = json!({
            "Code": "TransactionConflict",
            "Message": "Transaction is ongoing for the item",
        });
    }
    json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled, please refer cancellation reasons for specific \
                    reasons [TransactionConflict]",
        "CancellationReasons": reasons,
    })
}

/// Stripe API reference: Errors. A wait is asked for that is over at once, or
/// one that is longer than anybody waits.
fn stripe(fault: Fault, detail: u64) -> Option<Vec<u8>> {
    let error = |kind: &str, code: &str| json!({ "error": { "type": kind, "code": code, "message": "ordered by the simulation" } });
    let (status, headers, body) = match fault {
        Fault::TooManyRequests => (429, "", error("invalid_request_error", "rate_limit")),
        Fault::TooManyRequestsRetryAfter => {
            let headers = if detail.is_multiple_of(2) {
                "Retry-After: 0\r\n"
            } else {
                "Retry-After: 120\r\n"
            };
            (429, headers, error("invalid_request_error", "rate_limit"))
        }
        Fault::InternalError | Fault::InternalErrorAfterCommit => {
            (500, "", error("api_error", "internal"))
        }
        Fault::Unavailable => (503, "", error("api_error", "unavailable")),
        Fault::BadRequest => {
            let code = "meter_event_invalid_value";
            (400, "", error("invalid_request_error", code))
        }
        Fault::SessionExpired => {
            let code = "billing_meter_event_session_expired";
            (401, "", error("temporary_session_expired", code))
        }
        _ => return None,
    };
    Some(answer(status, "application/json", headers, &body))
}

fn answer(status: u16, content_type: &str, headers: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Fault\r\nContent-Type: {content_type}\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

//! One call to another service, as X-Ray's document of it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::trace::Trace;

/// A call that has ended (AWS X-Ray Developer Guide: "AWS X-Ray segment documents",
/// Subsegments). Fields that do not apply are left out.
#[derive(Debug, Serialize)]
pub(super) struct Subsegment<'a> {
    /// Of the service.
    name: &'a str,
    id: String,
    trace_id: &'a str,
    parent_id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    namespace: Namespace,
    /// Seconds of the Unix epoch.
    start_time: f64,
    end_time: f64,
    #[serde(flatten)]
    ending: Ending,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) http: Option<Http<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) aws: Option<Aws<'a>>,
}

/// Whose the service is.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Namespace {
    Aws,
    Remote,
}

/// How a call ended that did not succeed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Ending {
    /// The service refused it.
    #[serde(skip_serializing_if = "is_not")]
    pub(super) error: bool,
    /// And for being too much.
    #[serde(skip_serializing_if = "is_not")]
    pub(super) throttle: bool,
    /// The service failed, or did not answer.
    #[serde(skip_serializing_if = "is_not")]
    pub(super) fault: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Http<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<HttpRequest<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<HttpResponse>,
}

#[derive(Debug, Serialize)]
pub(super) struct HttpRequest<'a> {
    pub(super) method: &'a str,
    pub(super) url: String,
}

#[derive(Debug, Serialize)]
pub(super) struct HttpResponse {
    pub(super) status: u16,
}

#[derive(Debug, Serialize)]
pub(super) struct Aws<'a> {
    pub(super) operation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) table_name: Option<&'a str>,
}

impl<'a> Subsegment<'a> {
    /// A call to the service `name`, under way from `started` until now.
    pub(super) fn new(
        trace: &'a Trace,
        name: &'a str,
        namespace: Namespace,
        started: SystemTime,
        ending: Ending,
    ) -> Self {
        Self {
            name,
            id: format!("{:016x}", fastrand::u64(..)),
            trace_id: &trace.trace_id,
            parent_id: &trace.parent_id,
            kind: "subsegment",
            namespace,
            start_time: seconds(started),
            end_time: seconds(SystemTime::now()),
            ending,
            http: None,
            aws: None,
        }
    }
}

impl Ending {
    /// By the answer's status; none where nobody answered.
    pub(super) const fn of_status(status: Option<u16>) -> Self {
        let (error, throttle, fault) = match status {
            Some(429) => (true, true, false),
            Some(400..=499) => (true, false, false),
            Some(0..=399) => (false, false, false),
            Some(_) | None => (false, false, true),
        };
        Self {
            error,
            throttle,
            fault,
        }
    }
}

impl Http<'_> {
    pub(super) fn response(status: Option<u16>) -> Option<HttpResponse> {
        status.map(|status| HttpResponse { status })
    }
}

fn seconds(time: SystemTime) -> f64 {
    let elapsed = time.duration_since(UNIX_EPOCH);
    elapsed.unwrap_or_default().as_secs_f64()
}

const fn is_not(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whose_fault_it_is() {
        let said = |status| {
            let ending = Ending::of_status(status);
            (ending.error, ending.throttle, ending.fault)
        };
        assert_eq!(said(Some(200)), (false, false, false));
        assert_eq!(said(Some(404)), (true, false, false));
        assert_eq!(said(Some(429)), (true, true, false));
        assert_eq!(said(Some(503)), (false, false, true));
        assert_eq!(said(None), (false, false, true));
    }
}

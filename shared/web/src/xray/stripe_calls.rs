//! Watches Stripe's client.

use std::time::SystemTime;

use stripe::{Attempt, Observer};

use super::daemon::Daemon;
use super::subsegment::{Ending, Http, HttpRequest, Namespace, Subsegment};
use super::trace;

/// Tells each attempt at a request to Stripe that a sampled invocation makes.
#[derive(Clone, Debug)]
pub struct StripeCalls(Option<Daemon>);

impl StripeCalls {
    /// To `daemon`; to nobody where there is none.
    pub const fn new(daemon: Option<Daemon>) -> Self {
        Self(daemon)
    }
}

impl Observer for StripeCalls {
    fn attempted(&self, attempt: Attempt<'_>) {
        let (Self(Some(daemon)), Some(trace)) = (self, trace::current()) else {
            return;
        };
        let now = SystemTime::now();
        let started = now.checked_sub(attempt.duration).unwrap_or(now);
        let ending = Ending::of_status(attempt.status);
        let operation = attempt.operation;
        let mut call =
            Subsegment::new(&trace, operation.host(), Namespace::Remote, started, ending);
        call.http = Some(Http {
            request: Some(HttpRequest {
                method: operation.method(),
                url: operation.url(),
            }),
            response: Http::response(attempt.status),
        });
        daemon.send(&call);
    }
}

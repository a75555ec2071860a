//! Watches the clients of AWS's SDK.

use std::borrow::Cow;
use std::time::SystemTime;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use serde::Deserialize;

use super::daemon::Daemon;
use super::subsegment::{Aws, Ending, Http, Namespace, Subsegment};
use super::trace::{self, Trace};

/// Refusals for being too much that have another status than 429 (Amazon DynamoDB
/// Developer Guide: "Error handling with DynamoDB"; Amazon SNS and AWS Secrets Manager
/// API references: Common Error Types).
const THROTTLES: [&str; 5] = [
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "Throttling",
    "ThrottledException",
    "ThrottlingException",
];

/// Tells each attempt at a call that a sampled invocation makes, as the interceptor of
/// a client.
#[derive(Clone, Debug)]
pub struct AwsCalls(Option<Daemon>);

/// An attempt under way.
#[derive(Clone, Debug)]
struct Begun {
    trace: Trace,
    at: SystemTime,
    table_name: Option<String>,
}

impl Storable for Begun {
    type Storer = StoreReplace<Self>;
}

impl AwsCalls {
    /// To `daemon`; to nobody where there is none.
    pub const fn new(daemon: Option<Daemon>) -> Self {
        Self(daemon)
    }

    /// Tells of the attempt under way that it has ended, with `response` or with none.
    fn tell(&self, response: Option<&HttpResponse>, config: &mut ConfigBag) {
        let Self(Some(daemon)) = self else { return };
        if let (Some(begun), Some(call)) = (config.load::<Begun>(), config.load::<Metadata>()) {
            daemon.send(&begun.subsegment(call, response));
        } else {
            return;
        }
        config.interceptor_state().unset::<Begun>();
    }
}

impl Begun {
    fn subsegment<'a>(
        &'a self,
        call: &'a Metadata,
        response: Option<&'a HttpResponse>,
    ) -> Subsegment<'a> {
        let status = response.map(|response| response.status().as_u16());
        let mut ending = Ending::of_status(status);
        ending.throttle |= ending.error && response.is_some_and(is_throttle);
        let name = call.service();
        let mut subsegment = Subsegment::new(&self.trace, name, Namespace::Aws, self.at, ending);
        subsegment.http = status.map(|_| Http {
            request: None,
            response: Http::response(status),
        });
        subsegment.aws = Some(Aws {
            operation: call.name(),
            request_id: response.and_then(|it| it.headers().get("x-amzn-requestid")),
            table_name: self.table_name.as_deref(),
        });
        subsegment
    }
}

impl Intercept for AwsCalls {
    fn name(&self) -> &'static str {
        "AwsCalls"
    }

    fn read_before_attempt(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (Self(Some(_)), Some(trace)) = (self, trace::current()) {
            config.interceptor_state().store_put(Begun {
                trace,
                at: SystemTime::now(),
                table_name: context.request().body().bytes().and_then(table_name),
            });
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.tell(context.response(), config);
        Ok(())
    }

    /// Of an attempt that was cut off because the whole call took too long.
    fn read_after_execution(
        &self,
        _context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.tell(None, config);
        Ok(())
    }
}

/// The one table that a request of DynamoDB's is about. Batches and transactions
/// name theirs deeper inside.
fn table_name(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "TableName")]
        table_name: Option<String>,
    }
    serde_json::from_slice::<Named>(body).ok()?.table_name
}

fn is_throttle(response: &HttpResponse) -> bool {
    #[derive(Deserialize)]
    struct Coded<'a> {
        #[serde(borrow, rename = "__type")]
        code: Option<Cow<'a, str>>,
    }
    let body = response.body().bytes().unwrap_or_default();
    // It comes with a namespace: `com.amazonaws.dynamodb.v20120810#ThrottlingException`.
    let coded: Option<Coded<'_>> = serde_json::from_slice(body).ok();
    let code = coded.and_then(|coded| coded.code).unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    THROTTLES.contains(&code)
}

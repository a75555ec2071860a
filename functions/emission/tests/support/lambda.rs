//! Lambda's side of a function: its runtime API, over HTTP, for one invocation
//! of the compiled program (AWS Lambda Developer Guide: "Using the Lambda
//! runtime API for custom runtimes").
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::routing::{get, post};
use ledger::TableNames;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

/// For the program to start and to answer; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(30);
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(55);

/// What the program answered: to the invocation, or as its failure.
pub(crate) type Answered = Result<Value, Value>;

struct Invocation {
    event: Mutex<Option<Vec<u8>>>,
    trace: Option<String>,
    answered: mpsc::UnboundedSender<Answered>,
}

/// Ends the program with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `program` as Lambda does, with the tables of the DynamoDB at
/// `dynamodb_url` and the variables of `environment`, and gives it `event`.
pub(crate) async fn invoke(
    program: &str,
    dynamodb_url: &str,
    environment: &[(&str, &str)],
    event: &Value,
) -> Answered {
    invoke_traced(program, dynamodb_url, environment, event, None).await
}

/// The same, where Lambda says that the invocation is part of `trace`.
pub(crate) async fn invoke_traced(
    program: &str,
    dynamodb_url: &str,
    environment: &[(&str, &str)],
    event: &Value,
    trace: Option<&str>,
) -> Answered {
    let (answered, mut answers) = mpsc::unbounded_channel();
    let invocation = Arc::new(Invocation {
        event: Mutex::new(Some(event.to_string().into_bytes())),
        trace: trace.map(str::to_owned),
        answered,
    });
    let router = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/1/{what}", post(answer))
        .with_state(invocation);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });

    let program = Command::new(program)
        .env_clear()
        .envs(TableNames::VARIABLES)
        .envs(environment.iter().copied())
        .env("AWS_LAMBDA_RUNTIME_API", address)
        .env("AWS_LAMBDA_FUNCTION_NAME", "story")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "story")
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "story")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_ENDPOINT_URL_DYNAMODB", dynamodb_url)
        .spawn();
    let _running = Running(program.unwrap());
    let answer = tokio::time::timeout(PATIENCE, answers.recv()).await;
    answer.unwrap().unwrap()
}

async fn next(State(invocation): State<Arc<Invocation>>) -> (HeaderMap, Vec<u8>) {
    let Some(event) = invocation.event.lock().await.take() else {
        // There is no second invocation; Lambda keeps the program waiting.
        return std::future::pending().await;
    };
    let deadline = SystemTime::now() + FUNCTION_TIMEOUT;
    let deadline = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("lambda-runtime-aws-request-id", "1".to_owned()),
        (
            "lambda-runtime-deadline-ms",
            deadline.as_millis().to_string(),
        ),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:story".to_owned(),
        ),
    ] {
        headers.insert(HeaderName::from_static(name), value.parse().unwrap());
    }
    if let Some(trace) = &invocation.trace {
        headers.insert("lambda-runtime-trace-id", trace.parse().unwrap());
    }
    (headers, event)
}

async fn answer(
    State(invocation): State<Arc<Invocation>>,
    Path(what): Path<String>,
    body: Bytes,
) -> StatusCode {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let answered = if what == "response" {
        Ok(body)
    } else {
        Err(body)
    };
    // Nobody may be waiting any more.
    let _ = invocation.answered.send(answered);
    StatusCode::ACCEPTED
}

//! Lambda's side of a function: its runtime API, for one invocation (AWS Lambda
//! Developer Guide: "Using the Lambda runtime API for custom runtimes").

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as PathSegments, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::net::{TcpListener, UdpSocket};
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::Failure;

/// Far longer than a start should take.
const PATIENCE: Duration = Duration::from_secs(30);
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(55);

/// What X-Ray samples, the function tells X-Ray's daemon of (AWS X-Ray Developer
/// Guide: "Tracing header").
const TRACE_ID: &str = "Root=1-67891233-abcdef012345678912345678;Parent=463ac35c9f6413ad;Sampled=1";

/// What the program answered, and when.
struct Answered {
    at: Instant,
    what: String,
    body: Bytes,
}

/// A function's first invocation.
pub(crate) struct Invoked {
    /// From the start of the process to the answer.
    pub(crate) taken: Duration,
    pub(crate) answer: Value,
    /// The most memory that the process had until then; none where Linux does not tell.
    pub(crate) memory_peak_kib: Option<u64>,
}

struct Invocation {
    event: Mutex<Option<String>>,
    answered: mpsc::UnboundedSender<Answered>,
}

/// Starts `program` as Lambda does, and gives it `event`, which is traced.
pub(crate) async fn invoke(
    program: &Path,
    variables: &[(String, String)],
    event: &Value,
) -> Result<Invoked, Failure> {
    let (answered, mut answers) = mpsc::unbounded_channel();
    let invocation = Arc::new(Invocation {
        event: Mutex::new(Some(event.to_string())),
        answered,
    });
    let router = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/1/{what}", post(answer))
        .with_state(invocation);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    // Nobody reads what is told: a daemon takes no time of the function's.
    let daemon = UdpSocket::bind("127.0.0.1:0").await?;
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });

    let started = Instant::now();
    let mut running = Command::new(program)
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .env("AWS_LAMBDA_RUNTIME_API", address)
        .env("AWS_XRAY_DAEMON_ADDRESS", daemon.local_addr()?.to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", "bench")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "bench")
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "bench")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let answered = tokio::time::timeout(PATIENCE, answers.recv()).await;
    let memory_peak_kib = running.id().and_then(memory_peak_kib);
    running.kill().await?;
    serving.abort();
    let answered = answered
        .map_err(|_| format!("{} does not answer", program.display()))?
        .ok_or("the runtime API is gone")?;
    let answer: Value = serde_json::from_slice(&answered.body)?;
    if answered.what != "response" {
        return Err(format!("{} failed: {answer}", program.display()).into());
    }
    Ok(Invoked {
        taken: answered.at.duration_since(started),
        answer,
        memory_peak_kib,
    })
}

/// What is resident at most, of a running process (proc_pid_status(5)).
fn memory_peak_kib(process_id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process_id}/status")).ok()?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix(" kB")?.parse().ok()
}

async fn next(
    State(invocation): State<Arc<Invocation>>,
) -> Result<(HeaderMap, String), StatusCode> {
    let event = invocation.event.lock();
    let event = event.unwrap_or_else(PoisonError::into_inner).take();
    let Some(event) = event else {
        // There is no second invocation; Lambda keeps the program waiting.
        return std::future::pending().await;
    };
    let deadline = SystemTime::now() + FUNCTION_TIMEOUT;
    let deadline = deadline.duration_since(SystemTime::UNIX_EPOCH);
    let deadline_ms = deadline.unwrap_or_default().as_millis().to_string();
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("lambda-runtime-aws-request-id", "1"),
        ("lambda-runtime-deadline-ms", &deadline_ms),
        ("lambda-runtime-trace-id", TRACE_ID),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:bench",
        ),
    ] {
        let value = HeaderValue::from_str(value).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok((headers, event))
}

async fn answer(
    State(invocation): State<Arc<Invocation>>,
    PathSegments(what): PathSegments<String>,
    body: Bytes,
) -> StatusCode {
    let at = Instant::now();
    // Nobody may be waiting any more.
    let _ = invocation.answered.send(Answered { at, what, body });
    StatusCode::ACCEPTED
}

//! The Rust client under the conformance suite of `clients/conformance`: takes
//! operations as JSON lines, and answers each by its id when it is done.

use std::io::Write;
use std::time::Duration;

use meterline_client::{
    BufferSettings, Emit, EmitError, Flushed, MeteredError, Meterline, Recorded, SettingsError,
    Usage,
};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Deserialize)]
struct Line {
    id: Value,
    #[serde(flatten)]
    op: Op,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Op {
    Open { settings: Settings },
    Emit(Event),
    CheckAccess { customer_id: String },
    Metered(Metered),
    Flush,
    Close,
}

#[derive(Deserialize)]
struct Settings {
    url: String,
    api_key: String,
    retry_budget_ms: Option<u64>,
    request_timeout_ms: Option<u64>,
    buffer: Option<Buffer>,
    spool_dir: Option<String>,
}

#[derive(Deserialize)]
struct Buffer {
    events_max: usize,
    wait_ms: u64,
}

/// As the case has it: what is no whole number fits into no `Usage`.
#[derive(Deserialize)]
struct Event {
    customer_id: String,
    action_type: String,
    quantity: Option<Value>,
    event_id: Option<String>,
    job_id: Option<String>,
    occurred_at: Option<String>,
}

#[derive(Deserialize)]
struct Metered {
    #[serde(flatten)]
    event: Event,
    #[serde(default)]
    check_access: bool,
    action: Action,
}

#[derive(Deserialize)]
struct Action {
    #[serde(default)]
    result: Value,
    throws: Option<String>,
    #[serde(default)]
    takes_ms: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut client: Option<Meterline> = None;
    let mut running = JoinSet::new();
    let mut lines = lines_of_stdin();
    while let Some(line) = lines.recv().await {
        let Line { id, op } = serde_json::from_str(&line)?;
        match op {
            Op::Open { settings } => match open(settings) {
                Ok(meterline) => {
                    client = Some(meterline);
                    tell(&id, Ok(json!({})))?;
                }
                Err(error) => tell(&id, Err(invalid(&error.to_string())))?,
            },
            Op::Close => {
                if let Some(meterline) = client.take() {
                    meterline.close().await;
                }
                while running.join_next().await.is_some() {}
                tell(&id, Ok(json!({})))?;
            }
            op => {
                let meterline = client.clone().ok_or("nothing was opened")?;
                running.spawn(async move {
                    let answer = perform(&meterline, op).await;
                    tell(&id, answer)
                });
            }
        }
    }
    if let Some(meterline) = client.take() {
        meterline.close().await;
    }
    while running.join_next().await.is_some() {}
    Ok(())
}

/// Reading them blocks, so a thread of its own does.
fn lines_of_stdin() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

fn open(settings: Settings) -> Result<Meterline, SettingsError> {
    let mut builder = Meterline::builder(settings.url, settings.api_key);
    if let Some(budget_ms) = settings.retry_budget_ms {
        builder = builder.retry_budget(Duration::from_millis(budget_ms));
    }
    if let Some(timeout_ms) = settings.request_timeout_ms {
        builder = builder.request_timeout(Duration::from_millis(timeout_ms));
    }
    if let Some(buffer) = settings.buffer {
        builder = builder.buffer(BufferSettings {
            events_max: buffer.events_max,
            wait: Duration::from_millis(buffer.wait_ms),
        });
    }
    if let Some(folder) = settings.spool_dir {
        builder = builder.spool(folder);
    }
    builder.build()
}

async fn perform(meterline: &Meterline, op: Op) -> Result<Value, Value> {
    match op {
        Op::Emit(event) => match meterline.emit(usage(event)?).await {
            Ok(recorded) => Ok(shown(&recorded)),
            Err(error) => Err(refused(&error)),
        },
        Op::CheckAccess { customer_id } => match meterline.access(&customer_id).await {
            Ok(access) => Ok(json!({
                "allowed": access.allowed, "reason": access.reason, "status": access.status,
                "units": access.units, "limit": access.limit,
            })),
            Err(error) => Err(unanswered(&error)),
        },
        Op::Metered(metered) => perform_metered(meterline, metered).await,
        Op::Flush => {
            let flushed = meterline.flush().await;
            let Flushed {
                waiting, set_aside, ..
            } = flushed.map_err(|error| invalid(&error.to_string()))?;
            Ok(json!({ "waiting": waiting, "set_aside": set_aside }))
        }
        Op::Open { .. } | Op::Close => Ok(json!({})),
    }
}

async fn perform_metered(meterline: &Meterline, metered: Metered) -> Result<Value, Value> {
    let usage = usage(metered.event)?;
    let Action {
        result,
        throws,
        takes_ms,
    } = metered.action;
    let action = async || {
        tokio::time::sleep(Duration::from_millis(takes_ms)).await;
        throws.map_or(Ok(result), Err)
    };
    let metered = if metered.check_access {
        meterline.metered_if_allowed(usage, action).await
    } else {
        meterline.metered(usage, action).await
    };
    match metered {
        Ok(metered) => {
            let mut answer = shown(&metered.recorded);
            answer["result"] = metered.output;
            Ok(answer)
        }
        Err(MeteredError::Denied(access)) => Err(json!({
            "kind": "access_denied", "retryable": false, "message": access.reason,
        })),
        Err(MeteredError::Action(message)) => Err(json!({
            "kind": "action_failed", "retryable": false, "message": message,
        })),
        Err(MeteredError::AccessUnknown(error)) => Err(unanswered(&error)),
        Err(MeteredError::Withheld(withheld)) => Err(refused(withheld.error())),
        Err(MeteredError::Closed) => Err(refused(&EmitError::Closed)),
        Err(error) => Err(invalid(&error.to_string())),
    }
}

fn usage(event: Event) -> Result<Usage, Value> {
    let mut usage = Usage::new(event.customer_id, event.action_type);
    if let Some(quantity) = event.quantity {
        let quantity = quantity
            .as_u64()
            .ok_or_else(|| invalid("no whole number"))?;
        usage = usage.quantity(quantity);
    }
    if let Some(job_id) = event.job_id {
        usage = usage.job(job_id);
    }
    if let Some(event_id) = event.event_id {
        usage = usage.event_id(event_id);
    }
    if let Some(occurred_at) = event.occurred_at {
        let time = OffsetDateTime::parse(&occurred_at, &Rfc3339);
        let time = time.map_err(|error| invalid(&error.to_string()))?;
        usage = usage.occurred_at(time.into());
    }
    Ok(usage)
}

fn shown(recorded: &Recorded) -> Value {
    json!({
        "event_id": recorded.event_id, "status": recorded.status.to_string(),
        "duplicate": recorded.duplicate,
        "quantity": recorded.quantity, "customer_status": recorded.customer_status,
    })
}

fn invalid(message: &str) -> Value {
    json!({ "kind": "invalid", "retryable": false, "message": message })
}

/// Of a question for access.
fn unanswered(error: &EmitError) -> Value {
    let mut shown = refused(error);
    if error.is_retryable() {
        shown["kind"] = json!("unavailable");
    }
    shown
}

fn refused(error: &EmitError) -> Value {
    let kind = match error {
        EmitError::Invalid(_) => "invalid",
        EmitError::Refused { .. } => "refused",
        EmitError::PerhapsRecorded { .. } => "perhaps_recorded",
        EmitError::Spool { .. } => "spool_failed",
        EmitError::Closed => "closed",
        _ => "unknown",
    };
    json!({
        "kind": kind,
        "retryable": error.is_retryable(),
        "type": error.problem().map(|problem| &problem.problem_type),
        "event_id": error.event_id(),
        "message": error.to_string(),
    })
}

/// One line, whole, whatever else is being told.
fn tell(id: &Value, answer: Result<Value, Value>) -> Result<(), Failure> {
    let line = match answer {
        Ok(ok) => json!({ "id": id, "ok": ok }),
        Err(error) => json!({ "id": id, "error": error }),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

//! The Rust client under the conformance suite of `clients/conformance`: takes
//! operations as JSON lines, and answers each by its id when it is done.

use std::io::Write;
use std::time::Duration;

use meterline_client::{
    AccessError, AccessQuery, BufferSettings, Emit, EmitError, Flushed, MeteredError, Meterline,
    Recorded, ReservationError, ReservationRequest, SettingsError, Usage,
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
    CheckAccess(Question),
    Reserve(Reserve),
    Release(Release),
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

/// As the case has it, also where it is wrong.
#[derive(Deserialize)]
struct Event {
    customer_id: String,
    action_type: String,
    quantity: Option<Value>,
    event_id: Option<String>,
    job_id: Option<String>,
    occurred_at: Option<String>,
    reservation_id: Option<String>,
}

#[derive(Deserialize)]
struct Question {
    customer_id: String,
    units: Option<Value>,
    action_type: Option<String>,
}

#[derive(Deserialize)]
struct Reserve {
    customer_id: String,
    action_type: String,
    quantity: Value,
    reservation_id: Option<String>,
    expires_in_s: Option<Value>,
}

#[derive(Deserialize)]
struct Release {
    customer_id: String,
    reservation_id: String,
}

#[derive(Deserialize)]
struct Metered {
    #[serde(flatten)]
    event: Event,
    #[serde(default)]
    check_access: bool,
    reserve: Option<Value>,
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
        let settings = BufferSettings::default().events_max(buffer.events_max);
        builder = builder.buffer(settings.wait(Duration::from_millis(buffer.wait_ms)));
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
        Op::CheckAccess(question) => check_access(meterline, question).await,
        Op::Reserve(wanted) => reserve(meterline, wanted).await,
        Op::Release(of) => {
            let status = meterline.release(&of.customer_id, &of.reservation_id).await;
            let status = status.map_err(|error| not_reserved(&error))?;
            Ok(json!({ "status": status }))
        }
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

async fn check_access(meterline: &Meterline, question: Question) -> Result<Value, Value> {
    let mut query = AccessQuery::new(question.customer_id);
    if let Some(units) = question.units {
        query = query.units(whole(&units)?);
    }
    if let Some(action_type) = question.action_type {
        query = query.action_type(action_type);
    }
    let access = meterline.access(query).await;
    let access = access.map_err(|error| unanswered(&error))?;
    Ok(json!({
        "allowed": access.allowed, "reason": access.reason, "status": access.status,
        "units": access.units, "limit": access.limit, "spending_limit": access.spending_limit,
    }))
}

async fn reserve(meterline: &Meterline, wanted: Reserve) -> Result<Value, Value> {
    let quantity = whole(&wanted.quantity)?;
    let mut request = ReservationRequest::new(wanted.customer_id, wanted.action_type, quantity);
    if let Some(reservation_id) = wanted.reservation_id {
        request = request.reservation_id(reservation_id);
    }
    if let Some(expires_in_s) = wanted.expires_in_s {
        request = request.expires_in(Duration::from_secs(whole(&expires_in_s)?));
    }
    let held = meterline.reserve(request).await;
    let held = held.map_err(|error| not_reserved(&error))?;
    let expires_at = OffsetDateTime::from(held.expires_at).format(&Rfc3339);
    Ok(json!({
        "reservation_id": held.reservation_id, "status": held.status, "quantity": held.quantity,
        "expires_at": expires_at.map_err(|error| invalid(&error.to_string()))?,
    }))
}

async fn perform_metered(meterline: &Meterline, metered: Metered) -> Result<Value, Value> {
    let mut usage = usage(metered.event)?;
    if let Some(units) = metered.reserve {
        usage = usage.reserve(whole(&units)?);
    }
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
        Err(MeteredError::NotReserved(error)) => Err(not_reserved(&error)),
        Err(MeteredError::Withheld(withheld)) => Err(refused(withheld.error())),
        Err(MeteredError::Closed) => Err(refused(&EmitError::Closed)),
        Err(error) => Err(invalid(&error.to_string())),
    }
}

fn usage(event: Event) -> Result<Usage, Value> {
    let mut usage = Usage::new(event.customer_id, event.action_type);
    if let Some(quantity) = event.quantity {
        usage = usage.quantity(whole(&quantity)?);
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
    if let Some(reservation_id) = event.reservation_id {
        usage = usage.reservation_id(reservation_id);
    }
    Ok(usage)
}

/// What is no whole number fits into no argument of the client's.
fn whole(number: &Value) -> Result<u64, Value> {
    number.as_u64().ok_or_else(|| invalid("no whole number"))
}

fn shown(recorded: &Recorded) -> Value {
    json!({
        "event_id": recorded.event_id, "status": recorded.status.to_string(),
        "duplicate": recorded.duplicate,
        "quantity": recorded.quantity, "customer_status": recorded.customer_status,
        "reservation": recorded.reservation,
    })
}

fn invalid(message: &str) -> Value {
    json!({ "kind": "invalid", "retryable": false, "message": message })
}

/// Of a question for access.
fn unanswered(error: &AccessError) -> Value {
    json!({
        "kind": error.kind(),
        "retryable": error.is_retryable(),
        "type": error.problem().map(|problem| &problem.problem_type),
        "message": error.to_string(),
    })
}

fn not_reserved(error: &ReservationError) -> Value {
    json!({
        "kind": error.kind(),
        "retryable": error.is_retryable(),
        "type": error.problem().map(|problem| &problem.problem_type),
        "reservation_id": error.reservation_id(),
        "message": error.to_string(),
    })
}

fn refused(error: &EmitError) -> Value {
    json!({
        "kind": error.kind(),
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

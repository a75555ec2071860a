//! From the start of a function's process to its first answer, beside a
//! function that does nothing.

use std::path::{Path, PathBuf};

use ledger::TableNames;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stack::Pumping;

use crate::page::Page;
use crate::samples::{Samples, ms, ratio};
use crate::world::World;
use crate::{Failure, Scale, lambda};

/// What the others are measured against.
const HELLO: &str = "hello-function";

/// One row of the table.
struct Start {
    program: &'static str,
    asked: &'static str,
    event: Value,
    /// What shows that the answer is the right one.
    is_right: fn(&Value) -> bool,
    taken: Samples,
    /// Of all its processes.
    memory_peak_kib: Option<u64>,
}

/// Measures and tells.
pub(crate) async fn run(page: &mut Page, scale: Scale, folder: &Path) -> Result<(), Failure> {
    page.heading("Cold start")?;
    let world = World::start(Pumping::Manual, None).await?;
    let mut starts = starts(&world).await?;
    let missing = starts
        .iter()
        .map(|start| program(folder, start))
        .find(|program| !program.is_file());
    if let Some(program) = missing {
        page.line(&format!("Not run: {} was not built.", program.display()))?;
        return world.stop().await;
    }
    page.line(
        "From the start of the process to the first answer, under a runtime API that answers at \
         once; release builds, as deployed, every invocation traced by X-Ray; by turns. Milliseconds; \
         the program's size; the most memory that it had.\n",
    )?;
    page.columns(&[
        "function",
        "asked for",
        "p50",
        "to hello",
        "p99",
        "KiB",
        "MB",
    ])?;
    let variables = variables(&world);
    // One round more: the first reads the programs from the disk.
    for round in 0..=scale.of(50) {
        for start in &mut starts {
            let program = program(folder, start);
            let invoked = lambda::invoke(&program, &variables, &start.event).await?;
            if !(start.is_right)(&invoked.answer) {
                return Err(format!("{} answered {}", start.program, invoked.answer).into());
            }
            if round > 0 {
                start.taken.add(invoked.taken);
                start.memory_peak_kib = start.memory_peak_kib.max(invoked.memory_peak_kib);
            }
        }
    }
    let hello = starts.first().map_or(0, |hello| hello.taken.p50_us());
    for start in &starts {
        let size = std::fs::metadata(program(folder, start))?.len();
        page.row([
            start.program.to_owned(),
            start.asked.to_owned(),
            ms(start.taken.p50_us()),
            ratio(start.taken.p50_us(), hello),
            ms(start.taken.p99_us()),
            (size / 1024).to_string(),
            start
                .memory_peak_kib
                .map_or_else(|| "–".to_owned(), |kib| kib.div_ceil(1_024).to_string()),
        ])?;
    }
    world.stop().await
}

/// Where `cargo lambda build` puts it.
fn program(folder: &Path, start: &Start) -> PathBuf {
    folder.join(start.program).join("bootstrap")
}

async fn starts(world: &World) -> Result<Vec<Start>, Failure> {
    let customer = world.onboard(1).await?;
    let customer = customer.first().ok_or("no customer")?;
    let key = world.system.api_key().expose_secret();
    let start = |program, asked, event, is_right| Start {
        program,
        asked,
        event,
        is_right,
        taken: Samples::none(),
        memory_peak_kib: None,
    };
    let is_401: fn(&Value) -> bool = |answer| answer["statusCode"] == 401;
    let usage = format!("/v1/customers/{}/usage", customer.id);
    let mut first = world.event(customer);
    // Each process sends the same event: the first delivers it, the others find it.
    first["event_id"] = json!("cold-start");
    Ok(vec![
        start(HELLO, "nothing", json!({}), |answer| {
            answer["statusCode"] == 200
        }),
        start(
            "onboarding",
            "401",
            request("POST", "/v1/customers", "{}", None),
            is_401,
        ),
        start(
            "emission",
            "401",
            request("POST", "/v1/usage", "{}", None),
            is_401,
        ),
        start("report", "401", request("GET", &usage, "", None), is_401),
        start(
            "webhook",
            "400",
            request("POST", "/", "{}", None),
            |answer| answer["statusCode"] == 400,
        ),
        start(
            "rollup",
            "no records: reads its checkpoint",
            json!({ "Records": [], "shardId": "cold-start", "state": {} }),
            |answer| answer["state"].is_object(),
        ),
        start(
            "redelivery",
            "a run: reads the outbox",
            json!({}),
            Value::is_object,
        ),
        start(
            "emission",
            "a repeated event: reads key and customer, tries the put",
            request("POST", "/v1/usage", &first.to_string(), Some(key)),
            |answer| answer["statusCode"] == 200,
        ),
        start(
            "report",
            "the usage",
            request("GET", &usage, "", Some(key)),
            |answer| answer["statusCode"] == 200,
        ),
    ])
}

/// A request as API Gateway hands it to a function (Amazon API Gateway Developer
/// Guide: "Create AWS Lambda proxy integrations for HTTP APIs", version 2.0).
fn request(method: &str, path: &str, body: &str, key: Option<&str>) -> Value {
    let mut headers = json!({ "host": "bench", "content-type": "application/json" });
    if let Some(key) = key {
        headers["authorization"] = json!(format!("Bearer {key}"));
    }
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "bench",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
            },
            "stage": "$default",
            "timeEpoch": 0,
        },
        "body": body,
        "isBase64Encoded": false,
    })
}

/// The environment that the template gives the functions, with the addresses of
/// this machine.
fn variables(world: &World) -> Vec<(String, String)> {
    let system = &world.system;
    let tables = system.ledger().tables();
    let names = [
        &tables.usage_events,
        &tables.usage_totals,
        &tables.outbox,
        &tables.customers,
        &tables.billing_events,
        &tables.api_keys,
    ];
    let tables = TableNames::VARIABLES
        .iter()
        .map(|(variable, _)| *variable)
        .zip(names.map(String::as_str));
    let stripe_key = system.stripe_secret_key().expose_secret();
    [
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_ENDPOINT_URL_DYNAMODB", system.dynamodb_url()),
        ("STRIPE_API_BASE", system.stripe_url()),
        ("STRIPE_METER_EVENTS_BASE", system.meter_events_url()),
        ("STRIPE_SECRET_KEY", stripe_key),
        ("STRIPE_WEBHOOK_SECRET", "whsec_bench"),
        ("STRIPE_PRICE_LOOKUP_KEY", "agent_operations_monthly"),
        ("DASHBOARD_LINK_SECRET", "only-for-the-benchmark-0123456789"),
        ("RUST_LOG", "info"),
    ]
    .into_iter()
    .chain(tables)
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

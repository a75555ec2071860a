//! The common emitter in Python, beside Meterline: how fast, and how exact when
//! answers are lost.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stack::Pumping;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::page::Page;
use crate::samples::{Samples, ms, per_second};
use crate::world::{Customer, World, memory_folder};
use crate::{Failure, Scale};

const EMITTER: &str = include_str!("../emitter.py");

/// Callers at once. Stripe takes one v1 meter event at a time per customer, so
/// that each caller acts for a customer of its own.
const CALLERS: [usize; 2] = [1, 8];
const EVENTS_PER_CALLER: usize = 500;

/// Events while answers are lost, and which answer is.
const LOSSY_EVENTS: usize = 200;
const LOST_EVERY: usize = 10;

/// Who emits.
#[derive(Clone, Copy, Debug)]
struct Emitter {
    name: &'static str,
    /// `stripe` or `meterline`, as the script calls them.
    kind: &'static str,
    /// Options of Stripe's SDK.
    no_retries: bool,
    /// Where Stripe gets its events.
    path: &'static str,
}

const COMMON: Emitter = Emitter {
    name: "Python, Stripe's SDK, then sqlite3",
    kind: "stripe",
    no_retries: false,
    path: "/v1/billing/meter_events",
};

const COMMON_WITHOUT_RETRIES: Emitter = Emitter {
    name: "the same, `max_network_retries=0`",
    no_retries: true,
    ..COMMON
};

const METERLINE: Emitter = Emitter {
    name: "Python, Meterline's API",
    kind: "meterline",
    no_retries: false,
    path: "/v2/billing/meter_event_stream",
};

/// What it came to.
struct Outcome {
    samples: Samples,
    elapsed: Duration,
    /// Attempts that got no answer, as the agent sees it.
    failed: u64,
}

/// Measures and tells.
pub(crate) async fn run(page: &mut Page, scale: Scale, python: &Path) -> Result<(), Failure> {
    page.heading("The common emitter in Python")?;
    if !python.is_file() {
        let program = python.display();
        page.line(&format!(
            "Not run: there is no {program} with Stripe's SDK."
        ))?;
        return Ok(());
    }
    page.line(
        "Against the same simulator, which answers at once; `sqlite3` and the tables in memory \
         alike. Each caller acts for a customer of its own, one event after the other. The last \
         rows are an agent without Python.\n",
    )?;
    page.columns(&["emitter", "callers", "events/s", "p50 ms", "p99 ms"])?;
    let world = World::start(Pumping::Automatic, None).await?;
    for callers in CALLERS {
        let customers = world.onboard(callers).await?;
        let events = scale.of(EVENTS_PER_CALLER);
        for emitter in [COMMON, METERLINE] {
            let outcome = emit(&world, python, emitter, &customers, events).await?;
            tell(page, emitter.name, callers, &outcome)?;
        }
        let outcome = emit_in_rust(&world, &customers, events).await?;
        tell(page, "Rust, Meterline's API", callers, &outcome)?;
    }
    lose_answers(page, &world, python, scale).await?;
    world.stop().await
}

fn tell(page: &mut Page, name: &str, callers: usize, outcome: &Outcome) -> Result<(), Failure> {
    Ok(page.row([
        name.to_owned(),
        callers.to_string(),
        per_second(outcome.samples.len() as u64, outcome.elapsed).to_string(),
        ms(outcome.samples.p50_us()),
        ms(outcome.samples.p99_us()),
    ])?)
}

/// Every tenth answer of Stripe is lost after its work was done. The agents try
/// again until they get an answer.
async fn lose_answers(
    page: &mut Page,
    world: &World,
    python: &Path,
    scale: Scale,
) -> Result<(), Failure> {
    page.line(&format!(
        "\nEvery {LOST_EVERY}th answer of Stripe is lost after it has counted the event; the \
         agent tries again whenever it got no answer.\n"
    ))?;
    page.columns(&["emitter", "used", "billed", "tries without an answer"])?;
    let events = scale.of(LOSSY_EVENTS).max(LOST_EVERY * 2);
    for emitter in [COMMON, COMMON_WITHOUT_RETRIES, METERLINE] {
        let customers = world.onboard(1).await?;
        let customer = customers.first().ok_or("no customer")?;
        world.clear_faults().await?;
        for _ in 0..events {
            let order = json!({
                "kind": "lose_answer", "method": "POST", "path_prefix": emitter.path,
                "skip": LOST_EVERY - 1, "times": 1,
            });
            world.order_fault(&order).await?;
        }
        let outcome = emit(world, python, emitter, &customers, events).await?;
        world.clear_faults().await?;
        page.row([
            emitter.name.to_owned(),
            events.to_string(),
            world.units_in_stripe(customer).await?.to_string(),
            outcome.failed.to_string(),
        ])?;
    }
    Ok(())
}

async fn emit(
    world: &World,
    python: &Path,
    emitter: Emitter,
    customers: &[Customer],
    events: usize,
) -> Result<Outcome, Failure> {
    let folder = memory_folder()?;
    let system = &world.system;
    let customer_ids: Vec<_> = customers.iter().map(|c| c.id.as_str()).collect();
    let event_name = customers
        .first()
        .map(|c| c.row.item.meter_event_name.as_str());
    let client_options = if emitter.no_retries {
        json!({ "max_network_retries": 0 })
    } else {
        json!({})
    };
    let settings = json!({
        "emitter": emitter.kind,
        "client_options": client_options,
        "stripe_key": system.stripe_secret_key().expose_secret(),
        "stripe_url": system.stripe_url(),
        "meterline_key": system.api_key().expose_secret(),
        "meterline_url": system.url(),
        "database": folder.path().join("audit.sqlite"),
        "event_name": event_name,
        "customers": customer_ids,
        "events": events,
    });
    let mut running = Command::new(python)
        .args(["-c", EMITTER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = running.stdin.take().ok_or("no standard input")?;
    input.write_all(settings.to_string().as_bytes()).await?;
    drop(input);
    let output = running.wait_with_output().await?;
    if !output.status.success() {
        return Err(format!("the emitter in Python ended with {}", output.status).into());
    }
    let outcome: Value = serde_json::from_slice(&output.stdout)?;
    let taken = outcome["taken_us"].as_array().ok_or("no times")?;
    Ok(Outcome {
        samples: taken.iter().filter_map(Value::as_u64).collect(),
        elapsed: Duration::from_micros(outcome["elapsed_us"].as_u64().unwrap_or_default()),
        failed: outcome["failed"].as_u64().unwrap_or_default(),
    })
}

async fn emit_in_rust(
    world: &World,
    customers: &[Customer],
    events: usize,
) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let callers = customers.iter().map(async |customer| {
        let mut samples = Samples::default();
        for _ in 0..events {
            let body = world.event(customer).to_string();
            let sent = Instant::now();
            world.post("/v1/usage", body).await?.expect(&[200])?;
            samples.add(sent.elapsed());
        }
        Ok::<_, Failure>(samples)
    });
    let mut all = Samples::default();
    for samples in futures_util::future::try_join_all(callers).await? {
        all.extend(samples);
    }
    Ok(Outcome {
        samples: all,
        elapsed: started.elapsed(),
        failed: 0,
    })
}

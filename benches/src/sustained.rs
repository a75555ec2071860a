//! A thousand events a second, all servers on this machine: how long the
//! answers take, whether every total is exact, and what the writes cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::config::SharedInterceptor;
use stack::Pumping;

use crate::capacity::Capacity;
use crate::load::{BATCH_EVENTS, Load, Request, at_rate};
use crate::page::Page;
use crate::samples::{ms, per_second};
use crate::world::{Customer, World};
use crate::{Failure, Scale};

const CUSTOMERS: usize = 20;
const POLL: Duration = Duration::from_millis(5);
/// The report is to be exact within a second; this is when it counts as lost.
const LAG_MAX: Duration = Duration::from_secs(120);
/// After which redelivery looks at what has become pending, and a little more.
const FORGETTING: Duration = Duration::from_secs(62);
const FORGETTING_RUNS_MAX: u32 = 3;

/// One row of each table.
struct Setting {
    name: &'static str,
    request: Request,
    /// Requests.
    per_second: u64,
    seconds: u64,
    stripe_delay_ms: u64,
}

/// What it came to.
struct Outcome {
    events: u64,
    load: Load,
    /// From the last answer to the report of every customer being exact.
    lag: Option<Duration>,
    /// Units in the totals and in Stripe.
    units: (u64, u64),
    /// Tenths of write units: of the log's puts and updates, totals, outbox.
    write_units: [u64; 4],
    /// Tenths of read units: of what redelivery reads of the outbox and the log.
    read_units: u64,
}

/// Measures and tells.
pub(crate) async fn run(page: &mut Page, scale: Scale) -> Result<(), Failure> {
    let settings = [
        Setting {
            name: "single, Stripe at once",
            request: Request::Single,
            per_second: 1_000,
            seconds: scale.of_u64(60),
            stripe_delay_ms: 0,
        },
        Setting {
            name: "single, Stripe takes 150 ms",
            request: Request::Single,
            per_second: 1_000,
            seconds: scale.of_u64(60),
            stripe_delay_ms: 150,
        },
        Setting {
            name: "batches of 100, Stripe takes 150 ms",
            request: Request::Batch,
            per_second: 10,
            seconds: scale.of_u64(30),
            stripe_delay_ms: 150,
        },
        Setting {
            name: "one event a second, Stripe takes 150 ms",
            request: Request::Single,
            per_second: 1,
            seconds: scale.of_u64(30),
            stripe_delay_ms: 150,
        },
    ];
    let mut outcomes = Vec::new();
    for setting in settings {
        page.progress(&format!("{}, {} s", setting.name, setting.seconds))?;
        let outcome = measure(&setting).await?;
        outcomes.push((setting, outcome));
    }
    tell_load(page, &outcomes)?;
    tell_write_units(page, &outcomes)
}

async fn measure(setting: &Setting) -> Result<Outcome, Failure> {
    let capacity = Capacity::default();
    let interceptor = SharedInterceptor::new(capacity.clone());
    let world = Arc::new(World::start(Pumping::Automatic, Some(interceptor)).await?);
    let customers = Arc::new(world.onboard(CUSTOMERS).await?);
    // Connections and the session are there, and every customer is known.
    let warm_up = at_rate(&world, &customers, Request::Single, 50, CUSTOMERS as u64);
    warm_up.await?;
    await_totals(&world, &customers, CUSTOMERS as u64).await?;
    world.delay_stripe(setting.stripe_delay_ms).await?;
    capacity.take();

    let requests = setting.per_second * setting.seconds;
    let load = at_rate(
        &world,
        &customers,
        setting.request,
        setting.per_second,
        requests,
    );
    let load = load.await?;
    let events = requests
        * match setting.request {
            Request::Single => 1,
            Request::Batch => BATCH_EVENTS as u64,
        };
    let expected = events + CUSTOMERS as u64;
    let lag = await_totals(&world, &customers, expected).await?;
    let mut units = (0, 0);
    for customer in customers.iter() {
        units.0 += world.reported_units(customer).await?.0;
        units.1 += world.units_in_stripe(customer).await?;
    }
    // What became pending in a step of the rollup is in the outbox until
    // redelivery has looked at it: that belongs to what an event costs.
    await_empty_outbox(&world).await?;
    let counted = capacity.take();
    let tables = world.system.ledger().tables().clone();
    let of = |operations: &[&str], table: &str| {
        let chosen = counted.iter().filter(|((operation, of), _)| {
            of == table && (operations.is_empty() || operations.contains(operation))
        });
        chosen.map(|(_, tenths)| tenths).sum::<u64>()
    };
    const WRITES: [&str; 4] = ["put", "update", "delete", "transaction"];
    let write_units = [
        of(&["put"], &tables.usage_events),
        of(&["update"], &tables.usage_events),
        of(&WRITES, &tables.usage_totals),
        of(&WRITES, &tables.outbox),
    ];
    let read_units = of(&["query"], &tables.outbox) + of(&["batch get"], &tables.usage_events);
    let world = Arc::into_inner(world).ok_or("an agent is still at work")?;
    world.stop().await?;
    Ok(Outcome {
        events,
        load,
        lag,
        units: (units.0 - CUSTOMERS as u64, units.1 - CUSTOMERS as u64),
        write_units,
        read_units,
    })
}

/// Until redelivery has forgotten all that is settled: a minute later.
async fn await_empty_outbox(world: &World) -> Result<(), Failure> {
    for _ in 0..FORGETTING_RUNS_MAX {
        tokio::time::sleep(FORGETTING).await;
        world.system.redeliver().await?;
        let outbox = world.system.ledger().scan_outbox(None).await?;
        if outbox.entries.is_empty() {
            return Ok(());
        }
    }
    Err("the outbox does not become empty".into())
}

/// Until the customers' reports show so many units, none of them pending; how
/// long that took.
async fn await_totals(
    world: &World,
    customers: &[Customer],
    units: u64,
) -> Result<Option<Duration>, Failure> {
    let started = Instant::now();
    while started.elapsed() < LAG_MAX {
        let (mut total, mut pending) = (0, 0);
        for customer in customers {
            let (of_customer, of_those_pending) = world.reported_units(customer).await?;
            total += of_customer;
            pending += of_those_pending;
        }
        if total == units && pending == 0 {
            return Ok(Some(started.elapsed()));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(None)
}

fn tell_load(page: &mut Page, outcomes: &[(Setting, Outcome)]) -> Result<(), Failure> {
    page.heading("A thousand events a second, everything on this machine")?;
    page.line(
        "Requests are due at a fixed rate, and a request's time counts from when it was due. \
         *Lag*: from the last answer until every customer's report is exact. Milliseconds.\n",
    )?;
    page.columns(&[
        "load",
        "events",
        "events/s",
        "p50",
        "p99",
        "errors",
        "lag",
        "in the totals",
        "in Stripe",
    ])?;
    for (setting, outcome) in outcomes {
        let load = &outcome.load;
        let lag = outcome.lag.map(|lag| lag.as_millis().to_string());
        page.row([
            setting.name.to_owned(),
            outcome.events.to_string(),
            per_second(outcome.events, load.elapsed).to_string(),
            ms(load.samples.p50_us()),
            ms(load.samples.p99_us()),
            load.errors.to_string(),
            lag.unwrap_or_else(|| "not exact".to_owned()),
            outcome.units.0.to_string(),
            outcome.units.1.to_string(),
        ])?;
    }
    Ok(())
}

fn tell_write_units(page: &mut Page, outcomes: &[(Setting, Outcome)]) -> Result<(), Failure> {
    page.heading("Write units of DynamoDB per event")?;
    page.line(
        "From `ConsumedCapacity`, which every write of the runs above was asked for; the embedded \
         DynamoDB computes it by AWS's rules. The put includes the index; the outbox, that \
         redelivery forgets what is settled. *Read units*: what redelivery reads for that. An event is \
         one that is in the totals: what was answered with an error is none.\n",
    )?;
    page.columns(&[
        "load",
        "put",
        "update",
        "totals",
        "outbox",
        "all",
        "read units",
    ])?;
    for (setting, outcome) in outcomes {
        let per_event = |tenths: u64| {
            let thousandths = tenths * 100 / outcome.units.0.max(1);
            format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000)
        };
        let mut row = vec![setting.name.to_owned()];
        row.extend(outcome.write_units.iter().map(|tenths| per_event(*tenths)));
        row.push(per_event(outcome.write_units.iter().sum()));
        row.push(per_event(outcome.read_units));
        page.row(row)?;
    }
    Ok(())
}

//! How long the report takes, and the answer to whether a customer may act, of
//! customers with a thousand, a hundred thousand and a million events.

use std::sync::Arc;
use std::time::Instant;

use aws_sdk_dynamodb::config::SharedInterceptor;
use billing::{ActionType, EventId, HOUR_MS, Identifier, UsageStatus};
use ledger::{CustomerRow, Updated};
use rollup::{Change, Image, Rollup, SequenceNumber, StreamRecord};
use serde_json::json;
use stack::Pumping;

use crate::capacity::Capacity;
use crate::page::Page;
use crate::samples::{Samples, ms, ratio};
use crate::world::{Customer, World, usage_path};
use crate::{Failure, Scale};

const EVENTS: [u64; 3] = [1_000, 100_000, 1_000_000];
const ACTIONS: [&str; 3] = ["read_page", "summarise_document", "answer_question"];
const HOURS_OF_PERIOD: i64 = 28 * 24;
/// Records that one call of the rollup gets.
const BATCH_RECORDS: u64 = 10_000;

/// Measures and tells.
pub(crate) async fn run(page: &mut Page, scale: Scale) -> Result<(), Failure> {
    page.heading("The report by the customer's events")?;
    page.line(
        "`GET /v1/customers/{id}/usage` over HTTP, by turns. The events came as records of the \
         stream, 10,000 a batch, through the rollup itself; they are spread over three actions \
         and every hour of the past four weeks. Milliseconds.\n",
    )?;
    page.columns(&["events", "p50", "to the first", "p99"])?;
    let capacity = Capacity::default();
    let interceptor = SharedInterceptor::new(capacity.clone());
    let world = World::start(Pumping::Manual, Some(interceptor)).await?;
    let mut customers = world.onboard(EVENTS.len()).await?;
    for (customer, events) in customers.iter_mut().zip(EVENTS) {
        begin_earlier(&world, customer).await?;
        let events = scale.of_u64(events);
        page.progress(&format!("rolling up {events} events"))?;
        roll_up(&world, customer, events).await?;
        let (units, _) = world.reported_units(customer).await?;
        if units != events {
            return Err(format!("{events} events are reported as {units} units").into());
        }
    }
    let mut taken = [const { Samples::none() }; EVENTS.len()];
    for _ in 0..scale.of(300) {
        for (customer, samples) in customers.iter().zip(&mut taken) {
            let started = Instant::now();
            world.get(&usage_path(customer)).await?.expect(&[200])?;
            samples.add(started.elapsed());
        }
    }
    let first = taken.first().map_or(0, Samples::p50_us);
    for (events, samples) in EVENTS.iter().zip(&taken) {
        page.row([
            scale.of_u64(*events).to_string(),
            ms(samples.p50_us()),
            ratio(samples.p50_us(), first),
            ms(samples.p99_us()),
        ])?;
    }
    access(page, scale, &world, &capacity, &customers).await?;
    world.stop().await
}

/// Moves the beginning of a customer's period back, so that all of its usage lies behind
/// it. Nothing but this process moves the system, so nobody finds Stripe's period instead.
async fn begin_earlier(world: &World, customer: &mut Customer) -> Result<(), Failure> {
    let period_start = customer.row.period_start;
    let row = CustomerRow {
        period_start: period_start.plus_ms(-HOURS_OF_PERIOD * HOUR_MS),
        ..CustomerRow::clone(&customer.row)
    };
    let ledger = world.system.ledger();
    match ledger.update_customer(&customer.row, row.clone()).await? {
        Updated::Done => customer.row = Arc::new(row),
        Updated::VersionConflict => return Err("another one changed a customer".into()),
    }
    Ok(())
}

/// The same customers, asked about before an action: without a limit, and then with one.
async fn access(
    page: &mut Page,
    scale: Scale,
    world: &World,
    capacity: &Capacity,
    customers: &[Customer],
) -> Result<(), Failure> {
    page.heading("The answer to access by the customer's events")?;
    page.line(
        "`GET /v1/customers/{id}/access?units=10` of the same customers over HTTP, by turns, without a \
         spending limit and with a hard one in money. *Reads*: the customer and all of its period, by the \
         ledger alone, in the same turns: what an answer rests on, of which the function remembers the \
         days before yesterday for fifteen seconds. *Read units*: DynamoDB's, for an answer. Milliseconds.\n",
    )?;
    page.columns(&[
        "events",
        "limit",
        "reads p50",
        "access p50",
        "to the first",
        "access p99",
        "read units",
    ])?;
    let mut first = 0;
    for limit in ["none", "hard"] {
        if limit == "hard" {
            for customer in customers {
                set_limit(world, customer).await?;
            }
        }
        let mut rows = [const { (Samples::none(), Samples::none(), 0) }; EVENTS.len()];
        let rounds = scale.of(300);
        for _ in 0..rounds {
            for (customer, (reads, answers, tenths)) in customers.iter().zip(&mut rows) {
                let started = Instant::now();
                let ledger = world.system.ledger();
                let row = ledger.customer(&customer.id).await?;
                let start = row.ok_or("the customer is gone")?.period_start;
                ledger.usage_of_period(&customer.id, start).await?;
                reads.add(started.elapsed());
                capacity.take();
                let started = Instant::now();
                let answer = world.get(&access_path(customer)).await?.expect(&[200])?;
                answers.add(started.elapsed());
                *tenths += capacity.take().values().sum::<u64>();
                if answer["allowed"] != true {
                    return Err(format!("access answered {answer}").into());
                }
            }
        }
        for (events, (reads, answers, tenths)) in EVENTS.iter().zip(&rows) {
            if first == 0 {
                first = answers.p50_us();
            }
            let tenths = *tenths / u64::try_from(rounds)?;
            page.row([
                scale.of_u64(*events).to_string(),
                limit.to_owned(),
                ms(reads.p50_us()),
                ms(answers.p50_us()),
                ratio(answers.p50_us(), first),
                ms(answers.p99_us()),
                format!("{}.{}", tenths / 10, tenths % 10),
            ])?;
        }
    }
    Ok(())
}

fn access_path(customer: &Customer) -> String {
    format!("/v1/customers/{}/access?units=10", customer.id)
}

/// So high that nobody here reaches it.
async fn set_limit(world: &World, customer: &Customer) -> Result<(), Failure> {
    let path = format!("/v1/customers/{}/spending-limit", customer.id);
    let limit = json!({
        "amount": "1000000.00", "enforcement": "hard", "thresholds_percent": [50, 80, 100],
    });
    world
        .put(&path, limit.to_string())
        .await?
        .expect(&[200])
        .map(drop)
}

/// So many delivered events of `customer`, one unit each, in a shard of their own.
async fn roll_up(world: &World, customer: &Customer, events: u64) -> Result<(), Failure> {
    let rollup = Rollup::new(world.system.ledger().clone());
    let shard_id = format!("bench-{}", customer.id);
    let identifier = Identifier::of(&customer.id, &EventId::parse("bench")?);
    let actions = ACTIONS.map(ActionType::parse);
    let [read, summarise, answer] = actions;
    let actions = [read?, summarise?, answer?];
    let mut number = 0;
    while number < events {
        let end = events.min(number + BATCH_RECORDS);
        let records: Result<Vec<_>, Failure> = (number..end)
            .zip(actions.iter().cycle())
            .map(|(number, action)| {
                let hour = i64::try_from(number * HOURS_OF_PERIOD.unsigned_abs() / events)?;
                let at = customer.row.period_start.plus_ms(hour * HOUR_MS);
                let image = Image {
                    identifier: identifier.clone(),
                    customer_id: customer.id.clone(),
                    meter_event_name: customer.row.item.meter_event_name.clone(),
                    action_type: action.clone(),
                    quantity: 1,
                    status: UsageStatus::Delivered,
                    occurred_at: at,
                    billed_at: Some(at),
                    period_start: Some(customer.row.period_start),
                    pending_since: at,
                    settled: None,
                };
                Ok(StreamRecord {
                    sequence_number: SequenceNumber::parse(&(number + 1).to_string())?,
                    change: Change::Row {
                        old: None,
                        new: Some(Box::new(image)),
                    },
                })
            })
            .collect();
        rollup.apply(&shard_id, records?).await?;
        number = end;
    }
    Ok(())
}

//! How long the report takes of a customer with a thousand, a hundred thousand
//! and a million events.

use std::time::Instant;

use billing::{ActionType, EventId, Identifier, UsageStatus};
use rollup::{Change, Image, Rollup, SequenceNumber, StreamRecord};
use stack::Pumping;

use crate::page::Page;
use crate::samples::{Samples, ms, ratio};
use crate::world::{Customer, World, usage_path};
use crate::{Failure, Scale};

const EVENTS: [u64; 3] = [1_000, 100_000, 1_000_000];
const ACTIONS: [&str; 3] = ["read_page", "summarise_document", "answer_question"];
const HOURS_OF_PERIOD: i64 = 28 * 24;
const HOUR_MS: i64 = 3_600_000;
/// Records that one call of the rollup gets.
const BATCH_RECORDS: u64 = 10_000;

/// Measures and tells.
pub(crate) async fn run(page: &mut Page, scale: Scale) -> Result<(), Failure> {
    page.heading("The report by the customer's events")?;
    page.line(
        "`GET /v1/customers/{id}/usage` over HTTP, by turns. The events came as records of the \
         stream, 10,000 a batch, through the rollup itself; they are spread over three actions \
         and every hour of four weeks. Milliseconds.\n",
    )?;
    page.columns(&["events", "p50", "to the first", "p99"])?;
    let world = World::start(Pumping::Manual, None).await?;
    let customers = world.onboard(EVENTS.len()).await?;
    for (customer, events) in customers.iter().zip(EVENTS) {
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
    world.stop().await
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

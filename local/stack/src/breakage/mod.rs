//! The nightly-batch disaster, played twice on the same usage and the same
//! faults: against a nightly batch as it is found in the wild, and against
//! Meterline. Stripe's own invoices say what each of them billed.

mod metered;
mod nightly_batch;
mod shifted_clock;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::options::{Options, Pumping};
use crate::story::customer::Customer;
use crate::story::period::end_period;
use crate::story::{Settings, Stage, StoryError};
use crate::system::{StartError, System};

use metered::Metered;
use nightly_batch::NightlyBatch;
use shifted_clock::ShiftedClock;

/// Customers of each of the two.
const CUSTOMERS: usize = 8;
/// Requests that a blip of the network swallows.
const BLIP_REQUESTS: u32 = 12;
/// What a unit costs, in cents.
const UNIT_CENTS: u64 = 2;

/// What stops the play before its end.
#[derive(Debug, thiserror::Error)]
pub enum BreakageError {
    /// The system does not start or stop.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A call that the play builds on failed.
    #[error(transparent)]
    Story(#[from] StoryError),
    /// The nightly batch's own database failed.
    #[error("the nightly batch's database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// Redelivery failed.
    #[error("redelivery failed")]
    Redelivery(#[from] redelivery::RedeliveryError),
    /// The bills could not be printed.
    #[error("cannot print")]
    Output(#[from] io::Error),
}

/// Units of one customer in two nights.
#[derive(Clone, Copy, Debug)]
struct Usage {
    nights: [u64; 2],
}

impl Usage {
    /// Another amount for each customer, so that no two errors can cancel out.
    const fn of(customer: usize) -> Self {
        let n = customer as u64;
        Self {
            nights: [40 + 7 * n, 25 + 11 * n],
        }
    }

    const fn total(self) -> u64 {
        self.nights[0] + self.nights[1]
    }
}

/// What the play came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bills {
    /// Customers that the nightly batch billed wrongly.
    pub wrong_by_batch: usize,
    /// Customers that Meterline billed wrongly.
    pub wrong_by_meterline: usize,
}

/// Plays both in `folder`, which should be empty, and prints the bills to `out`.
///
/// # Errors
/// A [`BreakageError`] where it cannot go on.
pub async fn play(folder: &Path, out: &mut impl Write) -> Result<Bills, BreakageError> {
    let clock = Arc::new(ShiftedClock::default());
    let system = System::start(Options {
        pumping: Pumping::Automatic,
        clock: Arc::clone(&clock) as Arc<dyn billing::Clock>,
        ..Options::manual(folder)
    })
    .await?;
    let settings = Settings::default();
    let stage = Stage::new((&system).into(), &settings)?;
    let batched = customers(&stage, "batched").await?;
    let metered = customers(&stage, "metered").await?;

    writeln!(out, "The nightly batch\n")?;
    let mut batch = NightlyBatch::new(&stage, folder)?;
    play_nightly_batch(&mut batch, &batched, out).await?;
    writeln!(
        out,
        "\nThe same usage and the same faults through Meterline\n"
    )?;
    let mut agents = Metered::new(&system, &stage, &clock);
    play_metered(&mut agents, &metered, out).await?;

    let bills = print_bills(&stage, &batched, &metered, out).await?;
    system.stop().await?;
    Ok(bills)
}

async fn customers(stage: &Stage<'_>, name: &str) -> Result<Vec<Customer>, StoryError> {
    let mut customers = Vec::new();
    for number in 0..CUSTOMERS {
        let name = format!("{name}-{number}");
        customers.push(stage.onboard(&name, "pm_card_visa").await?);
    }
    Ok(customers)
}

async fn play_nightly_batch(
    batch: &mut NightlyBatch<'_>,
    customers: &[Customer],
    out: &mut impl Write,
) -> Result<(), BreakageError> {
    let half = CUSTOMERS / 2;
    batch.record_night(customers, 0)?;
    let synced = batch.run_until_killed(half).await?;
    writeln!(
        out,
        "  night 1  killed after {synced} of {CUSTOMERS} customers; its bookmark is not written"
    )?;
    let synced = batch.run().await?;
    writeln!(
        out,
        "           run again by hand: {synced} customers, the first {half} of them once more"
    )?;
    writeln!(
        out,
        "           patched: the bookmark is now written whatever happens"
    )?;
    batch.record_night(customers, 1)?;
    break_meter_events(batch.stage(), "/v1/billing/meter_events", half).await?;
    let synced = batch.run_patched().await?;
    writeln!(
        out,
        "  night 2  the network blips after {synced} customers; the bookmark is written"
    )?;
    let synced = batch.run_patched().await?;
    writeln!(
        out,
        "           run again by hand: {synced} customers, nothing seems to be left"
    )?;
    heal(batch.stage()).await?;
    Ok(())
}

async fn play_metered(
    agents: &mut Metered<'_>,
    customers: &[Customer],
    out: &mut impl Write,
) -> Result<(), BreakageError> {
    let half = CUSTOMERS / 2;
    let told = agents.emit_night(&customers[..half], 0).await?;
    writeln!(
        out,
        "  night 1  the agents are killed after {half} of {CUSTOMERS} customers: {told}"
    )?;
    let told = agents.emit_night(customers, 0).await?;
    writeln!(out, "           started again from the beginning: {told}")?;
    let stage = agents.stage();
    break_meter_events(stage, "/v2/billing/meter_event_stream", half).await?;
    let told = agents.emit_night(customers, 1).await?;
    writeln!(out, "  night 2  the network blips: {told}")?;
    heal(stage).await?;
    let redelivered = agents.redeliver_later().await?;
    writeln!(
        out,
        "           redelivery, two minutes later: {redelivered} delivered"
    )?;
    Ok(())
}

/// After `skip` requests to `path`, one does its work and loses its answer, and
/// the next ones find nobody.
async fn break_meter_events(stage: &Stage<'_>, path: &str, skip: usize) -> Result<(), StoryError> {
    let lost = json!({
        "kind": "lose_answer", "method": "POST", "path_prefix": path, "skip": skip, "times": 1,
    });
    order_fault(stage, &lost).await?;
    let gone = json!({
        "kind": "error_before", "status": 503, "method": "POST", "path_prefix": path,
        "skip": skip + 1, "times": BLIP_REQUESTS,
    });
    order_fault(stage, &gone).await
}

async fn order_fault(stage: &Stage<'_>, order: &Value) -> Result<(), StoryError> {
    let ordered = stage
        .stripe_control("POST", "/_simulator/faults", order)
        .await?;
    Stage::expect("a fault", ordered, &[200]).map(|_| ())
}

async fn heal(stage: &Stage<'_>) -> Result<(), StoryError> {
    let healed = stage
        .stripe_control("DELETE", "/_simulator/faults", &json!({}))
        .await?;
    Stage::expect("no faults", healed, &[200]).map(|_| ())
}

/// What Stripe billed a customer for: units, and cents.
async fn billed(stage: &Stage<'_>, customer: &Customer) -> Result<(u64, String), StoryError> {
    let invoice = end_period(stage, customer, "paid").await?;
    let units = invoice["lines"][0]["quantity"].as_u64().unwrap_or_default();
    let total = invoice["total"].as_str().unwrap_or_default().to_owned();
    Ok((units, total))
}

async fn print_bills(
    stage: &Stage<'_>,
    batched: &[Customer],
    metered: &[Customer],
    out: &mut impl Write,
) -> Result<Bills, BreakageError> {
    let mut bills = Bills {
        wrong_by_batch: 0,
        wrong_by_meterline: 0,
    };
    writeln!(out, "\nWhat Stripe's invoices say, in dollars\n")?;
    writeln!(
        out,
        "  customer      used    nightly batch           Meterline"
    )?;
    for (number, (batched, metered)) in batched.iter().zip(metered).enumerate() {
        let used = Usage::of(number).total();
        let (by_batch, batch_total) = billed(stage, batched).await?;
        let (by_meterline, meterline_total) = billed(stage, metered).await?;
        bills.wrong_by_batch += usize::from(by_batch != used);
        bills.wrong_by_meterline += usize::from(by_meterline != used);
        writeln!(
            out,
            "  {number:8}  {:>8}  {batch_total:>8} {:14}  {meterline_total:>8} {}",
            dollars(used),
            verdict(by_batch, used),
            verdict(by_meterline, used),
        )?;
    }
    writeln!(
        out,
        "\n  The batch billed {} of {CUSTOMERS} customers wrongly, Meterline {}.",
        bills.wrong_by_batch, bills.wrong_by_meterline
    )?;
    Ok(bills)
}

fn dollars(units: u64) -> String {
    let cents = units * UNIT_CENTS;
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn verdict(billed: u64, used: u64) -> String {
    match billed.cmp(&used) {
        std::cmp::Ordering::Equal => "exact".to_owned(),
        std::cmp::Ordering::Greater => format!("{} too much", dollars(billed - used)),
        std::cmp::Ordering::Less => format!("{} too little", dollars(used - billed)),
    }
}

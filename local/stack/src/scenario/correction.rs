//! Steps 5 and 8: the operator's commands, one that takes an event back and one
//! that proves that log and bill agree.

use billing::Timestamp;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::usage;
use crate::story::customer::Customer;
use crate::story::{Narrator, Program, Stage, StoryError};

/// `meterline reconcile` ends so where something differs.
const DIFFERS: i32 = 1;

/// Which event is taken back: the first of the batch, of one unit.
pub(super) fn voided_event_id(stage: &Stage<'_>) -> String {
    format!("{}-batch-1", stage.run)
}

/// Voids an event while Stripe can still cancel it. Answers the units that are left.
pub(super) async fn play(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
    meter_id: &str,
) -> Result<u64, StoryError> {
    if !stage.stripe().usage_api().has_meter() {
        narrator
            .say("left out: Stripe takes no usage record back, and credits come after the bill");
        return Ok(usage::UNITS);
    }
    let event_id = voided_event_id(stage);
    let arguments = [
        "void",
        "--json",
        "--customer",
        &customer.customer_id,
        &event_id,
    ];
    let voided = meterline(stage, &arguments, &[0]).await?;
    narrator.figure("meterline void", word(&voided, "outcome"), "cancelled");
    let units = usage::UNITS - 1;
    usage::compare(stage, narrator, customer, meter_id, units).await?;
    Ok(units)
}

/// Compares audit log, totals, meter and final invoice of the first period.
pub(super) async fn reconcile(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
    (start, end): (i64, i64),
    units: u64,
) -> Result<(), StoryError> {
    let [from, to] = [start, end].map(|unix_s| Timestamp::from_unix_s(unix_s).to_string());
    let arguments = [
        "reconcile",
        "--json",
        "--customer",
        &customer.customer_id,
        "--from",
        &from,
        "--to",
        &to,
    ];
    let report = meterline(stage, &arguments, &[0, DIFFERS]).await?;
    if stage.stripe().usage_api().has_meter() {
        narrator.figure("units by the log", &report["log_units"], units);
    } else {
        // Whether Stripe still tells the sum of a period that is over, is its to say.
        narrator.say(format!(
            "? units that Stripe still sums up: {}",
            report["log_units"]
        ));
    }
    narrator.figure(
        "units by Stripe",
        &report["stripe_units"],
        &report["log_units"],
    );
    narrator.figure(
        "final invoices that were compared",
        &report["invoices_compared"],
        1,
    );
    let findings = report["findings"].as_array().map_or(0, Vec::len);
    narrator.figure("differences", findings, 0);
    for finding in report["findings"].as_array().into_iter().flatten() {
        narrator.say(format!("  {finding}"));
    }
    Ok(())
}

/// What the operator's command prints, run with what the system's env file holds.
async fn meterline(
    stage: &Stage<'_>,
    arguments: &[&str],
    statuses: &[i32],
) -> Result<Value, StoryError> {
    let mut program = Program::new("meterline")?.args(arguments);
    for (name, value) in &stage.place.environment {
        program = program.env(name, value.expose_secret());
    }
    let printed = program.output_with(statuses).await?;
    serde_json::from_str(&printed)
        .map_err(|_| StoryError::Unexpected("what meterline printed".to_owned()))
}

fn word<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().unwrap_or("(absent)")
}

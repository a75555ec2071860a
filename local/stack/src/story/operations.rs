//! Step 5: a thousand operations at once, and how soon they show.

use secrecy::ExposeSecret;
use serde_json::Value;

use super::customer::Customer;
use super::documents::audit_rows;
use super::{Narrator, Program, Stage, StoryError};

/// Units of the documents, which came before.
const BEFORE: u64 = 5;
/// What a unit costs, in cents.
const UNIT_CENTS: u64 = 2;

/// Has the agent emit them, and reads their number back from everywhere.
pub(crate) async fn play(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
    meter_id: &str,
) -> Result<(), StoryError> {
    let count = stage.settings.operations;
    let total = BEFORE + count;
    // The report is watched from the start, so that the moment when it agrees
    // is seen as it comes.
    let (summary, agreed_unix_ms) = tokio::try_join!(
        run_agent(stage, customer),
        agreement(stage, customer, total)
    )?;
    narrator.figure("operations acknowledged", &summary["acknowledged"], count);
    tell_pace(narrator, &summary, count, agreed_unix_ms);

    let report = stage.report_of(customer, total).await?;
    narrator.figure(
        "units in the usage report",
        report.text("/total_units"),
        total,
    );
    let cost = format!(
        "{}.{:02}",
        total * UNIT_CENTS / 100,
        total * UNIT_CENTS % 100
    );
    narrator.figure(
        "estimated cost in the usage report, in dollars",
        report.text("/estimated_cost"),
        cost,
    );
    let period = stage.current_period(customer).await?;
    let in_stripe = stage
        .stripe_reaches(customer, meter_id, period, total)
        .await?;
    narrator.figure("units in Stripe's event summary", in_stripe, total);
    let expected = usize::try_from(total).unwrap_or(usize::MAX);
    let rows = audit_rows(stage, customer, expected).await?;
    narrator.figure("rows in the audit log", rows, total);
    Ok(())
}

async fn run_agent(stage: &Stage<'_>, customer: &Customer) -> Result<Value, StoryError> {
    let folder = stage.place.folder.join("journals");
    std::fs::create_dir_all(&folder)?;
    let journal = folder.join(format!("{}.jsonl", stage.run));
    let printed = Program::new("agent")?
        .args(["operations", "--json", "--customer", &customer.customer_id])
        .args(["--job", &stage.run])
        .args(["--count", &stage.settings.operations.to_string()])
        .args(["--journal".as_ref(), journal.as_os_str()])
        .env("METERLINE_URL", &stage.place.url)
        .env("METERLINE_API_KEY", stage.place.api_key.expose_secret())
        .output()
        .await?;
    serde_json::from_str(&printed)
        .map_err(|_| StoryError::Unexpected("what the agent printed".to_owned()))
}

/// When the report agreed for the first time; none where it never did.
async fn agreement(
    stage: &Stage<'_>,
    customer: &Customer,
    total: u64,
) -> Result<Option<u64>, StoryError> {
    let report = stage.report_of(customer, total).await?;
    let now_unix_ms = u64::try_from(stage.now().unix_ms()).ok();
    Ok(now_unix_ms.filter(|_| report.body["total_units"] == total))
}

fn tell_pace(narrator: &mut Narrator, summary: &Value, count: u64, agreed_unix_ms: Option<u64>) {
    let first = summary["first_answer_unix_ms"].as_u64().unwrap_or_default();
    let last = summary["last_answer_unix_ms"].as_u64().unwrap_or_default();
    let took_ms = last.saturating_sub(first).max(1);
    let per_second = count.saturating_mul(1_000) / took_ms;
    narrator.say(format!(
        "{count} answers in {took_ms} ms: {per_second} a second"
    ));
    if let Some(agreed) = agreed_unix_ms {
        let lag_ms = agreed.saturating_sub(last);
        narrator.say(format!(
            "the report agreed {lag_ms} ms after the last answer"
        ));
    }
}

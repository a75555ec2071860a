//! Steps 3 and 4: an agent's work, billed in the same code path, and the same
//! five units in the audit log, in Stripe and in the report.

use secrecy::ExposeSecret;
use serde_json::Value;

use super::customer::Customer;
use super::{Narrator, Program, Stage, StoryError, secret_variable};
use crate::http::percent_encoded;
use billing::{CustomerId, Timestamp};

const ANTHROPIC_BASE_URL: &str = "ANTHROPIC_BASE_URL";
const ANTHROPIC_API_KEY: &str = "ANTHROPIC_API_KEY";
/// As much of a summary as a line shows, in characters.
const SUMMARY_LENGTH: usize = 70;
/// Farther apart than any two clocks of the story.
const FOREVER_MS: i64 = 400 * 24 * 3_600_000;

/// Has the agent work through the documents; answers the ids of their events.
pub(crate) async fn run_agent(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
) -> Result<Vec<String>, StoryError> {
    let agent = Program::new("agent")?
        .args(["documents", "--json", "--customer", &customer.customer_id])
        .args(["--subscription-item", &customer.subscription_item_id])
        .args(["--job", &stage.run])
        .args(["--dir".as_ref(), stage.settings.documents.as_os_str()])
        .env("METERLINE_URL", &stage.place.url)
        .env("METERLINE_API_KEY", stage.place.api_key.expose_secret());
    let agent = if secret_variable(ANTHROPIC_API_KEY).is_some() {
        // Both variables are the environment's own.
        narrator.say("Anthropic's API summarises: ANTHROPIC_API_KEY is set");
        agent
    } else {
        narrator.say("no model: ANTHROPIC_API_KEY is not set, so a local server that speaks");
        narrator.say("the same protocol answers each document with an extract of it");
        agent
            .env(ANTHROPIC_BASE_URL, stage.place.anthropic.url().await?)
            .env(ANTHROPIC_API_KEY, "none")
    };
    let printed = agent.output().await?;
    let mut event_ids = Vec::new();
    for line in printed.lines() {
        let processed: Value = serde_json::from_str(line)
            .map_err(|_| StoryError::Unexpected("what the agent printed".to_owned()))?;
        let text = |name: &str| processed[name].as_str().unwrap_or_default().to_owned();
        let summary: String = text("summary").chars().take(SUMMARY_LENGTH).collect();
        narrator.say(format!(
            "{}: {summary} … [{}]",
            text("document"),
            text("status")
        ));
        event_ids.push(text("event_id"));
    }
    narrator.figure("documents summarised and billed", event_ids.len(), 5);
    Ok(event_ids)
}

/// Reads the five units back from everywhere.
pub(crate) async fn compare(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
    meter_id: &str,
    event_ids: &[String],
) -> Result<(), StoryError> {
    let (mut delivered, mut usage_records) = (0, 0);
    for event_id in event_ids {
        let event_id = percent_encoded(event_id);
        let path = format!("/v1/usage/{}/{event_id}", customer.customer_id);
        let row = stage.api.get(&path).await?;
        delivered += u32::from(row.text("/status") == "delivered");
        usage_records += u32::from(row.text("/stripe_record_id").starts_with("mbur_"));
    }
    narrator.figure(
        "each event's audit row says delivered",
        delivered,
        event_ids.len(),
    );
    if !stage.stripe().usage_api().has_meter() {
        narrator.figure(
            "each names its usage record in Stripe",
            usage_records,
            event_ids.len(),
        );
    }
    let rows = audit_rows(stage, customer, event_ids.len()).await?;
    narrator.figure("rows in the audit log", rows, 5);
    let period = stage.current_period(customer).await?;
    let in_stripe = stage.stripe_reaches(customer, meter_id, period, 5).await?;
    narrator.figure("units in Stripe's event summary", in_stripe, 5);
    let report = stage.report_of(customer, 5).await?;
    narrator.figure("units in the usage report", report.text("/total_units"), 5);
    narrator.figure(
        "estimated cost in the usage report, in dollars",
        report.text("/estimated_cost"),
        "0.10",
    );
    Ok(())
}

/// How many rows the audit log has of the customer: the index follows the
/// table within a moment.
pub(crate) async fn audit_rows(
    stage: &Stage<'_>,
    customer: &Customer,
    expected: usize,
) -> Result<usize, StoryError> {
    let customer_id = CustomerId::parse(&customer.customer_id)
        .map_err(|error| StoryError::Unexpected(error.to_string()))?;
    let now: Timestamp = stage.now();
    let (from, to) = (now.plus_ms(-FOREVER_MS), now.plus_ms(FOREVER_MS));
    let ledger = &stage.place.ledger;
    let count = async || {
        let events = ledger.usage_events_of_customer(&customer_id, from, to);
        Ok::<_, StoryError>(events.await?.len())
    };
    let waited = stage
        .patience()
        .until("the audit log's index", async || {
            let rows = count().await?;
            Ok((rows == expected).then_some(rows))
        })
        .await;
    match waited {
        Err(StoryError::WaitedInVain(_)) => count().await,
        waited => waited,
    }
}

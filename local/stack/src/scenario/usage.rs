//! Steps 3 and 4: usage, and its units and cost wherever they are shown.

use serde_json::json;

use crate::story::customer::Customer;
use crate::story::documents::audit_rows;
use crate::story::{Answer, Narrator, Stage, StoryError, faults};

/// Units of the event that comes alone.
const SINGLE_UNITS: u64 = 3;
/// Events of the batch, of a unit each.
const BATCH_EVENTS: u64 = 50;
/// All of it.
pub(super) const UNITS: u64 = SINGLE_UNITS + BATCH_EVENTS;
/// What a unit costs, in cents.
const UNIT_CENTS: u64 = 2;

/// Emits an event alone, its repeats, and a batch that holds a repeat and
/// nonsense besides.
pub(super) async fn emit(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
) -> Result<(), StoryError> {
    faults::repeats(stage, narrator, customer, "three units").await?;
    let event = |event_id: String, quantity: u64| {
        json!({
            "event_id": event_id, "customer_id": customer.customer_id,
            "quantity": quantity, "action_type": "document_processed",
        })
    };
    let new = (1..=BATCH_EVENTS).map(|number| event(format!("{}-batch-{number}", stage.run), 1));
    let repeat = event(format!("{}-again", stage.run), SINGLE_UNITS);
    let nonsense = event(format!("{}-nothing", stage.run), 0);
    let events: Vec<_> = new.chain([repeat, nonsense]).collect();
    let batch = json!({ "events": events });
    let answer = stage.api.post("/v1/usage/batch", &batch).await?;
    let answer = Stage::expect("a batch", answer, &[200])?;
    narrator.figure(
        "of the batch, delivered",
        answer.text("/delivered"),
        BATCH_EVENTS,
    );
    narrator.figure("recorded before", answer.text("/duplicates"), 1);
    narrator.figure(
        "refused, for a quantity of zero",
        answer.text("/rejected"),
        1,
    );
    let expected = usize::try_from(BATCH_EVENTS + 1).unwrap_or(usize::MAX);
    let rows = audit_rows(stage, customer, expected).await?;
    narrator.figure("rows in the audit log", rows, expected);
    Ok(())
}

/// Reads `units` and what they cost back from Stripe's meter, from the report
/// and from the invoice that Stripe expects.
pub(super) async fn compare(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
    meter_id: &str,
    units: u64,
) -> Result<(), StoryError> {
    let period = stage.current_period(customer).await?;
    let in_stripe = stage
        .stripe_reaches(customer, meter_id, period, units)
        .await?;
    narrator.figure("units in Stripe's event summary", in_stripe, units);
    let report = stage.report_of(customer, units).await?;
    narrator.figure(
        "units in the usage report",
        report.text("/total_units"),
        units,
    );
    let cost = report.text("/estimated_cost");
    narrator.figure(
        "their cost in the report, in dollars",
        &cost,
        dollars(units),
    );
    let preview = upcoming_of(stage, customer, &cost).await?;
    narrator.figure(
        "the total of Stripe's own preview of the invoice",
        preview.text("/total"),
        cost,
    );
    Ok(())
}

fn dollars(units: u64) -> String {
    let cents = units * UNIT_CENTS;
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// Stripe's preview, once its total is `total`; the latest one where it never is.
async fn upcoming_of(
    stage: &Stage<'_>,
    customer: &Customer,
    total: &str,
) -> Result<Answer, StoryError> {
    let path = format!("/v1/customers/{}/invoices/upcoming", customer.customer_id);
    let look = async || {
        let preview = stage.api.get(&path).await?;
        Stage::expect("Stripe's preview of the invoice", preview, &[200])
    };
    let waited = stage
        .patience()
        .until("Stripe's preview of the invoice", async || {
            let preview = look().await?;
            Ok((preview.text("/total") == total).then_some(preview))
        })
        .await;
    match waited {
        Err(StoryError::WaitedInVain(_)) => look().await,
        waited => waited,
    }
}

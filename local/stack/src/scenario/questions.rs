//! Step 9, and a look at a draft on the way: questions that Stripe's reference
//! leaves open. An answer is said and is no figure, since none is wrong; see
//! docs/scenario.md for what each one decides.

use std::time::Duration;

use billing::{CustomerId, EventId, Identifier};
use serde_json::{Value, json};
use stripe::{ListEvents, MeterEvent, RequestOptions};

use super::correction::voided_event_id;
use crate::http::percent_encoded;
use crate::story::customer::Customer;
use crate::story::patience::Patience;
use crate::story::{Narrator, Stage, StoryError, Waiting};
use crate::stripe_requests::StripeRequests;

/// Into the hour in which an invoice is a draft.
const INTO_THE_DRAFT_S: i64 = 600;
/// Whether late usage counts is waited for, and no longer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5 * 60);
const DAY_S: i64 = 86_400;

/// Moves the customer's clock into the draft of the period's invoice, and says
/// when Stripe would finalise it.
pub(super) async fn look_at_draft(
    stage: &Stage<'_>,
    requests: &StripeRequests,
    narrator: &mut Narrator,
    customer: &Customer,
    period_end: i64,
) -> Result<(), StoryError> {
    stage
        .advance_clock(customer, period_end + INTO_THE_DRAFT_S)
        .await?;
    let customer_id = percent_encoded(&customer.customer_id);
    let path = format!("/v1/invoices?customer={customer_id}&status=draft&limit=1");
    let draft = stage
        .patience()
        .until("the draft of the invoice", async || {
            let page = requests.get(&path).await?;
            Ok(page["data"].get(0).cloned())
        })
        .await?;
    let created = draft["created"].as_i64().unwrap_or_default();
    let said = match draft["automatically_finalizes_at"].as_i64() {
        Some(at) => format!("{} s after it was made", at - created),
        None => "at no time that it names".to_owned(),
    };
    narrator.say(format!(
        "? a draft without an endpoint that could take invoice.created is finalised {said}"
    ));
    Ok(())
}

/// Asks what can be asked without a figure depending on it.
pub(super) async fn ask(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
    meter_id: &str,
) -> Result<(), StoryError> {
    how_events_are_dated(stage, narrator, customer).await?;
    if stage.stripe().usage_api().has_meter() {
        second_cancellation(stage, narrator, customer).await?;
        identifier_after_a_refusal(stage, narrator, customer).await?;
    }
    usage_after_the_clock_moved(stage, narrator, customer, meter_id).await
}

async fn frozen_time(stage: &Stage<'_>, customer: &Customer) -> Result<i64, StoryError> {
    let clock = stage
        .stripe()
        .retrieve_test_clock(&customer.test_clock)
        .await;
    let clock = clock.map_err(StoryError::stripe("tell a test clock"))?;
    Ok(clock.frozen_time)
}

async fn how_events_are_dated(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
) -> Result<(), StoryError> {
    let filter = ListEvents {
        types: vec!["invoice.paid".to_owned()],
        limit: Some(100),
        ..ListEvents::default()
    };
    let events = stage.stripe().list_events(&filter).await;
    let events = events.map_err(StoryError::stripe("list events"))?;
    let event = events
        .iter()
        .find(|event| event.data.object["customer"] == customer.customer_id.as_str());
    let said = match event {
        Some(event) if event.created > stage.now().unix_s() + DAY_S => "the test clock's time",
        Some(_) => "Stripe's own time",
        None => "nothing: it is not in the list",
    };
    narrator.say(format!(
        "? the event of a payment on a test clock is dated by {said}"
    ));
    Ok(())
}

async fn second_cancellation(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
) -> Result<(), StoryError> {
    let unexpected = |error: &dyn std::error::Error| StoryError::Unexpected(error.to_string());
    let customer_id = CustomerId::parse(&customer.customer_id).map_err(|e| unexpected(&e))?;
    let event_id = EventId::parse(&voided_event_id(stage)).map_err(|e| unexpected(&e))?;
    let identifier = Identifier::of(&customer_id, &event_id);
    let event_name = &stage.place.catalog_names.event_name;
    let cancelled = stage
        .stripe()
        .create_meter_event_adjustment(event_name, identifier.as_str(), &RequestOptions::new())
        .await;
    let said = match &cancelled {
        Ok(adjustment) => format!("taken: {}", adjustment.status),
        Err(error) => refusal(error),
    };
    narrator.say(format!(
        "? the same event, cancelled a second time, is {said}"
    ));
    Ok(())
}

/// The usage is of the time when the customer came in, and of no period that is
/// looked at again.
async fn identifier_after_a_refusal(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
) -> Result<(), StoryError> {
    let event_name = &stage.place.catalog_names.event_name;
    let now_unix_ms = stage.now().unix_ms();
    let event = |customer_id: &str| {
        let identifier = format!("{}-refused", stage.run);
        MeterEvent::new(identifier, event_name, now_unix_ms, customer_id, 1)
    };
    let options = RequestOptions::new;
    let stripe = stage.stripe();
    let first = stripe
        .create_meter_event(&event("cus_unknown"), &options())
        .await;
    let first = match &first {
        Ok(outcome) => format!("taken: {outcome:?}"),
        Err(error) => refusal(error),
    };
    let second = stripe
        .create_meter_event(&event(&customer.customer_id), &options())
        .await;
    let second = match &second {
        Ok(outcome) => format!("taken: {outcome:?}"),
        Err(error) => refusal(error),
    };
    narrator.say(format!(
        "? usage of an unknown customer is {first}; the identifier again, with a known one, is {second}"
    ));
    Ok(())
}

/// Stripe's own time has not moved: to its meters this usage may lie in the future.
async fn usage_after_the_clock_moved(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
    meter_id: &str,
) -> Result<(), StoryError> {
    let ahead_s = frozen_time(stage, customer).await? - stage.now().unix_s();
    let event_id = format!("{}-ahead", stage.run);
    let event = json!({
        "event_id": event_id, "customer_id": customer.customer_id,
        "quantity": 1, "action_type": "document_processed",
    });
    let answer = stage.api.post("/v1/usage", &event).await?;
    let path = format!("/v1/usage/{}/{event_id}", customer.customer_id);
    let period = stage.current_period(customer).await?;
    let patience = Patience {
        stage,
        waiting: Waiting {
            patience: stage.settings.waiting.patience.min(ANSWER_PATIENCE),
            ..stage.settings.waiting
        },
    };
    let seen = patience
        .until("the usage of the new period", async || {
            let row = stage.api.get(&path).await?;
            if row.text("/status") == "rejected" {
                let code = row.body.get("stripe_code").and_then(Value::as_str);
                return Ok(Some(format!("rejected it ({})", code.unwrap_or("no code"))));
            }
            let units = stage.units_in_stripe(customer, meter_id, period).await?;
            Ok((units == 1).then(|| "counts it".to_owned()))
        })
        .await;
    let said = match seen {
        Err(StoryError::WaitedInVain(_)) => "has neither counted nor rejected it yet".to_owned(),
        seen => seen?,
    };
    narrator.say(format!(
        "? usage at a test clock's time, {} days ahead of Stripe's: answered {} {}, and Stripe {said}",
        ahead_s / DAY_S,
        answer.status,
        answer.text("/status"),
    ));
    Ok(())
}

fn refusal(error: &stripe::Error) -> String {
    format!("refused: {}", error.code().unwrap_or("no code"))
}

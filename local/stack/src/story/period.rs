//! Step 6: the period ends. Stripe invoices, charges and calls the webhook; a
//! card that fails suspends its customer, and paying brings the customer back.

use ledger::{BillingEventRow, BillingEventState};
use serde_json::{Value, json};
use stripe::{ListEvents, RequestOptions, UpdateCustomer};

use super::customer::Customer;
use super::{Narrator, Stage, StoryError};

/// Past the hour in which an invoice is a draft.
const AFTER_THE_DRAFT_S: i64 = 2 * 3_600;
/// Past the last of Stripe's attempts to collect.
const AFTER_THE_RETRIES_S: i64 = 16 * 86_400;

/// A customer whose card was refused, and the invoice that is open for it.
pub(crate) struct Defaulter {
    pub(crate) customer: Customer,
    invoice: Value,
}

/// Ends the period of both customers.
pub(crate) async fn play(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
    meter_id: &str,
    units: u64,
) -> Result<(), StoryError> {
    let invoice = end_period(stage, customer, "paid").await?;
    paid_invoice(stage, narrator, customer, units, &invoice).await?;
    let defaulter = first_attempt_fails(stage, narrator, meter_id).await?;
    last_attempt_fails(stage, narrator, &defaulter).await?;
    paying_brings_back(stage, narrator, &defaulter).await
}

/// Reads the invoice of `units` back, and what its payment has done.
pub(crate) async fn paid_invoice(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
    units: u64,
    invoice: &Value,
) -> Result<(), StoryError> {
    let quantity = invoice["lines"][0]["quantity"].clone();
    narrator.figure("units on the invoice", quantity, units);
    let cents = units * 2;
    let dollars = format!("{}.{:02}", cents / 100, cents % 100);
    let total = invoice["total"].as_str().unwrap_or_default();
    narrator.figure("the invoice, in dollars", total, &dollars);
    let paid = invoice["amount_paid"].as_str().unwrap_or_default();
    narrator.figure("paid, in dollars", paid, &dollars);
    webhook_was_recorded(stage, narrator, customer, invoice).await?;
    let receipt = stage.told(customer, "receipt").await?;
    let received = receipt["data"]["amount_paid"].as_str().unwrap_or_default();
    narrator.figure("the receipt that the operator is sent", received, &dollars);
    let access = stage.access_with(customer, "active").await?;
    narrator.figure("the customer is", access.text("/status"), "active");
    Ok(())
}

/// Moves the customer's clock over the period's end, and waits for the invoice
/// to have `status`. Answers it as Meterline's API shows it.
pub(crate) async fn end_period(
    stage: &Stage<'_>,
    customer: &Customer,
    status: &str,
) -> Result<Value, StoryError> {
    let (_, period_end) = stage.current_period(customer).await?;
    end_period_at(stage, customer, period_end, status).await
}

/// The same of a period whose end is known; the clock may be past it.
pub(crate) async fn end_period_at(
    stage: &Stage<'_>,
    customer: &Customer,
    period_end: i64,
    status: &str,
) -> Result<Value, StoryError> {
    let to = period_end + AFTER_THE_DRAFT_S;
    stage.advance_clock(customer, to).await?;
    let path = format!("/v1/customers/{}/invoices", customer.customer_id);
    stage
        .patience()
        .until("the invoice", async || {
            let answer = stage.api.get(&path).await?;
            let invoices = answer.body["invoices"].as_array().cloned();
            Ok(invoices.into_iter().flatten().find(|invoice| {
                invoice["billing_reason"] == "subscription_cycle" && invoice["status"] == status
            }))
        })
        .await
}

/// The event that told of the payment is in the table, once, and its repeat
/// changes nothing.
async fn webhook_was_recorded(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
    invoice: &Value,
) -> Result<(), StoryError> {
    let event = paid_event(stage, customer, invoice).await?;
    let event_id = event["id"].as_str().unwrap_or_default().to_owned();
    let recorded = stage
        .patience()
        .until("the webhook's effect", async || {
            let row = stage.place.ledger.billing_event(&event_id).await?;
            Ok(row.filter(|row| row.state == BillingEventState::Done))
        })
        .await?;
    narrator.say(format!("webhook  {event_id} {}", recorded.event_type));
    let status = stage.post_signed_webhook(&event.to_string()).await?;
    narrator.figure("the same webhook again is answered", status, 200);
    let after: Option<BillingEventRow> = stage.place.ledger.billing_event(&event_id).await?;
    narrator.figure("it is recorded once", after == Some(recorded), true);
    Ok(())
}

async fn paid_event(
    stage: &Stage<'_>,
    customer: &Customer,
    invoice: &Value,
) -> Result<Value, StoryError> {
    let filter = ListEvents {
        types: vec!["invoice.paid".to_owned()],
        limit: Some(100),
        ..ListEvents::default()
    };
    let events = stage.stripe().list_events(&filter).await;
    let events = events.map_err(StoryError::stripe("list events"))?;
    let event = events.iter().find(|event| {
        event.data.object["id"] == invoice["invoice_id"]
            && event.data.object["customer"] == customer.customer_id.as_str()
    });
    event
        .map(|event| {
            json!({
                "id": event.id, "object": "event", "type": event.event_type,
                "created": event.created, "livemode": event.livemode,
                "api_version": event.api_version, "data": { "object": event.data.object },
            })
        })
        .ok_or_else(|| StoryError::Unexpected("the list of Stripe's events".to_owned()))
}

/// A second customer's period ends, and its card is refused. It may act still.
pub(crate) async fn first_attempt_fails(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    meter_id: &str,
) -> Result<Defaulter, StoryError> {
    let customer = stage
        .onboard("defaulter", "pm_card_chargeCustomerFail")
        .await?;
    narrator.say(format!(
        "a second customer, whose card will fail: {}",
        customer.customer_id
    ));
    let usage = json!({
        "event_id": "sixty", "customer_id": customer.customer_id,
        "quantity": 60, "action_type": "document_processed",
    });
    let answer = stage.api.post("/v1/usage", &usage).await?;
    Stage::expect("the second customer's usage", answer, &[200, 202])?;
    // What Stripe has not summed up when its clock moves may miss the invoice.
    let period = stage.current_period(&customer).await?;
    stage
        .stripe_reaches(&customer, meter_id, period, 60)
        .await?;
    let invoice = end_period(stage, &customer, "open").await?;
    let due = invoice["amount_remaining"].as_str().unwrap_or_default();
    narrator.figure(
        "the invoice that could not be charged, in dollars",
        due,
        "1.20",
    );
    let access = stage.access_with(&customer, "past_due").await?;
    narrator.figure(
        "after the first attempt the customer is",
        access.text("/status"),
        "past_due",
    );
    narrator.figure("and may act", access.text("/allowed"), true);
    let failed = stage.told(&customer, "payment_failed").await?;
    narrator.say(format!(
        "the operator is told: payment_failed, suspended on {}",
        failed["data"]["grace_ends_at"].as_str().unwrap_or("no day")
    ));
    Ok(Defaulter { customer, invoice })
}

async fn last_attempt_fails(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    Defaulter { customer, .. }: &Defaulter,
) -> Result<(), StoryError> {
    let clock = stage
        .stripe()
        .retrieve_test_clock(&customer.test_clock)
        .await;
    let clock = clock.map_err(StoryError::stripe("tell a test clock"))?;
    let to = clock.frozen_time + AFTER_THE_RETRIES_S;
    stage.advance_clock(customer, to).await?;
    let access = stage.access_with(customer, "suspended").await?;
    narrator.figure(
        "after the last attempt the customer is",
        access.text("/status"),
        "suspended",
    );
    narrator.figure("and may act", access.text("/allowed"), false);
    narrator.say(format!("because {}", access.text("/reason")));
    stage.told(customer, "suspended").await?;
    narrator.say("the operator is told: suspended");
    Ok(())
}

/// The second customer pays with another card.
pub(crate) async fn paying_brings_back(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    Defaulter { customer, invoice }: &Defaulter,
) -> Result<(), StoryError> {
    pay(stage, customer, invoice).await?;
    let access = stage.access_with(customer, "active").await?;
    narrator.figure(
        "once it has paid, the customer is",
        access.text("/status"),
        "active",
    );
    narrator.figure("and may act", access.text("/allowed"), true);
    stage.told(customer, "reactivated").await?;
    narrator.say("the operator is told: reactivated");
    Ok(())
}

/// What the customer does in Stripe's billing portal: another card, and pay.
async fn pay(stage: &Stage<'_>, customer: &Customer, invoice: &Value) -> Result<(), StoryError> {
    let options = RequestOptions::new();
    let stripe = stage.stripe();
    let card = stripe
        .attach_payment_method("pm_card_visa", &customer.customer_id, &options)
        .await;
    let card = card.map_err(StoryError::stripe("attach a card"))?;
    let changes = UpdateCustomer {
        default_payment_method: Some(card.id),
        ..UpdateCustomer::default()
    };
    let updated = stripe
        .update_customer(&customer.customer_id, &changes, &options)
        .await;
    updated.map_err(StoryError::stripe("change the default payment method"))?;
    let invoice_id = invoice["invoice_id"].as_str().unwrap_or_default();
    let paid = stripe.pay_invoice(invoice_id, &options).await;
    paid.map_err(StoryError::stripe("pay an invoice"))?;
    Ok(())
}

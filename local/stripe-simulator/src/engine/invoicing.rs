//! Drafting and finalising invoices (Stripe API reference: Invoices; Stripe's documentation:
//! Subscription invoices, Customer balance).

use serde_json::Value;

use super::{invoice_fields, invoice_lines, payments};
use crate::api::error::Result;
use crate::api::json::{array, integer, integer_or_zero, text, text_or_empty};
use crate::call::Call;
use crate::events;
use crate::resources::{account, customer_balance_transactions, payment_intents};
use crate::store::objects;

/// How long an invoice stays a draft after its period, or after the 2xx to `invoice.created`.
pub(super) const DRAFT_SECONDS: i64 = 3600;
/// How long it waits for that 2xx.
const UNACKNOWLEDGED_SECONDS: i64 = 72 * 3600;

/// From one moment up to another.
pub(crate) type Period = (i64, i64);

/// What an invoice is to bill.
pub(crate) struct Plan<'a> {
    pub(crate) reason: &'a str,
    pub(crate) period: Period,
    /// Usage is billed for the period that has passed …
    pub(crate) usage: Option<Period>,
    /// … and an agreed quantity for the one that comes.
    pub(crate) advance: Option<Period>,
    /// Usage in a trial is counted, not billed.
    pub(crate) usage_is_free: bool,
}

/// A draft of what the plan says, not stored yet.
pub(crate) fn draft(
    call: &Call<'_>,
    subscription: &Value,
    plan: &Plan<'_>,
    at: i64,
) -> Result<Value> {
    let customer_id = text_or_empty(subscription, "/customer");
    let customer = objects::find(call.db, &customer_id)?.unwrap_or_default();
    let id = call.random.id("in");
    let mut invoice = invoice_fields::blank(&id, subscription, &customer, plan, at);
    let mut lines = Vec::new();
    for item in array(subscription, "/items/data") {
        lines.extend(invoice_lines::of_item(call, subscription, item, plan)?);
    }
    for line in &mut lines {
        line["id"] = call.random.id("il").into();
        line["invoice"] = id.as_str().into();
    }
    invoice["lines"]["data"] = lines.into();
    add_up(&mut invoice);
    Ok(invoice)
}

/// Counts a draft's usage again, as of now.
pub(crate) fn recount(call: &Call<'_>, invoice: &mut Value) -> Result<()> {
    let lines = invoice["lines"]["data"].take();
    invoice["lines"]["data"] = invoice_lines::recount(call, invoice, &lines)?.into();
    add_up(invoice);
    Ok(())
}

/// An endpoint is to be told of the draft: its hour starts with the answer, or it is finalised
/// after three days without one. On a test clock, where a month passes in a moment, nothing
/// waits.
pub(crate) fn await_acknowledgement(call: &Call<'_>, mut invoice: Value, at: i64) -> Result<()> {
    if finalizes_by_itself(&invoice) && text(&invoice, "/test_clock").is_none() {
        reschedule(&mut invoice, at + UNACKNOWLEDGED_SECONDS);
        call.save(&invoice)?;
    }
    Ok(())
}

/// Every endpoint took an event; if that was an `invoice.created`, the draft's hour starts.
pub(crate) fn acknowledge(call: &Call<'_>, event: &str) -> Result<()> {
    let event = objects::find(call.db, event)?.unwrap_or_default();
    if text(&event, "/type") != Some("invoice.created") {
        return Ok(());
    }
    let Some(mut invoice) = call.find("invoice", &text_or_empty(&event, "/data/object/id"))? else {
        return Ok(());
    };
    let now = call.time_of(&invoice)?;
    invoice["webhooks_delivered_at"] = now.into();
    if finalizes_by_itself(&invoice) && text(&invoice, "/test_clock").is_none() {
        reschedule(&mut invoice, now + DRAFT_SECONDS);
    }
    call.save(&invoice)
}

fn finalizes_by_itself(invoice: &Value) -> bool {
    text(invoice, "/status") == Some("draft")
        && integer(invoice, "/automatically_finalizes_at").is_some()
}

fn reschedule(invoice: &mut Value, at: i64) {
    invoice["automatically_finalizes_at"] = at.into();
    invoice["next_payment_attempt"] = at.into();
}

fn add_up(invoice: &mut Value) {
    let total = array(invoice, "/lines/data")
        .iter()
        .map(|line| integer_or_zero(line, "/amount"))
        .fold(0, i64::saturating_add);
    for field in [
        "subtotal",
        "subtotal_excluding_tax",
        "total",
        "total_excluding_tax",
    ] {
        invoice[field] = total.into();
    }
    set_due(invoice, total.max(0));
}

fn set_due(invoice: &mut Value, due: i64) {
    invoice["amount_due"] = due.into();
    invoice["amount_paid"] = 0.into();
    invoice["amount_remaining"] = due.into();
}

/// The least that Stripe charges a card (Stripe's documentation: Minimum charge amounts).
fn charge_min(currency: &str) -> i64 {
    match currency {
        "gbp" => 30,
        "jpy" => 50,
        "czk" => 1500,
        "dkk" => 250,
        "hkd" => 400,
        "mxn" => 1000,
        "nok" | "sek" => 300,
        _ => 50,
    }
}

/// Finalises a draft: counts its usage for the last time, numbers it, settles the customer's
/// balance. It is open then, and nothing changes its lines any more.
pub(crate) fn finalize(call: &Call<'_>, mut invoice: Value, at: i64) -> Result<Value> {
    recount(call, &mut invoice)?;
    let customer = text_or_empty(&invoice, "/customer");
    let mut customer = objects::find(call.db, &customer)?.unwrap_or_default();
    settle_balance(&mut invoice, &customer);
    let sequence = integer(&customer, "/next_invoice_sequence").unwrap_or(1);
    let prefix = text_or_empty(&customer, "/invoice_prefix");
    let id = text_or_empty(&invoice, "/id");
    let page = format!(
        "https://invoice.stripe.com/i/{}/test_{id}",
        account::ACCOUNT_ID
    );
    invoice["number"] = format!("{prefix}-{sequence:04}").into();
    invoice["status"] = "open".into();
    invoice["status_transitions"]["finalized_at"] = at.into();
    invoice["effective_at"] = at.into();
    invoice["automatically_finalizes_at"] = Value::Null;
    invoice["invoice_pdf"] = format!("{page}/pdf").into();
    invoice["hosted_invoice_url"] = page.into();
    if text(&invoice, "/collection_method") == Some("send_invoice") {
        invoice["next_payment_attempt"] = Value::Null;
        let days = integer(&invoice, "/_days_until_due").unwrap_or(30);
        invoice["due_date"] = (at + days * 86_400).into();
    } else {
        invoice["next_payment_attempt"] = at.into();
    }
    if integer_or_zero(&invoice, "/amount_due") > 0 {
        let method = payments::method_at_hand(call, &invoice)?;
        payment_intents::create(call, &mut invoice, method.as_deref(), at)?;
    }
    call.save(&invoice)?;
    if customer["object"] == "customer" && customer["deleted"].is_null() {
        let before = customer.clone();
        customer["next_invoice_sequence"] = (sequence + 1).into();
        customer["balance"] = invoice["ending_balance"].clone();
        customer["currency"] = invoice["currency"].clone();
        call.save(&customer)?;
        if before["balance"] != customer["balance"] {
            let change = integer_or_zero(&customer, "/balance")
                .saturating_sub(integer_or_zero(&before, "/balance"));
            customer_balance_transactions::note_applied(call, &customer, &invoice, change)?;
            events::emit_update(call, "customer.updated", &before, &customer)?;
        }
    }
    events::emit(call, "invoice.finalized", &invoice)?;
    Ok(invoice)
}

/// What the customer owes or is owed from before is settled with this invoice; less than the
/// least charge is carried on to the next.
fn settle_balance(invoice: &mut Value, customer: &Value) {
    let balance = integer_or_zero(customer, "/balance");
    let due = integer_or_zero(invoice, "/total").saturating_add(balance);
    let currency = text_or_empty(invoice, "/currency");
    let is_charged = text(invoice, "/collection_method") == Some("charge_automatically");
    let is_carried = due <= 0 || (is_charged && due < charge_min(&currency));
    invoice["starting_balance"] = balance.into();
    invoice["ending_balance"] = if is_carried { due } else { 0 }.into();
    set_due(invoice, if is_carried { 0 } else { due });
}

//! Disputes (Stripe API reference: Disputes; Stripe's documentation: Testing, Disputes): a
//! cardholder has a charge taken back. What the bank makes of the evidence is known later.

use rusqlite::types::Value as Sql;
use serde_json::Value;

use super::balance_transactions::{self, Movement};
use super::test_cards::Claim;
use super::{Answer, dispute_fields};
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::{integer_or_zero, set, text, text_or_empty};
use crate::api::list;
use crate::api::params::Params;
use crate::call::Call;
use crate::events;
use crate::store::objects;

const KIND: &str = "dispute";
/// What a dispute costs an account in the United States, in cents.
const FEE: i64 = 1500;

/// Opens a dispute of a charge; but for an inquiry, the money is gone at once.
pub(super) fn open(call: &Call<'_>, charge: &Value, claim: Claim, at: i64) -> Result<()> {
    let mut disputed = charge.clone();
    disputed["disputed"] = true.into();
    call.save(&disputed)?;
    let mut dispute = dispute_fields::blank(call, charge, claim, at);
    let is_taken_back = claim != Claim::Inquiry;
    if is_taken_back {
        withdraw(call, &mut dispute, at)?;
    }
    call.insert(&dispute)?;
    events::emit(call, "charge.dispute.created", &dispute)?;
    if is_taken_back {
        events::emit(call, "charge.dispute.funds_withdrawn", &dispute)?;
    }
    Ok(())
}

fn withdraw(call: &Call<'_>, dispute: &mut Value, at: i64) -> Result<()> {
    dispute["is_charge_refundable"] = false.into();
    let amount = integer_or_zero(dispute, "/amount");
    move_funds(call, dispute, "dispute", "withdrawal", (-amount, FEE), at)
}

fn reinstate(call: &Call<'_>, dispute: &mut Value, at: i64) -> Result<()> {
    dispute["is_charge_refundable"] = true.into();
    let amount = integer_or_zero(dispute, "/amount");
    let moved = (amount, -FEE);
    move_funds(call, dispute, "dispute_reversal", "reversal", moved, at)
}

fn move_funds(
    call: &Call<'_>,
    dispute: &mut Value,
    category: &str,
    deed: &str,
    (amount, fee): (i64, i64),
    at: i64,
) -> Result<()> {
    let charge = text_or_empty(dispute, "/charge");
    let is_settled_in_dollars = text(dispute, "/currency") == Some("usd");
    let movement = Movement {
        kind: "adjustment",
        category,
        description: Some(format!("Chargeback {deed} for {charge}")),
        amount,
        // Nothing is converted here, so a fee in dollars fits a balance in dollars only.
        fee: if is_settled_in_dollars { fee } else { 0 },
    };
    let transaction = balance_transactions::insert(call, dispute, &movement, at)?;
    let shown = present(call, &transaction)?;
    if let Some(transactions) = dispute["balance_transactions"].as_array_mut() {
        transactions.push(shown);
    }
    Ok(())
}

/// The dispute that the path names; Stripe calls the parameter `dispute`.
fn get(call: &Call<'_>, id: &str) -> Result<Value> {
    let found = call.find(KIND, id)?;
    found.ok_or_else(|| StripeError::no_such(KIND, id).param(KIND))
}

/// The dispute that the path names, unless it is decided.
fn get_open(call: &Call<'_>, id: &str) -> Result<Value> {
    let dispute = get(call, id)?;
    match text(&dispute, "/status") {
        Some("won" | "lost" | "warning_closed") => {
            Err(StripeError::invalid("This dispute is already closed"))
        }
        _ => Ok(dispute),
    }
}

/// `GET /v1/disputes/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    present(call, &get(call, id)?)
}

/// `GET /v1/disputes`.
pub(crate) fn list(call: &Call<'_>, mut params: Params) -> Answer {
    let mut filters = Vec::new();
    for (param, column) in [("charge", "parent"), ("payment_intent", "label")] {
        if let Some(value) = params.text(param)? {
            filters.push((column, Sql::Text(value)));
        }
    }
    list::answer(call, params, KIND, "/v1/disputes", &filters)
}

/// `POST /v1/disputes/{id}`: evidence goes to the bank, unless `submit` is false: it is kept then.
pub(crate) fn update(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let before = get_open(call, id)?;
    let mut dispute = before.clone();
    params.metadata(&mut dispute)?;
    let is_given = dispute_fields::take_evidence(&mut params, &mut dispute)?;
    let submits = params.boolean("submit")?;
    let methods = [
        "manual",
        "prefer_manual",
        "prefer_smart_disputes",
        "smart_disputes",
    ];
    if let Some(method) = params.choice("intended_submission_method", &methods)? {
        dispute["intended_submission_method"] = method.into();
    }
    params.finish()?;
    let has_evidence = dispute_fields::has_evidence(&dispute);
    dispute["evidence_details"]["has_evidence"] = has_evidence.into();
    // Evidence is submitted unless the request says no; what was kept before, where it says yes.
    if has_evidence && submits.unwrap_or(is_given) {
        submit(call, &mut dispute);
    }
    call.save(&dispute)?;
    events::emit_update(call, "charge.dispute.updated", &before, &dispute)?;
    present(call, &dispute)
}

/// The bank has the evidence; the words that Stripe's testing page names make it decide.
fn submit(call: &Call<'_>, dispute: &mut Value) {
    let is_inquiry = text(dispute, "/status").is_some_and(|status| status.starts_with("warning"));
    let status = if is_inquiry {
        "warning_under_review"
    } else {
        "under_review"
    };
    dispute["status"] = status.into();
    let count = integer_or_zero(dispute, "/evidence_details/submission_count");
    set(dispute, "/evidence_details/submission_count", count + 1);
    set(dispute, "/evidence_details/submission_method", "manual");
    let outcome = match text(dispute, "/evidence/uncategorized_text") {
        Some("winning_evidence") if is_inquiry => "warning_closed",
        Some("winning_evidence") => "won",
        Some("losing_evidence") => "lost",
        Some("escalate_inquiry_evidence") if is_inquiry => "needs_response",
        _ => return,
    };
    dispute["_outcome"] = outcome.into();
    dispute["_decided_at"] = call.now().into();
}

/// The bank decides.
pub(crate) fn decide(call: &Call<'_>, before: &Value) -> Result<()> {
    let mut dispute = before.clone();
    let outcome = dispute["_outcome"].take();
    dispute["_decided_at"] = Value::Null;
    let is_inquiry = text(before, "/status") == Some("warning_under_review");
    let customer = text_or_empty(before, "/_customer");
    let customer = objects::find(call.db, &customer)?.unwrap_or_default();
    let at = call.time_of(&customer)?;
    match outcome.as_str() {
        Some("won") => {
            reinstate(call, &mut dispute, at)?;
            finish(
                call,
                dispute,
                "won",
                Some("charge.dispute.funds_reinstated"),
            )
        }
        Some("needs_response") => {
            withdraw(call, &mut dispute, at)?;
            dispute["status"] = "needs_response".into();
            let card = &mut dispute["payment_method_details"]["card"];
            card["case_type"] = "chargeback".into();
            card["network_reason_code"] = "10.4".into();
            call.save(&dispute)?;
            events::emit_update(call, "charge.dispute.updated", before, &dispute)?;
            events::emit(call, "charge.dispute.funds_withdrawn", &dispute)
        }
        Some("lost") if !is_inquiry => finish(call, dispute, "lost", None),
        _ => finish(call, dispute, "warning_closed", None),
    }
}

/// Ends a dispute; `told_first` is said before that.
fn finish(
    call: &Call<'_>,
    mut dispute: Value,
    status: &str,
    told_first: Option<&str>,
) -> Result<()> {
    dispute["status"] = status.into();
    call.save(&dispute)?;
    if let Some(event) = told_first {
        events::emit(call, event, &dispute)?;
    }
    events::emit(call, "charge.dispute.closed", &dispute)
}

/// `POST /v1/disputes/{id}/close`: the claim is accepted, and the dispute lost.
pub(crate) fn close(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    let mut dispute = get_open(call, id)?;
    dispute["_outcome"] = Value::Null;
    dispute["_decided_at"] = Value::Null;
    let is_inquiry = text(&dispute, "/status").is_some_and(|status| status.starts_with("warning"));
    let status = if is_inquiry { "warning_closed" } else { "lost" };
    finish(call, dispute, status, None)?;
    present(call, &get(call, id)?)
}

//! Paying open invoices, and what that does to subscriptions (Stripe's documentation:
//! Subscription statuses, Automatic collection).

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use crate::api::error::{Result, StripeError};
use crate::api::expand::{adapt, present};
use crate::api::json::{integer_or_zero, text, text_or_empty};
use crate::call::Call;
use crate::events;
use crate::resources::payment_intents::{self, Outcome};
use crate::store::objects;

const DAY_SECONDS: i64 = 86_400;

const REQUIRES_ACTION: &str = "This payment requires additional user action before it can be completed successfully. Payment can be completed using the PaymentIntent associated with the invoice. For more details see: https://stripe.com/docs/billing/subscriptions/overview#requires-action";

/// Days between a failed attempt and the next one; after the last, the subscription is unpaid.
const RETRY_DAYS: [i64; 3] = [3, 5, 7];

/// Who asked for a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nobody: the invoice was due.
    BySchedule,
    /// A request. The customer is away, or there (`is_off_session: false`).
    ByRequest { is_off_session: bool },
}

/// Collects a finalised invoice by itself, as its collection method says. Nothing due is paid.
pub(crate) fn collect(call: &Call<'_>, invoice: Value, at: i64) -> Result<Value> {
    if integer_or_zero(&invoice, "/amount_due") == 0 {
        return mark_paid(call, invoice, at);
    }
    if text(&invoice, "/collection_method") == Some("charge_automatically") {
        let (invoice, _) = attempt(call, invoice, None, Asked::BySchedule, at)?;
        return Ok(invoice);
    }
    Ok(invoice)
}

/// Charges the invoice to a payment method, the one that applies if none is given.
pub(crate) fn attempt(
    call: &Call<'_>,
    mut invoice: Value,
    method: Option<String>,
    asked: Asked,
    at: i64,
) -> Result<(Value, Outcome)> {
    let method = match method {
        Some(method) => Some(method),
        None => applicable_method(call, &invoice)?,
    };
    let method = match method {
        Some(method) => call.find("payment_method", &method)?,
        None => None,
    };
    let method = method.filter(|method| text(method, "/customer").is_some());
    let before = invoice.clone();
    let count = integer_or_zero(&invoice, "/attempt_count");
    // Any attempt counts as the first; after that only automatic ones follow the schedule.
    let is_counted = asked == Asked::BySchedule || count == 0;
    let count = count + i64::from(is_counted);
    invoice["attempted"] = json!(true);
    invoice["attempt_count"] = count.into();
    let is_off_session = match asked {
        Asked::BySchedule => true,
        Asked::ByRequest { is_off_session } => is_off_session,
    };
    let outcome = match method {
        Some(method) => payment_intents::confirm(call, &mut invoice, method, is_off_session, at)?,
        None => Outcome::Failed,
    };
    if outcome == Outcome::Succeeded {
        return Ok((mark_paid(call, invoice, at)?, outcome));
    }
    if is_counted {
        let index = usize::try_from(count - 1).unwrap_or_default();
        let next = RETRY_DAYS.get(index).map(|days| at + days * DAY_SECONDS);
        invoice["next_payment_attempt"] = next.map_or(Value::Null, Value::from);
    }
    call.save(&invoice)?;
    events::emit_update(call, "invoice.updated", &before, &invoice)?;
    if outcome == Outcome::RequiresAction {
        events::emit(call, "invoice.payment_action_required", &invoice)?;
    }
    events::emit(call, "invoice.payment_failed", &invoice)?;
    note_unpaid(call, &invoice)?;
    Ok((invoice, outcome))
}

fn note_unpaid(call: &Call<'_>, invoice: &Value) -> Result<()> {
    set_delinquent(call, invoice, true)?;
    let is_last = invoice["next_payment_attempt"].is_null();
    let status = if is_last { "unpaid" } else { "past_due" };
    change_subscription(call, invoice, |current| match current {
        "active" | "trialing" | "past_due" => Some(status),
        _ => None,
    })
}

/// The owner of a card that waits for it authenticates, or does not: the invoice is paid, or its
/// payment has failed after all. Answers the payment intent.
pub(crate) fn authenticate(call: &Call<'_>, id: &str, is_refused: bool) -> Result<Value> {
    let intent = payment_intents::get(call, id)?;
    if text(&intent, "/status") != Some("requires_action") {
        let message = "This PaymentIntent does not wait for anybody to authenticate.";
        return Err(StripeError::invalid(message).code("payment_intent_unexpected_state"));
    }
    let method = call.get("payment_method", &text_or_empty(&intent, "/payment_method"))?;
    let mut invoice = call.get("invoice", &text_or_empty(&intent, "/_invoice"))?;
    let at = call.time_of(&invoice)?;
    let outcome = if is_refused {
        payment_intents::refuse(call, intent, &method)?;
        Outcome::Failed
    } else {
        payment_intents::authenticated(call, &mut invoice, intent, method, at)?
    };
    if outcome == Outcome::Succeeded {
        mark_paid(call, invoice, at)?;
    } else {
        call.save(&invoice)?;
        events::emit(call, "invoice.payment_failed", &invoice)?;
    }
    present(call, &payment_intents::get(call, id)?)
}

/// How a request is refused whose payment was tried in vain. `subject` is what it would have paid.
pub(crate) fn refusal(
    call: &Call<'_>,
    invoice: &Value,
    subject: &str,
    outcome: Outcome,
) -> Result<StripeError> {
    let intent = payment_intents::of_invoice(call, invoice)?;
    let last_error = intent.as_ref().map(|intent| &intent["last_payment_error"]);
    let mut error = match last_error {
        _ if outcome == Outcome::RequiresAction => StripeError::card(
            &format!("{subject}_payment_intent_requires_action"),
            REQUIRES_ACTION,
        ),
        Some(last) if last["code"] == "card_declined" => {
            let (message, code) = (text(last, "/message"), text(last, "/decline_code"));
            StripeError::card("card_declined", message.unwrap_or_default())
                .declined_by(code.unwrap_or_default())
        }
        _ => StripeError::card_declined(),
    };
    if let Some(intent) = intent {
        if let Some(charge) = text(&intent, "/last_payment_error/charge") {
            error = error.about("charge", charge.into());
        }
        let mut shown = present(call, &intent)?;
        adapt(call, &call.version, &mut shown)?;
        error = error.about("payment_intent", shown);
    }
    Ok(error)
}

/// How a subscription is refused that was not to begin without its first payment.
pub(crate) fn refusal_of_first(call: &Call<'_>, invoice: &Value) -> Result<StripeError> {
    let intent = payment_intents::of_invoice(call, invoice)?.unwrap_or_default();
    let outcome = match text(&intent, "/status") {
        Some("requires_action") => Outcome::RequiresAction,
        _ => Outcome::Failed,
    };
    refusal(call, invoice, "subscription", outcome)
}

/// What an invoice that is collected by itself would be charged to.
pub(super) fn method_at_hand(call: &Call<'_>, invoice: &Value) -> Result<Option<String>> {
    if text(invoice, "/collection_method") == Some("charge_automatically") {
        applicable_method(call, invoice)
    } else {
        Ok(None)
    }
}

/// The invoice's own payment method, else the subscription's, else the customer's.
fn applicable_method(call: &Call<'_>, invoice: &Value) -> Result<Option<String>> {
    let own = text(invoice, "/default_payment_method").map(str::to_owned);
    if own.is_some() {
        return Ok(own);
    }
    if let Some(subscription) = subscription_of(call, invoice)?
        && let Some(method) = text(&subscription, "/default_payment_method")
    {
        return Ok(Some(method.to_owned()));
    }
    let customer = text_or_empty(invoice, "/customer");
    let customer = objects::find(call.db, &customer)?.unwrap_or_default();
    Ok(text(&customer, "/invoice_settings/default_payment_method").map(str::to_owned))
}

/// Whether an invoice would find a payment method at all.
pub(crate) fn has_method(call: &Call<'_>, invoice: &Value) -> Result<bool> {
    Ok(applicable_method(call, invoice)?.is_some())
}

/// Marks an invoice as paid, and its subscription as active when nothing else is unpaid.
pub(crate) fn mark_paid(call: &Call<'_>, mut invoice: Value, at: i64) -> Result<Value> {
    let id = text_or_empty(&invoice, "/id");
    let before = objects::find(call.db, &id)?.unwrap_or_default();
    invoice["status"] = "paid".into();
    invoice["attempted"] = json!(true);
    invoice["amount_paid"] = invoice["amount_due"].clone();
    invoice["amount_remaining"] = 0.into();
    invoice["next_payment_attempt"] = Value::Null;
    invoice["status_transitions"]["paid_at"] = at.into();
    call.save(&invoice)?;
    events::emit_update(call, "invoice.updated", &before, &invoice)?;
    events::emit(call, "invoice.paid", &invoice)?;
    events::emit(call, "invoice.payment_succeeded", &invoice)?;
    // Paid by other means, the intent is not needed any more.
    payment_intents::close(call, &invoice, "automatic", at)?;
    close(call, &invoice)?;
    Ok(invoice)
}

/// An invoice is out of the way: paid, void or written off. If nothing else of the subscription
/// is open, it is active again.
pub(crate) fn close(call: &Call<'_>, invoice: &Value) -> Result<()> {
    let is_paid = text(invoice, "/status") == Some("paid");
    let is_first = text(invoice, "/billing_reason") == Some("subscription_create");
    if has_open_invoice(call, invoice)? {
        return Ok(());
    }
    set_delinquent(call, invoice, false)?;
    change_subscription(call, invoice, |current| match current {
        "past_due" | "unpaid" => Some("active"),
        "incomplete" if is_paid && is_first => Some("active"),
        _ => None,
    })
}

fn has_open_invoice(call: &Call<'_>, invoice: &Value) -> Result<bool> {
    let Some(subscription) = text(invoice, SUBSCRIPTION) else {
        return Ok(false);
    };
    let filters = [
        ("parent", Sql::Text(subscription.to_owned())),
        ("status", Sql::Text("open".to_owned())),
    ];
    Ok(!objects::all(call.db, "invoice", &filters)?.is_empty())
}

const SUBSCRIPTION: &str = "/parent/subscription_details/subscription";

fn subscription_of(call: &Call<'_>, invoice: &Value) -> Result<Option<Value>> {
    match text(invoice, SUBSCRIPTION) {
        Some(id) => objects::find(call.db, id),
        None => Ok(None),
    }
}

fn change_subscription(
    call: &Call<'_>,
    invoice: &Value,
    next: impl Fn(&str) -> Option<&'static str>,
) -> Result<()> {
    let Some(mut subscription) = subscription_of(call, invoice)? else {
        return Ok(());
    };
    let current = text_or_empty(&subscription, "/status");
    let Some(status) = next(&current) else {
        return Ok(());
    };
    let before = subscription.clone();
    subscription["status"] = status.into();
    call.save(&subscription)?;
    events::emit_update(
        call,
        "customer.subscription.updated",
        &before,
        &subscription,
    )
}

fn set_delinquent(call: &Call<'_>, invoice: &Value, delinquent: bool) -> Result<()> {
    let id = text_or_empty(invoice, "/customer");
    let Some(mut customer) = call.find("customer", &id)? else {
        return Ok(());
    };
    if !customer["deleted"].is_null() || customer["delinquent"] == delinquent {
        return Ok(());
    }
    let before = customer.clone();
    customer["delinquent"] = delinquent.into();
    call.save(&customer)?;
    events::emit_update(call, "customer.updated", &before, &customer)
}

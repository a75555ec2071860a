//! Invoices (Stripe API reference: Invoices).

use rusqlite::types::Value as Sql;
use serde_json::Value;

use super::payment_intents::{self, Outcome};
use super::{Answer, payment_methods};
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::{array, integer_or_zero, text, text_or_empty};
use crate::api::list::{self, Page};
use crate::api::params::Params;
use crate::call::Call;
use crate::engine::invoicing;
use crate::engine::payments::{self, Asked};
use crate::events;

/// `GET /v1/invoices/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    current(call, id)
}

/// The invoice; a draft counts its usage as of now.
fn current(call: &Call<'_>, id: &str) -> Answer {
    let mut invoice = call.get("invoice", id)?;
    if text(&invoice, "/status") == Some("draft") {
        invoicing::recount(call, &mut invoice)?;
    }
    present(call, &invoice)
}

/// `GET /v1/invoices`.
pub(crate) fn list(call: &Call<'_>, mut params: Params) -> Answer {
    let mut filters = Vec::new();
    for (param, column) in [
        ("customer", "customer"),
        ("subscription", "parent"),
        ("status", "status"),
    ] {
        if let Some(value) = params.text(param)? {
            filters.push((column, Sql::Text(value)));
        }
    }
    params.discard(&["collection_method", "due_date"]);
    list::answer(call, params, "invoice", "/v1/invoices", &filters)
}

/// `GET /v1/invoices/{id}/lines`.
pub(crate) fn lines(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let page = Page::take(&mut params)?;
    params.finish()?;
    let invoice = current(call, id)?;
    let lines = array(&invoice, "/lines/data").to_vec();
    let url = format!("/v1/invoices/{id}/lines");
    list::slice(lines, &page, "line_item", &url)
}

/// `POST /v1/invoices/{id}`: metadata, description, payment method, whether it goes on by itself.
pub(crate) fn update(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let before = call.get("invoice", id)?;
    let mut invoice = before.clone();
    params.metadata(&mut invoice)?;
    params.copy_texts(
        &["description", "footer", "statement_descriptor"],
        &mut invoice,
    )?;
    if let Some(method) = params.text("default_payment_method")? {
        let customer = text_or_empty(&invoice, "/customer");
        let param = "default_payment_method";
        invoice[param] = payment_methods::owned_by(call, &method, &customer, param)?.into();
    }
    if let Some(advances) = params.boolean("auto_advance")? {
        invoice["auto_advance"] = advances.into();
        let is_draft = text(&invoice, "/status") == Some("draft");
        invoice["automatically_finalizes_at"] = if advances && is_draft {
            (call.time_of(&invoice)? + 3600).into()
        } else {
            Value::Null
        };
    }
    params.finish()?;
    save(call, &before, &invoice)?;
    present(call, &invoice)
}

fn save(call: &Call<'_>, before: &Value, invoice: &Value) -> Result<()> {
    call.save(invoice)?;
    events::emit_update(call, "invoice.updated", before, invoice)
}

fn require(invoice: &Value, allowed: &[&str], deed: &str) -> Result<()> {
    let status = text_or_empty(invoice, "/status");
    if allowed.contains(&status.as_str()) {
        return Ok(());
    }
    let message = format!("Invoices with status `{status}` cannot be {deed}.");
    Err(StripeError::invalid(message).code("invoice_not_editable"))
}

/// `POST /v1/invoices/{id}/finalize`.
pub(crate) fn finalize(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let advances = params.boolean("auto_advance")?;
    params.finish()?;
    let mut invoice = call.get("invoice", id)?;
    if text(&invoice, "/status") != Some("draft") {
        let message =
            "This invoice is already finalized, you can't re-finalize a non-draft invoice.";
        return Err(StripeError::invalid(message).code("invoice_not_editable"));
    }
    if let Some(advances) = advances {
        invoice["auto_advance"] = advances.into();
    }
    let at = call.time_of(&invoice)?;
    let mut invoice = invoicing::finalize(call, invoice, at)?;
    if integer_or_zero(&invoice, "/amount_due") == 0 {
        invoice = payments::mark_paid(call, invoice, at)?;
    } else if invoice["auto_advance"] == false {
        invoice["next_payment_attempt"] = Value::Null;
        call.save(&invoice)?;
    } else {
        // Stripe attempts the payment about an hour after a finalisation by hand.
        invoice["next_payment_attempt"] = (at + 3600).into();
        call.save(&invoice)?;
    }
    present(call, &invoice)
}

/// `POST /v1/invoices/{id}/pay`.
pub(crate) fn pay(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let method = params.text("payment_method")?;
    let out_of_band = params.boolean("paid_out_of_band")?.unwrap_or(false);
    let is_off_session = params.boolean("off_session")?.unwrap_or(true);
    params.discard(&["forgive", "mandate", "source"]);
    params.finish()?;
    let mut invoice = call.get("invoice", id)?;
    let at = call.time_of(&invoice)?;
    match text(&invoice, "/status") {
        Some("paid") => {
            return Err(
                StripeError::invalid("Invoice is already paid").code("invoice_already_paid")
            );
        }
        Some("draft") => invoice = invoicing::finalize(call, invoice, at)?,
        _ => require(&invoice, &["open", "uncollectible"], "paid")?,
    }
    if out_of_band {
        invoice["amount_paid_off_stripe"] = invoice["amount_due"].clone();
    }
    if out_of_band || integer_or_zero(&invoice, "/amount_due") == 0 {
        return present(call, &payments::mark_paid(call, invoice, at)?);
    }
    let customer = text_or_empty(&invoice, "/customer");
    let method = match method {
        Some(method) => Some(payment_methods::owned_by(
            call,
            &method,
            &customer,
            "payment_method",
        )?),
        None => None,
    };
    if method.is_none() && !payments::has_method(call, &invoice)? {
        let message = "There is no `default_payment_method` set on this Customer or Invoice.";
        return Err(StripeError::invalid(message).code("missing"));
    }
    let asked = Asked::ByRequest { is_off_session };
    let (invoice, outcome) = payments::attempt(call, invoice, method, asked, at)?;
    if outcome != Outcome::Succeeded {
        // The attempt happened: its traces stay though the answer is an error.
        return Err(payments::refusal(call, &invoice, "invoice", outcome)?.keeping_work());
    }
    present(call, &invoice)
}

/// `POST /v1/invoices/{id}/void`.
pub(crate) fn void(call: &Call<'_>, id: &str, params: Params) -> Answer {
    close(
        call,
        id,
        params,
        &["open", "uncollectible"],
        "void",
        "voided",
    )
}

/// `POST /v1/invoices/{id}/mark_uncollectible`.
pub(crate) fn mark_uncollectible(call: &Call<'_>, id: &str, params: Params) -> Answer {
    close(
        call,
        id,
        params,
        &["open"],
        "uncollectible",
        "marked_uncollectible",
    )
}

fn close(
    call: &Call<'_>,
    id: &str,
    params: Params,
    allowed: &[&str],
    status: &str,
    event: &str,
) -> Answer {
    params.finish()?;
    let before = call.get("invoice", id)?;
    require(&before, allowed, event)?;
    let mut invoice = before.clone();
    invoice["status"] = status.into();
    invoice["next_payment_attempt"] = Value::Null;
    invoice["status_transitions"][format!("{event}_at")] = call.time_of(&invoice)?.into();
    save(call, &before, &invoice)?;
    events::emit(call, &format!("invoice.{event}"), &invoice)?;
    if status == "void" {
        let at = call.time_of(&invoice)?;
        payment_intents::close(call, &invoice, "void_invoice", at)?;
    }
    payments::close(call, &invoice)?;
    present(call, &invoice)
}

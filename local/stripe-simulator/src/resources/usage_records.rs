//! Usage records, for versions before basil (Stripe API reference, 2025-02-24.acacia: Usage
//! Records, Usage Record Summaries).

use rusqlite::params;
use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::{Answer, prices, subscription_items, subscriptions};
use crate::api::error::{Result, StripeError};
use crate::api::json::{array, integer, integer_or_zero, text, text_or_empty};
use crate::api::list::{self, Page};
use crate::api::params::Params;
use crate::call::Call;
use crate::engine::invoicing::Period;
use crate::store::meter_events::{self, Formula, MeterEvent, Scope};
use crate::store::objects;

/// `POST /v1/subscription_items/{id}/usage_records`: `increment` adds, on a retry too; `set`
/// replaces what stood at its timestamp.
pub(crate) fn create(call: &Call<'_>, item_id: &str, mut params: Params) -> Answer {
    let quantity = params
        .bounded("quantity", 0..=prices::QUANTITY_MAX)?
        .ok_or_else(|| StripeError::missing("quantity"))?;
    let is_now = params.is("timestamp", "now");
    let timestamp = if is_now {
        None
    } else {
        params.moment("timestamp")?
    };
    let action = params.choice("action", &["increment", "set"])?;
    params.finish()?;
    let (subscription, _) = metered(call, item_id)?;
    let timestamp = match timestamp {
        Some(timestamp) => timestamp,
        None => call.time_of(&subscription)?,
    };
    check_timestamp(&subscription, timestamp)?;
    if action.as_deref() == Some("set") {
        let sql = "UPDATE meter_events SET state = 'cancelled'
            WHERE meter = ?1 AND timestamp = ?2 AND state IN ('accepted', 'aggregated')";
        call.db
            .prepare_cached(sql)?
            .execute(params![item_id, timestamp])?;
    }
    let id = call.random.id("mbur");
    meter_events::insert(
        call.db,
        &MeterEvent {
            identifier: &id,
            event_name: "usage_record",
            meter: Some(item_id),
            customer: text(&subscription, "/customer"),
            value: quantity,
            timestamp,
            received_ms: call.now_ms,
            error_code: None,
        },
    )?;
    Ok(json!({
        "id": id,
        "object": "usage_record",
        "livemode": false,
        "quantity": quantity,
        "subscription_item": item_id,
        "timestamp": timestamp,
    }))
}

/// The item's subscription and price, where that bills usage records.
fn metered(call: &Call<'_>, item_id: &str) -> Result<(Value, Value)> {
    let (item, subscription) = subscription_items::get(call, item_id)?;
    let price = objects::find(call.db, &text_or_empty(&item, "/price"))?.unwrap_or_default();
    if !prices::is_metered(&price) || text(&price, "/recurring/meter").is_some() {
        let message = format!(
            "Cannot create the usage record with this subscription item because its price is not metered by usage records: {item_id}."
        );
        return Err(StripeError::invalid(message));
    }
    Ok((subscription, price))
}

fn check_timestamp(subscription: &Value, timestamp: i64) -> Result<()> {
    let (start, end) = subscriptions::period(subscription);
    if (start..=end).contains(&timestamp) {
        return Ok(());
    }
    let bound = if timestamp < start {
        "after the subscription's last invoice period (or current period start time)"
    } else {
        "before the subscription's current period end time"
    };
    let message = format!(
        "Cannot create the usage record with this timestamp because timestamps must be {bound}."
    );
    Err(StripeError::invalid(message).param("timestamp"))
}

/// `GET /v1/subscription_items/{id}/usage_record_summaries`: the current period's, then those of
/// the periods before, the newest first.
pub(crate) fn summaries(call: &Call<'_>, item_id: &str, mut params: Params) -> Answer {
    let page = Page::take(&mut params)?;
    params.finish()?;
    let (subscription, _) = metered(call, item_id)?;
    let invoiced = invoiced(call, &subscription, item_id)?;
    let (start, end) = subscriptions::period(&subscription);
    let mut summaries = Vec::new();
    if invoiced.first().is_none_or(|last| last.period.0 < start) {
        let current = Summary {
            period: (start, end),
            invoice: None,
        };
        summaries.push(summary(call, &subscription, item_id, &current)?);
    }
    for past in &invoiced {
        summaries.push(summary(call, &subscription, item_id, past)?);
    }
    let url = format!("/v1/subscription_items/{item_id}/usage_record_summaries");
    list::slice(summaries, &page, "usage_record_summary", &url)
}

/// A period of an item, and the invoice that bills it.
struct Summary {
    period: Period,
    invoice: Option<String>,
}

/// The periods of an item that were invoiced, the newest first.
fn invoiced(call: &Call<'_>, subscription: &Value, item_id: &str) -> Result<Vec<Summary>> {
    let filter = ("parent", Sql::Text(text_or_empty(subscription, "/id")));
    let mut periods = Vec::new();
    for invoice in objects::all(call.db, "invoice", &[filter])? {
        let line = array(&invoice, "/lines/data").iter().find(|line| {
            text(line, "/parent/subscription_item_details/subscription_item") == Some(item_id)
        });
        let Some(line) = line else { continue };
        let period = (
            integer_or_zero(line, "/period/start"),
            integer_or_zero(line, "/period/end"),
        );
        // The first invoice is of no time yet.
        if period.0 < period.1 {
            periods.push(Summary {
                period,
                invoice: text(&invoice, "/id").map(str::to_owned),
            });
        }
    }
    periods.reverse();
    Ok(periods)
}

fn summary(call: &Call<'_>, subscription: &Value, item_id: &str, of: &Summary) -> Result<Value> {
    let (start, end) = of.period;
    let customer = text_or_empty(subscription, "/customer");
    let scope = Scope {
        meter: item_id,
        customer: &customer,
        start,
        end,
    };
    let total = meter_events::value(call.db, Formula::Sum, scope)?;
    // A period that runs has no end yet; where nothing was invoiced, the subscription's ended it.
    let end = match of.invoice {
        Some(_) => Some(end),
        None => integer(subscription, "/ended_at"),
    };
    Ok(json!({
        "id": format!("sis_{item_id}_{start}"),
        "object": "usage_record_summary",
        "invoice": of.invoice,
        "livemode": false,
        "period": { "start": start, "end": end },
        "subscription_item": item_id,
        "total_usage": total.unwrap_or_default(),
    }))
}

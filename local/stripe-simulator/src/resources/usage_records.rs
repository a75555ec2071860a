//! Usage records, for versions before basil (Stripe API reference, 2025-02-24.acacia: Usage
//! Records, Usage Record Summaries).

use rusqlite::params;
use serde_json::{Value, json};

use super::{Answer, prices, subscription_items, subscriptions};
use crate::api::error::{Result, StripeError};
use crate::api::json::{text, text_or_empty};
use crate::api::list::{self, Page};
use crate::api::params::Params;
use crate::call::Call;
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

/// `GET /v1/subscription_items/{id}/usage_record_summaries`: the current period's.
pub(crate) fn summaries(call: &Call<'_>, item_id: &str, mut params: Params) -> Answer {
    let page = Page::take(&mut params)?;
    params.finish()?;
    let (subscription, _) = metered(call, item_id)?;
    let (start, end) = subscriptions::period(&subscription);
    let customer = text_or_empty(&subscription, "/customer");
    let scope = Scope {
        meter: item_id,
        customer: &customer,
        start,
        end,
    };
    let total = meter_events::value(call.db, Formula::Sum, scope)?;
    let summary = json!({
        "id": format!("sis_{item_id}_{start}"),
        "object": "usage_record_summary",
        "invoice": null,
        "livemode": false,
        "period": { "start": start, "end": null },
        "subscription_item": item_id,
        "total_usage": total.unwrap_or_default(),
    });
    let url = format!("/v1/subscription_items/{item_id}/usage_record_summaries");
    Ok(list::slice(vec![summary], &page, &url))
}

//! Meter event summaries (Stripe API reference: Meter Event Summary). They know aggregated
//! events only.

use serde_json::{Value, json};

use super::Answer;
use crate::api::error::{Result, StripeError};
use crate::api::json::text_or_empty;
use crate::api::list::{self, Page};
use crate::api::params::Params;
use crate::call::Call;
use crate::store::meter_events::{self, Formula, Scope};

/// `GET /v1/billing/meters/{id}/event_summaries`.
pub(crate) fn list(call: &Call<'_>, meter: &str, mut params: Params) -> Answer {
    let found = call.get("billing.meter", meter)?;
    let formula = Formula::parse(&text_or_empty(&found, "/default_aggregation/formula"));
    let customer = params.required("customer")?;
    call.referenced("customer", &customer, "customer")?;
    let width = match params
        .choice("value_grouping_window", &["day", "hour"])?
        .as_deref()
    {
        Some("hour") => Some(3_600),
        Some(_) => Some(86_400),
        None => None,
    };
    let start = take_time(&mut params, "start_time", width)?;
    let end = take_time(&mut params, "end_time", width)?;
    if end <= start {
        let message = "The end_time must be after the start_time.";
        return Err(StripeError::invalid_param("end_time", message));
    }
    let page = Page::take(&mut params)?;
    params.finish()?;
    let scope = Scope {
        meter,
        customer: &customer,
        start,
        end,
    };
    let summaries = match width {
        None => {
            let value = meter_events::value(call.db, formula, scope)?;
            vec![summary(scope, value.unwrap_or_default())]
        }
        Some(width) => {
            let mut summaries = Vec::new();
            for start in meter_events::windows(call.db, scope, width)? {
                let scope = Scope {
                    start,
                    end: start + width,
                    ..scope
                };
                let value = meter_events::value(call.db, formula, scope)?;
                summaries.push(summary(scope, value.unwrap_or_default()));
            }
            summaries
        }
    };
    let url = format!("/v1/billing/meters/{meter}/event_summaries");
    list::slice(summaries, &page, "meter_event_summary", &url)
}

/// Times lie on a minute; on an hour or a day (UTC) with a grouping window.
fn take_time(params: &mut Params, key: &str, width: Option<i64>) -> Result<i64> {
    let time = params
        .moment(key)?
        .ok_or_else(|| StripeError::missing(key))?;
    let (width, unit) = match width {
        Some(3_600) => (3_600, "hour"),
        Some(_) => (86_400, "day"),
        None => (60, "minute"),
    };
    if time % width != 0 {
        let message = format!("Invalid {key}: {time} must be aligned with {unit} boundaries.");
        return Err(StripeError::invalid_param(key, message));
    }
    Ok(time)
}

/// The id follows from the scope, so that the next page can start after it.
fn summary(scope: Scope<'_>, value: i64) -> Value {
    json!({
        "id": format!("mtrusg_test_{}_{}_{}", scope.customer, scope.start, scope.end),
        "object": "billing.meter_event_summary",
        "aggregated_value": value,
        "end_time": scope.end,
        "livemode": false,
        "meter": scope.meter,
        "start_time": scope.start,
    })
}

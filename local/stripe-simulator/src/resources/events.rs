//! Events, v1 and v2 (Stripe API reference: Events; v2 Events).

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::Answer;
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::list;
use crate::api::params::Params;
use crate::calendar::parse_rfc3339;
use crate::call::Call;
use crate::store::objects::{self, Window};

/// `GET /v1/events/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    present(call, &call.get("event", id)?)
}

/// `GET /v1/events`.
pub(crate) fn list(call: &Call<'_>, mut params: Params) -> Answer {
    let mut filters = Vec::new();
    let event_type = params.text("type")?;
    let types = params.texts("types")?;
    match (event_type, types) {
        (Some(_), Some(_)) => {
            let message = "You may pass either `type` or `types`, but not both.";
            return Err(StripeError::invalid_param("types", message));
        }
        // `invoice.*` stands for all of a resource.
        (Some(event_type), None) => {
            filters.push(("label GLOB ?", Sql::Text(event_type)));
        }
        (None, Some(types)) => {
            let types = serde_json::to_string(&types)?;
            let condition = "label IN (SELECT value FROM json_each(?))";
            filters.push((condition, Sql::Text(types)));
        }
        (None, None) => {}
    }
    if let Some(succeeded) = params.boolean("delivery_success")? {
        let condition = "EXISTS (SELECT 1 FROM deliveries WHERE event = objects.id
            AND deliveries.state <> 'delivered') <> ?";
        filters.push((condition, Sql::Integer(i64::from(succeeded))));
    }
    list::answer(call, params, "event", "/v1/events", &filters)
}

/// `GET /v2/core/events`: thin events, newest first.
pub(crate) fn list_v2(call: &Call<'_>, mut query: Params) -> Answer {
    let mut filters = Vec::new();
    if let Some(object) = query.text("object_id")? {
        let column = "json_extract(document, '$.related_object.id')";
        filters.push((column, Sql::Text(object)));
    }
    if let Some(types) = query.texts("types")? {
        let types = serde_json::to_string(&types)?;
        let condition = "label IN (SELECT value FROM json_each(?))";
        filters.push((condition, Sql::Text(types)));
    }
    let created = take_created_v2(&mut query)?;
    let limit = query.integer("limit")?.unwrap_or(20).clamp(1, 100);
    let before_seq = query.integer("page")?;
    query.finish()?;
    let window = Window {
        before_seq,
        limit: limit + 1,
        ..Window::default()
    };
    let mut found = objects::list(call.db, "v2.core.event", &filters, &created, window)?;
    let length = usize::try_from(limit).unwrap_or_default();
    let has_more = found.len() > length;
    found.truncate(length);
    let last = found.last().map(|stored| stored.seq).filter(|_| has_more);
    let next = last.map(|seq| format!("/v2/core/events?limit={limit}&page={seq}"));
    let data: Vec<Value> = found.into_iter().map(|stored| stored.document).collect();
    Ok(json!({ "data": data, "next_page_url": next, "previous_page_url": null }))
}

fn take_created_v2(query: &mut Params) -> Result<Vec<(&'static str, i64)>> {
    let mut bounds = Vec::new();
    let Some(mut created) = query.hash("created")? else {
        return Ok(bounds);
    };
    for (key, operator) in [("gt", ">"), ("gte", ">="), ("lt", "<"), ("lte", "<=")] {
        if let Some(moment) = created.text(key)? {
            let moment = parse_rfc3339(&moment).ok_or_else(|| {
                let message =
                    format!("Invalid timestamp: {moment}; must be an RFC 3339 date-time.");
                StripeError::invalid_param(created.name(key), message)
            })?;
            bounds.push((operator, moment));
        }
    }
    created.finish()?;
    Ok(bounds)
}

/// `GET /v2/core/events/{id}`: a thin event with its data.
pub(crate) fn retrieve_v2(call: &Call<'_>, id: &str) -> Answer {
    present(call, &call.get("v2.core.event", id)?)
}

//! Events, v1 and v2 (Stripe API reference: Events; v2 Events).

use rusqlite::types::Value as Sql;

use super::Answer;
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::list::{self, ListV2};
use crate::api::params::Params;
use crate::calendar::parse_rfc3339;
use crate::call::Call;

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
            return Err(StripeError::exclusive(
                &["types", "type"].map(str::to_owned),
            ));
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
pub(crate) fn list_v2(call: &Call<'_>, query: &str) -> Answer {
    let mut params = Params::parse_v2(query);
    let mut filters = Vec::new();
    if let Some(object) = params.text("object_id")? {
        let column = "json_extract(document, '$.related_object.id')";
        filters.push((column, Sql::Text(object)));
    }
    if let Some(types) = params.texts("types")? {
        let types = serde_json::to_string(&types)?;
        let condition = "label IN (SELECT value FROM json_each(?))";
        filters.push((condition, Sql::Text(types)));
    }
    let created = take_created_v2(&mut params)?;
    let list = ListV2 {
        kind: "v2.core.event",
        path: "/v2/core/events",
        query,
    };
    list::answer_v2(call, params, &list, &filters, &created, present)
}

fn take_created_v2(params: &mut Params) -> Result<Vec<(&'static str, i64)>> {
    let mut bounds = Vec::new();
    let Some(mut created) = params.hash("created")? else {
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

//! Test clocks (Stripe API reference: Test Clocks; Stripe's documentation: Test clocks).

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::{Answer, subscriptions};
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::{array, integer_or_zero, text, text_or_empty};
use crate::api::list;
use crate::api::params::Params;
use crate::calendar::Interval;
use crate::call::Call;
use crate::store::database::undo_refused;
use crate::store::objects;
use crate::{engine, events};

const KIND: &str = "test_helpers.test_clock";
/// Clocks are thrown away 30 days after they were made.
const KEPT_SECONDS: i64 = 30 * 86_400;
/// How far a clock without subscriptions may jump: two years.
const JUMP_SECONDS_MAX: i64 = 2 * 366 * 86_400;

/// `POST /v1/test_helpers/test_clocks`.
pub(crate) fn create(call: &Call<'_>, mut params: Params) -> Answer {
    let frozen_time = params
        .moment("frozen_time")?
        .ok_or_else(|| StripeError::missing("frozen_time"))?;
    let clock = json!({
        "id": call.random.id("clock"),
        "object": KIND,
        "created": call.now(),
        "deletes_after": call.now() + KEPT_SECONDS,
        "frozen_time": frozen_time,
        "livemode": false,
        "name": params.text("name")?,
        "status": "ready",
        "status_details": {},
    });
    params.finish()?;
    call.insert(&clock)?;
    events::emit(call, "test_helpers.test_clock.created", &clock)?;
    present(call, &clock)
}

/// `GET /v1/test_helpers/test_clocks/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    present(call, &call.get(KIND, id)?)
}

/// `GET /v1/test_helpers/test_clocks`.
pub(crate) fn list(call: &Call<'_>, params: Params) -> Answer {
    list::answer(call, params, KIND, "/v1/test_helpers/test_clocks", &[])
}

/// `DELETE /v1/test_helpers/test_clocks/{id}`: its customers and all of theirs go with it.
pub(crate) fn delete(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    let clock = call.get(KIND, id)?;
    let sql = "DELETE FROM objects WHERE clock = ?1 OR id = ?1 OR customer IN
        (SELECT id FROM objects WHERE kind = 'customer' AND clock = ?1)";
    call.db.prepare_cached(sql)?.execute([id])?;
    events::emit(call, "test_helpers.test_clock.deleted", &clock)?;
    Ok(json!({ "id": id, "object": KIND, "deleted": true }))
}

/// `POST /v1/test_helpers/test_clocks/{id}/advance`: answers at once, happens later.
pub(crate) fn advance(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let target = params
        .moment("frozen_time")?
        .ok_or_else(|| StripeError::missing("frozen_time"))?;
    params.finish()?;
    let mut clock = call.get(KIND, id)?;
    if text(&clock, "/status") != Some("ready") {
        let message = "Test clock advancement underway - cannot advance a clock that is not ready.";
        return Err(StripeError::new(429, "invalid_request_error", message)
            .code("lock_timeout")
            .not_remembered());
    }
    let frozen_time = integer_or_zero(&clock, "/frozen_time");
    if target <= frozen_time {
        let message = "The test clock cannot be advanced to a time in its past: frozen_time must be after the clock's current one.";
        return Err(StripeError::invalid_param("frozen_time", message));
    }
    let latest = latest_jump(call, id, frozen_time)?;
    if target > latest {
        let message = format!(
            "Cannot advance a test clock by more than two intervals of its shortest subscription: frozen_time must not be after {latest}."
        );
        return Err(StripeError::invalid_param("frozen_time", message));
    }
    clock["frozen_time"] = target.into();
    clock["status"] = "advancing".into();
    clock["status_details"] = json!({ "advancing": { "target_frozen_time": target } });
    call.save(&clock)?;
    events::emit(call, "test_helpers.test_clock.advancing", &clock)?;
    present(call, &clock)
}

fn latest_jump(call: &Call<'_>, id: &str, from: i64) -> Result<i64> {
    let mut latest = None;
    let filter = ("clock", Sql::Text(id.to_owned()));
    for subscription in objects::all(call.db, "subscription", &[filter])? {
        if subscriptions::has_ended(&subscription) {
            continue;
        }
        for item in array(&subscription, "/items/data") {
            let price = objects::find(call.db, &text_or_empty(item, "/price"))?.unwrap_or_default();
            let reach = Interval::of(&price).after(from, 2);
            latest = Some(latest.map_or(reach, |latest: i64| latest.min(reach)));
        }
    }
    Ok(latest.unwrap_or(from + JUMP_SECONDS_MAX))
}

fn advancing(call: &Call<'_>) -> Result<Vec<Value>> {
    let filter = ("status", Sql::Text("advancing".to_owned()));
    objects::all(call.db, KIND, &[filter])
}

/// Whether a clock is on its way.
pub(crate) fn is_any_advancing(call: &Call<'_>) -> Result<bool> {
    Ok(!advancing(call)?.is_empty())
}

/// Does what lies on the way of every clock that is advancing. Answers how many arrived.
pub(crate) fn arrive(call: &Call<'_>) -> Result<usize> {
    let advancing = advancing(call)?;
    for clock in &advancing {
        let id = text_or_empty(clock, "/id");
        let target = integer_or_zero(clock, "/frozen_time");
        let arrived = undo_refused(call.db, || engine::run(call, Some(&id), target));
        let (status, event) = match arrived {
            Ok(_) => ("ready", "test_helpers.test_clock.ready"),
            Err(error) => {
                tracing::error!(?error, clock = id, "a test clock failed on its way");
                let event = "test_helpers.test_clock.internal_failure";
                ("internal_failure", event)
            }
        };
        let mut clock = clock.clone();
        clock["status"] = status.into();
        clock["status_details"] = json!({});
        call.save(&clock)?;
        events::emit(call, event, &clock)?;
    }
    Ok(advancing.len())
}

//! What a handler works with: the state inside its transaction, the time, new ids.

use rusqlite::Connection;
use serde_json::Value;

use crate::api::error::{Result, StripeError};
use crate::api::json::{integer_or_zero, is_true, text};
use crate::api::version::Version;
use crate::random::Random;
use crate::store::objects;

/// Who caused what happens: an API request, or nobody (a period's end, a webhook's retry).
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    pub(crate) request_id: Option<String>,
    pub(crate) idempotency_key: Option<String>,
}

/// One unit of work, in one transaction.
pub(crate) struct Call<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) random: &'a Random,
    /// The account's time in milliseconds.
    pub(crate) now_ms: i64,
    pub(crate) version: Version,
    pub(crate) origin: Origin,
}

impl Call<'_> {
    /// The account's time in seconds.
    pub(crate) fn now(&self) -> i64 {
        self.now_ms.div_euclid(1000)
    }

    /// The time on a test clock, or the account's where there is none.
    pub(crate) fn time_on(&self, clock: Option<&str>) -> Result<i64> {
        let Some(clock) = clock else {
            return Ok(self.now());
        };
        let clock = objects::find(self.db, clock)?;
        Ok(clock.map_or_else(
            || self.now(),
            |clock| integer_or_zero(&clock, "/frozen_time"),
        ))
    }

    /// The time that an object lives in.
    pub(crate) fn time_of(&self, object: &Value) -> Result<i64> {
        self.time_on(text(object, "/test_clock"))
    }

    /// The object that the path names, or 404.
    pub(crate) fn get(&self, kind: &str, id: &str) -> Result<Value> {
        self.find(kind, id)?
            .ok_or_else(|| StripeError::no_such(spoken(kind), id))
    }

    /// The object that a parameter names, or 400.
    pub(crate) fn referenced(&self, kind: &str, id: &str, param: &str) -> Result<Value> {
        self.find(kind, id)?
            .filter(|found| !is_true(found, "/deleted"))
            .ok_or_else(|| StripeError::no_such_param(spoken(kind), id, param))
    }

    /// The object, if it exists and is of the kind.
    pub(crate) fn find(&self, kind: &str, id: &str) -> Result<Option<Value>> {
        let found = objects::find(self.db, id)?;
        Ok(found.filter(|found| text(found, "/object") == Some(kind)))
    }

    pub(crate) fn insert(&self, object: &Value) -> Result<()> {
        objects::insert(self.db, object)
    }

    pub(crate) fn save(&self, object: &Value) -> Result<()> {
        objects::update(self.db, object)
    }
}

/// A kind of object as Stripe's error messages call it.
pub(crate) fn spoken(kind: &str) -> &str {
    match kind {
        "payment_method" => "PaymentMethod",
        "billing.meter" => "meter",
        "test_helpers.test_clock" => "test clock",
        "subscription_item" => "subscription_item",
        "webhook_endpoint" => "webhook endpoint",
        kind => kind,
    }
}

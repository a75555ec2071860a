//! Errors that are planted, so that it shows whether the checker finds them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::SoakError;
use crate::checker::{Subject, identifier, identifiers};
use crate::direct::{integer, text};
use crate::world::stripe_file;

/// A month is not longer; an event that is moved so far is in another period.
const PERIOD_S: i64 = 31 * 86_400;

/// Later than any draft is finalised.
const LATE_MS: i64 = 4 * 86_400_000;

/// An error to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// An acknowledged event vanishes from the audit log and from Stripe.
    Loss,
    /// One event is in Stripe under another identifier, too.
    Double,
    /// One event of Stripe's is counted by another meter.
    Meter,
    /// One event of Stripe's lies in a period whose invoice was final before.
    Unbilled,
    /// A total is off by one.
    Total,
    /// The outbox does not list what is pending.
    Outbox,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Loss,
        Self::Double,
        Self::Meter,
        Self::Unbilled,
        Self::Total,
        Self::Outbox,
    ];
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loss => "loss",
            Self::Double => "double",
            Self::Meter => "meter",
            Self::Unbilled => "unbilled",
            Self::Total => "total",
            Self::Outbox => "outbox",
        })
    }
}

impl FromStr for Plant {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|plant| plant.to_string() == word)
            .ok_or_else(|| "loss, double, meter, unbilled, total or outbox is expected".to_owned())
    }
}

/// An acknowledged, delivered event of a customer without a test clock, as
/// Stripe has it.
async fn victim(subject: Subject<'_>) -> Result<(String, Value), SoakError> {
    let customers = subject.customers;
    let lives_by_account = |place: usize| customers.get(place).filter(|it| it.test_clock.is_none());
    for told in subject.told.iter().rev().filter(|told| told.is_delivered) {
        let Some(customer) = lives_by_account(told.customer) else {
            continue;
        };
        let identifier = hex::encode(identifier(&customer.id, &told.event_id));
        let path = format!("/_simulator/meter_events?identifier={identifier}");
        let mut found = subject.direct.stripe(&path).await?;
        if let Some(event) = found["data"].get_mut(0) {
            return Ok((identifier, event.take()));
        }
    }
    Err(SoakError::NothingToPlant)
}

/// Plants a loss. Answers the identifier.
pub(crate) async fn lose(subject: Subject<'_>, folder: &Path) -> Result<String, SoakError> {
    let (identifier, _) = victim(subject).await?;
    let key = json!({
        "TableName": "UsageEventsTable", "Key": { "identifier": { "S": identifier } },
    });
    let _: Value = subject.direct.dynamodb("DeleteItem", &key).await?;
    let stripe = Connection::open(stripe_file(folder))?;
    stripe.execute(
        "DELETE FROM meter_events WHERE identifier = ?1",
        [&identifier],
    )?;
    Ok(identifier)
}

/// Plants a double: the event once more, as a careless retry would send it.
pub(crate) async fn double(subject: Subject<'_>) -> Result<String, SoakError> {
    let (identifier, event) = victim(subject).await?;
    let form = [
        ("event_name", text(&event, "event_name")?.to_owned()),
        ("identifier", format!("again-{identifier}")),
        ("timestamp", integer(&event, "timestamp")?.to_string()),
        (
            "payload[stripe_customer_id]",
            text(&event, "customer")?.to_owned(),
        ),
        ("payload[value]", integer(&event, "value")?.to_string()),
    ];
    subject
        .direct
        .stripe_post("/v1/billing/meter_events", &form)
        .await?;
    Ok(identifier)
}

/// Plants an event that another meter counts than its action's. Answers the
/// identifier.
pub(crate) async fn count_elsewhere(
    subject: Subject<'_>,
    folder: &Path,
) -> Result<String, SoakError> {
    let (identifier, event) = victim(subject).await?;
    let stripe = Connection::open(stripe_file(folder))?;
    let moved = "UPDATE meter_events SET (event_name, meter) =
        (SELECT event_name, meter FROM meter_events WHERE event_name <> ?2 LIMIT 1)
        WHERE identifier = ?1";
    stripe.execute(moved, (&identifier, text(&event, "event_name")?))?;
    Ok(identifier)
}

/// Plants an unbilled event: it arrives with a time of the period before, whose
/// invoice has long been final.
pub(crate) async fn unbill(subject: Subject<'_>, folder: &Path) -> Result<String, SoakError> {
    let (identifier, _) = victim(subject).await?;
    let stripe = Connection::open(stripe_file(folder))?;
    let moved = "UPDATE meter_events
        SET timestamp = timestamp - ?2, received_ms = received_ms + ?3 WHERE identifier = ?1";
    stripe.execute(moved, (&identifier, PERIOD_S, LATE_MS))?;
    Ok(identifier)
}

/// Plants a total that is off by one. Answers its key.
pub(crate) async fn miscount(subject: Subject<'_>) -> Result<String, SoakError> {
    let mut found = None;
    let take = |item: &Value| {
        let mut names = item.as_object().into_iter().flatten().map(|(name, _)| name);
        // The units that were delivered in some hour, such as `d07u`.
        let units = names.find(|name| name.starts_with('d') && name.ends_with('u'));
        if let Some(units) = units {
            let key = json!({
                "customer_id": item["customer_id"], "total_key": item["total_key"],
            });
            found = Some((key, units.clone()));
        }
        Ok(())
    };
    subject
        .direct
        .scan("UsageTotalsTable", &json!({}), take)
        .await?;
    let (key, units) = found.ok_or(SoakError::NothingToPlant)?;
    let update = json!({
        "TableName": "UsageTotalsTable", "Key": key,
        "UpdateExpression": format!("ADD {units} :one"),
        "ExpressionAttributeValues": { ":one": { "N": "1" } },
    });
    let _: Value = subject.direct.dynamodb("UpdateItem", &update).await?;
    Ok(key.to_string())
}

/// Plants a gap in the outbox: an event that is pending is in none of its entries
/// any more. Answers the identifier.
pub(crate) async fn forget(subject: Subject<'_>) -> Result<String, SoakError> {
    let mut pending = None;
    let parameters = json!({
        "FilterExpression": "#status = :pending",
        "ProjectionExpression": "identifier",
        "ExpressionAttributeNames": { "#status": "status" },
        "ExpressionAttributeValues": { ":pending": { "S": "pending" } },
    });
    let take = |item: &Value| {
        pending = Some(text(&item["identifier"], "S")?.to_owned());
        Ok(())
    };
    let direct = subject.direct;
    direct.scan("UsageEventsTable", &parameters, take).await?;
    let pending = pending.ok_or(SoakError::NothingToPlant)?;
    let mut keys = Vec::new();
    let take = |item: &Value| {
        if identifiers(item).any(|listed| listed == pending) {
            keys.push(json!({ "bucket": item["bucket"], "outbox_key": item["outbox_key"] }));
        }
        Ok(())
    };
    direct.scan("OutboxTable", &json!({}), take).await?;
    let bytes = hex::decode(&pending).map_err(|_| SoakError::NothingToPlant)?;
    for key in keys {
        let update = json!({
            "TableName": "OutboxTable", "Key": key,
            "UpdateExpression": "DELETE identifiers :one",
            "ExpressionAttributeValues": { ":one": { "BS": [BASE64.encode(&bytes)] } },
        });
        let _: Value = direct.dynamodb("UpdateItem", &update).await?;
    }
    Ok(pending)
}

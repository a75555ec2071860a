//! The outbox against what is pending.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::audit::number;
use super::{Findings, Kind, Subject};
use crate::SoakError;
use crate::direct::text;

/// The outbox of a system whose stream is drained lists all that is pending,
/// in an entry that is no older. What else it lists, redelivery forgets.
pub(crate) async fn check_outbox(
    subject: Subject<'_>,
    findings: &mut Findings,
) -> Result<(), SoakError> {
    let mut pending = BTreeMap::new();
    let parameters = json!({
        "FilterExpression": "#status = :pending",
        "ProjectionExpression": "identifier, pending_since",
        "ExpressionAttributeNames": { "#status": "status" },
        "ExpressionAttributeValues": { ":pending": { "S": "pending" } },
    });
    let take = |item: &Value| {
        let identifier = text(&item["identifier"], "S")?;
        pending.insert(identifier.to_owned(), number(&item["pending_since"])?);
        Ok(())
    };
    subject
        .direct
        .scan("UsageEventsTable", &parameters, take)
        .await?;
    let mut listed = BTreeMap::new();
    let take = |item: &Value| {
        for identifier in identifiers(item) {
            let since = number(&item["pending_since"])?;
            let last = listed.entry(identifier).or_insert(since);
            *last = since.max(*last);
        }
        Ok(())
    };
    subject.direct.scan("OutboxTable", &json!({}), take).await?;
    for (identifier, since) in pending {
        if listed.get(&identifier).is_none_or(|last| *last < since) {
            findings.add(Kind::OutboxDiffers, || {
                format!("{identifier} is pending and not in it")
            });
        }
    }
    Ok(())
}

/// What an item of the outbox lists, in hex; nothing where it is a lease.
pub(crate) fn identifiers(item: &Value) -> impl Iterator<Item = String> {
    let listed = item["identifiers"]["BS"].as_array().into_iter().flatten();
    let bytes = listed.filter_map(|text| BASE64.decode(text.as_str()?).ok());
    bytes.map(hex::encode)
}

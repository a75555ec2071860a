//! The outbox against what is pending.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::audit::number;
use super::{Findings, Kind, Subject};
use crate::SoakError;
use crate::direct::text;

/// The outbox of a system whose stream is drained holds exactly what is pending.
pub(crate) async fn check_outbox(
    subject: Subject<'_>,
    findings: &mut Findings,
) -> Result<(), SoakError> {
    let mut pending = BTreeSet::new();
    let parameters = json!({
        "FilterExpression": "#status = :pending",
        "ProjectionExpression": "identifier, pending_since",
        "ExpressionAttributeNames": { "#status": "status" },
        "ExpressionAttributeValues": { ":pending": { "S": "pending" } },
    });
    let take = |item: &Value| {
        let identifier = text(&item["identifier"], "S")?;
        let since = number(&item["pending_since"])?;
        let bucket = identifier.get(..1).unwrap_or_default();
        pending.insert((bucket.to_owned(), format!("{since:013}#{identifier}")));
        Ok(())
    };
    subject
        .direct
        .scan("UsageEventsTable", &parameters, take)
        .await?;
    let mut outbox = BTreeSet::new();
    let take = |item: &Value| {
        let (bucket, key) = (text(&item["bucket"], "S")?, text(&item["outbox_key"], "S")?);
        outbox.insert((bucket.to_owned(), key.to_owned()));
        Ok(())
    };
    subject.direct.scan("OutboxTable", &json!({}), take).await?;
    for (_, key) in pending.difference(&outbox) {
        findings.add(Kind::OutboxDiffers, || {
            format!("{key} is pending and not in it")
        });
    }
    for (_, key) in outbox.difference(&pending) {
        findings.add(Kind::OutboxDiffers, || {
            format!("{key} is in it and not pending")
        });
    }
    Ok(())
}

//! The functions' logs, as CloudWatch Logs has them.

use serde_json::Value;

use crate::cloud::Cloud;
use crate::deployment::Deployment;
use crate::failure::Failure;

/// Lines of Lambda itself. Under `LogFormat: JSON` Lambda writes them as JSON;
/// ministack writes them as text.
const LAMBDAS_OWN: [&str; 3] = ["START RequestId", "END RequestId", "REPORT RequestId"];

/// As many as one answer has. Ministack tells of no next page.
const EVENTS_MAX: usize = 10_000;

/// The functions' own lines.
#[derive(Debug)]
pub(crate) struct Logs(Vec<String>);

impl Logs {
    /// All of them.
    pub(crate) async fn read(cloud: &Cloud, deployment: &Deployment<'_>) -> Result<Self, Failure> {
        let group = deployment.physical_id("FunctionLogs")?;
        let mut lines = Vec::new();
        let mut from_ms = 0;
        loop {
            let events = events_from(cloud, group, from_ms).await?;
            let last_ms = events.last().map_or(from_ms, timestamp_ms);
            // What happened in the last millisecond comes again, with the rest of it.
            let has_more = events.len() >= EVENTS_MAX && last_ms > from_ms;
            let taken = events
                .iter()
                .filter(|event| !has_more || timestamp_ms(event) < last_ms);
            let messages = taken.filter_map(|event| event["message"].as_str());
            lines.extend(messages.flat_map(str::lines).map(str::to_owned));
            if !has_more {
                break;
            }
            from_ms = last_ms;
        }
        lines.retain(|line| {
            !line.trim().is_empty() && !LAMBDAS_OWN.iter().any(|own| line.starts_with(own))
        });
        Ok(Self(lines))
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Those that are no JSON object.
    pub(crate) fn other_than_json(&self) -> Vec<&str> {
        let is_json =
            |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object());
        let lines = self.0.iter().map(String::as_str);
        lines.filter(|line| !is_json(line)).collect()
    }

    /// How many have all of `words`.
    pub(crate) fn with(&self, words: &[&str]) -> usize {
        let has_all = |line: &&String| words.iter().all(|word| line.contains(word));
        self.0.iter().filter(has_all).count()
    }

    /// How many hold one of `secrets`.
    pub(crate) fn with_any(&self, secrets: &[&str]) -> usize {
        let holds = |line: &&String| secrets.iter().any(|secret| line.contains(secret));
        self.0.iter().filter(holds).count()
    }

    /// The last ones, for whoever looks for a fault.
    pub(crate) fn tail(&self, lines: usize) -> &[String] {
        &self.0[self.0.len().saturating_sub(lines)..]
    }
}

fn timestamp_ms(event: &Value) -> i64 {
    event["timestamp"].as_i64().unwrap_or_default()
}

async fn events_from(cloud: &Cloud, group: &str, from_ms: i64) -> Result<Vec<Value>, Failure> {
    let from_ms = from_ms.to_string();
    let mut found = cloud
        .aws(&[
            "logs",
            "filter-log-events",
            "--log-group-name",
            group,
            "--start-time",
            &from_ms,
        ])
        .await?;
    let events = found["events"].take();
    serde_json::from_value(events).map_err(|_| Failure::unexpected("the log"))
}

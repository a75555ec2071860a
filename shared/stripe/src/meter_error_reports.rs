//! What Stripe found wrong with meter events after it had taken them (Stripe's
//! documentation: Handle meter event errors).

use serde::Deserialize;

use crate::events::V2Event;
use crate::object::or_default;
use crate::rfc3339;

/// The data of `v1.billing.meter.error_report_triggered` and
/// `v1.billing.meter.no_meter_found`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Data")]
pub struct MeterErrorReport {
    /// For people.
    pub developer_message_summary: String,
    /// When Stripe checked the events: from, in unix seconds.
    pub validation_start: i64,
    /// To, in unix seconds.
    pub validation_end: i64,
    /// How many events failed.
    pub error_count: u64,
    /// Why, by kind.
    pub error_types: Vec<MeterErrorType>,
}

/// Events that failed for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct MeterErrorType {
    /// For instance `meter_event_customer_not_found`.
    pub code: String,
    /// How many. More than there are samples: the others are not named.
    pub error_count: u64,
    /// Some of them.
    #[serde(default, deserialize_with = "or_default")]
    pub sample_errors: Vec<MeterErrorSample>,
}

/// One event that failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Sample")]
pub struct MeterErrorSample {
    /// For people.
    pub error_message: String,
    /// The meter event's identifier.
    pub identifier: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default, deserialize_with = "or_default")]
    developer_message_summary: String,
    #[serde(deserialize_with = "rfc3339::unix_s")]
    validation_start: i64,
    #[serde(deserialize_with = "rfc3339::unix_s")]
    validation_end: i64,
    reason: Reason,
}

#[derive(Deserialize)]
struct Reason {
    error_count: u64,
    #[serde(default, deserialize_with = "or_default")]
    error_types: Vec<MeterErrorType>,
}

#[derive(Deserialize)]
struct Sample {
    #[serde(default, deserialize_with = "or_default")]
    error_message: String,
    request: Option<SampleRequest>,
}

#[derive(Deserialize)]
struct SampleRequest {
    identifier: Option<String>,
}

impl From<Data> for MeterErrorReport {
    fn from(data: Data) -> Self {
        Self {
            developer_message_summary: data.developer_message_summary,
            validation_start: data.validation_start,
            validation_end: data.validation_end,
            error_count: data.reason.error_count,
            error_types: data.reason.error_types,
        }
    }
}

impl From<Sample> for MeterErrorSample {
    fn from(sample: Sample) -> Self {
        Self {
            error_message: sample.error_message,
            identifier: sample.request.and_then(|request| request.identifier),
        }
    }
}

impl MeterErrorReport {
    /// The types of event that carry a report.
    pub const EVENT_TYPES: [&'static str; 2] = [
        "v1.billing.meter.error_report_triggered",
        "v1.billing.meter.no_meter_found",
    ];

    /// The report that `event` carries; none where its type carries none.
    ///
    /// # Errors
    /// Where the data is not of a report's form.
    pub fn of(event: &V2Event) -> Result<Option<Self>, serde_json::Error> {
        if !Self::EVENT_TYPES.contains(&event.event_type.as_str()) {
            return Ok(None);
        }
        Self::deserialize(&event.data).map(Some)
    }

    /// How many of the events that failed are named.
    pub fn named_events(&self) -> u64 {
        let samples = self.error_types.iter();
        let named: usize = samples.map(|kind| kind.sample_errors.len()).sum();
        u64::try_from(named).unwrap_or(u64::MAX)
    }

    /// Whether every event that failed is named.
    pub fn is_complete(&self) -> bool {
        self.named_events() >= self.error_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn event(event_type: &str, error_count: u64) -> V2Event {
        let data: Value = json!({
            "developer_message_summary": "There is 1 invalid event",
            "validation_start": "2026-01-31T12:00:00Z",
            "validation_end": "2026-01-31T12:00:10.500Z",
            "reason": {
                "error_count": error_count,
                "error_types": [{
                    "code": "meter_event_customer_not_found",
                    "error_count": error_count,
                    "sample_errors": [
                        { "error_message": "No such customer", "request": { "identifier": "id-1" } },
                    ],
                }],
            },
        });
        V2Event {
            id: "evt_1".to_owned(),
            event_type: event_type.to_owned(),
            created_unix_ms: 0,
            livemode: false,
            related_object: None,
            data,
        }
    }

    #[test]
    fn a_report_names_events_and_says_whether_it_names_all() {
        let event_type = MeterErrorReport::EVENT_TYPES[0];
        let report = MeterErrorReport::of(&event(event_type, 1))
            .unwrap()
            .unwrap();
        assert_eq!(report.validation_end, 1_769_860_810);
        let failed = &report.error_types[0];
        assert_eq!(failed.code, "meter_event_customer_not_found");
        assert_eq!(failed.sample_errors[0].identifier.as_deref(), Some("id-1"));
        assert!(report.is_complete());
        assert!(
            !MeterErrorReport::of(&event(event_type, 2))
                .unwrap()
                .unwrap()
                .is_complete()
        );
    }

    #[test]
    fn other_events_carry_none() {
        assert_eq!(MeterErrorReport::of(&event("v1.other", 1)).unwrap(), None);
    }
}

//! Stripe's lists of events, as Stripe words each of them.

use billing::Timestamp;
use serde_json::Value;

use crate::http::percent_encoded;
use crate::stripe_requests::{StripeRequestError, StripeRequests};

/// The largest page that there is.
const PAGE: &str = "limit=100";

/// What has happened since a time.
pub(super) struct EventList {
    requests: StripeRequests,
    since_unix_s: i64,
}

impl EventList {
    pub(super) const fn new(requests: StripeRequests, since_unix_s: i64) -> Self {
        Self {
            requests,
            since_unix_s,
        }
    }

    /// The snapshot events that the webhook acts upon, the oldest first.
    pub(super) async fn snapshots(&self) -> Result<Vec<Value>, StripeRequestError> {
        let since = self.since_unix_s.to_string();
        let filter = filter(&since, &webhook::EVENT_TYPES);
        let list = format!("/v1/events?{PAGE}{filter}");
        let mut events = self.requests.list(&list).await?;
        events.reverse();
        Ok(events)
    }

    /// The thin events that tell of unusable meter events, the oldest first; of
    /// the meter `meter_id` alone, if one is named.
    pub(super) async fn thin_events(
        &self,
        meter_id: Option<&str>,
    ) -> Result<Vec<Value>, StripeRequestError> {
        let since = Timestamp::from_unix_s(self.since_unix_s).to_string();
        let mut filter = filter(&since, &stripe::MeterErrorReport::EVENT_TYPES);
        if let Some(meter_id) = meter_id {
            filter.push_str(&format!("&object_id={}", percent_encoded(meter_id)));
        }
        let list = format!("/v2/core/events?{PAGE}{filter}");
        let mut events = self.requests.list_v2(&list).await?;
        events.reverse();
        Ok(events)
    }
}

/// At most twenty types, of which v1 and v2 have their own.
fn filter(since: &str, types: &[&str]) -> String {
    let created = percent_encoded("created[gte]");
    let mut filter = format!("&{created}={}", percent_encoded(since));
    for (index, event_type) in types.iter().enumerate() {
        let name = percent_encoded(&format!("types[{index}]"));
        filter.push_str(&format!("&{name}={}", percent_encoded(event_type)));
    }
    filter
}

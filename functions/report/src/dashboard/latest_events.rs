//! The latest events of a customer. A list of them is seventeen requests to DynamoDB, so it
//! is read when the totals say that there is something new, and seldom besides.

use std::sync::Arc;

use audit::AuditEvent;
use billing::{Timestamp, UsageStatus};
use serde::Serialize;
use utoipa::ToSchema;
use web::openapi::schema;

/// While something changes all the time, between two reads.
const APART_MS: i64 = 3_000;
/// After the last change: the index follows the table within a moment, not at once (Amazon
/// DynamoDB Developer Guide: "Using Global Secondary Indexes in DynamoDB").
const INDEX_LAG_MS: i64 = 5_000;
/// What the totals of the period do not show, such as held usage, shows by this.
const FRESH_MS: i64 = 60_000;

/// One usage event as the dashboard shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DashboardEvent)]
pub(crate) struct EventFigures {
    #[schema(schema_with = schema::event_id)]
    pub(crate) event_id: String,
    #[schema(schema_with = schema::action_type)]
    pub(crate) action_type: String,
    #[schema(schema_with = crate::openapi::digits)]
    pub(crate) units: String,
    #[schema(schema_with = schema::usage_status)]
    pub(crate) status: UsageStatus,
    /// Why it is held, or why Stripe refused it, in a word.
    #[schema(required)]
    pub(crate) reason: Option<String>,
    #[schema(schema_with = schema::time)]
    pub(crate) occurred_at: String,
}

impl From<AuditEvent> for EventFigures {
    fn from(event: AuditEvent) -> Self {
        Self {
            reason: event.reason().map(str::to_owned),
            event_id: event.event_id,
            action_type: event.action_type,
            units: event.quantity.to_string(),
            status: event.status,
            occurred_at: event.occurred_at,
        }
    }
}

/// A list, and what was known when it was read.
pub(crate) struct LatestEvents {
    pub(crate) events: Arc<[EventFigures]>,
    read_at: Timestamp,
    read_of: (String, String),
    /// What the totals say now, and since when.
    units: (String, String),
    changed_at: Timestamp,
}

impl LatestEvents {
    /// `events` as they were read just now, after `before`.
    pub(crate) fn read(
        before: Option<Self>,
        events: Vec<AuditEvent>,
        units: (String, String),
        now: Timestamp,
    ) -> Self {
        Self {
            events: events.into_iter().map(EventFigures::from).collect(),
            read_at: now,
            read_of: units.clone(),
            units,
            changed_at: before.map_or(now, |before| before.changed_at),
        }
    }

    /// The same where the totals say `units` at `now`.
    pub(crate) fn at(self, units: (String, String), now: Timestamp) -> Self {
        if self.units == units {
            return self;
        }
        Self {
            units,
            changed_at: now,
            ..self
        }
    }

    /// Whether it may be another by `now`.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        let age_ms = now.ms_since(self.read_at);
        let settled_at = self.changed_at.plus_ms(INDEX_LAG_MS);
        let has_changed = self.read_of != self.units && age_ms >= APART_MS;
        let has_settled = self.read_at < settled_at && settled_at <= now;
        has_changed || has_settled || age_ms >= FRESH_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    fn units(units: &str) -> (String, String) {
        (units.to_owned(), "0".to_owned())
    }

    fn read() -> LatestEvents {
        LatestEvents::read(None, Vec::new(), units("5"), NOW)
    }

    #[test]
    fn a_list_is_read_anew_when_the_units_are_others_but_not_all_the_time() {
        let list = read().at(units("6"), NOW.plus_ms(1_000));
        assert!(!list.is_due(NOW.plus_ms(APART_MS - 1)));
        assert!(list.is_due(NOW.plus_ms(APART_MS)));
    }

    #[test]
    fn a_list_is_read_again_once_the_index_has_what_came_in() {
        let changed_at = NOW.plus_ms(3_000);
        let changed = read().at(units("6"), changed_at);
        let list = LatestEvents::read(Some(changed), Vec::new(), units("6"), changed_at);
        let settled_at = changed_at.plus_ms(INDEX_LAG_MS);
        assert!(!list.is_due(settled_at.plus_ms(-1)));
        assert!(list.is_due(settled_at));
        let list = LatestEvents::read(Some(list), Vec::new(), units("6"), settled_at);
        assert!(!list.is_due(settled_at.plus_ms(FRESH_MS - 1)));
        assert!(list.is_due(settled_at.plus_ms(FRESH_MS)));
    }
}

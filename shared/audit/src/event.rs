//! One event of the audit log, as it is shown.

use billing::{HeldReason, Timestamp, UsageStatus};
use ledger::UsageEventRow;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::Object;
use web::openapi::schema;

/// One usage event and every status that it went through. Times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RecordedUsageEvent)]
pub struct AuditEvent {
    /// The agent's own name of it.
    #[schema(schema_with = schema::event_id)]
    pub event_id: String,
    /// Whose usage it is.
    #[schema(schema_with = schema::customer_id)]
    pub customer_id: String,
    /// What Stripe dedupes by: a hash of customer and event id, in hex.
    pub identifier: String,
    /// Where it comes from, if it came as a CloudEvent.
    #[schema(required)]
    pub source: Option<String>,
    /// What was done.
    #[schema(schema_with = schema::action_type)]
    pub action_type: String,
    /// Units.
    #[schema(schema_with = schema::quantity)]
    pub quantity: u64,
    /// Where it stands.
    #[schema(schema_with = schema::usage_status)]
    pub status: UsageStatus,
    /// The item that it was sent for, where it names one.
    #[schema(required)]
    pub subscription_item_id: Option<String>,
    /// When it happened.
    #[schema(schema_with = schema::time)]
    pub occurred_at: String,
    /// The time that Stripe is told; none while it is held.
    #[schema(required, schema_with = schema::time_or_null)]
    pub billed_at: Option<String>,
    /// The start of the period that it is billed in.
    #[schema(required, schema_with = schema::time_or_null)]
    pub period_start: Option<String>,
    /// Whether it happened in an earlier period than it is billed in.
    pub carried_over: bool,
    /// Why it is billed by nothing, where it is held.
    #[schema(required, schema_with = held_reason)]
    pub held_reason: Option<HeldReason>,
    /// The meter that counts it; of held usage the one that would. None for
    /// usage records that no catalog tells apart.
    #[schema(required)]
    pub meter_event_name: Option<String>,
    /// When it was recorded.
    #[schema(schema_with = schema::time)]
    pub recorded_at: String,
    /// When its sending to Stripe began.
    #[schema(schema_with = schema::time)]
    pub first_attempt_at: String,
    /// Why Stripe refused it, in Stripe's word.
    #[schema(required)]
    pub stripe_code: Option<String>,
    /// Stripe's id of it, where the way into Stripe gives one.
    #[schema(required)]
    pub stripe_record_id: Option<String>,
    /// Every status that it took on, the oldest first.
    pub history: Vec<AuditHistoryEntry>,
}

/// A status, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = UsageEventHistoryEntry)]
pub struct AuditHistoryEntry {
    /// The status.
    #[schema(schema_with = schema::usage_status)]
    pub status: UsageStatus,
    /// When the event took it on.
    #[schema(schema_with = schema::time)]
    pub at: String,
}

impl AuditEvent {
    /// When it took on the status that it has.
    pub fn status_since(&self) -> &str {
        self.history
            .last()
            .map_or(&*self.recorded_at, |entry| &*entry.at)
    }

    /// Why it stands where it does, in a word: why it is held, or why Stripe
    /// refused it.
    pub fn reason(&self) -> Option<&str> {
        let held = self.held_reason.map(HeldReason::as_str);
        held.or(self.stripe_code.as_deref())
    }
}

/// Why usage is held, or null.
fn held_reason() -> Object {
    use HeldReason::{
        AfterSubscription, BeforeSubscription, FreeTrial, NoOpenPeriod, NoSubscriptionItem,
    };
    let reasons = [
        BeforeSubscription,
        AfterSubscription,
        NoOpenPeriod,
        FreeTrial,
        NoSubscriptionItem,
    ];
    schema::or_null(schema::words(reasons.map(HeldReason::as_str)))
}

impl From<UsageEventRow> for AuditEvent {
    fn from(row: UsageEventRow) -> Self {
        let text = |at: Timestamp| at.to_string();
        let history = row.history.iter();
        Self {
            history: history
                .map(|entry| AuditHistoryEntry {
                    status: entry.status,
                    at: text(entry.at),
                })
                .collect(),
            event_id: row.event_id.as_str().to_owned(),
            customer_id: row.customer_id.to_string(),
            identifier: row.identifier.to_string(),
            source: row.source.map(|source| source.as_str().to_owned()),
            action_type: row.action_type.as_str().to_owned(),
            quantity: row.quantity,
            status: row.status,
            subscription_item_id: row.subscription_item_id,
            occurred_at: text(row.occurred_at),
            billed_at: row.billed_at.map(text),
            period_start: row.period_start.map(text),
            carried_over: row.carried_over,
            held_reason: row.held_reason,
            // Usage records that no catalog names have an empty one.
            meter_event_name: Some(row.meter_event_name).filter(|name| !name.is_empty()),
            recorded_at: text(row.recorded_at),
            first_attempt_at: text(row.first_attempt_at),
            stripe_code: row.stripe_code,
            stripe_record_id: row.stripe_record_id,
        }
    }
}

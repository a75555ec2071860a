//! Which events are meant.

use audit::EventFilter;
use billing::{ActionType, Timestamp, UsageStatus};
use clap::Args;

#[derive(Args)]
pub(super) struct FilterArguments {
    /// Happened then or later: RFC 3339, in the customer's own time.
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse_rfc3339)]
    from: Option<Timestamp>,
    /// Happened before then.
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse_rfc3339)]
    to: Option<Timestamp>,
    /// Is billed then or later. Without --from, what happened up to 36 days before
    /// is looked at.
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse_rfc3339)]
    billed_from: Option<Timestamp>,
    /// Is billed before then.
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse_rfc3339)]
    billed_to: Option<Timestamp>,
    #[command(flatten)]
    kind: KindArguments,
}

#[derive(Args)]
pub(super) struct KindArguments {
    /// Is this action.
    #[arg(long, value_name = "ACTION", value_parser = ActionType::parse)]
    action_type: Option<ActionType>,
    /// Stands there now: pending, delivered, rejected, quarantined, held, voiding, voided.
    #[arg(long, value_name = "STATUS", value_parser = parse_status)]
    status: Option<UsageStatus>,
    /// Is counted by the meter of this event name.
    #[arg(long, value_name = "EVENT_NAME")]
    meter: Option<String>,
}

fn parse_status(word: &str) -> Result<UsageStatus, String> {
    let mut all = UsageStatus::ALL.into_iter();
    all.find(|status| status.as_str() == word)
        .ok_or_else(|| "there is no such status".to_owned())
}

impl FilterArguments {
    pub(super) fn filter(&self) -> EventFilter {
        EventFilter {
            from: self.from,
            to: self.to,
            billed_from: self.billed_from,
            billed_to: self.billed_to,
            ..self.kind.filter()
        }
    }
}

impl KindArguments {
    pub(super) fn filter(&self) -> EventFilter {
        EventFilter {
            action_type: self.action_type.clone(),
            status: self.status,
            meter_event_name: self.meter.clone(),
            ..EventFilter::default()
        }
    }
}

//! Which events of a customer's log are meant.

use std::ops::Range;

use billing::{ActionType, CustomerId, Timestamp, UsageStatus, window};
use ledger::{
    IndexedUsageEvent, UsageEventOrder, UsageEventPosition, UsageEventRow, UsageEventsWanted,
};
use serde::{Deserialize, Serialize};

/// Which events are meant: those that are all that it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFilter {
    /// Happened then or later. Without it, where `billed_from` is given, as long
    /// before that as what is sent in time can have happened.
    pub from: Option<Timestamp>,
    /// Happened before then.
    pub to: Option<Timestamp>,
    /// Is billed then or later. What was redriven more than 36 days after it
    /// happened is met only with an earlier `from`.
    pub billed_from: Option<Timestamp>,
    /// Is billed before then.
    pub billed_to: Option<Timestamp>,
    /// Is this action.
    pub action_type: Option<ActionType>,
    /// Stands there now.
    pub status: Option<UsageStatus>,
    /// Is counted by the meter that listens to this event name.
    pub meter_event_name: Option<String>,
}

impl EventFilter {
    /// What of the log of `customer_id` is to be read for it.
    pub fn wanted(
        &self,
        customer_id: CustomerId,
        order: UsageEventOrder,
        after: Option<UsageEventPosition>,
    ) -> UsageEventsWanted {
        let all = UsageEventsWanted::all(customer_id, order);
        let Range { start, end } = all.occurred;
        let carried_from = || Some(self.billed_from?.plus_ms(-window::CARRIED_MS));
        // What is ahead of the clock is billed at its present.
        let ahead_to = || Some(self.billed_to?.plus_ms(window::AHEAD_MS));
        UsageEventsWanted {
            occurred: self.from.or_else(carried_from).unwrap_or(start)
                ..self.to.or_else(ahead_to).unwrap_or(end),
            after,
            ..all
        }
    }

    /// Whether the index alone tells which events are meant.
    pub(crate) const fn is_of_index(&self) -> bool {
        self.billed_from.is_none()
            && self.billed_to.is_none()
            && self.action_type.is_none()
            && self.status.is_none()
            && self.meter_event_name.is_none()
    }

    /// Whether `event` may be meant, as far as the index tells.
    pub(crate) fn may_take(&self, event: &IndexedUsageEvent) -> bool {
        let action_type = self.action_type.as_ref();
        action_type.is_none_or(|it| *it == event.action_type)
    }

    /// Whether `row`, which happened when it says, is meant.
    pub fn takes(&self, row: &UsageEventRow) -> bool {
        let is_billed = |is_meant: &dyn Fn(Timestamp) -> bool| row.billed_at.is_some_and(is_meant);
        let meter = self.meter_event_name.as_ref();
        self.billed_from
            .is_none_or(|from| is_billed(&|at| from <= at))
            && self.billed_to.is_none_or(|to| is_billed(&|at| at < to))
            && self
                .action_type
                .as_ref()
                .is_none_or(|it| *it == row.action_type)
            && self.status.is_none_or(|it| it == row.status)
            && meter.is_none_or(|it| *it == row.meter_event_name)
    }
}

//! A meter for the tests of whoever uses this crate: it keeps what it is told.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::access::Access;
use crate::answer::{Recorded, Status};
use crate::emission::Emit;
use crate::error::EmitError;
use crate::http::WireEvent;
use crate::usage::Usage;

/// Records usage in memory: the same id of the same customer once, as Meterline
/// does. Failures and refusals are ordered beforehand.
#[derive(Debug, Default)]
pub struct RecordedUsage(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    usages: Vec<(WireEvent, Usage)>,
    errors: VecDeque<EmitError>,
    denial: Option<String>,
}

impl RecordedUsage {
    /// A meter that has recorded nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next call of `emit` fails with `error`, and records nothing.
    pub fn fail_next(&self, error: EmitError) {
        self.kept().errors.push_back(error);
    }

    /// Nobody may act from now on, for this reason.
    pub fn deny(&self, reason: impl Into<String>) {
        self.kept().denial = Some(reason.into());
    }

    /// What is billed, in the order of its recording.
    pub fn usages(&self) -> Vec<Usage> {
        let kept = self.kept();
        kept.usages.iter().map(|(_, usage)| usage.clone()).collect()
    }

    /// Units that are billed to `customer_id`.
    pub fn units(&self, customer_id: &str) -> u64 {
        let kept = self.kept();
        let usages = kept.usages.iter().map(|(_, usage)| usage);
        let usages = usages.filter(|usage| usage.customer_id == customer_id);
        usages.map(|usage| usage.quantity).sum()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Emit for RecordedUsage {
    async fn emit(&self, usage: Usage) -> Result<Recorded, EmitError> {
        let mut kept = self.kept();
        if let Some(error) = kept.errors.pop_front() {
            return Err(error);
        }
        let event = usage.wire_event()?;
        let is_known = |(known, _): &&(WireEvent, Usage)| {
            known.event_id == event.event_id && known.customer_id == event.customer_id
        };
        let known = kept.usages.iter().find(is_known);
        let duplicate = known.is_some();
        if known.is_some_and(|(known, _)| *known != event) {
            return Err(EmitError::conflict(event.event_id));
        }
        let recorded = Recorded {
            event_id: event.event_id.clone(),
            status: Status::Delivered,
            duplicate,
            quantity: usage.quantity,
            stripe_record_id: None,
            customer_status: Some("active".to_owned()),
        };
        if !duplicate {
            kept.usages.push((event, usage));
        }
        Ok(recorded)
    }

    async fn access(&self, customer_id: &str) -> Result<Access, EmitError> {
        let units = self.units(customer_id);
        let reason = self.kept().denial.clone();
        Ok(Access {
            allowed: reason.is_none(),
            status: "active".to_owned(),
            reason,
            units,
            limit: None,
        })
    }
}

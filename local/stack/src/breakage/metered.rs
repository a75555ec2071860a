//! The same usage, emitted by agents where it arises.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::json;

use super::shifted_clock::ShiftedClock;
use super::{BreakageError, Usage};
use crate::story::customer::Customer;
use crate::story::{Stage, StoryError};
use crate::system::System;

/// Units of one operation.
const OPERATION_UNITS: u64 = 10;
/// Past the minute that redelivery leaves to the emission itself.
const LATER_MS: i64 = 120_000;

/// Agents, each of which emits with ids of its jobs' own.
pub(super) struct Metered<'a> {
    system: &'a System,
    stage: &'a Stage<'a>,
    clock: &'a ShiftedClock,
}

/// What the agents were told, by outcome.
#[derive(Default)]
pub(super) struct Told(BTreeMap<String, u32>);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.0.iter();
        let told: Vec<String> = told
            .map(|(outcome, count)| format!("{count} {outcome}"))
            .collect();
        f.write_str(&told.join(", "))
    }
}

impl<'a> Metered<'a> {
    pub(super) const fn new(
        system: &'a System,
        stage: &'a Stage<'a>,
        clock: &'a ShiftedClock,
    ) -> Self {
        Self {
            system,
            stage,
            clock,
        }
    }

    pub(super) const fn stage(&self) -> &'a Stage<'a> {
        self.stage
    }

    /// Every operation of a night. An answer that is lost, or a 5xx, is retried
    /// under the same id.
    pub(super) async fn emit_night(
        &mut self,
        customers: &[Customer],
        night: usize,
    ) -> Result<Told, StoryError> {
        let mut told = Told::default();
        for (number, customer) in customers.iter().enumerate() {
            let mut left = Usage::of(number).nights[night];
            let mut operation = 0;
            while left > 0 {
                let units = left.min(OPERATION_UNITS);
                left -= units;
                operation += 1;
                let event_id = format!("night-{night}-operation-{operation}");
                let outcome = self.emit(customer, &event_id, units).await?;
                *told.0.entry(outcome).or_default() += 1;
            }
        }
        Ok(told)
    }

    async fn emit(
        &self,
        customer: &Customer,
        event_id: &str,
        units: u64,
    ) -> Result<String, StoryError> {
        let event = json!({
            "event_id": event_id, "customer_id": customer.customer_id,
            "quantity": units, "action_type": "document_processed",
        });
        let answer = self.stage.api.post("/v1/usage", &event).await?;
        let answer = Stage::expect("usage", answer, &[200, 202])?;
        Ok(if answer.body["duplicate"] == true {
            "recorded before".to_owned()
        } else {
            answer.text("/status")
        })
    }

    /// Two minutes pass, and redelivery runs; answers how many it delivered.
    pub(super) async fn redeliver_later(&mut self) -> Result<u64, BreakageError> {
        // The outbox is the rollup's: what is pending shows there in a moment.
        self.stage.rolled_up().await?;
        self.clock.advance_ms(LATER_MS);
        let report = self.system.redeliver().await?;
        Ok(u64::try_from(report.delivered).unwrap_or(u64::MAX))
    }
}

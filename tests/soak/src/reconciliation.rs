//! The operator's `reconcile`, after the count: does it find the same peace?

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use billing::{CustomerId, Timestamp};
use meterline_cli::reconcile::{Finding, FindingKind, Repair};
use meterline_cli::{ReconcileOptions, Reconciler};
use serde_json::Value;

use crate::functions::{patient_ledger, stripe_client};
use crate::world::World;
use crate::{BEGINNING_MS, SoakError};

const DAY_MS: i64 = 86_400_000;

/// Differences that are told in words.
const TOLD_MAX: usize = 10;

/// What `reconcile` said of all customers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// Customers who agree, or do so after the repair.
    pub agree: usize,
    /// Customers who do not.
    pub differ: usize,
    /// Findings by kind, and whether they were repaired.
    pub findings: BTreeMap<(String, bool), usize>,
    /// The first that were not, in words.
    pub told: Vec<String>,
}

impl Reconciliation {
    /// Runs the command for every customer of `world`, over all of the run.
    pub(crate) async fn of(world: &World, repair: Repair) -> Result<Self, SoakError> {
        let surroundings = &world.surroundings;
        let reconciler = Reconciler::new(
            patient_ledger(&surroundings.dynamodb_url, surroundings.tables.clone()),
            stripe_client(&surroundings.stripe_url, surroundings.usage_api)?,
            Arc::new(surroundings.clock.clone()),
        );
        let from = Timestamp::from_unix_ms(BEGINNING_MS - DAY_MS);
        let to = Timestamp::from_unix_ms(surroundings.clock.unix_ms() + DAY_MS);
        let options = ReconcileOptions::new(from, to)?;
        let mut said = Self::default();
        for customer in &world.customers {
            let id = CustomerId::parse(&customer.id)?;
            let report = reconciler.customer(&id, options.with_repair(repair));
            let report = report.await?;
            if report.agrees() {
                said.agree += 1;
            } else {
                said.differ += 1;
            }
            for finding in &report.findings {
                let kind = (name(finding.kind), finding.is_repaired);
                *said.findings.entry(kind).or_default() += 1;
                if !finding.is_repaired && said.told.len() < TOLD_MAX {
                    said.told.push(sentence(&id, finding));
                }
            }
        }
        Ok(said)
    }
}

fn sentence(customer_id: &CustomerId, finding: &Finding) -> String {
    let units = |units: Option<i64>| units.map_or_else(|| "?".to_owned(), |it| it.to_string());
    format!(
        "{customer_id} {} {}: {} by the log, {} found, {} events",
        finding.from.as_deref().unwrap_or("anywhere"),
        name(finding.kind),
        units(finding.log_units),
        units(finding.other_units),
        finding.events.len().saturating_add(finding.more_events),
    )
}

fn name(kind: FindingKind) -> String {
    match serde_json::to_value(kind) {
        Ok(Value::String(name)) => name,
        _ => format!("{kind:?}"),
    }
}

impl fmt::Display for Reconciliation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} agree, {} differ", self.agree, self.differ)?;
        for ((kind, is_repaired), count) in &self.findings {
            let what = if *is_repaired { "repaired" } else { "left" };
            write!(f, "; {count} {kind} {what}")?;
        }
        for told in &self.told {
            write!(f, "\n  {told}")?;
        }
        Ok(())
    }
}

//! What only the operator can decide: which quarantined events Stripe has. The
//! operator reads Stripe's own list of meter events.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use billing::{Timestamp, UsageStatus};
use ledger::{UsageEventFilter, UsageEventRow};
use metering::{CustomerDirectory, Deliverer, Redriven, Redriver};
use serde_json::Value;

use crate::SoakError;
use crate::functions::{patient_ledger, stripe_client};
use crate::world::World;

/// How the operator's words were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// Stripe has them: noted as delivered.
    pub in_stripe: u64,
    /// Carried over, and Stripe has them from before: billed when it has them.
    pub billed_before: u64,
    /// Stripe has them not: sent again.
    pub not_in_stripe: u64,
    /// Not taken: without a billable period.
    pub left: u64,
}

impl Decisions {
    /// `meterline redrive --status quarantined`, with `--in-stripe` for what
    /// Stripe lists and `--not-in-stripe` for what it does not; with `--at` for what was
    /// carried over, and the same of `--status delivered` where Stripe's list has another
    /// time.
    pub(crate) async fn take(world: &World) -> Result<Self, SoakError> {
        let surroundings = &world.surroundings;
        let tables = patient_ledger(&surroundings.dynamodb_url, surroundings.tables.clone());
        let stripe = stripe_client(&surroundings.stripe_url, surroundings.usage_api)?;
        let clock = || Arc::new(surroundings.clock.clone());
        let redriver = Redriver::new(
            tables.clone(),
            CustomerDirectory::new(tables.clone(), stripe.clone(), clock()),
            Deliverer::new(tables.clone(), stripe, clock()),
            clock(),
        );
        let mut listed = BTreeMap::new();
        let take = |event: &Value| {
            let identifier = event["identifier"].as_str().unwrap_or_default();
            let at = event["timestamp"].as_i64().unwrap_or_default();
            listed.insert(identifier.to_owned(), Timestamp::from_unix_s(at));
            Ok(())
        };
        world.direct.meter_events(take).await?;
        let mut decisions = Self::default();
        for status in [UsageStatus::Quarantined, UsageStatus::Delivered] {
            let filter = UsageEventFilter {
                status: Some(status),
                ..UsageEventFilter::default()
            };
            let mut cursor = None;
            loop {
                let page = tables.scan_usage_events(&filter, cursor).await?;
                decisions.decide(&redriver, &listed, page.rows).await;
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(decisions)
    }

    /// `rows` are quarantined, or delivered; `listed` is what Stripe has, and when.
    async fn decide(
        &mut self,
        redriver: &Redriver,
        listed: &BTreeMap<String, Timestamp>,
        rows: Vec<UsageEventRow>,
    ) {
        let (mut has, mut has_not) = (Vec::new(), Vec::new());
        for row in rows {
            let at = listed.get(row.identifier.as_str());
            let is_open = row.status == UsageStatus::Quarantined;
            let is_elsewhere =
                |at: &&Timestamp| row.billed_at.map(Timestamp::unix_s) != Some(at.unix_s());
            match at {
                Some(at) if row.carried_over && (is_open || is_elsewhere(&at)) => {
                    let noted = redriver.note_in_stripe_at(&row, *at).await;
                    self.count(&noted, |it| &mut it.billed_before);
                }
                Some(_) if is_open => has.push(row),
                None if is_open => has_not.push(row),
                _ => {}
            }
        }
        for noted in redriver.note_in_stripe(&has).await {
            self.count(&noted, |it| &mut it.in_stripe);
        }
        for sent in redriver.redrive(&has_not).await {
            self.count(&sent, |it| &mut it.not_in_stripe);
        }
    }

    fn count(&mut self, redriven: &Redriven, taken: fn(&mut Self) -> &mut u64) {
        match redriven {
            Redriven::Sent(_) | Redriven::Noted => *taken(self) += 1,
            Redriven::Left(_) | Redriven::Changed | Redriven::Failed(_) => self.left += 1,
        }
    }
}

impl fmt::Display for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            in_stripe,
            billed_before,
            not_in_stripe,
            left,
        } = self;
        write!(
            f,
            "{in_stripe} --in-stripe, {billed_before} --in-stripe --at, \
             {not_in_stripe} --not-in-stripe, {left} left"
        )
    }
}

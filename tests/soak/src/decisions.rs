//! What only the operator can decide: which quarantined events Stripe has. The
//! operator reads Stripe's own list of meter events.

use std::collections::BTreeSet;
use std::sync::Arc;

use ledger::{UsageEventFilter, UsageEventRow};
use metering::{CustomerDirectory, Deliverer, Redriven, Redriver};
use serde_json::Value;

use crate::SoakError;
use crate::functions::{ledger, stripe_client};
use crate::world::World;

/// How the operator's words were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// Stripe has them: noted as delivered.
    pub in_stripe: u64,
    /// Stripe has them not: sent again.
    pub not_in_stripe: u64,
    /// Not taken: carried over, or without a billable period.
    pub left: u64,
}

impl Decisions {
    /// `meterline redrive --status quarantined`, with `--in-stripe` for what
    /// Stripe lists and `--not-in-stripe` for what it does not.
    pub(crate) async fn take(world: &World) -> Result<Self, SoakError> {
        let surroundings = &world.surroundings;
        let tables = ledger(&surroundings.dynamodb_url, surroundings.tables.clone());
        let stripe = stripe_client(&surroundings.stripe_url, surroundings.usage_api)?;
        let clock = || Arc::new(surroundings.clock.clone());
        let redriver = Redriver::new(
            tables.clone(),
            CustomerDirectory::new(tables.clone(), stripe.clone(), clock()),
            Deliverer::new(tables.clone(), stripe, clock()),
            clock(),
        );
        let mut listed = BTreeSet::new();
        let take = |event: &Value| {
            listed.extend(event["identifier"].as_str().map(str::to_owned));
            Ok(())
        };
        world.direct.meter_events(take).await?;
        let quarantined = UsageEventFilter {
            status: Some(billing::UsageStatus::Quarantined),
            ..UsageEventFilter::default()
        };
        let mut decisions = Self::default();
        let mut cursor = None;
        loop {
            let page = tables.scan_usage_events(&quarantined, cursor).await?;
            let is_in_stripe = |row: &UsageEventRow| listed.contains(row.identifier.as_str());
            let (has, has_not): (Vec<_>, Vec<_>) = page.rows.into_iter().partition(is_in_stripe);
            for noted in redriver.note_in_stripe(&has).await {
                decisions.count(&noted, |it| &mut it.in_stripe);
            }
            for sent in redriver.redrive(&has_not).await {
                decisions.count(&sent, |it| &mut it.not_in_stripe);
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(decisions);
            }
        }
    }

    fn count(&mut self, redriven: &Redriven, taken: fn(&mut Self) -> &mut u64) {
        match redriven {
            Redriven::Sent(_) | Redriven::Noted => *taken(self) += 1,
            Redriven::Left(_) | Redriven::Changed | Redriven::Failed(_) => self.left += 1,
        }
    }
}

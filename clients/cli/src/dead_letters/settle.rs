//! What dead letters stand for is done again: each of the three is work that may be
//! repeated at any time without counting anything twice.

use std::collections::BTreeMap;
use std::time::Duration;

use billing::Timestamp;
use ledger::{Ledger, LedgerError, SweptList};
use redelivery::{Redelivery, RedeliveryError};
use tokio::time::Instant;

use super::letter::{DeadLetter, Source};
use crate::{RebuildError, Rebuilder};

/// How long one run of redelivery may take, as long as Lambda gives it.
const RUN: Duration = Duration::from_secs(50);

/// What became of the work behind letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is done.
    Done,
    /// It is not, or not all of it: why, and what does it.
    Left(String),
}

/// Why the work could not be done.
#[derive(Debug, thiserror::Error)]
pub enum SettlingError {
    /// Redelivery failed again.
    #[error(transparent)]
    Redelivery(#[from] RedeliveryError),
    /// The rebuild failed.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The tables failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Does the work again.
pub struct Settler {
    ledger: Ledger,
    redelivery: Redelivery,
    rebuilder: Rebuilder,
}

impl Settler {
    /// By running `redelivery` and `rebuilder` here, on the tables of `ledger`.
    pub const fn new(ledger: Ledger, redelivery: Redelivery, rebuilder: Rebuilder) -> Self {
        Self {
            ledger,
            redelivery,
            rebuilder,
        }
    }

    /// Settles what `letters` stand for, source by source.
    ///
    /// # Errors
    /// [`SettlingError`] where a source's work failed; the others' is not begun then.
    pub async fn settle(
        &self,
        letters: &[&DeadLetter],
    ) -> Result<BTreeMap<Source, Settled>, SettlingError> {
        let mut settled = BTreeMap::new();
        for source in Source::ALL {
            let of_source = letters.iter().filter(|letter| letter.source == source);
            let latest = of_source.clone().filter_map(|letter| letter.at).max();
            if of_source.count() == 0 {
                continue;
            }
            let outcome = match source {
                Source::Redelivery => self.redeliver().await?,
                Source::Rollup => self.rebuild().await?,
                Source::Webhook => self.swept_through(latest).await?,
            };
            settled.insert(source, outcome);
        }
        Ok(settled)
    }

    /// A run looks at all that is pending: one that ends well stands for all before it.
    async fn redeliver(&self) -> Result<Settled, SettlingError> {
        let report = self.redelivery.run(Instant::now() + RUN).await?;
        Ok(if report.unreadable > 0 {
            Settled::Left(format!(
                "{} entries of the outbox cannot be read: run `meterline rebuild`",
                report.unreadable
            ))
        } else {
            Settled::Done
        })
    }

    /// Records that the rollup never saw are in the audit log: what is recomputed from
    /// it has them.
    async fn rebuild(&self) -> Result<Settled, SettlingError> {
        let report = self.rebuilder.rebuild(|_| {}).await?;
        tracing::debug!(differences = report.differences.len(), "rebuilt");
        Ok(Settled::Done)
    }

    /// A sweep begins where the last one stood: whatever swept further did its work.
    async fn swept_through(&self, latest: Option<Timestamp>) -> Result<Settled, SettlingError> {
        for list in [SweptList::Snapshot, SweptList::Thin] {
            let sweep = self.ledger.event_sweep(list).await?;
            let through = sweep.map(|sweep| sweep.through);
            let is_done = latest.is_none_or(|at| through.is_some_and(|through| through >= at));
            if !is_done {
                let through = through.map_or_else(|| "never".to_owned(), |at| at.to_string());
                return Ok(Settled::Left(format!(
                    "no sweep has come that far since (last: {through}); one begins every \
                     quarter of an hour, so look at the webhook's log"
                )));
            }
        }
        Ok(Settled::Done)
    }
}

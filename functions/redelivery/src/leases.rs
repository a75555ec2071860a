//! The buckets of the outbox that a run may send from. Two runs at once never
//! have one in common, so no event is sent by both.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::time::Duration;

use billing::Timestamp;
use ledger::{Leased, Ledger, LedgerError, OutboxLease};
use stripe::IdempotencyKey;

/// What a process holds, and what it has seen others hold.
///
/// A lease holds for as long as its run may take. One that its run did not
/// give back is taken over by whoever saw it stand unchanged for that long, by
/// his own clock alone: two machines' clocks are never compared. A process that
/// has just started has seen nothing; for it the lease is over five minutes
/// after the end that its holder wrote into it.
pub(crate) struct Leases {
    /// Names this process; its runs follow one another.
    holder: String,
    seen: HashMap<String, Seen>,
    /// What became of asking for a bucket in this run.
    claims: BTreeMap<String, Claim>,
    lasts_ms: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    Ours,
    Anothers,
    /// DynamoDB did not say.
    Unsure,
}

/// Another's lease, and since when it stands unchanged.
struct Seen {
    lease: OutboxLease,
    since: Timestamp,
}

impl Leases {
    /// The leases of a process that has just started.
    pub(crate) fn new() -> Self {
        Self {
            holder: IdempotencyKey::random().as_str().to_owned(),
            seen: HashMap::new(),
            claims: BTreeMap::new(),
            lasts_ms: 0,
        }
    }

    /// Starts a run that ends within `budget`.
    pub(crate) fn start_run(&mut self, budget: Duration) {
        self.claims.clear();
        self.lasts_ms = i64::try_from(budget.as_millis()).unwrap_or(i64::MAX);
    }

    /// Whether this run may send from `bucket`; takes it, the first time, if
    /// nobody has it. Where that is not sure, the bucket is left for this run.
    pub(crate) async fn may_send(&mut self, ledger: &Ledger, bucket: &str, now: Timestamp) -> bool {
        let claim = match self.claims.get(bucket) {
            Some(claim) => *claim,
            None => self.claim(ledger, bucket, now).await,
        };
        self.claims.insert(bucket.to_owned(), claim);
        claim == Claim::Ours
    }

    async fn claim(&mut self, ledger: &Ledger, bucket: &str, now: Timestamp) -> Claim {
        let lease = OutboxLease {
            bucket: bucket.to_owned(),
            holder: self.holder.clone(),
            leased_at: now,
            lasts_ms: self.lasts_ms,
        };
        let overdue = self.overdue(bucket, now);
        match ledger.lease_outbox_bucket(&lease, overdue.as_ref()).await {
            Ok(Leased::Taken) => {
                self.seen.remove(bucket);
                Claim::Ours
            }
            Ok(Leased::Held(other)) => {
                self.see(bucket, other, now);
                Claim::Anothers
            }
            Err(error) => {
                log(bucket, &error, "a bucket of the outbox could not be leased");
                Claim::Unsure
            }
        }
    }

    /// Gives back whatever this run has, or may have.
    pub(crate) async fn release(&mut self, ledger: &Ledger) {
        for (bucket, claim) in std::mem::take(&mut self.claims) {
            if claim == Claim::Anothers {
                continue;
            }
            if let Err(error) = ledger.release_outbox_bucket(&bucket, &self.holder).await {
                log(
                    &bucket,
                    &error,
                    "a bucket of the outbox stays leased for a while",
                );
            }
        }
    }

    fn overdue(&self, bucket: &str, now: Timestamp) -> Option<OutboxLease> {
        let seen = self.seen.get(bucket)?;
        (now.ms_since(seen.since) > seen.lease.lasts_ms).then(|| seen.lease.clone())
    }

    fn see(&mut self, bucket: &str, lease: OutboxLease, now: Timestamp) {
        let is_known = self
            .seen
            .get(bucket)
            .is_some_and(|seen| seen.lease == lease);
        if !is_known {
            self.seen
                .insert(bucket.to_owned(), Seen { lease, since: now });
        }
    }
}

fn log(bucket: &str, error: &LedgerError, what: &'static str) {
    let source = error.source().map(tracing::field::debug);
    tracing::warn!(bucket, error = %error, source, what, "a lease");
}

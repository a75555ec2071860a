//! What is still to be sent of what the outbox lists: the audit log decides, and
//! Stripe's invoices where a period has ended meanwhile.

use billing::{Clock, Identifier, UsageStatus};
use ledger::{Ledger, READ_EVENTS_MAX, UsageEventFound, UsageEventRow};
use metering::delivery::SEND_BUDGET_MS;
use metering::{CustomerDirectory, Kept, in_order, keep_billable};

use crate::listed::Listed;
use crate::log;
use crate::patience::Patience;

/// Reads of 100 rows of the audit log under way at once.
const READS_IN_FLIGHT: usize = 4;
/// Events that are looked at side by side.
pub(crate) const LOOKS_MAX: usize = READ_EVENTS_MAX * READS_IN_FLIGHT;
/// Events whose billing time is chosen at once.
const PLACES_IN_FLIGHT: usize = 16;

/// Where a run looks.
pub(crate) struct Looks<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) customers: &'a CustomerDirectory,
    pub(crate) clock: &'a dyn Clock,
}

/// What the audit log says of an event that an entry lists.
pub(crate) enum Look {
    /// To be sent.
    Pending(Box<UsageEventRow>),
    /// Not pending any more.
    Stale,
    /// Quarantined by this look: it has no billable period left.
    Quarantined,
    /// The next run looks again.
    Waits,
    /// Its row is not what this version writes.
    Unreadable,
}

impl Looks<'_> {
    /// What is to become of each of `listed`, in their order, as long as there is
    /// `patience`.
    pub(crate) async fn at(&self, listed: &[Listed<'_>], patience: &Patience) -> Vec<Look> {
        let reads = listed.chunks(READ_EVENTS_MAX);
        let reads = reads.map(|listed| self.read(listed)).collect();
        let reads = in_order(reads, READS_IN_FLIGHT).await;
        let looks = listed.iter().zip(reads.into_iter().flatten());
        let looks = looks.map(|(listed, look)| self.place(listed, look, patience));
        in_order(looks.collect(), PLACES_IN_FLIGHT).await
    }

    /// What the audit log says of each of `listed`, up to 100.
    async fn read(&self, listed: &[Listed<'_>]) -> Vec<Look> {
        let identifiers: Vec<Identifier> = listed.iter().map(|it| it.identifier.clone()).collect();
        let mut found = match self.ledger.look_up_usage_events(&identifiers).await {
            Ok(found) => found,
            Err(error) => {
                let key = listed.first().map(|it| it.key);
                key.inspect(|key| log::entry(key, &error, "pending events cannot be read"));
                return listed.iter().map(|_| Look::Waits).collect();
            }
        };
        let look = |listed: &Listed<'_>| match found.take(listed.identifier) {
            Some(UsageEventFound::Row(row)) if listed.is_still(&row) => Look::Pending(row),
            Some(UsageEventFound::Row(_)) => Look::Stale,
            Some(UsageEventFound::Unreadable(error)) => {
                log::event(listed, &error, "a pending event cannot be read");
                Look::Unreadable
            }
            None => {
                tracing::error!(
                    identifier = %listed.identifier,
                    "the outbox names a usage event that the audit log does not have"
                );
                Look::Stale
            }
        };
        listed.iter().map(look).collect()
    }

    /// Its period may have ended since it was recorded; Stripe is asked then, who
    /// may be slow to answer for each of many customers.
    async fn place(&self, listed: &Listed<'_>, look: Look, patience: &Patience) -> Look {
        let Look::Pending(row) = look else {
            return look;
        };
        if !patience.has_time() {
            return Look::Waits;
        }
        if !row.may_send(self.clock.now(), SEND_BUDGET_MS) {
            // Nothing that could not be read, of its customer or its period, keeps it
            // from being quarantined, which the deliverer does.
            return Look::Pending(row);
        }
        let customer = match self.customers.customer(&row.customer_id).await {
            Ok(Some(customer)) => customer,
            Ok(None) => {
                tracing::error!(
                    identifier = %listed.identifier,
                    customer_id = %row.customer_id,
                    "a pending event's customer is unknown"
                );
                return Look::Waits;
            }
            Err(error) => {
                log::event(listed, &error, "a pending event's customer cannot be read");
                return Look::Waits;
            }
        };
        match keep_billable(self.customers, row, &customer, self.clock.now()).await {
            Ok(Kept::Billable(row)) => Look::Pending(row),
            Ok(Kept::Waits) => Look::Waits,
            Ok(Kept::Settled(UsageStatus::Quarantined)) => Look::Quarantined,
            Ok(Kept::Settled(_)) => Look::Stale,
            Err(error) => {
                log::event(listed, &error, "a pending event cannot be carried over");
                Look::Waits
            }
        }
    }
}

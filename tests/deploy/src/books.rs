//! What every party has of a customer's usage: Stripe, the audit log, the totals.

use std::time::Duration;

use billing::{CustomerId, Timestamp};
use secrecy::SecretString;
use serde_json::Value;
use stack::story::{Api, Narrator, Place};

use crate::agents::Acknowledged;
use crate::failure::Failure;
use crate::patience;

/// Longer than any clock of this test is off.
const DAY_MS: i64 = 24 * 3_600_000;
/// What was cut off is redelivered by a schedule of a minute, a minute later.
const AGREE_WITHIN: Duration = Duration::from_secs(240);

/// Events and units of one party.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    events: u64,
    units: u64,
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} events, {} units", self.events, self.units)
    }
}

impl From<&Acknowledged> for Entry {
    fn from(acknowledged: &Acknowledged) -> Self {
        Self {
            events: acknowledged.events,
            units: acknowledged.units,
        }
    }
}

/// The parties' books.
pub(crate) struct Books<'a> {
    place: &'a Place,
    customer_id: CustomerId,
    api: Api,
    stripe: Api,
}

impl<'a> Books<'a> {
    pub(crate) fn new(place: &'a Place, customer_id: &str) -> Result<Self, Failure> {
        let key: SecretString = place.stripe_secret_key.clone();
        Ok(Self {
            place,
            customer_id: CustomerId::parse(customer_id)
                .map_err(|_| Failure::unexpected("a customer's id"))?,
            api: Api::new(&place.url, place.api_key.clone())?,
            stripe: Api::new(&place.stripe_url, key)?,
        })
    }

    /// Waits until all agree with what the agents counted, and tells each figure.
    pub(crate) async fn compare(
        &self,
        narrator: &mut Narrator,
        acknowledged: &Acknowledged,
    ) -> Result<(), Failure> {
        let expected = Entry::from(acknowledged);
        let agreed = patience::until("the books", AGREE_WITHIN, async || {
            Ok(self.totals().await? == expected.units
                && self.stripe().await? == expected
                && self.audit_log().await? == expected)
        });
        match agreed.await {
            // Figures tell better what does not agree.
            Ok(()) | Err(Failure::WaitedInVain(_)) => {}
            Err(failure) => return Err(failure),
        }
        narrator.say(format!("the agents were acknowledged {expected}"));
        narrator.figure("in Stripe", self.stripe().await?, expected);
        narrator.figure("in the audit log", self.audit_log().await?, expected);
        narrator.figure("units in the totals", self.totals().await?, expected.units);
        Ok(())
    }

    /// By the simulator's own list of the events that count.
    async fn stripe(&self) -> Result<Entry, Failure> {
        let path = format!(
            "/_simulator/meter_events?customer={}&state=aggregated&limit=1",
            self.customer_id.as_str()
        );
        let answer = self.stripe.get(&path).await?;
        let number = |name: &str| answer.body[name].as_u64();
        match (number("count"), number("value")) {
            (Some(events), Some(units)) => Ok(Entry { events, units }),
            _ => Err(Failure::unexpected("the list of meter events")),
        }
    }

    async fn audit_log(&self) -> Result<Entry, Failure> {
        let now: Timestamp = self.place.clock.now();
        let (from, to) = (now.plus_ms(-DAY_MS), now.plus_ms(DAY_MS));
        let ledger = &self.place.ledger;
        let rows = ledger.usage_events_of_customer(&self.customer_id, from, to);
        let rows = rows.await?;
        Ok(Entry {
            events: u64::try_from(rows.len()).unwrap_or(u64::MAX),
            units: rows.iter().map(|row| row.quantity).sum(),
        })
    }

    /// As the customer's report shows them.
    async fn totals(&self) -> Result<u64, Failure> {
        let path = format!("/v1/customers/{}/usage", self.customer_id.as_str());
        let report: Value = self.api.get(&path).await?.body;
        report["total_units"]
            .as_u64()
            .ok_or_else(|| Failure::Unexpected(format!("the report {report}")))
    }
}

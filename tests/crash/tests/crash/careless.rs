//! Two careless emissions under the same sweep: one sends before it records,
//! one notes the delivery before it sends. The sweep has to catch both.

use billing::{
    ActionType, BillingTime, CustomerId, EventId, Quantity, Timestamp, UsageEvent, UsageStatus,
};
use crash::{Aftermath, Claim, Finding, Scenario, Surroundings, World};
use ledger::UsageEventRow;
use stripe::{MeterEvent, RequestOptions};

use crate::sweep_with;

const METER_EVENT_NAME: &str = "agent_operations";

/// An emission whose steps stand in the wrong order.
struct Careless<const SENDS_FIRST: bool> {
    customer_id: String,
    claims: Vec<Claim>,
}

impl<const SENDS_FIRST: bool> Scenario for Careless<SENDS_FIRST> {
    type Input = (usize, Claim);
    type Answer = ();

    const CALLS: &'static [&'static str] = &[
        "POST /v1/billing/meter_events",
        "GetItem UsageEventsTable",
        "PutItem UsageEventsTable",
    ];

    async fn prepare(&mut self, world: &World) -> Self::Input {
        let claim = world.an_event(&self.customer_id);
        self.claims.push(claim.clone());
        (self.claims.len() - 1, claim)
    }

    async fn handle(surroundings: Surroundings, (_, claim): Self::Input) -> Option<()> {
        let now = surroundings.clock.now();
        let row = delivered_row(&claim, now);
        if SENDS_FIRST {
            send(&surroundings, &row).await?;
            record(&surroundings, &row, now).await?;
        } else if record(&surroundings, &row, now).await? {
            send(&surroundings, &row).await?;
        }
        Some(())
    }

    fn acknowledge(&mut self, (n, _): &Self::Input, (): ()) {
        self.claims[*n].acknowledged = true;
    }
}

fn delivered_row(claim: &Claim, now: Timestamp) -> UsageEventRow {
    let event = UsageEvent {
        event_id: EventId::parse(&claim.event_id).unwrap(),
        customer_id: CustomerId::parse(&claim.customer_id).unwrap(),
        subscription_item_id: None,
        quantity: Quantity::new(u64::try_from(claim.quantity).unwrap()).unwrap(),
        action_type: ActionType::parse(&claim.action_type).unwrap(),
        occurred_at: None,
        source: None,
    };
    let time = BillingTime::Billable {
        billed_at: now,
        period_start: now,
        carried_over: false,
    };
    let token = String::new();
    let row = UsageEventRow::new(&event, now, time, METER_EVENT_NAME, token, now);
    UsageEventRow {
        status: UsageStatus::Delivered,
        ..row
    }
}

async fn send(surroundings: &Surroundings, row: &UsageEventRow) -> Option<()> {
    let event = MeterEvent::new(
        row.identifier.as_str(),
        METER_EVENT_NAME,
        row.occurred_at.unix_ms(),
        row.customer_id.as_str(),
        row.quantity,
    );
    let options = RequestOptions::new();
    let sent = surroundings.stripe.create_meter_event(&event, &options);
    sent.await.ok().map(drop)
}

/// Whether it was recorded now, and not before.
async fn record(surroundings: &Surroundings, row: &UsageEventRow, now: Timestamp) -> Option<bool> {
    let known = surroundings
        .ledger
        .usage_event(&row.identifier)
        .await
        .ok()?;
    let recorded = surroundings.ledger.record_usage_event(row, now, 0);
    recorded.await.ok().map(|_| known.is_none())
}

async fn findings<const SENDS_FIRST: bool>(aftermath: Aftermath) -> Vec<Finding> {
    let world = World::start().await;
    let mut careless = Careless::<SENDS_FIRST> {
        customer_id: world.onboard("acme").await,
        claims: Vec::new(),
    };
    sweep_with("careless", &world, &mut careless, aftermath, 1).await;
    world.rest().await;
    world.findings(&careless.claims).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sending_before_recording_bills_what_no_log_explains() {
    let found = findings::<true>(Aftermath::Nothing).await;
    let is_unexplained = |finding: &Finding| {
        matches!(
            finding,
            Finding::Disagreement {
                in_stripe: 1,
                status: None,
                ..
            }
        )
    };
    assert!(found.iter().any(is_unexplained), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noting_the_delivery_before_sending_loses_what_was_acknowledged() {
    let found = findings::<false>(Aftermath::Retry).await;
    let is_lost = |finding: &Finding| matches!(finding, Finding::Lost(_));
    assert!(found.iter().any(is_lost), "{found:#?}");
}

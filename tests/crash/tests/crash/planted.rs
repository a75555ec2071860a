//! The count finds what is planted, in the real Stripe and the real tables:
//! otherwise its silence would mean nothing.

use crash::{Claim, Finding, World};
use serde_json::{Map, Value, json};

/// Past the time that Stripe remembers an identifier.
const PAST_A_DAY: i64 = 25;

/// A system at rest, with one event that was acknowledged.
async fn a_story() -> (World, Claim) {
    let world = World::start().await;
    let customer_id = world.onboard("acme").await;
    let mut claim = world.an_event(&customer_id);
    assert_eq!(world.emit(&mut claim).await, "delivered");
    world.rest().await;
    assert_eq!(world.findings(std::slice::from_ref(&claim)).await, []);
    (world, claim)
}

async fn findings(world: &World, claim: &Claim) -> Vec<Finding> {
    world.rest().await;
    world.findings(std::slice::from_ref(claim)).await
}

/// Sends usage past Meterline.
async fn send_usage(world: &World, claim: &Claim, identifier: &str) {
    let value = claim.quantity.to_string();
    let form = [
        ("event_name", "agent_operations"),
        ("identifier", identifier),
        ("payload[stripe_customer_id]", claim.customer_id.as_str()),
        ("payload[value]", value.as_str()),
    ];
    world
        .post_to_stripe("/v1/billing/meter_events", &form)
        .await;
}

#[tokio::test]
async fn a_planted_double_is_found() {
    let (world, claim) = a_story().await;
    send_usage(&world, &claim, "second-name").await;
    let found = findings(&world, &claim).await;
    assert!(matches!(found[..], [Finding::Unclaimed(_)]), "{found:?}");

    let (world, claim) = a_story().await;
    world.pass_hours(PAST_A_DAY);
    send_usage(&world, &claim, &claim.identifier()).await;
    let found = findings(&world, &claim).await;
    assert!(
        found.contains(&Finding::Doubled(claim.clone(), 2)),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_planted_loss_is_found() {
    let (world, claim) = a_story().await;
    let identifier = claim.identifier();
    let form = [
        ("event_name", "agent_operations"),
        ("type", "cancel"),
        ("cancel[identifier]", identifier.as_str()),
    ];
    world
        .post_to_stripe("/v1/billing/meter_event_adjustments", &form)
        .await;
    let found = findings(&world, &claim).await;
    assert!(found.contains(&Finding::Lost(claim.clone())), "{found:?}");

    let never_sent = Claim {
        acknowledged: true,
        ..world.an_event(&claim.customer_id)
    };
    let found = world.findings(&[claim, never_sent.clone()]).await;
    assert!(found.contains(&Finding::Lost(never_sent)), "{found:?}");
}

#[tokio::test]
async fn a_row_that_vanishes_is_found() {
    let (world, claim) = a_story().await;
    let key = json!({ "identifier": { "S": claim.identifier() } });
    let delete = json!({ "TableName": "UsageEventsTable", "Key": key });
    world.database.call("DeleteItem", &delete).await;
    let found = findings(&world, &claim).await;
    assert!(found.contains(&Finding::Lost(claim.clone())), "{found:?}");
}

#[tokio::test]
async fn a_total_and_an_outbox_entry_that_are_wrong_are_found() {
    let (world, claim) = a_story().await;
    let totals = world.database.scan("UsageTotalsTable").await;
    // The units that were delivered in some hour.
    let units_of = |item: &Map<String, Value>| {
        let mut names = item.keys();
        let units = names.find(|name| name.starts_with('d') && name.ends_with('u'));
        units.cloned()
    };
    let mut with_units = totals.iter().filter_map(|it| Some((it, units_of(it)?)));
    let (total, units) = with_units.next().unwrap();
    let add = json!({
        "TableName": "UsageTotalsTable",
        "Key": { "customer_id": total["customer_id"], "total_key": total["total_key"] },
        "UpdateExpression": format!("ADD {units} :one"),
        "ExpressionAttributeValues": { ":one": { "N": "1" } },
    });
    world.database.call("UpdateItem", &add).await;
    let found = findings(&world, &claim).await;
    assert!(
        matches!(found[..], [Finding::WrongTotal { .. }]),
        "{found:?}"
    );

    let (world, claim) = a_story().await;
    let entry: Value = json!({
        "bucket": { "S": "0" },
        "outbox_key": { "S": "0000000000001#planted" },
        "pending_since": { "N": "1" },
        // 32 zeros.
        "identifiers": { "BS": [format!("{}=", "A".repeat(43))] },
    });
    let put = json!({ "TableName": "OutboxTable", "Item": entry });
    world.database.call("PutItem", &put).await;
    let found = world.findings(std::slice::from_ref(&claim)).await;
    assert!(
        matches!(found[..], [Finding::StaleInOutbox(_)]),
        "{found:?}"
    );
}

//! A free trial: what is used in it is shown, and costs nothing, wherever a cost is told.

use billing::UsageStatus;
use serde_json::{Value, json};

use crate::story::Story;
use crate::support::world::{DAY_MS, HOUR_MS};

const ACTION: &str = "document_processed";

async fn in_a_trial_with_usage() -> Story {
    let story = Story::start_in_trial(14).await;
    let usage = (ACTION, 0, UsageStatus::Delivered, 1_000);
    story.count(&[usage]).await;
    story
}

/// A customer who used 1,000 units in a trial, and 10 since then.
async fn after_a_trial() -> Story {
    let mut story = in_a_trial_with_usage().await;
    let day_after = story.customer.period_end.plus_ms(DAY_MS).unix_s();
    let test_clock = story.customer.test_clock.clone().unwrap();
    story.world.move_test_clock(&test_clock, day_after).await;
    story.world.clock.advance_ms(60_000);
    story.customer.period_start = story.customer.period_end;
    let usage = (ACTION, 1, UsageStatus::Delivered, 10);
    story.count(&[usage]).await;
    story
}

async fn units_and_cost(story: &Story, query: &str) -> (Value, Value) {
    let mut usage = story.get(query).await.expect(200);
    assert_eq!(
        usage["by_meter"][0]["estimated_cost"],
        usage["estimated_cost"]
    );
    (usage["total_units"].take(), usage["estimated_cost"].take())
}

#[tokio::test]
async fn what_is_used_in_it_costs_nothing() {
    let story = in_a_trial_with_usage().await;
    let of_period = units_and_cost(&story, "usage").await;
    assert_eq!(of_period, (json!(1_000), json!("0.00")));
    let data = story.data(&story.link().await).await.expect(200);
    assert_eq!(
        (&data["units"], &data["cost"]),
        (&json!("1000"), &json!("0.00"))
    );
    assert_eq!(data["today"]["cost"], "0.00");
    assert_eq!(data["trial_ends_at"], data["period_end"]);
    let page = story.open(&story.link().await).await;
    let day = story.customer.period_end.to_string();
    let note = format!("a free trial until {}", day.split('T').next().unwrap());
    assert!(page.text.contains(&note));
}

#[tokio::test]
async fn a_limit_in_money_stops_nobody_in_it() {
    let story = in_a_trial_with_usage().await;
    let limit = json!({ "amount": "10.00", "enforcement": "hard" });
    story.set_limit(limit).await.expect(200);
    let access = story.get("access?units=1000").await.expect(200);
    assert_eq!(access["allowed"], true);
    let limit = story.limit().await;
    assert_eq!(
        (&limit["used_units"], &limit["used_amount"]),
        (&json!(1_000), &json!("0.00"))
    );
    // In units it does.
    let limit = json!({ "units": 1_000, "enforcement": "hard" });
    story.set_limit(limit).await.expect(200);
    let access = story.get("access?units=1").await.expect(200);
    assert_eq!(access["allowed"], false);
}

#[tokio::test]
async fn what_is_used_after_it_is_paid_for() {
    let story = after_a_trial().await;
    let of_period = units_and_cost(&story, "usage").await;
    assert_eq!(of_period, (json!(10), json!("0.20")));
    let data = story.data(&story.link().await).await.expect(200);
    assert_eq!(
        (&data["cost"], &data["trial_ends_at"]),
        (&json!("0.20"), &Value::Null)
    );
    // A range over both has the cost of what is paid for.
    let end = story.customer.period_start.start_of_hour();
    let (from, to) = (end.plus_ms(-14 * DAY_MS), end.plus_ms(3 * HOUR_MS));
    let range = format!("usage?from={}&to={}", from.unix_s(), to.unix_s());
    let of_both = units_and_cost(&story, &range).await;
    assert_eq!(of_both, (json!(1_010), json!("0.20")));
    let series = format!("{range}&group_by=day");
    let usage = story.get(&series).await.expect(200);
    let entries = usage["series"].as_array().unwrap().iter();
    let costs: Vec<_> = entries
        .map(|entry| (&entry["units"], &entry["exact_cost"]))
        .collect();
    let expected = [
        (&json!(1_000), &json!("0.00")),
        (&json!(10), &json!("0.20")),
    ];
    assert_eq!(costs, expected);
}

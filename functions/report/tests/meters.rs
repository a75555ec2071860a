//! Stories of a customer with several meters: each item bills what its own
//! meter counts, and the report says what Stripe will bill.

use billing::{
    ActionType, BillingTime, Clock, EventId, HeldReason, PriceTerms, Quantity, UsageEvent,
    UsageStatus,
};
use ledger::UsageEventRow;
use serde_json::{Value, json};
use stripe::{PriceAmount, PriceTier};

use crate::story::Story;
use crate::support::world::METER_EVENT_NAME;

const TOKENS: &str = "llm_tokens";
const SEATS: &str = "seats";

/// Up to ten units a quarter of a cent each; beyond, 0.15 cents for all of them.
fn by_volume() -> PriceAmount {
    let tier = |up_to, unit_amount: &str| PriceTier {
        up_to,
        unit_amount_decimal: Some(unit_amount.to_owned()),
        flat_amount_decimal: None,
    };
    PriceAmount::Tiered {
        tiers_mode: "volume".to_owned(),
        tiers: vec![tier(Some(10), "0.25"), tier(None, "0.15")],
    }
}

/// Five dollars a month, with three units in them; a dollar for each further one.
fn monthly_fee() -> PriceAmount {
    let included = PriceTier {
        up_to: Some(3),
        unit_amount_decimal: None,
        flat_amount_decimal: Some("500".to_owned()),
    };
    let further = PriceTier {
        up_to: None,
        unit_amount_decimal: Some("100".to_owned()),
        flat_amount_decimal: None,
    };
    PriceAmount::Tiered {
        tiers_mode: "graduated".to_owned(),
        tiers: vec![included, further],
    }
}

fn per_unit(unit_amount_decimal: &str) -> PriceAmount {
    PriceAmount::PerUnit {
        unit_amount_decimal: unit_amount_decimal.to_owned(),
        transform_quantity: None,
    }
}

/// Operations at 2 cents, tokens by volume, and seats with a monthly fee.
async fn of_three_meters() -> Story {
    let mut story = Story::start().await;
    story.subscribe(TOKENS, by_volume()).await;
    story.subscribe(SEATS, monthly_fee()).await;
    story
}

/// What `by_meter` says of one meter, where it is an item's.
fn of_meter(usage: &Value, meter_event_name: &str) -> (u64, String) {
    let by_meter = usage["by_meter"].as_array().unwrap();
    let meter = by_meter
        .iter()
        .find(|it| it["meter_event_name"] == meter_event_name)
        .unwrap();
    let cost = meter["estimated_cost"].as_str().unwrap().to_owned();
    (meter["units"].as_u64().unwrap(), cost)
}

#[tokio::test]
async fn the_cost_of_several_meters_is_the_invoice_that_stripe_will_make() {
    let story = of_three_meters().await;
    let steps: [(&str, u64, &str); 6] = [
        // The fee is owed before anything is used.
        (SEATS, 0, "5.00"),
        (METER_EVENT_NAME, 3, "5.06"),
        // 2.5 cents are 3: each line is rounded by itself.
        (TOKENS, 10, "5.09"),
        // All eleven at the second tier's amount: 1.65 cents are 2.
        (TOKENS, 1, "5.08"),
        (SEATS, 3, "5.08"),
        (SEATS, 2, "7.08"),
    ];
    for (step, (meter, units, cost)) in steps.into_iter().enumerate() {
        if units > 0 {
            let event_id = format!("step {step}");
            story.use_up_on(meter, &event_id, units).await;
        }
        let usage = story.get("usage").await.expect(200);
        let upcoming = story.get("invoices/upcoming").await.expect(200);
        assert_eq!(upcoming["total"], cost, "at step {step}");
        assert_eq!(usage["estimated_cost"], cost, "at step {step}");
        assert_eq!(usage["estimated_cost_usd"], cost, "at step {step}");
    }
    let usage = story.get("usage").await.expect(200);
    assert_eq!(of_meter(&usage, METER_EVENT_NAME), (3, "0.06".to_owned()));
    assert_eq!(of_meter(&usage, TOKENS), (11, "0.02".to_owned()));
    assert_eq!(of_meter(&usage, SEATS), (5, "7.00".to_owned()));
}

#[tokio::test]
async fn meters_come_in_the_order_of_the_items_with_and_without_usage() {
    let story = of_three_meters().await;
    story
        .count_on(
            SEATS,
            &[
                ("seat_taken", 0, UsageStatus::Delivered, 4),
                ("seat_taken", 1, UsageStatus::Pending, 1),
            ],
        )
        .await;
    let usage = story.get("usage").await.expect(200);
    let entry = |position: usize, units: u64, pending_units: u64, cost: &str| {
        let item = story.customer.items().nth(position).unwrap();
        json!({
            "meter_event_name": item.meter_event_name,
            "subscription_item_id": item.subscription_item_id,
            "price_id": item.price_id,
            "units": units,
            "pending_units": pending_units,
            "estimated_cost": cost,
        })
    };
    let seats = entry(2, 5, 1, "7.00");
    let expected = json!([entry(0, 0, 0, "0.00"), entry(1, 0, 0, "0.00"), seats]);
    assert_eq!(usage["by_meter"], expected);
    assert_eq!(usage["by_meter"][2]["meter_event_name"], SEATS);
    let units = (&usage["total_units"], &usage["pending_units"]);
    assert_eq!(units, (&json!(5), &json!(1)));
}

/// Stripe goes on counting, and has nothing to put it on.
#[tokio::test]
async fn usage_of_a_meter_without_an_item_is_told_and_costs_nothing() {
    let mut story = Story::start().await;
    story.subscribe(TOKENS, per_unit("100")).await;
    story.use_up("job-1", 3).await;
    story.use_up_on(TOKENS, "job-2", 7).await;
    assert_eq!(
        story.get("usage").await.expect(200)["estimated_cost"],
        "7.06"
    );
    let item = story.customer.more_items[0].subscription_item_id.clone();
    let path = format!("/v1/subscription_items/{item}");
    story.world.stripe_delete(&path).await;
    story.set(|row| row.more_items.clear()).await;
    for query in ["usage", "usage?period_days=30"] {
        let usage = story.get(query).await.expect(200);
        assert_eq!(usage["estimated_cost"], "0.06", "{query}");
        assert_eq!(usage["total_units"], 10, "{query}");
        assert_eq!(
            usage["by_meter"][1],
            json!({
                "meter_event_name": TOKENS,
                "subscription_item_id": null,
                "price_id": null,
                "units": 7,
                "pending_units": 0,
                "estimated_cost": null,
            })
        );
    }
    let upcoming = story.get("invoices/upcoming").await.expect(200);
    assert_eq!(upcoming["total"], "0.06");
}

#[tokio::test]
async fn a_range_has_a_cost_unless_a_meter_with_usage_in_it_has_none() {
    let story = of_three_meters().await;
    story.use_up("job-1", 3).await;
    let usage = story.get("usage?period_days=30").await.expect(200);
    assert_eq!(usage["estimated_cost"], "0.06");
    assert_eq!(of_meter(&usage, SEATS), (0, "0.00".to_owned()));

    story.use_up_on(TOKENS, "job-2", 7).await;
    let usage = story.get("usage?period_days=30").await.expect(200);
    assert_eq!(usage["estimated_cost"], Value::Null);
    assert_eq!(usage["estimated_cost_unavailable"], "tiers");
    assert_eq!(of_meter(&usage, METER_EVENT_NAME), (3, "0.06".to_owned()));
    let tokens = &usage["by_meter"][1];
    assert_eq!(tokens["estimated_cost"], Value::Null);
    assert_eq!(tokens["estimated_cost_unavailable"], "tiers");
    assert_eq!(tokens["units"], 7);
}

#[tokio::test]
async fn a_series_has_an_entry_for_each_meter_with_usage() {
    let story = of_three_meters().await;
    let one_each = [
        ("document_processed", 0, UsageStatus::Delivered, 5),
        ("page_read", 0, UsageStatus::Pending, 2),
    ];
    story.count(&one_each).await;
    let tokens = [("page_read", 1, UsageStatus::Delivered, 700)];
    story.count_on(TOKENS, &tokens).await;
    let usage = story.get("usage?group_by=meter").await.expect(200);
    assert_eq!(
        usage["series"],
        json!([
            { "meter_event_name": METER_EVENT_NAME, "units": 7, "exact_cost": "0.14" },
            { "meter_event_name": TOKENS, "units": 700, "exact_cost": null },
        ])
    );
    let by_action_type = json!({ "document_processed": 5, "page_read": 702 });
    assert_eq!(usage["by_action_type"], by_action_type);
}

/// An entry that holds what has no cost by itself has none, and what nothing
/// bills is in no cost.
#[tokio::test]
async fn an_entry_has_the_cost_of_its_meters_where_each_has_one() {
    let mut story = Story::start().await;
    story.subscribe("pages", per_unit("0.25")).await;
    story.subscribe(TOKENS, by_volume()).await;
    let used = |action, hour, units| (action, hour, UsageStatus::Delivered, units);
    story
        .count(&[used("read", 0, 5), used("write", 30, 1)])
        .await;
    story.count_on("pages", &[used("read", 1, 3)]).await;
    story.count_on("gone", &[used("read", 0, 9)]).await;
    story.count_on(TOKENS, &[used("write", 30, 700)]).await;
    let of = async |group_by: &str, names: &[&str]| -> Value {
        let usage = story.get(&format!("usage?group_by={group_by}")).await;
        let usage = usage.expect(200);
        let entries = usage["series"].as_array().unwrap().iter();
        let entry = |it: &Value| {
            names
                .iter()
                .map(|name| it[*name].clone())
                .collect::<Vec<_>>()
        };
        entries.map(entry).collect()
    };
    assert_eq!(
        of(
            "action_type,meter",
            &["action_type", "meter_event_name", "units", "exact_cost"]
        )
        .await,
        json!([
            ["read", METER_EVENT_NAME, 5, "0.10"],
            ["read", "gone", 9, null],
            ["read", "pages", 3, "0.0075"],
            ["write", METER_EVENT_NAME, 1, "0.02"],
            ["write", TOKENS, 700, null],
        ])
    );
    let by_day = of("day,action_type", &["action_type", "units", "exact_cost"]).await;
    let units = |entry: &Value| entry[1].as_u64().unwrap();
    let sum: u64 = by_day.as_array().unwrap().iter().map(units).sum();
    assert_eq!(sum, 718);
    let last = by_day.as_array().unwrap().last().unwrap();
    assert_eq!(*last, json!(["write", 701, null]));
    let hours = of(
        "hour,action_type",
        &["start", "action_type", "units", "exact_cost"],
    )
    .await;
    let hour = |hours: i64| {
        let start = story.customer.period_start.start_of_hour();
        start.plus_ms(hours * 3_600_000).to_string()
    };
    assert_eq!(
        hours,
        json!([
            [hour(0), "read", 14, "0.10"],
            [hour(1), "read", 3, "0.0075"],
            [hour(30), "write", 701, null],
        ])
    );
}

/// What was recorded before a catalog named the usage was sent to the first
/// item, and is on its invoice.
#[tokio::test]
async fn usage_records_have_the_name_that_the_catalog_gives_them() {
    let story = Story::start().await;
    let unnamed = |row: &mut ledger::CustomerRow| {
        row.item.meter_id = String::new();
        row.item.meter_event_name = String::new();
    };
    story.set(unnamed).await;
    let usage = [("document_processed", 0, UsageStatus::Delivered, 5)];
    story.count_on("", &usage).await;
    let entries = |usage: &Value| {
        let by_meter = usage["by_meter"].as_array().unwrap().clone();
        let entry = |it: &Value| (it["meter_event_name"].clone(), it["units"].clone());
        by_meter.iter().map(entry).collect::<Vec<_>>()
    };
    let before = story.get("usage?group_by=meter").await.expect(200);
    assert_eq!(entries(&before), [(Value::Null, json!(5))]);
    assert_eq!(before["series"][0]["meter_event_name"], Value::Null);

    let named = |row: &mut ledger::CustomerRow| {
        row.item.meter_event_name = METER_EVENT_NAME.to_owned();
    };
    story.set(named).await;
    story.count(&usage).await;
    let after = story.get("usage?group_by=meter").await.expect(200);
    assert_eq!(entries(&after), [(json!(METER_EVENT_NAME), json!(10))]);
    let series =
        json!([{ "meter_event_name": METER_EVENT_NAME, "units": 10, "exact_cost": "0.20" }]);
    assert_eq!(after["series"], series);
    assert_eq!(after["estimated_cost"], "0.20");
}

/// Stripe has no such subscription, and a sum over currencies would be a lie.
#[tokio::test]
async fn prices_of_two_currencies_have_no_sum() {
    let mut story = Story::start().await;
    story.subscribe(TOKENS, per_unit("100")).await;
    let euros = PriceTerms::per_unit("100", "eur").try_into().unwrap();
    story.set(|row| row.more_items[0].price = euros).await;
    assert_eq!(story.get("usage").await.problem(500), "internal");
    let page = story.open(&story.link().await).await;
    assert_eq!(page.status, 500);
    assert!(page.text.contains("cannot be shown right now"));
}

#[tokio::test]
async fn the_dashboard_has_a_row_for_each_meter_and_the_sum() {
    let story = of_three_meters().await;
    story.use_up("job-1", 3).await;
    story.use_up_on(TOKENS, "job-2", 1_234_567).await;
    let page = story.open(&story.link().await).await;
    assert_eq!(page.status, 200, "{}", page.text);
    for text in [
        "agent_operations</th><td class=\"number\">3</td><td class=\"number\">USD 0.06</td>",
        "llm_tokens</th><td class=\"number\">1,234,567</td><td class=\"number\">USD 1,851.85</td>",
        "seats</th><td class=\"number\">0</td><td class=\"number\">USD 5.00</td>",
        "<strong id=\"cost\">USD 1,856.91</strong>",
        "<strong id=\"units\">1,234,570</strong>",
    ] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    let upcoming = story.get("invoices/upcoming").await.expect(200);
    assert_eq!(upcoming["total"], "1856.91");
}

#[tokio::test]
async fn an_event_that_no_item_bills_says_so_and_which_meter_would_count_it() {
    let story = Story::start().await;
    let now = story.world.clock.now();
    let usage = UsageEvent {
        event_id: EventId::parse("job-1").unwrap(),
        customer_id: story.customer.customer_id.clone(),
        subscription_item_id: None,
        quantity: Quantity::new(3).unwrap(),
        action_type: ActionType::parse("llm.input").unwrap(),
        occurred_at: None,
        source: None,
    };
    let held = BillingTime::Held(HeldReason::NoSubscriptionItem);
    let row = UsageEventRow::new(&usage, now, held, TOKENS, "token".to_owned(), now);
    let recorded = story.world.ledger.record_usage_event(&row, now, 0).await;
    recorded.unwrap();
    let customer_id = &story.customer.customer_id;
    let url = format!("{}/v1/usage/{customer_id}/job-1", story.url);
    let event = story.world.get(&url).await.expect(200);
    assert_eq!(event["status"], "held");
    assert_eq!(event["held_reason"], "no_subscription_item");
    assert_eq!(event["meter_event_name"], TOKENS);
    assert_eq!(event["billed_at"], Value::Null);
}

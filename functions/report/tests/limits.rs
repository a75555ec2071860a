//! Spending limits, over HTTP: set, asked for and taken away, and what `access`
//! makes of them.

use billing::{CustomerId, UsageStatus};
use ledger::Scope;
use reqwest::Method;
use serde_json::{Value, json};
use stripe::{PriceAmount, PriceTier};

use crate::story::{ACTION, Story};
use crate::support::world::{DAY_MS, send};

impl Story {
    /// Whether the customer may act, and why not.
    async fn access(&self, query: &str) -> (bool, Value) {
        let mut access = self.get(&format!("access{query}")).await.expect(200);
        let allowed = access["allowed"].as_bool().unwrap();
        (allowed, access["reason"].take())
    }
}

fn hard(mut cap: Value) -> Value {
    cap["enforcement"] = json!("hard");
    cap
}

/// Usage of today counts at once; what comes in late, of a day before yesterday, after a
/// while. It is never counted twice, nor forgotten.
#[tokio::test]
async fn access_counts_all_days_and_the_last_two_at_once() {
    let story = Story::start().await;
    story
        .set_limit(hard(json!({ "units": 100 })))
        .await
        .expect(200);
    story.used(40).await;
    // The period's fifth day, by the customer's own clock.
    let fifth_day = story.customer.period_start.plus_ms(4 * DAY_MS).unix_s();
    let test_clock = story.customer.test_clock.clone().unwrap();
    story.world.move_test_clock(&test_clock, fifth_day).await;
    let units = async || {
        let access = story.get("access").await.expect(200);
        (access["units"].clone(), access["allowed"].clone())
    };
    assert_eq!(units().await, (json!(40), json!(true)));
    let (today, yesterday) = (4 * 24, 3 * 24);
    for (hours, sum) in [(today, 50), (yesterday, 60)] {
        let usage = (ACTION, hours, UsageStatus::Delivered, 10);
        story.count(&[usage]).await;
        assert_eq!(units().await, (json!(sum), json!(true)));
    }
    story.used(40).await;
    assert_eq!(units().await, (json!(60), json!(true)));
    story.world.clock.advance_ms(15_000);
    assert_eq!(units().await, (json!(100), json!(false)));
    assert_eq!(story.limit().await["used_units"], 100);
}

/// $1 a unit for 10 units, then 50 cents, and $3 once.
fn tiers() -> PriceAmount {
    let first = PriceTier {
        up_to: Some(10),
        unit_amount_decimal: Some("100".to_owned()),
        flat_amount_decimal: None,
    };
    let last = PriceTier {
        up_to: None,
        unit_amount_decimal: Some("50".to_owned()),
        flat_amount_decimal: Some("300".to_owned()),
    };
    PriceAmount::Tiered {
        tiers_mode: "graduated".to_owned(),
        tiers: vec![first, last],
    }
}

#[tokio::test]
async fn a_limit_is_set_read_and_taken_away() {
    let story = Story::start().await;
    assert_eq!(story.limit().await, Value::Null);
    story.used(250).await;
    let set = story.set_limit(hard(json!({ "units": 1_000 }))).await;
    let set = set.expect(200);
    assert_eq!(
        set,
        json!({
            "customer_id": story.customer.customer_id,
            "period_start": story.customer.period_start.to_string(),
            "period_end": story.customer.period_end.to_string(),
            "spending_limit": {
                "units": 1_000, "amount": null, "currency": "usd", "enforcement": "hard",
                "thresholds_percent": [50, 80, 100],
                "set_at": set["spending_limit"]["set_at"],
                "used_units": 250, "used_amount": "5.00", "used_currency": "usd", "held_units": 0,
                "used_percent": 25,
                "left_units": 750, "left_amount": null, "alerts": [],
            },
        })
    );
    assert_eq!(story.limit().await, set["spending_limit"]);

    // What is set already is left as it is.
    story.world.clock.advance_ms(1_000);
    let again = story.set_limit(hard(json!({ "units": 1_000 }))).await;
    assert_eq!(again.expect(200), set);
    let other = json!({ "amount": "20.5", "enforcement": "soft", "thresholds_percent": [90, 10] });
    let other = story.set_limit(other).await.expect(200);
    let limit = &other["spending_limit"];
    assert_eq!(
        (&limit["amount"], &limit["left_amount"], &limit["units"]),
        (&json!("20.50"), &json!("15.50"), &Value::Null)
    );
    assert_eq!(limit["thresholds_percent"], json!([10, 90]));
    assert_ne!(limit["set_at"], set["spending_limit"]["set_at"]);

    let url = story.customer_url("spending-limit");
    for _ in 0..2 {
        let removed = send(story.world.request(Method::DELETE, &url)).await;
        assert_eq!(removed.expect(200)["spending_limit"], Value::Null);
        assert_eq!(story.limit().await, Value::Null);
    }
}

#[tokio::test]
async fn a_hard_limit_in_units_stops_and_a_soft_one_does_not() {
    let story = Story::start().await;
    story.used(900).await;
    story
        .set_limit(hard(json!({ "units": 1_000 })))
        .await
        .expect(200);
    assert_eq!(story.access("").await, (true, Value::Null));
    assert_eq!(story.access("?units=100").await, (true, Value::Null));
    let (allowed, reason) = story.access("?units=101&action_type=page_read").await;
    assert!(!allowed && reason.as_str().unwrap().contains("what is left"));

    story.used(100).await;
    let (allowed, reason) = story.access("").await;
    assert!(!allowed && reason.as_str().unwrap().contains("is reached"));
    let access = story.get("access").await.expect(200);
    assert_eq!(
        (
            &access["units"],
            &access["limit"],
            &access["spending_limit"]["left_units"]
        ),
        (&json!(1_000), &json!(1_000), &json!(0))
    );

    let soft = json!({ "units": 1_000, "enforcement": "soft" });
    story.set_limit(soft).await.expect(200);
    assert_eq!(story.access("?units=5000").await, (true, Value::Null));
    // A higher one lets the customer go on.
    story
        .set_limit(hard(json!({ "units": 1_001 })))
        .await
        .expect(200);
    assert_eq!(story.access("?units=1").await, (true, Value::Null));
}

#[tokio::test]
async fn a_limit_in_money_is_held_against_what_stripe_will_bill() {
    let story = Story::start_at(tiers(), "usd").await;
    story
        .set_limit(hard(json!({ "amount": "14.00", "currency": "usd" })))
        .await
        .expect(200);
    // The eleventh unit costs 50 cents, and brings the flat $3.
    for (units, used, left) in [(10, "10.00", "4.00"), (1, "13.50", "0.50")] {
        story.use_up(&format!("{units} units"), units).await;
        let limit = story.limit().await;
        let upcoming = story.get("invoices/upcoming").await.expect(200);
        assert_eq!(
            (&limit["used_amount"], &upcoming["total"]),
            (&json!(used), &json!(used))
        );
        assert_eq!(limit["left_amount"], left);
        let cost = story.get("usage").await.expect(200);
        assert_eq!(cost["estimated_cost"], used);
    }
    assert!(story.access("?units=1").await.0);
    assert!(!story.access("?units=2").await.0);
    story.use_up("the last one", 1).await;
    assert!(!story.access("").await.0);
    let limit = story.limit().await;
    assert_eq!(
        (&limit["used_percent"], &limit["left_amount"]),
        (&json!(100), &json!("0.00"))
    );
    // More may be used than the limit says: what happened is recorded.
    story.use_up("one too many", 1).await;
    let limit = story.limit().await;
    assert_eq!(
        (&limit["used_percent"], &limit["left_amount"]),
        (&json!(103), &json!("0.00"))
    );
}

#[tokio::test]
async fn of_several_prices_the_action_says_which_one_decides() {
    let mut story = Story::start().await;
    let dear = PriceAmount::PerUnit {
        unit_amount_decimal: "100".to_owned(),
        transform_quantity: None,
    };
    story.subscribe("tokens", dear).await;
    story
        .set_limit(hard(json!({ "amount": "2.00" })))
        .await
        .expect(200);
    let unsaid = story.get("access?units=1").await;
    assert_eq!(unsaid.problem(400), "invalid-field");
    // Without a catalog the first item bills every action.
    assert!(story.access("?units=100&action_type=any").await.0);
    assert!(!story.access("?units=101&action_type=any").await.0);
    story.use_up_on("tokens", "a token", 1).await;
    assert!(!story.access("?units=51&action_type=any").await.0);
    // In units it does not matter.
    story
        .set_limit(hard(json!({ "units": 10 })))
        .await
        .expect(200);
    assert!(story.access("?units=9").await.0);
    assert!(!story.access("?units=10").await.0);
}

#[tokio::test]
async fn what_cannot_be_a_limit_is_refused_and_changes_nothing() {
    let story = Story::start().await;
    story
        .set_limit(hard(json!({ "units": 5 })))
        .await
        .expect(200);
    for (body, kind) in [
        (hard(json!({})), "invalid-field"),
        (hard(json!({ "units": 5, "amount": "5" })), "invalid-field"),
        (hard(json!({ "units": 0 })), "invalid-field"),
        (hard(json!({ "amount": "0.001" })), "invalid-field"),
        (
            hard(json!({ "amount": "5", "currency": "eur" })),
            "invalid-field",
        ),
        (
            hard(json!({ "units": 5, "thresholds_percent": [0] })),
            "invalid-field",
        ),
        (hard(json!({ "units": 1.5 })), "invalid-request"),
        (hard(json!({ "amount": 5.5 })), "invalid-request"),
        (
            hard(json!({ "units": 5, "thresholds_percent": [12.5] })),
            "invalid-request",
        ),
        (hard(json!({ "unit": 5 })), "invalid-request"),
        (json!({ "units": 5 }), "invalid-request"),
        (
            json!({ "units": 5, "enforcement": "firm" }),
            "invalid-request",
        ),
    ] {
        let refused = story.set_limit(body.clone()).await;
        assert_eq!(refused.problem(400), kind, "{body}");
    }
    for query in [
        "units=0",
        "units=-1",
        "units=1.5",
        "units=",
        "action_type=a",
        "unit=1",
    ] {
        let refused = story.get(&format!("access?{query}")).await;
        assert!(refused.problem(400).starts_with("invalid-"), "{query}");
    }
    assert_eq!(story.limit().await["units"], 5);
}

#[tokio::test]
async fn only_who_may_administer_the_customer_changes_its_limit() {
    let story = Story::start().await;
    let url = story.customer_url("spending-limit");
    let mine = Some(vec![story.customer.customer_id.clone()]);
    let others = Some(vec![CustomerId::parse("cus_other").unwrap()]);
    let body = hard(json!({ "units": 5 }));
    for (scope, customers, read, written) in [
        (Scope::Read, mine.clone(), 200, 403),
        (Scope::Emit, mine.clone(), 403, 403),
        (Scope::Admin, others, 403, 403),
        (Scope::Admin, mine, 200, 200),
    ] {
        let key = story.world.api_key(scope, customers).await;
        let request = |method| story.world.http.request(method, &url).bearer_auth(&key);
        let got = send(request(Method::GET)).await;
        assert_eq!(got.status, read, "{scope:?} {}", got.text);
        let put = send(request(Method::PUT).json(&body)).await;
        assert_eq!(put.status, written, "{scope:?} {}", put.text);
        let removed = send(request(Method::DELETE)).await;
        assert_eq!(removed.status, written, "{scope:?} {}", removed.text);
    }
    let nobody = format!("{}/v1/customers/cus_nobody/spending-limit", story.url);
    let request = story.world.request(Method::PUT, &nobody).json(&body);
    assert_eq!(send(request).await.problem(404), "customer-not-found");
}

#[tokio::test]
async fn nobody_who_changes_the_row_meanwhile_loses_a_change() {
    let story = Story::start().await;
    let other_changes = async {
        for n in 0..20 {
            // As the webhook does: a change of what was read, again where it is old.
            loop {
                let customer_id = &story.customer.customer_id;
                let read = story.world.customer(customer_id.as_str()).await;
                let mut row = read.clone();
                row.external_id = Some(format!("name {n}"));
                let updated = story.world.ledger.update_customer(&read, row).await;
                if updated.unwrap() == ledger::Updated::Done {
                    break;
                }
            }
        }
    };
    let limits = async {
        for units in 1..=20 {
            story
                .set_limit(hard(json!({ "units": units })))
                .await
                .expect(200);
        }
    };
    tokio::join!(other_changes, limits);
    let row = story
        .world
        .customer(story.customer.customer_id.as_str())
        .await;
    assert_eq!(row.external_id.as_deref(), Some("name 19"));
    assert_eq!(story.limit().await["units"], 20);
    assert!(row.version >= story.customer.version + 40);
}

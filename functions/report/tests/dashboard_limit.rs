//! Stories of a customer's limit on the dashboard, over HTTP.

use std::sync::Arc;

use billing::{ActionType, Cap, Clock, Currency, ReservationId};
use ledger::{LimitWatch, RaisedAlert};
use limits::{Outcome, Wanted, reserve};
use metering::KnownCustomer;
use reqwest::header::ETAG;
use serde_json::{Value, json};

use crate::story::{ACTION, Story};
use crate::support::world::DAY_MS;

/// How long the function believes what it knows of the days before yesterday.
const DAYS_FRESH_MS: i64 = 15_000;

impl Story {
    /// Holds units, as an agent does before it acts.
    async fn hold(&self, reservation_id: &str, quantity: u64) {
        let customer_id = self.customer.customer_id.as_str();
        let customer = KnownCustomer {
            row: Arc::new(self.world.customer(customer_id).await),
            now: self.customer.period_start,
        };
        let wanted = Wanted {
            reservation_id: ReservationId::parse(reservation_id).unwrap(),
            quantity,
            action_type: ActionType::parse(ACTION).unwrap(),
            meter_event_name: self.customer.item.meter_event_name.clone(),
            expires_in_s: 3_600,
        };
        let held = reserve(&self.world.ledger, &self.world.clock, &customer, &wanted);
        let held = held.await.unwrap();
        assert!(matches!(held, Outcome::Held(_)), "{held:?}");
    }

    /// What the page's script gets of the limit.
    async fn limit_on(&self, link: &str) -> Value {
        self.look_again();
        self.data(link).await.expect(200)["spending_limit"].take()
    }
}

/// What the API says of a limit, as the dashboard has it: units are texts.
fn as_on_the_dashboard(of_api: &Value, stops: bool) -> Value {
    let mut limit = of_api.clone();
    for units in ["units", "used_units", "held_units", "left_units"] {
        if let Some(digits) = limit[units].as_u64() {
            limit[units] = json!(digits.to_string());
        }
    }
    let members = limit.as_object_mut().unwrap();
    members.remove("thresholds_percent");
    members.remove("set_at");
    // A limit in another currency is shown without what is used of it.
    members.remove("used_currency");
    members.insert("stops".to_owned(), json!(stops));
    limit
}

/// The part of a page between two texts.
fn between<'a>(page: &'a str, start: &str, end: &str) -> &'a str {
    let rest = page.split_once(start).unwrap().1;
    rest.split_once(end).unwrap().0
}

fn section(page: &str) -> &str {
    between(page, "<section id=\"limit-section\"", "</section>")
}

fn banner(page: &str) -> &str {
    between(page, "id=\"limit-reached\"", "</p>")
}

#[tokio::test]
async fn a_limit_shows_with_what_is_used_of_it_as_the_api_says() {
    let story = Story::start().await;
    let link = story.link().await;
    assert_eq!(story.limit_on(&link).await, Value::Null);
    let page = story.open(&link).await.text;
    assert!(
        section(&page).starts_with(" aria-labelledby=\"limit-heading\" hidden>"),
        "{page}"
    );

    story.used(250).await;
    for (terms, words) in [
        (
            json!({ "units": 1_000, "enforcement": "hard" }),
            [
                "250 of 1,000 units",
                "25% used, 750 units left",
                "beyond it",
                "value=\"25\"",
            ],
        ),
        (
            json!({ "amount": "6.00", "enforcement": "soft" }),
            [
                "USD 5.00 of USD 6.00",
                "83% used, USD 1.00 left",
                "For information",
                "warn",
            ],
        ),
    ] {
        story.set_limit(terms).await.expect(200);
        let shown = story.limit_on(&link).await;
        assert_eq!(shown, as_on_the_dashboard(&story.limit().await, false));
        let page = story.open(&link).await.text;
        for word in words {
            assert!(section(&page).contains(word), "{word}: {}", section(&page));
        }
        assert!(!section(&page).contains("hidden>") && banner(&page).contains("hidden"));
    }
    // What is new of it is a new answer.
    let before = story.data(&link).await;
    story.used(150).await;
    let shown = story.limit_on(&link).await;
    assert_eq!(
        (
            &shown["used_percent"],
            &shown["used_amount"],
            &shown["left_amount"]
        ),
        (&json!(133), &json!("8.00"), &json!("0.00"))
    );
    let after = story.data(&link).await;
    assert_ne!(before.headers[ETAG], after.headers[ETAG]);
    // Of a soft limit nothing stops, however much is used, and the bar is full.
    let page = story.open(&link).await.text;
    assert!(section(&page).contains("value=\"100\"") && section(&page).contains("133% used"));
    assert!(banner(&page).contains("hidden"), "{}", banner(&page));
}

#[tokio::test]
async fn a_hard_limit_that_is_reached_says_so_until_it_is_raised() {
    let story = Story::start().await;
    let link = story.link().await;
    let hard = |units: u64| json!({ "units": units, "enforcement": "hard" });
    story.set_limit(hard(100)).await.expect(200);
    story.used(60).await;
    assert_eq!(story.limit_on(&link).await["stops"], false);
    // What is held is nobody else's, and nothing more can be used.
    story.hold("run-1", 40).await;
    let shown = story.limit_on(&link).await;
    assert_eq!(shown, as_on_the_dashboard(&story.limit().await, true));
    assert_eq!(
        (&shown["held_units"], &shown["used_percent"]),
        (&json!("40"), &json!(60))
    );
    let access = story.get("access").await.expect(200);
    assert_eq!(access["allowed"], false);
    let page = story.open(&link).await.text;
    assert!(
        banner(&page).contains("New actions are refused"),
        "{}",
        banner(&page)
    );
    assert!(!banner(&page).contains("hidden"), "{}", banner(&page));
    for word in [
        "60% used, 0 units left, 40 units held for what has begun",
        "whole bad",
    ] {
        assert!(section(&page).contains(word), "{word}: {}", section(&page));
    }

    story.set_limit(hard(101)).await.expect(200);
    assert_eq!(story.limit_on(&link).await["stops"], false);
    assert!(banner(&story.open(&link).await.text).contains("hidden"));
}

/// What docs/dashboard.md says of reads.
#[tokio::test]
async fn a_limit_takes_no_more_reads_and_what_lies_beside_the_totals_shows_at_each_look() {
    let story = Story::start().await;
    story
        .set_limit(json!({ "units": 1_000, "enforcement": "soft" }))
        .await
        .expect(200);
    story.used(100).await;
    story.hold("run-1", 40).await;
    story.hold("run-2", 30).await;
    story.settle_on_first_day(40).await;
    // The first day is read with all of the period only.
    let test_clock = story.customer.test_clock.clone().unwrap();
    let now_s = story.customer.period_start.unix_s() + 4 * DAY_MS / 1_000;
    story.world.move_test_clock(&test_clock, now_s).await;
    let (url, way) = story.counted().await;
    let link = story.link().await.replace(&story.url, &url);
    let limit = async || {
        let mut data = story.data(&link).await.expect(200);
        data["spending_limit"].take()
    };
    let first = limit().await;
    assert_eq!(
        (&first["used_units"], &first["held_units"], &first["alerts"]),
        (&json!("100"), &json!("30"), &json!([]))
    );
    let reads = || (way.seen("Query"), way.seen("GetItem"));
    assert_eq!(reads(), (1 + 16, 1));

    story.hold("run-3", 5).await;
    let raised_at = story.world.clock.now();
    let (customer_id, period_start) = (&story.customer.customer_id, story.customer.period_start);
    let mut watch = LimitWatch::new(customer_id.clone(), period_start);
    watch.raised = vec![RaisedAlert {
        percent: 10,
        revision: 1,
        raised_at,
    }];
    let ledger = &story.world.ledger;
    let version = ledger.limit_watch(customer_id, period_start).await.unwrap();
    let version = version.map_or(0, |watch| watch.version);
    ledger.put_limit_watch(version, &watch).await.unwrap();
    story.look_again();
    let second = limit().await;
    assert_eq!(
        (&second["used_units"], &second["held_units"]),
        (&json!("100"), &json!("35"))
    );
    let alert = json!({ "threshold_percent": 10, "raised_at": raised_at.to_string() });
    assert_eq!(second["alerts"], json!([alert]));
    assert_eq!(reads(), (2 + 16, 1));
    let page = story.open(&link).await.text;
    let told = format!("10% reached on {raised_at}");
    assert!(section(&page).contains(&told), "{}", section(&page));

    // Usage of the first day that comes in late shows within a while, and with it what
    // it has settled.
    story.settle_on_first_day(30).await;
    story.used(30).await;
    story.world.clock.advance_ms(DAYS_FRESH_MS);
    let third = limit().await;
    assert_eq!(
        (&third["used_units"], &third["held_units"]),
        (&json!("130"), &json!("5"))
    );
}

#[tokio::test]
async fn what_was_settled_before_a_limit_was_set_is_not_held() {
    let story = Story::start().await;
    let link = story.link().await;
    story.hold("run-1", 40).await;
    story.used(40).await;
    story.settle_on_first_day(40).await;
    assert_eq!(story.limit_on(&link).await, Value::Null);
    story
        .set_limit(json!({ "units": 50, "enforcement": "hard" }))
        .await
        .expect(200);
    let shown = story.limit_on(&link).await;
    assert_eq!(
        (&shown["held_units"], &shown["left_units"], &shown["stops"]),
        (&json!("0"), &json!("10"), &json!(false))
    );
}

#[tokio::test]
async fn a_limit_in_a_currency_that_is_paid_in_no_more_says_that_it_is_not_applied() {
    let story = Story::start().await;
    let link = story.link().await;
    story
        .set_limit(json!({ "amount": "5.00", "enforcement": "hard" }))
        .await
        .expect(200);
    story.used(1_000).await;
    story
        .set(|row| {
            let limit = row.spending_limit.as_mut().unwrap();
            let currency = Currency::parse("eur").unwrap();
            limit.cap = Cap::Amount {
                minor_units: 500,
                currency,
            };
        })
        .await;
    story.world.clock.advance_ms(10_000);
    let shown = story.limit_on(&link).await;
    assert_eq!(
        (&shown["used_percent"], &shown["stops"]),
        (&Value::Null, &json!(false))
    );
    let page = story.open(&link).await.text;
    let section = section(&page);
    assert!(
        section.contains("EUR 5.00<") && section.contains("is not applied"),
        "{section}"
    );
    assert!(section.contains("hidden>"), "the bar: {section}");
}

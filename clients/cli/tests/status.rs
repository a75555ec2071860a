//! `meterline status` as a program: it shows what the tables hold, and changes nothing.

use billing::DAY_MS;
use ledger::{CustomerRow, Updated};
use serde_json::{Value, json};

use crate::story::{MINUTE_S, Story};

impl Story {
    async fn look(&self, more: &[&str]) -> String {
        let arguments = [&["status", "--once"], more].concat();
        let (status, out, err) = self.meterline(&arguments).await;
        assert_eq!(status, Some(0), "{out}{err}");
        out
    }

    async fn look_json(&self) -> Value {
        serde_json::from_str(&self.look(&["--json"]).await).unwrap()
    }
}

#[tokio::test]
async fn what_happened_is_seen() {
    let story = Story::start().await;
    let quiet = story.look_json().await;
    assert_eq!(quiet["events"]["delivered"], 0);
    assert_eq!(quiet["events_per_second"], "0.0");
    assert_eq!(
        (&quiet["customers"], &quiet["more_customers"]),
        (&json!(1), &json!(false))
    );
    assert_eq!(quiet["rollup_lag_ms"], 0);
    assert_eq!(quiet["busiest"], json!([]));

    story.emit("a", 3).await;
    story.emit("b", 5).await;
    story.strike("error_before").await;
    assert_eq!(story.emit("c", 7).await, "pending");
    // Nobody has rolled it up: the program's clock is the machine's.
    let behind = story.look_json().await;
    assert_eq!(behind["events"]["delivered"], 0);
    assert!(behind["rollup_lag_ms"].as_i64().is_some(), "{behind}");

    story.pump().await;
    let seen = story.look_json().await;
    assert_eq!(seen["rollup_lag_ms"], 0, "{seen}");
    assert_eq!(
        (&seen["events"]["delivered"], &seen["events"]["pending"]),
        (&json!(2), &json!(1))
    );
    assert!(
        seen["pending"]["oldest_ms"].as_i64().unwrap() >= MINUTE_S * 1_000,
        "{seen}"
    );
    assert_eq!(seen["pending"]["more"], false);
    let busy = &seen["busiest"][0];
    assert_eq!(busy["customer_id"], story.customer_id.as_str());
    assert_eq!((&busy["events"], &busy["units"]), (&json!(3), &json!(15)));
    // Onboarding made some.
    let webhooks = seen["webhooks"].as_array().unwrap();
    assert!(
        webhooks.iter().all(|event| event["event_type"].is_string()),
        "{seen}"
    );

    let text = story.look(&[]).await;
    assert!(text.contains("2 delivered, 1 pending"), "{text}");
    assert!(text.contains(story.customer_id.as_str()), "{text}");
    // Into a pipe goes nothing that moves a cursor.
    assert!(
        !text.contains(|c: char| c.is_control() && c != '\n'),
        "{text:?}"
    );
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn how_much_of_a_limit_is_used_is_seen() {
    let story = Story::start().await;
    story.emit("a", 41).await;
    story.rest().await;
    let seen = story.look_json().await;
    assert_eq!(seen["busiest"][0]["limit_used_percent"], Value::Null);
    let text = story.look(&[]).await;
    assert!(text.contains("       -  cus_"), "{text}");

    let customer = story.customer_id.to_string();
    for (cap, percent) in [(["--amount", "1.00"], 82), (["--units", "40"], 102)] {
        let set = [&["limit", "set", &customer, "--hard"], cap.as_slice()].concat();
        let (status, _, err) = story.meterline(&set).await;
        assert_eq!(status, Some(0), "{err}");
        let seen = story.look_json().await;
        assert_eq!(seen["busiest"][0]["limit_used_percent"], percent, "{seen}");
        let text = story.look(&[]).await;
        assert!(text.contains(&format!("{percent} %  cus_")), "{text}");
    }
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_bound_on_customers_is_kept_and_said() {
    let story = Story::start().await;
    for external_id in ["b", "c"] {
        story.caller.onboard(external_id).await;
    }
    let seen = story.look(&["--json", "--customers", "2"]).await;
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(
        (&seen["customers"], &seen["more_customers"]),
        (&json!(2), &json!(true))
    );
    let text = story.look(&["--customers", "2"]).await;
    assert!(
        text.contains("of more customers, these 2 customers"),
        "{text}"
    );
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn what_an_earlier_period_left_quarantined_is_still_to_be_seen_to() {
    let story = Story::start().await;
    story.strike("error_before").await;
    story.emit("a", 3).await;
    story.quarantine_what_is_pending().await;
    let seen = story.look_json().await;
    assert_eq!(
        (&seen["events"]["quarantined"], &seen["quarantined_before"]),
        (&json!(1), &json!(0))
    );

    let ledger = story.system.ledger();
    let read = ledger.customer(&story.customer_id).await.unwrap().unwrap();
    let next = CustomerRow {
        period_start: read.period_end,
        period_end: read.period_end.plus_ms(30 * DAY_MS),
        ..read.clone()
    };
    let updated = ledger.update_customer(&read, next).await.unwrap();
    assert_eq!(updated, Updated::Done);
    let seen = story.look_json().await;
    assert_eq!(
        (&seen["events"]["quarantined"], &seen["quarantined_before"]),
        (&json!(0), &json!(1))
    );
    let text = story.look(&[]).await;
    assert!(
        text.contains("1 quarantined: meterline reconcile"),
        "{text}"
    );
    story.system.stop().await.unwrap();
}

//! `meterline limit` as a program, and the API that shows what it set.

use crate::story::Story;
use serde_json::{Value, json};

impl Story {
    async fn limit(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        self.meterline(&[&["limit"], arguments].concat()).await
    }

    async fn limit_of_api(&self) -> Value {
        let path = format!("/v1/customers/{}/spending-limit", self.customer_id);
        let (status, answer) = self.caller.get(&path).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

#[tokio::test]
async fn a_limit_is_set_shown_and_taken_away() {
    let story = Story::start_today().await;
    let customer = story.customer_id.to_string();
    let (status, out, err) = story.limit(&["show", &customer]).await;
    assert_eq!((status, err.as_str()), (Some(0), ""));
    assert!(out.contains("no limit"), "{out}");

    let set = [
        "set", &customer, "--amount", "1.00", "--hard", "--at", "75,100",
    ];
    let (status, out, err) = story.limit(&set).await;
    assert_eq!(status, Some(0), "{err}");
    for shown in [
        "1.00 usd a period, hard",
        "at 75 %, 100 %",
        "0 units, 0.00 usd: 0 %",
    ] {
        assert!(out.contains(shown), "{out}");
    }

    story.emit("job-1", 40).await;
    story.rest().await;
    let (status, out, err) = story.limit(&["show", &customer, "--json"]).await;
    assert_eq!(status, Some(0), "{err}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown, story.limit_of_api().await);
    let limit = &shown["spending_limit"];
    assert_eq!(
        (
            &limit["used_units"],
            &limit["used_amount"],
            &limit["left_amount"]
        ),
        (&json!(40), &json!("0.80"), &json!("0.20"))
    );

    let (status, _, err) = story.limit(&["remove", &customer]).await;
    assert_eq!(status, Some(0), "{err}");
    assert_eq!(story.limit_of_api().await["spending_limit"], Value::Null);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_a_limit_is_refused() {
    let story = Story::start().await;
    let customer = story.customer_id.to_string();
    for (arguments, complaint) in [
        (["set", &customer, "--units", "5"].as_slice(), "--hard"),
        (&["set", &customer, "--hard"], "--units"),
        (
            &["set", &customer, "--hard", "--units", "5", "--amount", "5"],
            "cannot be used with",
        ),
        (
            &["set", &customer, "--hard", "--units", "0"],
            "units must be",
        ),
        (
            &["set", &customer, "--hard", "--amount", "0.001"],
            "amount must be",
        ),
        (
            &["set", &customer, "--soft", "--units", "5", "--at", "0"],
            "thresholds_percent must be",
        ),
        (
            &["set", "cus_nobody", "--soft", "--units", "5"],
            "no customer with the id cus_nobody",
        ),
        (
            &["show", "cus_nobody"],
            "no customer with the id cus_nobody",
        ),
    ] {
        let (status, out, err) = story.limit(arguments).await;
        assert_eq!(
            (status, out.as_str()),
            (Some(2), ""),
            "{arguments:?}: {err}"
        );
        assert!(err.contains(complaint), "{arguments:?}: {err}");
    }
    assert_eq!(story.limit_of_api().await["spending_limit"], Value::Null);
    story.system.stop().await.unwrap();
}

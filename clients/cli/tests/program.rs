//! The program itself: what it prints, and its exit status.

use ledger::{Applied, BillingEventRow, BillingEventState, Consequence, UnnamedRefusals};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::story::Story;
use crate::support::http;

impl Story {
    async fn meterline_reconcile(&self, more: &[&str]) -> (Option<i32>, String, String) {
        let (from, to) = (self.now().plus_ms(-86_400_000), self.now());
        let (from, to) = (from.to_string(), to.to_string());
        let arguments = ["reconcile", "--from", &from, "--to", &to];
        self.meterline(&[&arguments, more].concat()).await
    }
}

#[tokio::test]
async fn reconcile_says_by_its_status_whether_all_agree() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    story.emit("b", 5).await;
    story.rest().await;
    let (status, out, err) = story.meterline_reconcile(&[]).await;
    assert_eq!(status, Some(0), "{out}{err}");
    assert!(
        out.contains("1 agree, 0 differ, 0 could not be compared"),
        "{out}"
    );

    story.alter("b", 6).await;
    story.rest().await;
    let (status, out, err) = story.meterline_reconcile(&["--json"]).await;
    assert_eq!(status, Some(1), "{out}{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["findings"][0]["kind"], "altered");
    assert_eq!(report["findings"][0]["events"][0]["event_id"], "b");

    let stranger = ["--customer", "cus_stranger"];
    let (status, _, err) = story.meterline_reconcile(&stranger).await;
    assert_eq!(status, Some(2));
    assert!(err.contains("there is no customer cus_stranger"), "{err}");
    story.system.stop().await.unwrap();
}

/// A restricted key may lack the right to ask whose it is, and Stripe may be down.
#[tokio::test]
async fn who_does_not_know_whose_the_key_is_is_warned_and_not_kept_from_working() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    story.rest().await;
    let (status, _, err) = story.meterline_reconcile(&[]).await;
    assert_eq!((status, err.as_str()), (Some(0), ""));

    let fault = json!({ "kind": "error_before", "path_prefix": "/v1/account", "times": 1_000 });
    story.order_fault(fault).await;
    // One that nobody has asked about yet.
    let key = "sk_test_next";
    let url = format!("{}/_simulator/roll_secret_key", story.system.stripe_url());
    let request = http().post(url).json(&json!({ "secret_key": key }));
    let before = story.system.stripe_secret_key().expose_secret();
    request.bearer_auth(before).send().await.unwrap();
    let show = ["customer", "show", story.customer_id.as_str(), "--json"];
    let with_key = [("STRIPE_SECRET_KEY", key)];
    let (status, out, err) = story.meterline_with(&show, &with_key).await;
    assert_eq!(status, Some(0), "{out}{err}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown["customer_id"], story.customer_id.as_str());
    let warning = "whether the Stripe key is of the tables' account is not known";
    assert!(err.contains(warning), "{err}");
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn reconcile_lists_refusals_without_a_name_until_they_are_settled() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    story.rest().await;
    let refusals = UnnamedRefusals {
        stripe_event_id: "evt_report".to_owned(),
        meter_id: None,
        validation_start: story.now(),
        validation_end: story.now().plus_ms(10_000),
        refused_events: 40,
        named_events: 5,
        codes: vec!["no_meter".to_owned()],
    };
    let event = BillingEventRow {
        stripe_event_id: refusals.stripe_event_id.clone(),
        event_type: "v1.billing.meter.no_meter_found".to_owned(),
        customer_id: None,
        created_at: story.now(),
        applied_at: story.now(),
        state: BillingEventState::Done,
        notifications: Vec::new(),
        deliveries: Vec::new(),
    };
    let consequence = Some(Consequence::UnnamedRefusals(&refusals));
    let ledger = story.system.ledger();
    let applied = ledger.apply_billing_event(&event, consequence).await;
    assert_eq!(applied.unwrap(), Applied::Done);

    let (status, out, err) = story.meterline_reconcile(&[]).await;
    assert_eq!(status, Some(1), "{out}{err}");
    assert!(out.contains("Stripe refused 40 events"), "{out}");
    let settle = ["--settle", "evt_report"];
    // Not while anything differs.
    story.alter("a", 4).await;
    story.rest().await;
    let (status, out, _) = story.meterline_reconcile(&settle).await;
    assert_eq!(status, Some(1));
    assert!(out.contains("evt_report"), "{out}");
    story.alter("a", 3).await;
    story.rest().await;
    let (status, out, err) = story.meterline_reconcile(&settle).await;
    assert_eq!(status, Some(0), "{out}{err}");
    assert_eq!(story.system.ledger().unnamed_refusals().await.unwrap(), []);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn import_says_by_its_status_whether_rows_need_somebody() {
    let story = Story::start().await;
    let (id, at) = (&story.customer_id, story.now().unix_s());
    // The program has the machine's clock: what Stripe has already has any age.
    let text = format!(
        "customer_id,quantity,action_type,timestamp,stripe_record_id\n{id},3,read,{at},mbur_1\n"
    );
    let file = story.folder().join("a.csv");
    std::fs::write(&file, &text).unwrap();
    let path = file.to_str().unwrap().to_owned();
    let import = ["import", "--source", "nightly", path.as_str()];
    let (status, out, err) = story.meterline(&import).await;
    assert_eq!(status, Some(0), "{out}{err}");
    assert!(out.contains("1 rows, 3 units: noted as delivered"), "{out}");

    std::fs::write(&file, text + "cus_stranger,1,read,1,\n").unwrap();
    let (status, out, _) = story.meterline(&[&import[..], &["--json"]].concat()).await;
    assert_eq!(status, Some(1), "{out}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["outcomes"]["duplicate"]["rows"], 1);
    assert_eq!(report["issues"][0]["row"], 3);

    let nowhere = ["import", "--source", "nightly", "nowhere.csv"];
    let (status, _, err) = story.meterline(&nowhere).await;
    assert_eq!(status, Some(2));
    assert!(err.contains("nowhere.csv"), "{err}");
    story.system.stop().await.unwrap();
}

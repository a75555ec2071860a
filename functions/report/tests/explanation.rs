//! Stories of an invoice that is explained over HTTP: `clients/cli/tests` plays
//! what may be behind one.

use billing::UsageStatus;
use ledger::Scope;
use reqwest::Method;
use serde_json::{Value, json};

use crate::story::Story;
use crate::support::world::{METER_EVENT_NAME, a_customer, send};

impl Story {
    /// The period ends, and its invoice is final.
    async fn end_period(&self) {
        let test_clock = self.customer.test_clock.clone().unwrap();
        let end_s = self.customer.period_end.unix_s();
        for to_s in [end_s + 60, end_s + 2 * 3_600, end_s + 4 * 3_600] {
            self.world.move_test_clock(&test_clock, to_s).await;
        }
    }

    async fn newest_invoice(&self) -> String {
        let invoices = self.get("invoices?limit=1").await.expect(200);
        let id = invoices["invoices"][0]["invoice_id"].as_str();
        id.unwrap().to_owned()
    }
}

#[tokio::test]
async fn an_invoice_is_explained_to_the_last_unit() {
    let story = Story::start().await;
    story.use_up("job-1", 1_000).await;
    story.use_up("job-2", 5).await;
    story
        .count(&[
            ("page_read", 0, UsageStatus::Rejected, 50),
            ("page_read", 30, UsageStatus::Voided, 70),
        ])
        .await;
    story.end_period().await;
    let invoice_id = story.newest_invoice().await;
    let path = format!("invoices/{invoice_id}/explanation");
    let explained = story.get(&path).await.expect(200);
    assert_eq!(explained["agrees"], true, "{explained}");
    assert_eq!(explained["total"], "20.10");
    let usage = &explained["usage"][0];
    let (start, end) = (story.customer.period_start, story.customer.period_end);
    assert_eq!(usage["meter_event_name"], METER_EVENT_NAME);
    assert_eq!(usage["period_start"], start.to_string());
    assert_eq!(
        (&usage["stripe_units"], &usage["log_units"]),
        (&json!(1_005), &json!(1_005))
    );
    let day = usage["log"]["by_day"][0].clone();
    assert_eq!(day["units"], 1_005);
    let actions = json!([{ "action_type": "document_processed", "units": 1_005 }]);
    assert_eq!(usage["log"]["by_action_type"], actions);
    assert_eq!(usage["log"]["rejected_units"], 50);
    assert_eq!(usage["log"]["voided_units"], 70);
    assert_eq!(usage["difference"], Value::Null);
    // Where the events are is an address of this API.
    let events_url = usage["events_url"].as_str().unwrap();
    let events = story.world.get(&format!("{}{events_url}", story.url)).await;
    assert_eq!(events.expect(200)["events"], json!([]));
    let expected = format!("billed_to={}", end.to_string().replace(':', "%3A"));
    assert!(events_url.contains(&expected), "{events_url}");

    // The totals lose a unit; and the answer says so.
    story
        .count(&[("document_processed", 0, UsageStatus::Quarantined, 3)])
        .await;
    story.deliver_less(2).await;
    let explained = story.get(&path).await.expect(200);
    assert_eq!(explained["agrees"], false);
    let difference = &explained["usage"][0]["difference"];
    assert_eq!(
        (&difference["units"], &difference["cause"]),
        (&json!(2), &json!("quarantined"))
    );
    assert!(
        difference["explanation"]
            .as_str()
            .unwrap()
            .contains("meterline reconcile")
    );
}

#[tokio::test]
async fn an_invoice_of_another_customer_is_no_invoice() {
    let story = Story::start().await;
    let onboarding = onboarding::State::new(
        story.world.ledger.clone(),
        story.world.stripe.clone(),
        crate::support::world::LOOKUP_KEY.to_owned(),
        story.world.clock(),
    );
    let onboarding = story.world.serve(onboarding::router(onboarding)).await;
    let request = story
        .world
        .request(Method::POST, &format!("{onboarding}/v1/customers"));
    let other = send(request.json(&a_customer("other"))).await.expect(201);
    let other = other["customer_id"].as_str().unwrap().to_owned();
    let theirs = story.world.stripe.list_invoices(&other, 1).await.unwrap();
    let theirs = theirs.into_iter().next().unwrap().id;
    let own = Some(vec![story.customer.customer_id.clone()]);
    let own_key = story.world.api_key(Scope::Read, own).await;
    let nothing = format!("in_{}", "0".repeat(theirs.len() - 3));
    let mut bodies = Vec::new();
    for invoice_id in [theirs.as_str(), &nothing] {
        let url = story.customer_url(&format!("invoices/{invoice_id}/explanation"));
        for key in [&story.world.admin_key, &own_key] {
            let refused = send(story.world.http.get(&url).bearer_auth(key)).await;
            assert_eq!(refused.problem(404), "not-found", "{invoice_id}");
            bodies.push(refused.text);
        }
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    for invoice_id in ["in%2F1", "in_1%3Fa=b", "%20", &"9".repeat(500)] {
        let path = format!("invoices/{invoice_id}/explanation");
        assert_eq!(story.get(&path).await.problem(404), "not-found");
    }
    let url = format!(
        "{}/v1/customers/{other}/invoices/{theirs}/explanation",
        story.url
    );
    let forbidden = send(story.world.http.get(&url).bearer_auth(&own_key)).await;
    assert_eq!(forbidden.problem(403), "forbidden");
    assert_eq!(story.world.get(&url).await.status, 200);
}

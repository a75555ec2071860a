//! `meterline customer erase`: nothing that leads to a person is left in any
//! table, the figures are, and no later webhook brings it back.

use aws_sdk_dynamodb::types::AttributeValue;
use ledger::TableNames;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stack::connection::Connection;

use crate::story::{DAY_S, HOUR_S, Story};

const PERSON: [&str; 2] = ["ada.lovelace", "Ada Lovelace"];
/// Stripe's pages of an invoice, which show name and address.
const PAGES: [&str; 2] = ["hosted_invoice_url", "invoice_pdf"];

impl Story {
    /// Somebody with a name everywhere that one can be given.
    async fn onboard_ada(&self) -> String {
        let body = json!({
            "email": "ada.lovelace@example.com",
            "payment_method": "pm_card_visa",
            "external_id": "ada.lovelace@example.com",
            "metadata": { "contact": "Ada Lovelace" },
        });
        let (status, customer) = self.caller.post("/v1/customers", body).await;
        assert_eq!(status, 201, "{customer}");
        customer["customer_id"].as_str().unwrap().to_owned()
    }

    /// Everything that the tables hold, as it is read over the wire.
    async fn everything(&self) -> String {
        let client = Connection::embedded(self.system.dynamodb_url()).client();
        let mut everything = String::new();
        for (_, table) in TableNames::VARIABLES {
            let mut pages = client
                .scan()
                .table_name(table)
                .into_paginator()
                .items()
                .send();
            while let Some(item) = pages.next().await {
                let item: std::collections::HashMap<String, AttributeValue> = item.unwrap();
                everything.push_str(&format!("{table} {item:?}\n"));
            }
        }
        everything
    }

    async fn erase(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        self.meterline(&[&["customer", "erase"], arguments].concat())
            .await
    }

    async fn cancel_now(&self, customer_id: &str) {
        let path = format!("/v1/customers/{customer_id}/subscription");
        let url = format!("{}{path}", self.system.url());
        let request = reqwest::Client::new().delete(url);
        let request = request.bearer_auth(self.system.api_key().expose_secret());
        let canceled = request.send().await.unwrap();
        assert!(
            canceled.status().is_success(),
            "{:?}",
            canceled.text().await
        );
        self.settle().await;
    }
}

fn holds(everything: &str, words: &[&str]) -> bool {
    words.iter().any(|word| everything.contains(word))
}

#[tokio::test]
async fn nothing_of_a_person_is_left_and_nothing_comes_back() {
    let story = Story::start().await;
    let ada = story.onboard_ada().await;
    story.emit_for(&ada, "job-1", 700).await;
    story.rest().await;
    // A month later the invoice is paid, and the operator is told.
    story.clock.advance_s(32 * DAY_S);
    for _ in 0..3 {
        story.settle().await;
        story.clock.advance_s(2 * HOUR_S);
    }
    let before = story.everything().await;
    for word in PERSON.iter().chain(&PAGES) {
        assert!(before.contains(word), "{word} is nowhere to be erased");
    }

    let (status, _, err) = story.erase(&[&ada, "--yes"]).await;
    assert_eq!(status, Some(2));
    assert!(err.contains("is active in Stripe"), "{err}");
    story.cancel_now(&ada).await;

    let (status, out, err) = story.erase(&[&ada]).await;
    assert_eq!(status, Some(0), "{err}");
    assert!(out.contains("would erase"), "{out}");
    assert!(
        holds(&story.everything().await, &PERSON),
        "a dry run erased"
    );

    let (status, out, err) = story.erase(&[&ada, "--yes", "--json"]).await;
    assert_eq!(status, Some(0), "{err}");
    let out: Value = serde_json::from_str(&out).unwrap();
    assert!(out["places"].as_array().unwrap().len() >= 3, "{out}");
    let after = story.everything().await;
    assert!(!holds(&after, &PERSON), "{after}");
    let row = story.system.ledger().customer(&ada_id(&ada)).await;
    assert!(row.unwrap().unwrap().erased_at.is_some());
    let (_, usage) = story
        .caller
        .get(&format!("/v1/usage/{ada}?event_id=job-1"))
        .await;
    assert_eq!(
        (&usage["quantity"], &usage["status"]),
        (&json!(700), &json!("delivered"))
    );

    // What Stripe says from now on names nobody, and the same name is refused.
    story.clock.advance_s(2 * DAY_S);
    story.settle().await;
    story.system.sweep().await.unwrap();
    let body = json!({
        "email": "ada.lovelace@example.com", "payment_method": "pm_card_visa",
        "external_id": "ada.lovelace@example.com",
    });
    let (status, refused) = story.caller.post("/v1/customers", body).await;
    assert_eq!(status, 409, "{refused}");
    assert!(!holds(&story.everything().await, &PERSON));

    let (status, out, _) = story.erase(&[&ada, "--yes"]).await;
    assert_eq!(status, Some(0));
    assert!(out.contains("nothing is left to erase"), "{out}");
    story.system.stop().await.unwrap();
}

fn ada_id(customer_id: &str) -> billing::CustomerId {
    billing::CustomerId::parse(customer_id).unwrap()
}

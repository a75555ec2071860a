//! docs/restore.md, played from its first step to its last:
//! the tables go back to a moment, usage had gone on, agents send again. Nothing may be
//! lost or counted twice, by what the agents themselves noted and what Stripe counts.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use billing::{CustomerId, EventId, Identifier, Timestamp};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stack::connection::Connection;

use crate::story::{DAY_S, HOUR_S, MINUTE_S, Story};

type Item = HashMap<String, AttributeValue>;

/// The tables that the template keeps backups of, and their keys.
const RESTORED: [(&str, &str); 4] = [
    ("UsageEventsTable", "identifier"),
    ("CustomersTable", "customer_id"),
    ("BillingEventsTable", "stripe_event_id"),
    ("ApiKeysTable", "key_id"),
];

/// What an agent keeps of an event: what it sent, when, and what it was told.
struct Noted {
    sent: Value,
    at_s: i64,
    told: String,
}

/// An operator, and agents that note what they emit.
struct Drill {
    story: Story,
    noted: Vec<Noted>,
}

impl Drill {
    async fn start() -> Self {
        let story = Story::start().await;
        story.clock.advance_s(HOUR_S);
        Self {
            story,
            noted: Vec::new(),
        }
    }

    /// Agents emit `count` events of a customer, half of them with the time at which
    /// they happened, and a third as CloudEvents.
    async fn emit(&mut self, customer_id: &str, name: &str, count: u64) {
        for n in 0..count {
            let mut event = json!({
                "event_id": format!("{name}-{n}"), "customer_id": customer_id,
                "quantity": n + 1, "action_type": "document_processed",
            });
            if n % 2 == 0 {
                event["occurred_at"] = json!(self.story.now().unix_s() - 30);
            }
            if n % 3 == 0 {
                event["source"] = json!("/agents/7");
            }
            let told = self.send(&event).await;
            self.noted.push(Noted {
                sent: event,
                at_s: self.story.now().unix_s(),
                told,
            });
            self.story.clock.advance_s(7);
        }
    }

    /// Sends an event by the route that it was noted of: those with a source are
    /// CloudEvents.
    async fn post(&self, event: &Value) -> (u16, Value) {
        if event.get("source").is_none() {
            return self.story.caller.post("/v1/usage", event.clone()).await;
        }
        let time = event["occurred_at"].as_i64().map(Timestamp::from_unix_s);
        let cloud_event = json!({
            "specversion": "1.0", "id": event["event_id"], "source": event["source"],
            "type": event["action_type"], "subject": event["customer_id"],
            "time": time.map(|at| at.to_string()), "data": { "quantity": event["quantity"] },
        });
        let system = &self.story.system;
        let request = reqwest::Client::new().post(format!("{}/v1/events", system.url()));
        let request = request
            .bearer_auth(system.api_key().expose_secret())
            .header("content-type", "application/cloudevents+json")
            .body(cloud_event.to_string());
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn send(&self, event: &Value) -> String {
        let (status, answer) = self.post(event).await;
        assert!(status == 200 || status == 202, "{answer}");
        answer["status"].as_str().unwrap().to_owned()
    }

    /// Every agent sends again what it has noted from the `first` event on.
    async fn send_again(&self, first: usize) {
        for noted in &self.noted[first..] {
            self.send(&noted.sent).await;
        }
    }

    /// The agents' notes from the `first` event on, as `meterline import` takes them.
    fn notes(&self, first: usize) -> String {
        let lines = self.noted[first..].iter().map(|noted| {
            let mut line = noted.sent.clone();
            line["timestamp"] = json!(noted.at_s);
            line["status"] = json!(noted.told);
            format!("{line}\n")
        });
        let notes = self.story.folder().join("notes.jsonl");
        std::fs::write(&notes, lines.collect::<String>()).unwrap();
        notes.to_str().unwrap().to_owned()
    }

    fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        Connection::embedded(self.story.system.dynamodb_url()).client()
    }

    async fn items(&self, table: &str) -> Vec<Item> {
        let pages = self.dynamodb().scan().table_name(table).into_paginator();
        let items: Result<Vec<Item>, _> = pages.items().send().collect().await;
        items.unwrap()
    }

    async fn backup(&self) -> Vec<Vec<Item>> {
        let mut backup = Vec::new();
        for (table, _) in RESTORED {
            backup.push(self.items(table).await);
        }
        backup
    }

    /// The tables are emptied, and filled with what they held.
    async fn restore(&self, backup: Vec<Vec<Item>>) {
        let client = self.dynamodb();
        for ((table, key), held) in RESTORED.into_iter().zip(backup) {
            for item in self.items(table).await {
                let delete = client.delete_item().table_name(table);
                delete.key(key, item[key].clone()).send().await.unwrap();
            }
            for item in held {
                let put = client.put_item().table_name(table);
                put.set_item(Some(item)).send().await.unwrap();
            }
        }
    }

    /// A command of the operator's, which ends with `status`; what it prints.
    async fn run(&self, arguments: &[&str], status: i32) -> String {
        let (ended, out, err) = self.story.meterline(arguments).await;
        assert_eq!(ended, Some(status), "{arguments:?}\n{out}{err}");
        out
    }

    async fn rebuild(&self) {
        self.story.pump().await;
        let at_once = ["--wait-s", "0", "--stream-delay-s", "0"];
        self.run(&[&["rebuild"], &at_once[..]].concat(), 0).await;
        let check = [&["rebuild", "--check"], &at_once[..]].concat();
        self.run(&check, 0).await;
    }

    /// Reconciles all customers since the beginning.
    async fn reconcile(&self, status: i32) -> String {
        self.story.rest().await;
        let now = self.story.now();
        let from = now.plus_ms(-3 * DAY_S * 1_000).to_string();
        let to = now.to_string();
        self.run(&["reconcile", "--from", &from, "--to", &to], status)
            .await
    }

    /// What the agents emitted is what Stripe counts, each event once: identifiers and
    /// quantities.
    async fn assert_each_event_is_in_stripe_once(&self) {
        let url = self.story.system.stripe_url();
        let url = format!("{url}/_simulator/meter_events?limit=10000");
        let key = self.story.system.stripe_secret_key().expose_secret();
        let request = reqwest::Client::new().get(url).bearer_auth(key);
        let counted: Value = request.send().await.unwrap().json().await.unwrap();
        let counted = counted["data"].as_array().unwrap().iter();
        let counted = counted.map(|event| {
            let identifier = event["identifier"].as_str().unwrap().to_owned();
            (identifier, event["value"].as_u64().unwrap())
        });
        let mut counted: Vec<(String, u64)> = counted.collect();
        let emitted = self.noted.iter().map(|Noted { sent, .. }| {
            let customer_id = CustomerId::parse(sent["customer_id"].as_str().unwrap());
            let event_id = EventId::parse(sent["event_id"].as_str().unwrap());
            let identifier = Identifier::of(&customer_id.unwrap(), &event_id.unwrap());
            (identifier.to_string(), sent["quantity"].as_u64().unwrap())
        });
        let mut emitted: Vec<(String, u64)> = emitted.collect();
        counted.sort_unstable();
        emitted.sort_unstable();
        assert_eq!(counted, emitted);
    }

    /// And what the report says, once the rollup has read on.
    async fn assert_the_report_has_it_all(&self) {
        self.story.pump().await;
        let mut units: HashMap<&str, u64> = HashMap::new();
        for Noted { sent, .. } in &self.noted {
            let customer_id = sent["customer_id"].as_str().unwrap();
            *units.entry(customer_id).or_default() += sent["quantity"].as_u64().unwrap();
        }
        for (customer_id, units) in units {
            assert_eq!(self.story.caller.total_units(customer_id).await, units);
        }
    }

    /// The status of an event with `key`.
    async fn status_with(&self, key: &str) -> u16 {
        let url = format!("{}/v1/usage", self.story.system.url());
        let request = reqwest::Client::new().post(url).bearer_auth(key.trim());
        request.body("{}").send().await.unwrap().status().as_u16()
    }
}

#[tokio::test]
async fn within_a_day_the_agents_bring_back_what_the_backup_lacks() {
    let mut drill = Drill::start().await;
    let first = drill.story.customer_id.to_string();
    let key = drill.run(&["keys", "create", "--scope", "emit"], 0).await;
    let key_id = key.split('_').nth(1).unwrap();
    drill.emit(&first, "before", 12).await;
    drill.story.strike("error_before").await;
    drill.emit(&first, "pending before", 3).await;
    drill.story.heal().await;
    drill.story.pump().await;
    let backup = drill.backup().await;
    let lost = drill.noted.len();

    // Usage goes on, redelivery too; somebody comes in, a key is revoked, Stripe fails.
    drill.story.clock.advance_s(2 * MINUTE_S);
    drill.story.system.redeliver().await.unwrap();
    drill.emit(&first, "after", 12).await;
    let second = drill.story.caller.onboard("second").await;
    drill.story.clock.advance_s(MINUTE_S);
    drill.emit(&second, "of the second", 5).await;
    drill.run(&["keys", "revoke", key_id], 0).await;
    drill.story.strike("error_before").await;
    drill.emit(&second, "pending after", 2).await;
    drill.story.heal().await;
    drill.story.settle().await;
    drill.story.pump().await;
    drill.story.clock.advance_s(5 * HOUR_S);

    // 1 and 2: nobody emits, and the tables are as they were.
    drill.restore(backup).await;
    assert_eq!(drill.status_with(&key).await, 400, "the key is good again");
    drill.run(&["keys", "revoke", key_id], 0).await;
    drill.story.clock.advance_s(MINUTE_S);
    assert_eq!(drill.status_with(&key).await, 401);
    // 3.
    drill.rebuild().await;
    // 4: whoever came in since comes in again, and what agents were told is noted.
    assert_eq!(drill.story.caller.onboard("second").await, second);
    let import = ["import", "--as-emitted", &drill.notes(lost)];
    let said = drill.run(&import, 1).await;
    assert!(
        said.contains("17 rows, 93 units: noted as delivered"),
        "{said}"
    );
    assert!(said.contains("2 rows, 0 units: not usable"), "{said}");
    // 5: agents send again.
    drill.send_again(lost).await;
    drill.story.pump().await;
    drill.story.clock.advance_s(2 * MINUTE_S);
    drill.story.system.redeliver().await.unwrap();
    let swept = drill.story.system.sweep().await.unwrap();
    assert_eq!((swept.failed, swept.given_up), (0, 0), "{swept:?}");

    drill.assert_each_event_is_in_stripe_once().await;
    drill.assert_the_report_has_it_all().await;
    // 6.
    let said = drill.reconcile(0).await;
    assert!(said.contains("2 agree, 0 differ"), "{said}");
    drill.rebuild().await;
    drill.story.system.stop().await.unwrap();
}

#[tokio::test]
async fn after_a_day_the_agents_notes_bring_it_back_and_their_ids_with_it() {
    let mut drill = Drill::start().await;
    let customer = drill.story.customer_id.to_string();
    drill.emit(&customer, "before", 8).await;
    drill.story.pump().await;
    let backup = drill.backup().await;
    let lost = drill.noted.len();
    drill.emit(&customer, "after", 10).await;
    drill.story.pump().await;
    drill.story.clock.advance_s(26 * HOUR_S);
    drill.restore(backup).await;
    drill.rebuild().await;

    // What only Stripe has is named.
    let said = drill.reconcile(1).await;
    assert!(said.contains("1 differ"), "{said}");
    // 4.
    let import = ["import", "--as-emitted", &drill.notes(lost)];
    let said = drill.run(&import, 0).await;
    assert!(
        said.contains("10 rows, 55 units: noted as delivered"),
        "{said}"
    );
    let again = drill.run(&import, 0).await;
    assert!(
        again.contains("10 rows, 55 units: recorded before"),
        "{again}"
    );

    // 5: an agent that sends again all the same is told so, and counts nothing twice.
    for noted in &drill.noted {
        let (status, answer) = drill.post(&noted.sent).await;
        assert_eq!(
            (status, &answer["duplicate"]),
            (200, &json!(true)),
            "{answer}"
        );
    }
    drill.assert_each_event_is_in_stripe_once().await;
    drill.assert_the_report_has_it_all().await;
    // 6.
    let said = drill.reconcile(0).await;
    assert!(said.contains("1 agree, 0 differ"), "{said}");
    drill.rebuild().await;
    drill.story.system.stop().await.unwrap();
}
